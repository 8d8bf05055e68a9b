"""The sample consumer as a part of a program: see `ledger.consumer`."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from ledger.audit_kafka import client_settings
from ledger.faults import BadInput, CannotReach
from ledger.lineage import Gate, Lineage, LineageFollower, Segment

BATCH = 1_000
TICK_S = 0.1
REACH_S = 30.0
LEAVE_S = 1.0
"""So long the rest of the old region's segment is read before the consumer leaves without it."""
COMMIT_S = 1.0
CLOSE_S = 0.3
CLOSE_AT_END_S = 5.0
COMMITTED_S = 5.0

FATAL = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
    }
)

logger = logging.getLogger("ledger.consumer")


@dataclass(frozen=True)
class ConsumerSettings:
    """See the command's arguments of these names."""

    topic: str
    group: str
    regions: Mapping[str, str]
    properties: Mapping[str, str] = field(default_factory=dict)
    from_start: bool = False
    count: int | None = None
    idle_s: float | None = None
    out: Path | None = None


@dataclass
class ConsumerTotals:
    """``skipped``: records in ranges that do not count. ``passed_over``: offsets of an old region's segment that could
    not be read before leaving it and that the group had no offsets in the new region for.
    """

    read: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    switches: int = 0
    passed_over: int = 0

    def as_json(self) -> dict[str, Any]:
        """Totals, and both counts by region."""
        names = sorted(self.read.keys() | self.skipped.keys())
        return {
            "read": self.read.total(),
            "skipped": self.skipped.total(),
            "switches": self.switches,
            "passed_over": self.passed_over,
            "by_region": {name: {"read": self.read[name], "skipped": self.skipped[name]} for name in names},
        }

    def text(self) -> str:
        """For a person."""
        parts = " · ".join(f"{name} {count:,}" for name, count in sorted(self.read.items()))
        return (
            f"read {self.read.total():,} · skipped {self.skipped.total():,} · switches {self.switches:,}"
            + (f" · passed over {self.passed_over:,}" if self.passed_over else "")
            + (f"        {parts}" if parts else "")
        )


