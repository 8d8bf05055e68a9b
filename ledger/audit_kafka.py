"""A Kafka topic as the auditor reads it: committed records, partition by partition, up to given offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from ledger.audit_log import Bounds, PlainLog, Record
from ledger.faults import BadInput, CannotReach

T = TypeVar("T")

BATCH = 5_000
REQUEST_S = 5.0
QUIET_S = 5.0
AGAIN_S = 5.0
"""After so long without anything the rest is asked for anew: a client may sit on a partition that it was just given."""

logger = logging.getLogger("ledger.kafka")


def client_settings(bootstrap: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """The settings that all clients of the ledger share. librdkafka's own log is off: its errors come to `logger`,
    one kind every `QUIET_S` seconds at most.
    """
    quiet_until: dict[int, float] = {}

    def on_error(error: KafkaError) -> None:
        now = time.monotonic()
        if now >= quiet_until.get(error.code(), now):
            quiet_until[error.code()] = now + QUIET_S
            logger.warning("%s", error.str())

    return {
        "bootstrap.servers": bootstrap,
        "log_level": 2,
        "error_cb": on_error,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 500,
        **properties,
    }


class KafkaLog(PlainLog):
    """A topic, read once forward with read_committed. Rides out a broker that is away for less than ``stall_s``."""

    def __init__(
        self, bootstrap: str, topic: str, properties: Mapping[str, str], *, stall_s: float = 30.0, tick_s: float = 0.5
    ) -> None:
        """``tick_s``: so long a batch is waited for to be full."""
        settings = client_settings(bootstrap, properties)
        self._topic = topic
        self._stall_s = stall_s
        self._tick_s = tick_s
        try:
            self._admin = AdminClient(dict(settings))
            self._consumer = Consumer(
                {
                    **settings,
                    # Partitions are assigned by hand and nothing is committed: the group never exists.
                    "group.id": "ledger-auditor",
                    "enable.auto.commit": False,
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "queued.min.messages": 50_000,
                    "queued.max.messages.kbytes": 16_384,
                }
            )
        except KafkaException as error:
            raise BadInput(f"--kafka-property: {error.args[0].str()}") from error
        self._partitions = self._trying(self._find_partitions)
        self._positions: dict[int, int] = {}

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def bounds(self) -> dict[int, Bounds]:
        """Start, last stable and end offset of each partition, now. Raises `CannotReach`."""
        return self._trying(self._find_bounds)

    def offsets_at(self, at_ms: int) -> dict[int, int]:
        """Per partition, the first offset whose record is as young as ``at_ms`` (UTC); left out if none is."""
        found = self._trying(lambda: self._offsets(OffsetSpec.for_timestamp(at_ms), IsolationLevel.READ_UNCOMMITTED))
        return {p: offset for p, offset in found.items() if offset >= 0}

    def read(self, to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches up to ``to``, see `ledger.audit_log.Log`. Raises `CannotReach`."""
        yield from self.read_from({p: self._positions.get(p, 0) for p in to}, to)
        self._positions.update({p: max(end, self._positions.get(p, 0)) for p, end in to.items()})

    def read_from(self, starts: Mapping[int, int], to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches of each partition from its offset in ``starts`` up to the one in ``to``, that not included; wherever
        was read before. Raises `CannotReach`.
        """
        open_to = {p: end for p, end in to.items() if end > starts[p]}
        if not open_to:
            return
        at = {p: starts[p] for p in open_to}
        self._assign(at)
        moved_at = asked_at = time.monotonic()
        while open_to:
            batch: list[Record] = []
            before = len(open_to)
            for message in self._consumer.consume(BATCH, timeout=self._tick_s):
                partition: int = message.partition()  # type: ignore[assignment]  # never None on a consumer
                offset: int = message.offset()  # type: ignore[assignment]
                end = open_to.get(partition)
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        self._raise_if_final(error)
                    elif end is not None and offset >= end:
                        # What stood before the end asked for was transaction markers or aborted: no record comes.
                        self._finish(partition, open_to)
                    continue
                if end is None or offset < at[partition]:
                    continue
                at[partition] = offset + 1
                if offset < end:
                    kind, at_ms = message.timestamp()
                    if kind != TIMESTAMP_LOG_APPEND_TIME:
                        at_ms = -1
                    batch.append((partition, offset, at_ms, message.key(), message.value() or b""))
                if offset + 1 >= end:
                    self._finish(partition, open_to)
            now = time.monotonic()
            left = ", ".join(f"{p} from {at[p]:,} to {end:,}" for p, end in open_to.items())
            if batch or len(open_to) < before:
                moved_at = asked_at = now
            elif now - moved_at > self._stall_s:
                raise CannotReach(f"nothing came of {self._topic} for {self._stall_s:g} s; partitions left: {left}")
            elif now - asked_at > AGAIN_S:
                logger.warning("nothing came of %s for %g s, asked again: partitions %s", self._topic, AGAIN_S, left)
                self._assign({p: at[p] for p in open_to})
                asked_at = now
            if batch:
                yield batch

    def _assign(self, at: Mapping[int, int]) -> None:
        parts = [TopicPartition(self._topic, p, offset) for p, offset in at.items()]
        self._consumer.assign(parts)
        self._consumer.resume(parts)  # A partition may still be paused by the read before.

    def _finish(self, partition: int, open_to: dict[int, int]) -> None:
        del open_to[partition]
        self._consumer.pause([TopicPartition(self._topic, partition)])

    def _raise_if_final(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise CannotReach(f"{self._topic}: {error.str()}")
        self._raise_if_refused(error)
        logger.warning("%s: %s", self._topic, error)

    def _raise_if_refused(self, error: KafkaError) -> None:
        if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
            raise BadInput(f"no such topic: {self._topic}")
        if error.code() in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.SASL_AUTHENTICATION_FAILED,
            KafkaError._AUTHENTICATION,  # noqa: SLF001
        }:
            raise CannotReach(f"{self._topic}: refused: {error.str()}")

    def _trying(self, ask: Callable[[], T]) -> T:
        """Ask again until it answers or ``stall_s`` have passed."""
        give_up_at = time.monotonic() + self._stall_s
        while True:
            try:
                return ask()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                self._raise_if_refused(error)
                if time.monotonic() > give_up_at:
                    raise CannotReach(f"Kafka did not answer for {self._stall_s:g} s: {error.str()}") from exception
                # Serves the client's callbacks while it reconnects; there is nothing to wait on but time.
                self._admin.poll(0.2)

    def _find_partitions(self) -> list[int]:
        found = self._admin.list_topics(self._topic, timeout=min(REQUEST_S, self._stall_s)).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _find_bounds(self) -> dict[int, Bounds]:
        start = self._offsets(OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]
        stable = self._offsets(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)  # type: ignore[no-untyped-call]
        end = self._offsets(OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]
        return {p: Bounds(start[p], stable[p], end[p]) for p in self._partitions}

    def _offsets(self, spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(self._topic, p): spec for p in self._partitions}
        futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=REQUEST_S)
        return {part.partition: future.result(REQUEST_S * 2).offset for part, future in futures.items()}
