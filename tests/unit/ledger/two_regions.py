"""Two regions in memory for those who follow a lineage: logs, producers, the control bucket."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from ledger.audit_log import Bounds, Record
from ledger.faults import CannotReach
from ledger.lineage import Away, Fetched, Lineage

PARTITIONS = 2


def a_lineage(turn: int = 0, **fields: Any) -> Lineage:
    """Segments are given per partition as (turn, region, first, end)."""
    segments = fields.pop("segments", {p: [(0, "east", 0, None)] for p in range(PARTITIONS)})
    excluded = fields.pop("excluded", {})
    return Lineage.model_validate(
        {
            "topic": "payments",
            "region": "east",
            "turn": turn,
            "partitions": {
                str(p): {
                    "segments": [
                        {"turn": t, "region": r, "epoch": 7, "first": first, "end": end} for t, r, first, end in known
                    ],
                    "excluded": [
                        {"region": r, "first": first, "last": last, "why": "x", "by": "y"}
                        for r, first, last in excluded.get(p, ())
                    ],
                }
                for p, known in segments.items()
            },
            **fields,
        }
    )


class MemoryBucket:
    """The control bucket. ``away``: it does not answer."""

    topic = "payments"

    def __init__(self, word: Lineage | None = None) -> None:
        self.word: Lineage | None = word or a_lineage()
        self.away = False
        self.unchanged = 0

    def tell(self, **fields: Any) -> None:
        assert self.word is not None
        self.word = Lineage.model_validate({**self.word.model_dump(), "seq": self.word.seq + 1, **fields})

    def fetch(self, etag: str | None) -> Fetched | None:
        if self.away:
            raise Away("the control bucket cannot be reached: x")
        if self.word is None:
            raise Away("the control bucket holds no lineage/payments.json")
        if etag == str(self.word.seq):
            self.unchanged += 1
            return None
        return Fetched(str(self.word.seq), self.word)


class Region:
    """A Kafka with one topic. ``denied``: it refuses; ``silent``: it gives no answer, and takes the first
    ``takes_unsaid`` all the same.
    """

    def __init__(self) -> None:
        self.records: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
        self.lock = threading.RLock()
        self.denied = self.silent = False
        self.takes_unsaid = 0
        self.looked_up = 0

    def append(self, key: bytes, value: bytes, at_ms: int) -> tuple[int, int]:
        partition = zlib.crc32(key) % PARTITIONS
        records = self.records[partition]
        records.append((partition, len(records), at_ms, key, value))
        return partition, len(records) - 1

    def ids(self) -> list[bytes]:
        return [r[4].split(b",")[0] for records in self.records.values() for r in records]

    # -- as a log to look things up in

    def bounds(self) -> dict[int, Bounds]:
        if self.silent:
            raise CannotReach("no answer")
        self.looked_up += 1
        return {p: Bounds(0, len(r), len(r)) for p, r in self.records.items()}

    def offsets_at(self, at_ms: int) -> dict[int, int]:
        young = {p: [r[1] for r in records if r[2] >= at_ms] for p, records in self.records.items()}
        return {p: offsets[0] for p, offsets in young.items() if offsets}

    def read_from(self, starts: Mapping[int, int], to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        for p, end in to.items():
            yield self.records[p][starts[p] : end]

    def close(self) -> None: ...


class Report:
    def __init__(self, value: bytes, partition: int = -1, offset: int = -1) -> None:
        self._fields = (value, partition, offset)

    def value(self) -> bytes:
        return self._fields[0]

    def partition(self) -> int:
        return self._fields[1]

    def offset(self) -> int:
        return self._fields[2]


class MemorySender:
    """A producer as librdkafka's is: once something was refused, nothing later is taken (gapless)."""

    def __init__(self, region: Region, *, buffer: int = 1_000) -> None:
        self._region = region
        self._buffer = buffer
        self._under_way: list[tuple[bytes, bytes, int, Callable[..., None]]] = []
        self._dead = self._told = False

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Any, timestamp: int) -> None:
        if self._dead:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        if len(self._under_way) >= self._buffer:
            raise BufferError
        self._under_way.append((key, value, timestamp, on_delivery))

    def poll(self, timeout: float) -> int:
        region = self._region
        if region.silent:
            time.sleep(timeout)
            return 0
        if self._dead and not self._told:
            self._told = True
            raise KafkaException(KafkaError(KafkaError._GAPLESS_GUARANTEE, "gap", True))
        count = len(self._under_way)
        done, self._under_way = self._under_way, []
        for i, (key, value, at_ms, report) in enumerate(done):
            with region.lock:
                if region.silent:
                    self._under_way = done[i:]
                    return i
                if region.denied or self._dead:
                    self._dead = True
                    report(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), Report(value))
                else:
                    report(None, Report(value, *region.append(key, value, at_ms)))
        if not count:
            time.sleep(timeout)
        return count

    def purge(self, *, in_queue: bool, in_flight: bool) -> None:
        done, self._under_way = self._under_way, []
        for i, (key, value, at_ms, report) in enumerate(done):
            if self._region.silent and i < self._region.takes_unsaid:
                self._region.append(key, value, at_ms)
            report(KafkaError(KafkaError._PURGE_INFLIGHT), Report(value))

    def __len__(self) -> int:
        return len(self._under_way)
