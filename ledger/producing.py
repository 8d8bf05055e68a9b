"""The generator as a part of a program: a thread that makes payments until it is stopped."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ledger.audit_kafka import KafkaLog, client_settings
from ledger.faults import BadInput, CannotReach, LedgerError
from ledger.outbox import AckedFile, rid_of
from ledger.pacing import Pace
from ledger.payments import Payments, PaymentSettings, Position

TICK_S = 0.005
REACH_S = 30.0

logger = logging.getLogger("ledger.generator")


@dataclass(frozen=True)
class GeneratorSettings:
    """What is made and where to. ``count`` None: until stopped. ``state`` keeps the sequences between runs; without
    it every account begins at 1, which is right only for an empty topic. ``properties`` are librdkafka's.
    """

    bootstrap: str
    topic: str = "payments"
    properties: dict[str, str] = field(default_factory=dict)
    partitions: int = 4
    rate_per_s: float = 1_000.0
    count: int | None = None
    payments: PaymentSettings = field(default_factory=PaymentSettings)
    state: Path | None = None
    acked: Path | None = None
    """Where each confirmed payment is written down, see `ledger.outbox.AckedFile`."""


@dataclass(frozen=True)
class Totals:
    """``sent = acked + errors + unresolved``; unresolved: handed over, and neither confirmed nor refused at the end.

    ``throttled_s``: how long nothing could be made because the producer's buffer was full.
    """

    sent: int
    acked: int
    errors: int
    unresolved: int
    elapsed_s: float
    throttled_s: float


@dataclass(frozen=True)
class FollowTotals(Totals):
    """``switches``: how often another region was taken up. ``refused``: reports that a payment was not taken.
    ``resent``: payments handed over once more. ``found_there``: those that were found in the new region's log instead.
    """

    switches: int = 0
    resent: int = 0
    refused: int = 0
    found_there: int = 0


class Generator:
    """Makes payments in a thread of its own; ``sent``, ``acked`` and ``errors`` may be read at any time.

    The producer is idempotent and waits for all replicas: a broker that goes away for less than 15 minutes costs
    time, and each payment is in the topic once and in its account's order. While it is away payments pile up in
    memory (100,000 at most) and go out when it is back; the pace itself does not make up for more than a second.
    """

    def __init__(self, settings: GeneratorSettings, *, finished: threading.Event | None = None) -> None:
        self._settings = settings
        self._finished = finished or threading.Event()
        self._stop = threading.Event()
        self._counted = threading.Condition()
        self._failure: LedgerError | None = None
        self._sent = self._acked = self._errors = 0
        self._throttled_s = 0.0
        self._started_s = self._ended_s = 0.0
        try:
            self._producer = Producer(
                {
                    "linger.ms": 5,
                    "partitioner": "murmur2_random",  # Java's default: its clients find an account where we put it.
                    "queue.buffering.max.messages": 100_000,
                    **client_settings(settings.bootstrap, settings.properties),
                    "enable.idempotence": True,
                    "acks": "all",
                    "delivery.timeout.ms": 900_000,
                }
            )
        except KafkaException as error:
            raise BadInput(f"--kafka-property: {error.args[0].str()}") from error
        self._payments = Payments(settings.payments)
        self._acked_file: AckedFile | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-generator", daemon=True)

    @property
    def sent(self) -> int:
        """Payments handed to the producer."""
        return self._sent

    @property
    def acked(self) -> int:
        """Payments that Kafka has confirmed."""
        return self._acked

    @property
    def errors(self) -> int:
        """Payments that are known not to be confirmed any more."""
        return self._errors

    def start(self) -> None:
        """Make the topic if it is not there, take up the sequences, begin. Raises `CannotReach`, `BadInput`."""
        self._ensure_topic()
        if self._settings.state is not None:
            self._payments.position = self._resume(self._settings.state)
            self._payments.position.model_copy(update={"clean": False}).save(self._settings.state)
        if self._settings.acked is not None:
            self._acked_file = AckedFile(self._settings.acked)
        self._started_s = time.monotonic()
        self._thread.start()

    def wait_for_acked(self, count: int, *, timeout_s: float) -> int:
        """Wait until at least ``count`` payments are confirmed. Returns how many are. Raises `CannotReach` in time."""
        with self._counted:
            if not self._counted.wait_for(lambda: self._acked >= count or self._failure is not None, timeout_s):
                raise CannotReach(f"{self._acked:,} of {count:,} payments confirmed after {timeout_s:g} s")
        if self._failure is not None:
            raise self._failure
        return self._acked

    def wait(self, *, timeout_s: float | None = None) -> bool:
        """Wait until ``count`` payments are made (or making them failed). False if that was not so in time."""
        return self._finished.wait(timeout_s)

    def stop(self, *, flush_s: float = 60.0) -> Totals:
        """Stop, wait up to ``flush_s`` for the payments under way, save the state. Raises what stopped the thread."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(flush_s)
        if self._acked_file is not None:
            self._acked_file.close()
        unresolved = self._sent - self._acked - self._errors
        if self._settings.state is not None:
            # With some unresolved the next run asks the topic: what arrived counts, and what did not leaves no hole.
            self._payments.position.clean = unresolved == 0 and self._errors == 0
            self._payments.position.save(self._settings.state)
        if self._failure is not None:
            raise self._failure
        elapsed_s = self._ended_s - self._started_s
        return Totals(self._sent, self._acked, self._errors, unresolved, elapsed_s, self._throttled_s)

    def _run(self) -> None:
        try:
            self._make_payments()
        except KafkaException as error:
            logger.error("stopped making payments: %s", error.args[0].str())
            with self._counted:
                self._failure = CannotReach(f"making payments failed for good: {error.args[0].str()}")
                self._counted.notify_all()
        finally:
            self._ended_s = time.monotonic()
            self._finished.set()

    def _make_payments(self) -> None:
        settings, producer = self._settings, self._producer
        topic, left = settings.topic, settings.count
        pace = Pace(settings.rate_per_s, time.monotonic())
        payments = iter(self._payments)
        while not self._stop.is_set() and left != 0:
            due = pace.due(time.monotonic())
            if left is not None:
                due = min(due, left)
            for _ in range(due):
                key, value = next(payments)
                if not self._produce(topic, key, value):
                    self._payments.take_back(key)
                    return
            pace.made(due)
            if left is not None:
                left -= due
            # Serves the confirmations while it waits, and ends early when one comes.
            producer.poll(min(max(pace.next_in_s(time.monotonic()), 0.001), TICK_S))
            if self._acked_file is not None:
                self._acked_file.tick()

    def _produce(self, topic: str, key: bytes, value: bytes) -> bool:
        """Hand one over, waiting as long as the buffer is full. False if `stop` came before that was possible."""
        full_since: float | None = None
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=self._on_delivery)
                break
            except BufferError:
                if self._stop.is_set():
                    return False
                full_since = full_since or time.monotonic()
                self._producer.poll(0.1)
        self._sent += 1
        if full_since is not None:
            self._throttled_s += time.monotonic() - full_since
        return True

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None and self._acked_file is not None:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            self._acked_file.add(rid_of(message.value() or b""), "", partition, offset)
        with self._counted:
            if error is None:
                self._acked += 1
            else:
                self._errors += 1
            self._counted.notify_all()
        if error is not None:
            value = message.value() or b""
            logger.error("not delivered: %s: %s", value.decode("utf-8", "replace"), error)

    def _ensure_topic(self) -> None:
        settings = self._settings
        admin = AdminClient(client_settings(settings.bootstrap, settings.properties))
        topic = NewTopic(settings.topic, num_partitions=settings.partitions, replication_factor=-1)
        give_up_at = time.monotonic() + REACH_S
        while True:
            try:
                found = admin.list_topics(settings.topic, timeout=5.0).topics[settings.topic]
                if found.error is None:
                    if len(found.partitions) != settings.partitions:
                        logger.info("%s is there with %d partitions", settings.topic, len(found.partitions))
                    return
                if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    admin.create_topics([topic])[settings.topic].result(10.0)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
                    raise CannotReach(f"{settings.topic}: refused: {error.str()}") from exception
                if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                if time.monotonic() > give_up_at:
                    raise CannotReach(f"Kafka did not answer for {REACH_S:g} s: {error.str()}") from exception
            if time.monotonic() > give_up_at:
                raise CannotReach(f"topic {settings.topic} could not be made within {REACH_S:g} s")
            admin.poll(0.2)

    def _resume(self, state: Path) -> Position:
        position = Position.load(state)
        if position.clean:
            return position
        logger.info("%s: the run before was cut short; its sequences are read from %s", state, self._settings.topic)
        log = KafkaLog(self._settings.bootstrap, self._settings.topic, self._settings.properties)
        try:
            return position_in(log)
        finally:
            log.close()


def position_in(log: KafkaLog) -> Position:
    """Where a topic's payments stand: read all of it and take each account's highest sequence. Raises `CannotReach`."""
    position = Position()
    for batch in log.read({partition: bounds.stable for partition, bounds in log.bounds().items()}):
        for record in batch:
            _, name, sequence, _ = record[4].decode().split(",")
            position.made += 1
            position.sequences[name] = max(int(sequence), position.sequences.get(name, 0))
    return position
