"""The generator that follows a topic's lineage: it writes where the topic lives, while its gate is open, each payment
exactly once, also across a switch (X18) and when the region that it wrote to is gone.

A payment stays in the outbox until it is known to be in the topic. When the topic turns, what is left is looked up in
the log of the new region: the mirror has brought there what counts of the old one's, and is shut when the gate opens.
What is there has arrived; the rest is handed over again, in order, before anything new is made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ledger.audit_kafka import KafkaLog
from ledger.faults import BadInput, CannotReach, LedgerError
from ledger.follow_kafka import (
    REFUSED,
    Sender,
    TailLog,
    check_settings,
    find_in,
    producer_settings,
    resume,
)
from ledger.lineage import Gate, Lineage, LineageFollower
from ledger.outbox import AckedFile, Outbox, Waiting, rid_of
from ledger.pacing import Pace
from ledger.payments import Payments
from ledger.producing import TICK_S, FollowTotals, GeneratorSettings

REACH_S = 30.0
AGAIN_S = 0.25
LOOK_UP_S = 5.0
logger = logging.getLogger("ledger.generator")


class _At(Enum):
    """Where the generator stands towards the region that it writes to."""

    WAITING = "no region's producer is open"
    WRITING = "payments are made"
    SETTLING = "none are made; those under way are waited for"


class FollowingGenerator:
    """As `ledger.producing.Generator`, by lineage. Payments of unknown fate are held for as long as it takes."""

    def __init__(
        self,
        settings: GeneratorSettings,
        regions: Mapping[str, str],
        follower: LineageFollower,
        *,
        finished: threading.Event | None = None,
        sender: Callable[[str], Sender] | None = None,
        log: Callable[[str], TailLog] | None = None,
    ) -> None:
        self._settings = settings
        self._regions = dict(regions)
        self._follower = follower
        self._finished = finished or threading.Event()
        self._sender_of = sender or self._open_sender
        self._log_of = log or self._open_log
        self._stop = threading.Event()
        self._flush_by_s: float | None = None
        self._counted = threading.Condition()
        self._failure: LedgerError | None = None
        self._outbox = Outbox()
        self._payments = Payments(settings.payments)
        self._acked_file: AckedFile | None = None
        self._at = _At.WAITING
        self._sender: Sender | None = None
        self._region: str | None = None
        self._turn = -1
        self._blocked = False
        self._ask_since_s = 0.0
        self._not_before_s = 0.0
        self._unknown_region: str | None = None
        self._throttled_s = 0.0
        self._started_s = self._ended_s = 0.0
        self.sent = 0
        """Payments made."""
        self.acked = 0
        """Payments that are known to be in the topic."""
        self.switches = self.resent = self.refused = self.found_there = 0
        self._thread = threading.Thread(target=self._run, name="ledger-generator", daemon=True)
        if sender is None:
            check_settings(settings.properties)

    @property
    def errors(self) -> int:
        """Always 0: what is refused is handed over again."""
        return 0

    @property
    def region(self) -> str | None:
        """Where it writes now; None while it may not write anywhere."""
        return self._region if self._at is _At.WRITING else None

    def start(self) -> None:
        """Wait for the first word, take up the sequences, begin. Raises `CannotReach`, `BadInput`."""
        word = self._follower.start(timeout_s=REACH_S)
        if word.region not in self._regions:
            raise BadInput(f"{word.topic} is written in {word.region}: name its Kafka with --region {word.region}=…")
        if self._settings.state is not None:
            self._payments.position = resume(self._settings, self._regions[word.region])
            self._save(clean=False)
        if self._settings.acked is not None:
            self._acked_file = AckedFile(self._settings.acked)
        self._started_s = time.monotonic()
        self._thread.start()

    def wait(self, *, timeout_s: float | None = None) -> bool:
        """Wait until ``count`` payments are made (or making them failed). False if that was not so in time."""
        return self._finished.wait(timeout_s)

    def wait_for_acked(self, count: int, *, timeout_s: float) -> int:
        """Wait until at least ``count`` payments are confirmed. Returns how many are. Raises `CannotReach` in time."""
        with self._counted:
            if not self._counted.wait_for(lambda: self.acked >= count or self._failure is not None, timeout_s):
                raise CannotReach(f"{self.acked:,} of {count:,} payments confirmed after {timeout_s:g} s")
        if self._failure is not None:
            raise self._failure
        return self.acked

    def stop(self, *, flush_s: float = 60.0) -> FollowTotals:
        """Stop, wait up to ``flush_s`` for what is left, save the state. Raises what stopped the thread."""
        self._flush_by_s = time.monotonic() + flush_s
        self._stop.set()
        self._thread.join()
        self._follower.stop()
        if self._acked_file is not None:
            self._acked_file.close()
        if self._settings.state is not None:
            self._save(clean=not len(self._outbox) and self._failure is None)
        if self._failure is not None:
            raise self._failure
        return FollowTotals(
            sent=self.sent,
            acked=self.acked,
            errors=0,
            unresolved=len(self._outbox),
            elapsed_s=self._ended_s - self._started_s,
            throttled_s=self._throttled_s,
            switches=self.switches,
            resent=self.resent,
            refused=self.refused,
            found_there=self.found_there,
        )

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except (KafkaException, LedgerError) as exception:
            known = exception if isinstance(exception, LedgerError) else CannotReach(str(exception.args[0]))
            logger.error("stopped making payments: %s", known)
            with self._counted:
                self._failure = known
                self._counted.notify_all()
        finally:
            self._ended_s = time.monotonic()
            self._finished.set()

    def _serve(self) -> None:
        left = self._settings.count
        pace = Pace(self._settings.rate_per_s, time.monotonic())
        payments = iter(self._payments)
        while not self._done():
            self._steer()
            if self._at is not _At.WRITING or self._stop.is_set() or left == 0:
                pace.due(time.monotonic())  # Of what is not made now, one second at most is made up for.
                self._idle()
                continue
            due = pace.due(time.monotonic())
            if left is not None:
                due = min(due, left)
            made = 0
            while made < due and not self._blocked and self._make(payments):
                made += 1
            pace.made(made)
            if left is not None:
                left -= made
                if left == 0:
                    self._finished.set()
            self._poll(min(max(pace.next_in_s(time.monotonic()), 0.001), TICK_S))
        if self._sender is not None:
            self._abandon()

    def _done(self) -> bool:
        """Whether there is nothing more to do: after `stop`, once the outbox is empty or its time is over."""
        if not self._stop.is_set():
            return False
        return not len(self._outbox) or self._flush_by_s is None or time.monotonic() >= self._flush_by_s

    def _idle(self) -> None:
        if self._sender is not None:
            self._poll(TICK_S)
        else:
            self._follower.wait(TICK_S * 4)
            if self._acked_file is not None:
                self._acked_file.tick()

    def _poll(self, timeout_s: float) -> None:
        assert self._sender is not None
        try:
            self._sender.poll(timeout_s)
        except KafkaException as exception:
            self._lost(exception)
        if self._acked_file is not None:
            self._acked_file.tick()

    def _steer(self) -> None:
        """Go by the newest word."""
        word = self._follower.word
        assert word is not None
        if self._sender is not None and word.turn != self._turn:
            # It is written elsewhere now: nobody waits for the old region, whether it answers or not.
            self._abandon()
        if self._at is _At.WRITING and (self._blocked or word.gate is Gate.CLOSED):
            logger.info("%s: %s", self._region, "refuses payments" if self._blocked else "the gate is closed")
            self._at = _At.SETTLING
        if self._at is _At.SETTLING:
            self._settle(word)
        if self._at is _At.WAITING and time.monotonic() >= self._not_before_s:
            fresh = self._follower.word_since(self._ask_since_s)
            if fresh is not None and fresh.gate is Gate.OPEN:
                self._take_up(fresh)

    def _settle(self, word: Lineage) -> None:
        """Go on when everything under way has been confirmed or refused."""
        assert self._sender is not None
        if len(self._sender):
            return
        if not self._blocked and not len(self._outbox):
            if word.gate is Gate.OPEN:
                self._at = _At.WRITING
            return
        # Where to hand it over again must be said anew: this word may be older than the refusal.
        self._let_go()
        self._ask_since_s = time.monotonic()
        self._not_before_s = self._ask_since_s + AGAIN_S

    def _abandon(self) -> None:
        """Give up what is under way: its fate is found out in the log."""
        assert self._sender is not None
        self._sender.purge(in_queue=True, in_flight=True)
        give_up_at = time.monotonic() + LOOK_UP_S
        while len(self._sender) and time.monotonic() < give_up_at:
            self._poll(TICK_S)
        self._let_go()

    def _let_go(self) -> None:
        self._sender, self._at, self._blocked = None, _At.WAITING, False

    def _take_up(self, word: Lineage) -> None:
        """Open the region's producer and hand over what is left. On any trouble it stays with waiting."""
        region = word.region
        if region not in self._regions:
            if self._unknown_region != region:
                self._unknown_region = region
                logger.error("%s is written in %s, and no --region says where that is", word.topic, region)
            return
        if len(self._outbox) and not self._look_up(word):
            self._not_before_s = time.monotonic() + AGAIN_S
            return
        if self._turn >= 0 and (self._region, self._turn) != (region, word.turn):
            self.switches += 1
            if self._settings.state is not None:
                # What the old region has confirmed and never crossed is in no log that the next run can read.
                self._save(clean=False)
        logger.info("%s: writing there, %d payments are handed over again", region, len(self._outbox))
        self._sender = self._sender_of(region)
        self._region, self._turn, self._at, self._blocked = region, word.turn, _At.WRITING, False
        for payment in self._outbox.all():
            if self._blocked or not self._hand_over(payment, again=True):
                # Nothing later may go before it.
                self._blocked = True
                break
            self.resent += 1

    def _look_up(self, word: Lineage) -> bool:
        """Find out which of the payments left are in the region's log. False if it could not be asked for now."""
        waiting = self._outbox.all()
        wanted = {rid_of(payment.value) for payment in waiting}
        try:
            log = self._log_of(word.region)
            try:
                found = find_in(log, wanted, min(payment.at_ms for payment in waiting))
            finally:
                log.close()
        except LedgerError as error:
            logger.warning("%s: its log could not be read: %s", word.region, error)
            return False
        for rid, (partition, offset) in found.items():
            if word.is_excluded(word.region, partition, offset):
                continue
            self.found_there += 1
            self._confirm(rid, word.region, partition, offset, "found")
        return True

    def _make(self, payments: Any) -> bool:  # noqa: ANN401  # an iterator over (key, value)
        """Make one payment; refused, it is in the outbox all the same. False if `stop` came first and none was made."""
        key, value = next(payments)
        payment = Waiting(key, value, int(time.time() * 1000))
        self._outbox.add(payment)
        self.sent += 1
        if self._hand_over(payment) or self._blocked:
            return True
        self._outbox.drop(rid_of(value))
        self._payments.take_back(key)
        self.sent -= 1
        return False

    def _hand_over(self, payment: Waiting, *, again: bool = False) -> bool:
        """Waits as long as the buffer is full, unless it is time to stop or to go elsewhere; what is handed over
        ``again`` has until the end of the time to flush. False if it was not handed over.
        """
        assert self._sender is not None
        full_since: float | None = None
        while True:
            try:
                self._sender.produce(
                    self._settings.topic,
                    payment.value,
                    payment.key,
                    on_delivery=self._report,
                    timestamp=payment.at_ms,
                )
            except BufferError:
                full_since = full_since or time.monotonic()
                word = self._follower.word
                if word is not None and (word.turn != self._turn or word.gate is Gate.CLOSED):
                    self._blocked = True
                if self._blocked or (self._done() if again else self._stop.is_set()):
                    return False
                self._poll(0.1)
            except KafkaException as exception:
                # Refused at once, or the producer is of no more use after a refusal.
                self._refuse(exception.args[0])
                return False
            else:
                if full_since is not None:
                    self._throttled_s += time.monotonic() - full_since
                return True

    def _report(self, error: KafkaError | None, message: Message) -> None:
        value = message.value() or b""
        if error is not None:
            self._refuse(error)
            return
        partition, offset = message.partition(), message.offset()
        assert self._region is not None
        self._confirm(rid_of(value), self._region, -1 if partition is None else partition, offset or 0, "acked")

    def _refuse(self, error: KafkaError) -> None:
        """Not confirmed. It stays in the outbox; before it goes out again its fate is looked up."""
        if error.code() in REFUSED:
            self.refused += 1
        if not self._blocked and error.code() not in {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}:  # noqa: SLF001
            logger.warning("%s: %s", self._region, error)
        self._blocked = True

    def _lost(self, exception: KafkaException) -> None:
        """After a refusal the producer is of no more use, and says so once more while reports are served."""
        if not exception.args[0].fatal():
            raise exception
        self._blocked = True

    def _confirm(self, rid: bytes, region: str, partition: int, offset: int, how: str) -> None:
        if not self._outbox.settle(rid):
            return
        if self._acked_file is not None:
            self._acked_file.add(rid, region, partition, offset, how)
        with self._counted:
            self.acked += 1
            self._counted.notify_all()

    # -- Kafka and the state file -------------------------------------------------------------------------------

    def _open_sender(self, region: str) -> Sender:
        return Producer(producer_settings(self._regions[region], self._settings.properties))

    def _open_log(self, region: str) -> TailLog:
        return KafkaLog(
            self._regions[region], self._settings.topic, self._settings.properties, stall_s=LOOK_UP_S, tick_s=0.02
        )

    def _save(self, *, clean: bool) -> None:
        assert self._settings.state is not None
        self._payments.position.clean = clean
        self._payments.position.save(self._settings.state)