class GroupConsumer(Protocol):
    """As much of a confluent_kafka Consumer as is used."""

    def subscribe(self, topics: list[str], *, on_assign: Any) -> None:  # noqa: ANN401
        """Join the group."""
        ...

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        """The next ones."""
        ...

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The group's offsets."""
        ...

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these, from there."""
        ...

    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[True]) -> None:
        """Keep the group's offsets."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class LineageConsumer:
    """Reads in one region at a time, the one where the topic is written."""

    def __init__(
        self,
        settings: ConsumerSettings,
        follower: LineageFollower,
        *,
        stop: threading.Event | None = None,
        consumer: Callable[[str], GroupConsumer] | None = None,
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._stop = stop or threading.Event()
        self._consumer_of = consumer or self._open
        self._positions: dict[int, int] = {}
        self._to_commit: dict[int, int] = {}
        self._committed_s = 0.0
        self._left: dict[int, int] = {}
        """Of the region left last: how many offsets of its segment were not read, by partition; empty at first."""
        self._out: IO[str] | None = None
        self.totals = ConsumerTotals()

    def run(self) -> ConsumerTotals:
        """Read until it is told to stop. Raises `CannotReach`, `BadInput`."""
        with ExitStack() as stack:
            if self._settings.out is not None:
                try:
                    self._out = stack.enter_context(self._settings.out.open("a", encoding="utf-8"))
                except OSError as error:
                    raise BadInput(f"--out {self._settings.out}: {error.strerror}") from error
            word = self._follower.start(timeout_s=REACH_S)
            stack.callback(self._follower.stop)
            while not self._ended():
                now = self._follower.word or word
                if now.gate is Gate.CLOSED:
                    # The group's offsets may be on their way to where it opens: nobody may be in the group then.
                    self._follower.wait(TICK_S)
                    continue
                after = self._read_region(now)
                if after is not None:
                    self.totals.switches += 1
        return self.totals

    def _ended(self) -> bool:
        count = self._settings.count
        return self._stop.is_set() or (count is not None and self.totals.read.total() >= count)

    def _read_region(self, word: Lineage) -> Lineage | None:
        """Read where the word says until another says otherwise; that one, or None if it is time to stop."""
        region = word.region
        if region not in self._settings.regions:
            raise BadInput(f"{word.topic} is written in {region}: name its Kafka with --region {region}=HOST:PORT")
        logger.info("%s: reading in %s", word.topic, region)
        self._positions, self._to_commit = {}, {}
        switched = False
        consumer = self._consumer_of(region)
        read_at = time.monotonic()
        try:
            consumer.subscribe([word.topic], on_assign=lambda c, parts: self._begin(c, parts, word))
            while not self._ended():
                now = self._follower.word or word
                if now.turn != word.turn:
                    self._leave(consumer, word, now)
                    switched = True
                    return now
                if self._take(consumer, now, region):
                    read_at = time.monotonic()
                elif self._settings.idle_s is not None and time.monotonic() - read_at >= self._settings.idle_s:
                    self._stop.set()
                # Once the gate is closed the group's offsets are translated: what is read must be in them.
                self._commit(consumer, at_once=now.gate is Gate.CLOSED)
            self._commit(consumer, at_once=True)
            return None
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.fatal() or error.code() in FATAL:
                raise CannotReach(f"region {region}: {word.topic}: {error.str()}") from exception
            logger.warning("%s: %s; joining the group anew", region, error.str())
            return None
        finally:
            # A region that does not answer does not hold us up.
            closing = threading.Thread(target=consumer.close, name="ledger-consumer-close", daemon=True)
            closing.start()
            closing.join(CLOSE_S if switched else CLOSE_AT_END_S)

    def _begin(self, consumer: GroupConsumer, parts: Sequence[TopicPartition], word: Lineage) -> None:
        """Where each partition that the group gave us is read from."""
        topic = word.topic
        wanted = [TopicPartition(topic, part.partition) for part in parts]
        known = {part.partition: part.offset for part in consumer.committed(wanted, COMMITTED_S)}
        for part in wanted:
            part.offset = self._first(part.partition, known.get(part.partition, -1), word)
        logger.info("%s: from %s", word.region, {part.partition: part.offset for part in wanted})
        consumer.assign(wanted)
        self._left = {}
        self._positions = {part.partition: max(0, part.offset) for part in wanted if part.offset != OFFSET_END}
        # Told at once: who gets the partition next must not begin elsewhere.
        self._to_commit = {
            part.partition: part.offset
            for part in wanted
            if part.offset >= 0 and part.offset != known.get(part.partition)
        }

    def _first(self, partition: int, committed: int, word: Lineage) -> int:
        segments = word.partitions[partition].segments if partition in word.partitions else ()
        segment: Segment | None = segments[-1] if segments else None
        left = self._left.get(partition)
        if left == 0 and segment is not None:
            # All that stands before the segment has been read where it was written.
            return max(committed, segment.first)
        if committed >= 0:
            return committed
        if left is not None:
            self.totals.passed_over += left
        elif self._settings.from_start:
            return OFFSET_BEGINNING
        if segment is None:
            return OFFSET_END
        return OFFSET_BEGINNING if len(segments) == 1 else segment.first

    def _take(self, consumer: GroupConsumer, word: Lineage, region: str, end: Mapping[int, int] | None = None) -> int:
        """Read what there is, at most a batch; how many records came. ``end``: what counts no more, by partition."""
        count, most = 0, BATCH
        if self._settings.count is not None:
            most = max(1, min(BATCH, self._settings.count - self.totals.read.total()))
        for message in consumer.consume(most, TICK_S):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    assert partition is not None
                    # Past the transaction markers, which come as no record.
                    self._positions[partition] = max(offset or 0, self._positions.get(partition, 0))
                    continue
                if error.fatal() or error.code() in FATAL:
                    raise CannotReach(f"region {region}: {word.topic}: {error.str()}")
                logger.warning("%s: %s", region, error)
                continue
            assert partition is not None
            assert offset is not None
            if end is not None and offset >= end.get(partition, offset + 1):
                self._positions[partition] = max(offset, self._positions.get(partition, 0))
                continue
            self._positions[partition] = self._to_commit[partition] = offset + 1
            count += 1
            if word.is_excluded(region, partition, offset):
                self.totals.skipped[region] += 1
                continue
            self.totals.read[region] += 1
            if self._out is not None:
                value = (message.value() or b"").decode("utf-8", "backslashreplace")
                self._out.write(f"{region},{partition},{offset},{value}\n")
        return count

    def _commit(self, consumer: GroupConsumer, *, at_once: bool) -> None:
        now = time.monotonic()
        if not self._to_commit or not (at_once or now - self._committed_s >= COMMIT_S):
            return
        offsets = [TopicPartition(self._settings.topic, p, offset) for p, offset in self._to_commit.items()]
        # Nobody waits for a region that may not answer; the last ones are waited for when the group is left.
        consumer.commit(offsets=offsets, asynchronous=True)
        self._to_commit, self._committed_s = {}, now
        if self._out is not None:
            self._out.flush()

    def _leave(self, consumer: GroupConsumer, word: Lineage, now: Lineage) -> None:
        """Read what is left of the segment that has ended, if the region still answers."""
        ends = _ends(word, now)
        leave_at = time.monotonic() + LEAVE_S
        while self._missing(ends) and time.monotonic() < leave_at and not self._ended():
            self._take(consumer, now, word.region, ends)
        self._left = {p: max(0, end - position) for p, position, end in self._held(ends)}
        for p in self._positions.keys() - ends.keys():
            self._left[p] = 1  # Nobody knows where it ended: not known to be read to the end.
        if not any(self._left.values()):
            self._commit(consumer, at_once=True)
        logger.info("%s: left, not read: %s", word.region, {p: n for p, n in self._left.items() if n} or "nothing")

    def _held(self, ends: Mapping[int, int]) -> Iterable[tuple[int, int, int]]:
        return ((p, position, ends[p]) for p, position in self._positions.items() if p in ends)

    def _missing(self, ends: Mapping[int, int]) -> bool:
        return any(position < end for _, position, end in self._held(ends))

    def _open(self, region: str) -> GroupConsumer:
        settings = self._settings
        try:
            return Consumer(
                {
                    **client_settings(settings.regions[region], settings.properties),
                    "group.id": settings.group,
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "isolation.level": "read_committed",
                    "session.timeout.ms": 6_000,
                    "on_commit": _tell_uncommitted,
                }
            )
        except KafkaException as error:
            raise BadInput(f"--kafka-property: {error.args[0].str()}") from error


def _tell_uncommitted(error: KafkaError | None, _: list[TopicPartition]) -> None:
    """They are committed with the next ones; the last ones lost, what they cover is read again."""
    if error is not None and error.code() != KafkaError._NO_OFFSET:  # noqa: SLF001
        logger.warning("offsets not committed: %s", error.str())


def _ends(word: Lineage, now: Lineage) -> dict[int, int]:
    """Per partition, where the segment that was the last one by ``word`` ended."""
    ends = {}
    for p, known in word.partitions.items():
        turn = known.segments[-1].turn
        later = now.partitions[p].segments if p in now.partitions else ()
        end = next((s.end for s in later if s.turn == turn), None)
        if end is not None:
            ends[p] = end
    return ends
