"""What the generator that follows a lineage needs of Kafka: its producer, and which payments a log holds already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ledger.audit_kafka import KafkaLog, client_settings
from ledger.audit_log import Bounds, Record
from ledger.faults import BadInput, CannotReach
from ledger.outbox import rid_of
from ledger.payments import Position
from ledger.producing import GeneratorSettings, position_in

MARGIN_MS = 60_000
"""A region may stamp its records with its own clock: so much it may be off, to find what it holds by time."""

REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})

logger = logging.getLogger("ledger.generator")

Report = Callable[[KafkaError | None, Message], None]


class Sender(Protocol):
    """As much of a confluent_kafka Producer as is used."""

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Report, timestamp: int) -> None:
        """Hand one over. Raises BufferError, KafkaException."""
        ...

    def poll(self, timeout: float) -> int:
        """Serve reports. Raises KafkaException once after a refusal."""
        ...

    def purge(self, in_queue: bool, in_flight: bool) -> None:
        """Give up what is under way."""
        ...

    def __len__(self) -> int: ...


class TailLog(Protocol):
    """As much of a `KafkaLog` as is used."""

    def bounds(self) -> dict[int, Bounds]:
        """The offsets now."""
        ...

    def offsets_at(self, at_ms: int) -> dict[int, int]:
        """The first offsets from a time on, where there are any."""
        ...

    def read_from(self, starts: Mapping[int, int], to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches of a range."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def producer_settings(bootstrap: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """Of the producer of one region."""
    return {
        "linger.ms": 5,
        "partitioner": "murmur2_random",  # Java's default: its clients find an account where we put it.
        "queue.buffering.max.messages": 100_000,
        **client_settings(bootstrap, properties),
        "enable.idempotence": True,
        # Nothing later may be appended once one was refused: the order of an account would be lost.
        "enable.gapless.guarantee": True,
        "acks": "all",
        # For ever: it is the lineage that says when a region is not waited for any more.
        "delivery.timeout.ms": 0,
    }


def check_settings(properties: Mapping[str, str]) -> None:
    """Raises `BadInput` if librdkafka does not take them."""
    try:
        Producer(producer_settings("127.0.0.1:1", properties))
    except KafkaException as error:
        raise BadInput(f"--kafka-property: {error.args[0].str()}") from error


def resume(settings: GeneratorSettings, bootstrap: str) -> Position:
    """Where the payments stand. After a run that was cut short: by the topic in the region where it is written now, but
    never below what the state file says of the last switch. Raises `CannotReach`, `BadInput`.
    """
    assert settings.state is not None
    saved = Position.load(settings.state)
    if saved.clean:
        return saved
    logger.info("%s: the run before was cut short; its sequences are read from %s", settings.state, bootstrap)
    log = KafkaLog(bootstrap, settings.topic, settings.properties)
    try:
        return newest(saved, position_in(log))
    finally:
        log.close()


def newest(saved: Position, found: Position) -> Position:
    """Of each account the higher sequence."""
    sequences = dict(saved.sequences)
    for name, sequence in found.sequences.items():
        sequences[name] = max(sequence, sequences.get(name, 0))
    return Position(clean=False, made=max(saved.made, found.made), sequences=sequences)


def find_in(log: TailLog, wanted: set[bytes], since_ms: int) -> dict[bytes, tuple[int, int]]:
    """Which of these ids a log holds in committed records, with (partition, offset); ``since_ms``: when the oldest of
    them was made (UTC), which is the time that its record carries.

    Raises:
        CannotReach: it did not answer, or a transaction is open in it: what is behind that cannot be told yet.
    """
    ends = {p: b.end for p, b in log.bounds().items()}
    undecided = [p for p, b in log.bounds().items() if b.stable < ends[p]]
    if undecided:
        raise CannotReach(f"a transaction is open in partition {undecided[0]}")
    starts = log.offsets_at(max(0, since_ms - MARGIN_MS))
    found: dict[bytes, tuple[int, int]] = {}
    for batch in log.read_from({p: min(starts.get(p, ends[p]), ends[p]) for p in ends}, ends):
        for partition, offset, _, _, value in batch:
            rid = rid_of(value)
            if rid in wanted:
                found.setdefault(rid, (partition, offset))
    return found
