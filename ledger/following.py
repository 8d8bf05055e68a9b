"""A generator that follows the lineage: it writes where the topic lives, and only while its gate is open.

At a switch every payment ends in one region, once. What Kafka has confirmed stays where it is. What it has refused was
not appended, and is handed over again in the new region, before anything new, in the order in which it was made. What
is neither (its region does not answer any more) is looked for in the new region's log, where the mirror may have
brought it; only what is not there is handed over again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ledger.audit_kafka import KafkaLog, client_settings
from ledger.faults import BadInput
from ledger.lineage import Bucket, Follower, Place
from ledger.pacing import Pace
from ledger.payments import Payments, PaymentSettings, Position
from ledger.producing import TICK_S, position_in

GIVE_UP_S = 2.0
"""So long after the topic has opened elsewhere, what the old region has not answered is given up and looked for."""
FLUSH_S = 1.0

logger = logging.getLogger("ledger.generator")

Payment = tuple[int, bytes, bytes]
"""Its number (from 1, as made), key and value."""


@dataclass(frozen=True)
class FollowSettings:
    """What is made and where to. ``regions``: bootstrap servers by region. ``acked``: where confirmations are noted."""

    bucket: Bucket
    regions: Mapping[str, str]
    topic: str = "payments"
    properties: Mapping[str, str] = field(default_factory=dict)
    rate_per_s: float = 1_000.0
    payments: PaymentSettings = field(default_factory=PaymentSettings)
    state: Path | None = None
    acked: Path | None = None


@dataclass
class FollowTotals:
    """``sent = acked + unresolved``; ``resent`` of them were refused or not found, and handed over again."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    unknown: int = 0
    found_there: int = 0
    resent: int = 0
    switches: int = 0
    unresolved: int = 0
    by_region: dict[str, int] = field(default_factory=dict)


