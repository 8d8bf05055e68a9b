"""The audit itself: what the input says each output must be, and what was found. No Kafka, no clock, no waiting.

Sequences of an account are dense from 1, so a payment needs no key of its own: per account, its balances lie in one
array of 8 bytes each, and what is known of its output in one byte each. Ten million payments take about 100 MB.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ledger.audit_log import Record
from ledger.audit_manifest import Superseded
from ledger.verdict import SAMPLES_PER_KIND, Kind, Sample

# What is known of a payment. PRESENT: in the input. SEEN: has an output that counts. PASSED_OVER: has a superseded one.
# BEYOND: came after the audited input. AGAIN: the input holds it more than once, so more than one output is right.
PRESENT, SEEN, PASSED_OVER, BEYOND, AGAIN = 1, 2, 4, 8, 16
_NOT_MISSING = bytes(s for s in range(256) if s & (PRESENT | SEEN | BEYOND) != PRESENT)
_PRESENT = bytes(s for s in range(256) if s & PRESENT)

LONGEST_HOLE = 1_000_000
TAIL = 10_000


class Account:
    """One account: ``balances[i]`` is the running balance after sequence i + 1, ``states[i]`` the bits above."""

    __slots__ = ("answers", "balances", "name", "odd", "partition", "states", "steady", "total")

    def __init__(self, name: bytes, partition: int) -> None:
        self.name = name
        self.partition = partition
        self.total = 0
        self.balances = array("q")
        self.states = bytearray()
        # False while the newest balance is not that of the highest sequence: then a difference is not an amount.
        self.steady = True
        # Only what the neighbours in `balances` cannot tell, after a hole, a reorder or a repeat: (amount, balance).
        self.odd: dict[int, list[tuple[int, int]]] = {}
        # How many outputs have come of a payment that the input repeats.
        self.answers: dict[int, int] = {}

    def expected(self, sequence: int) -> list[tuple[int, int]]:
        """Every (amount, balance) that an output of this sequence may hold; one unless the input repeats it."""
        odd = self.odd.get(sequence)
        if odd is not None:
            return odd
        balance = self.balances[sequence - 1]
        return [(balance - (self.balances[sequence - 2] if sequence > 1 else 0), balance)]

    def rid(self, sequence: int) -> str:
        """The id of that payment."""
        return f"{_text(self.name)}:{sequence}"

    def newest_seen(self) -> int:
        """The highest sequence with an output that counts, 0 without any."""
        return next((i for i in range(len(self.states), 0, -1) if self.states[i - 1] & SEEN), 0)

    def missing(self) -> Iterator[int]:
        """The audited sequences without an output that counts."""
        if self.states.translate(None, _NOT_MISSING):
            yield from (i for i, state in enumerate(self.states, 1) if state & (PRESENT | SEEN | BEYOND) == PRESENT)


class Audit:
    """Feed it the input (each account in order) and the output (each partition in order); then read its counts.

    An output may come before its payment: it is held until `resolve` is called with the payment read by then.
    """

    def __init__(
        self,
        superseded: Superseded | None = None,
        *,
        source_place: Callable[[int, int], tuple[str | None, int]] | None = None,
        output_place: Callable[[int, int], tuple[str | None, int]] | None = None,
    ) -> None:
        """``source_place``, ``output_place``: what an offset is in which region's log, for samples; see `Log.place`."""
        self._places = (source_place, output_place)
        self._superseded = superseded or Superseded()
        self._skips = self._superseded.partitions
        self._tails: dict[int, deque[tuple[Account, int]]] = {}
        self.accounts: dict[bytes, Account] = {}
        self.held: list[Record] = []
        self.input = self.reordered = self.input_unreadable = 0
        self.answered = self.ahead = self.duplicated = self.wrong = self.unexpected = 0
        self.replayed = self.superseded = self.orphans = 0
        self.samples: dict[Kind, list[Sample]] = {}
        self._ahead_partitions: set[int] = set()
        self._first_output_ms: dict[bytes, int] = {}

    @property
    def missing(self) -> int:
        """Audited payments without an output that counts, so far."""
        return self.input - self.answered

    @property
    def output(self) -> int:
        """Outputs that count, without those of payments that came after the audited input."""
        return self.answered + self.duplicated + self.unexpected

    @property
    def first_output_ms(self) -> dict[str, int]:
        """Per artifact number, when its first output was appended (UTC ms)."""
        return {_text(version): at_ms for version, at_ms in sorted(self._first_output_ms.items())}

    @property
    def input_holes(self) -> int:
        """Sequences that accounts skip in the input."""
        return sum(len(account.states.translate(None, _PRESENT)) for account in self.accounts.values())

    def add_input(self, batch: Iterable[Record], *, beyond: bool = False) -> None:
        """Take payments; ``beyond``: they came after the audited input and serve only to judge what is held."""
        accounts = self.accounts
        fresh = PRESENT | BEYOND if beyond else PRESENT
        count, tail_of = 0, -1
        tail: deque[tuple[Account, int]] = deque()
        for record in batch:
            partition = record[0]
            try:
                rid, name, sequence_text, amount_text = record[4].split(b",")
                sequence, amount = int(sequence_text), int(amount_text)
            except ValueError:
                self.input_unreadable += 1
                continue
            account = accounts.get(name)
            if account is None:
                account = accounts[name] = Account(name, partition)
            states = account.states
            if rid != b"%b:%b" % (name, sequence_text) or not 0 < sequence <= len(states) + LONGEST_HOLE:
                self.input_unreadable += 1
                continue
            count += 1
            if sequence == len(states) + 1 and account.steady:
                account.total += amount
                account.balances.append(account.total)
                states.append(fresh)
            else:
                self._add_odd(account, sequence, amount, fresh, record)
            if not beyond:
                if partition != tail_of:
                    tail_of, tail = partition, self._tails.setdefault(partition, deque(maxlen=TAIL))
                tail.append((account, sequence))
        if not beyond:
            self.input += count

    def _add_odd(self, account: Account, sequence: int, amount: int, fresh: int, record: Record) -> None:
        """A payment whose sequence is not the next one: after a hole, out of order, or once more."""
        states, balances = account.states, account.balances
        if sequence <= len(states):
            self.reordered += 1
            self._sample("reordered", account.rid(sequence), f"a sequence above {len(states)}", str(sequence), record)
        while len(states) < sequence:
            balances.append(balances[-1] if balances else 0)
            states.append(0)
        account.total += amount
        values = (amount, account.total)
        if states[sequence - 1] & PRESENT:
            account.odd[sequence] = [*account.expected(sequence), values]
            account.answers.setdefault(sequence, 1 if states[sequence - 1] & SEEN else 0)
            states[sequence - 1] |= AGAIN
        else:
            # If the next one is there already, it followed a hole: it is odd too, and its amount no difference to this.
            states[sequence - 1] |= fresh
            balances[sequence - 1] = account.total
            account.odd[sequence] = [values]
        account.steady = balances[-1] == account.total

    def add_output(self, batch: Iterable[Record]) -> None:
        """Take committed outputs."""
        accounts, skips, firsts = self.accounts, self._skips, self._first_output_ms
        answered = 0
        for record in batch:
            partition, offset, at_ms, key, value = record
            try:
                rid, name, sequence_text, amount_text, balance_text, version = value.split(b",", 6)[:6]
                sequence = int(sequence_text)
            except ValueError:
                self._foreign(record)
                continue
            known_ms = firsts.get(version)
            if known_ms is None or at_ms < known_ms:
                firsts[version] = at_ms
            account = accounts.get(name)
            if account is None or not 0 < sequence <= len(account.states):
                self.held.append(record)
                continue
            state = account.states[sequence - 1]
            if not state & PRESENT:
                self.held.append(record)
                continue
            if rid != b"%b:%b" % (name, sequence_text):
                self._foreign(record)
                continue
            if partition in skips and self._superseded.covers(partition, offset):
                self.superseded += 1
                account.states[sequence - 1] = state | PASSED_OVER
                continue
            if state == PRESENT:
                account.states[sequence - 1] = PRESENT | SEEN
                answered += 1
            else:
                self._count(account, sequence, state, record)
            try:
                found = (int(amount_text), int(balance_text))
            except ValueError:
                found = None
            # The first of the balances is the common case; the others only follow a fault of the input.
            if found is None or key != name or found not in account.expected(sequence):
                self._wrong(account, sequence, record)
        self.answered += answered

    def _count(self, account: Account, sequence: int, state: int, record: Record) -> None:
        """An output of a payment of which something is known already."""
        if state & AGAIN:
            account.answers[sequence] += 1
            more = account.answers[sequence] > len(account.odd[sequence])
        else:
            more = bool(state & SEEN)
        if more:
            self.duplicated += 1
            self._sample("duplicated", account.rid(sequence), "one output", "another one", record)
            return
        account.states[sequence - 1] = state | SEEN
        if state & PASSED_OVER:
            self.replayed += 1
            self._sample("replayed", account.rid(sequence), "only a superseded output", "it came again", record)
        if state & BEYOND:
            self.ahead += 1
            self._ahead_partitions.add(account.partition)
        else:
            self.answered += 1

    def _wrong(self, account: Account, sequence: int, record: Record) -> None:
        self.wrong += 1
        expected = " or ".join(f"amount {amount} balance {balance}" for amount, balance in account.expected(sequence))
        fields = record[4].split(b",", 5)
        found = f"amount {_text(fields[3])} balance {_text(fields[4])}"
        if record[3] != account.name:
            expected += f" key {_text(account.name)}"
            found += f" key {'none' if record[3] is None else _text(record[3])}"
        self._sample("wrong", account.rid(sequence), expected, found, record)

    def _foreign(self, record: Record) -> None:
        """An output that belongs to no payment."""
        if self._superseded.covers(record[0], record[1]):
            self.superseded += 1
            self.orphans += 1
            return
        self.unexpected += 1
        rid = _text(record[4].split(b",", 1)[0])[:80]
        self._sample("unexpected", rid, "no output: no such payment", _text(record[4])[:200], record)

    def retry(self) -> int:
        """Judge of what is held whatever has its payment by now; how much is still held."""
        held, self.held = self.held, []
        self.add_output(held)
        return len(self.held)

    def resolve(self) -> None:
        """Judge what is held. Call it when the input has been read up to an end taken after those outputs were read:
        an output whose payment is not there by then never had one.
        """
        self.retry()
        unknown, self.held = self.held, []
        for record in unknown:
            self._foreign(record)

    def behind(self) -> dict[bytes, int]:
        """Per account, the first of the missing sequences that may still come: from there on, no later output has
        passed them by in their input partition.

        The job reads a partition in order, so once outputs have settled (no transaction open that was open when the
        last one came), what a later payment's output has passed by will not come any more: it is lost.
        """
        behind: dict[bytes, int] = {}
        for partition, tail in self._tails.items():
            if partition in self._ahead_partitions:
                continue
            mine: dict[bytes, int] = {}
            for account, sequence in reversed(tail):
                if account.states[sequence - 1] & SEEN:
                    break
                mine[account.name] = min(sequence, mine.get(account.name, sequence))
            else:
                if len(tail) == TAIL:  # It stands further back than the tail: ask each account for itself.
                    mine = {a.name: a.newest_seen() + 1 for a in self.accounts.values() if a.partition == partition}
            behind |= mine
        return behind

    def count_missing(self, start: dict[bytes, int]) -> int:
        """How many are missing from these sequences on."""
        return sum(
            1 for name, first in start.items() for sequence in self.accounts[name].missing() if sequence >= first
        )

    def sample_lost(self, behind: dict[bytes, int]) -> None:
        """Name examples of what is lost, without what may still come."""
        for account in self.accounts.values():
            end = behind.get(account.name)
            for sequence in account.missing():
                if end is not None and sequence >= end:
                    break
                amount, balance = account.expected(sequence)[0]
                expected = f"amount {amount} balance {balance}"
                if not self._sample("lost", account.rid(sequence), expected, "no output", None):
                    return

    def _sample(self, kind: Kind, rid: str, expected: str, found: str, record: Record | None) -> bool:
        samples = self.samples.setdefault(kind, [])
        if len(samples) >= SAMPLES_PER_KIND:
            return False
        region, partition, offset = None, None, None
        if record is not None:
            partition, offset = record[:2]
            place = self._places[0 if kind == "reordered" else 1]
            if place is not None:
                region, offset = place(partition, offset)
        samples.append(
            Sample(id=rid, expected=expected, found=found, region=region, partition=partition, offset=offset)
        )
        return True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