class FollowingGenerator:
    """Makes payments until it is told to stop; one thread, that of who calls ``run``."""

    def __init__(self, settings: FollowSettings) -> None:
        self.totals = FollowTotals()
        self._settings = settings
        self._follower = Follower(settings.bucket, settings.topic)
        self._payments = Payments(settings.payments)
        self._made = 0
        self._open: dict[int, Payment] = {}
        """Handed over and not answered, by number."""
        self._again: dict[int, Payment] = {}
        """To be handed over again, by number."""
        self._unknown: dict[int, Payment] = {}
        """Given up: they may be in the old region's log, and in the new one's."""
        self._producer: Producer | None = None
        self._at: Place | None = None
        self._acked: IO[str] | None = None

    def run(self, stop: threading.Event, flush_s: float) -> FollowTotals:
        """Make payments until ``stop`` is set; then wait up to ``flush_s`` for those under way, and save the state.

        Raises `CannotReach` if there is no lineage, `BadInput` for a region that nobody named.
        """
        self._at = self._follower.start()
        if self._settings.acked is not None:
            self._acked = self._settings.acked.open("a", encoding="utf-8")
        try:
            self._resume()
            self._make(stop)
            ends = time.monotonic() + flush_s
            while (self._open or self._again or self._unknown) and time.monotonic() < ends:
                self._turn_if_told()
                self._hand_over_again()
                self._poll(TICK_S)
            self.totals.unresolved = len(self._open) + len(self._again) + len(self._unknown)
            self._save(clean=self.totals.unresolved == 0)
        finally:
            self._follower.stop()
            if self._acked is not None:
                self._acked.close()
        return self.totals

    # -- making

    def _make(self, stop: threading.Event) -> None:
        pace = Pace(self._settings.rate_per_s, time.monotonic())
        payments: Iterator[tuple[bytes, bytes]] = iter(self._payments)
        noted_s = time.monotonic()
        while not stop.is_set():
            writes = self._turn_if_told()
            now = time.monotonic()
            due = pace.due(now)
            if writes:
                self._hand_over_again()
                for _ in range(due):
                    if self._again:
                        break  # what could not be handed over comes first, or an account's order is lost
                    key, value = next(payments)
                    self._made += 1
                    self.totals.sent += 1
                    self._hand_over((self._made, key, value))
            pace.made(due)
            if self._acked is not None and now - noted_s > FLUSH_S:
                self._acked.flush()
                noted_s = now
            self._poll(min(max(pace.next_in_s(time.monotonic()), 0.001), TICK_S))

    def _hand_over(self, payment: Payment) -> None:
        number, key, value = payment
        producer = self._producer
        if producer is None:
            self._again[number] = payment
            return
        self._open[number] = payment
        try:
            producer.produce(
                self._settings.topic,
                value=value,
                key=key,
                on_delivery=partial(self._answered, number),
            )
        except BufferError:
            self._again[number] = self._open.pop(number)
        except KafkaException as error:
            # Kafka has closed the topic, and the lineage is about to say so: it was not even taken in.
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            self.totals.refused += 1
            self._again[number] = self._open.pop(number)

    def _hand_over_again(self) -> None:
        """In the order in which they were made. Nothing new goes out before."""
        if self._producer is None or self._unknown:
            return
        for number in sorted(self._again):
            before = len(self._again)
            payment = self._again.pop(number)
            self.totals.resent += 1
            self._hand_over(payment)
            if len(self._again) == before:
                return  # the buffer is full, or the topic is closed

    def _answered(self, number: int, error: KafkaError | None, message: Message) -> None:
        payment = self._open.pop(number, None)
        if payment is None:
            return
        if error is None:
            self.totals.acked += 1
            at = self._at.region if self._at is not None else ""
            self.totals.by_region[at] = self.totals.by_region.get(at, 0) + 1
            if self._acked is not None:
                record_id = payment[2].partition(b",")[0].decode()
                self._acked.write(f"{record_id} {at} {message.partition()} {message.offset()}\n")
        elif error.code() in {KafkaError._PURGE_INFLIGHT, KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT}:  # noqa: SLF001
            self.totals.unknown += 1
            self._unknown[number] = payment
        else:
            # Refused, or never sent: not appended.
            self.totals.refused += 1
            self._again[number] = payment

    def _poll(self, seconds: float) -> None:
        if self._producer is not None:
            self._producer.poll(seconds)
        else:
            time.sleep(seconds)  # nothing is under way; the lineage is read by its own thread

    # -- following

    def _turn_if_told(self) -> bool:
        """Go where the lineage says, once all that was handed over here is answered or given up. True: it may write."""
        place = self._follower.place
        if self._producer is not None and self._at is not None and place.open and place.turn == self._at.turn:
            return True
        if self._producer is not None:
            # The gate has closed, or it is open elsewhere: nothing new, and the answers for what is under way.
            if self._open and not (place.open and self._at is not None and place.turn != self._at.turn):
                return False
            self._leave(self._producer, place)
        if not place.open:
            return False
        if self._at is not None and place.turn != self._at.turn:
            self.totals.switches += 1
        self._at = place
        self._producer = self._connect(place.region)
        self._find_unknown(place)
        return True

    def _leave(self, producer: Producer, place: Place) -> None:
        producer.flush(GIVE_UP_S)
        if self._open:
            producer.purge(in_queue=True, in_flight=True)
            producer.flush(GIVE_UP_S)
        for number in sorted(self._open):  # not even the purge was answered
            self.totals.unknown += 1
            self._unknown[number] = self._open.pop(number)
        if self._unknown:
            logger.warning("%d payments were not answered; looking for them in %s", len(self._unknown), place.region)
        self._producer = None

    def _find_unknown(self, place: Place) -> None:
        """Which of the payments of unknown fate the mirror has brought: those are there; the others go out again."""
        if not self._unknown:
            return
        wanted = {payment[2].partition(b",")[0]: number for number, payment in self._unknown.items()}
        log = KafkaLog(self._bootstrap(place.region), self._settings.topic, dict(self._settings.properties))
        try:
            for batch in log.read({partition: bounds.stable for partition, bounds in log.bounds().items()}):
                for record in batch:
                    number = wanted.pop(record[4].partition(b",")[0], None)
                    if number is not None:
                        del self._unknown[number]
                        self.totals.found_there += 1
        finally:
            log.close()
        self._again.update(self._unknown)
        self._unknown.clear()

    def _connect(self, region: str) -> Producer:
        return Producer(
            {
                "linger.ms": 5,
                "partitioner": "murmur2_random",  # Java's default: its clients find an account where we put it.
                "queue.buffering.max.messages": 100_000,
                **client_settings(self._bootstrap(region), dict(self._settings.properties)),
                "enable.idempotence": True,
                "acks": "all",
                "delivery.timeout.ms": 900_000,
            }
        )

    def _bootstrap(self, region: str) -> str:
        found = self._settings.regions.get(region)
        if found is None:
            known = ", ".join(self._settings.regions)
            raise BadInput(f"{self._settings.topic} is written in {region}, and --region names {known}")
        return found

    # -- the sequences between two runs

    def _resume(self) -> None:
        state = self._settings.state
        if state is None:
            return
        position = Position.load(state)
        if not position.clean and self._at is not None:
            log = KafkaLog(self._bootstrap(self._at.region), self._settings.topic, dict(self._settings.properties))
            try:
                position = position_in(log)
            finally:
                log.close()
        self._payments.position = position
        position.model_copy(update={"clean": False}).save(state)

    def _save(self, *, clean: bool) -> None:
        if self._settings.state is not None:
            self._payments.position.clean = clean
            self._payments.position.save(self._settings.state)


def totals_text(totals: FollowTotals, form: str) -> str:
    """The totals as text or JSON."""
    if form == "json":
        return json.dumps(asdict(totals))
    return ", ".join(f"{name} {value:,}" for name, value in asdict(totals).items() if isinstance(value, int))
