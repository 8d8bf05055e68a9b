"""Logs from memory for the auditor's tests, and a job that turns payments into balances as the reference job does."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.audit_log import Bounds, PlainLog, Record
from ledger.audit_run import AuditRun, AuditSettings
from ledger.verdict import Verdict

PARTITIONS = 3


class MemoryLog(PlainLog):
    """A topic in memory. ``open_from`` per partition: from there on records belong to an open transaction."""

    def __init__(self, partitions: int = PARTITIONS, *, batch: int = 7) -> None:
        self.records: dict[int, list[Record]] = {p: [] for p in range(partitions)}
        self.open_from: dict[int, int] = {}
        self.start: dict[int, int] = {}
        self.before_bounds: Callable[[], None] = lambda: None
        self.reads = 0
        self._batch = batch
        self._ends = dict.fromkeys(self.records, 0)
        self._positions = dict.fromkeys(self.records, 0)

    def append(self, partition: int, key: bytes, value: bytes, at_ms: int = -1) -> int:
        records = self.records[partition]
        # As with transaction markers: not every offset holds a record.
        offset = self._ends[partition] + (1 if len(records) % 5 == 4 else 0)
        self._ends[partition] = offset + 1
        records.append((partition, offset, at_ms, key, value))
        return offset

    def bounds(self) -> dict[int, Bounds]:
        self.before_bounds()
        out = {}
        for p in self.records:
            # A marker stands at the end as well.
            self._ends[p] += 1
            end = self._ends[p]
            out[p] = Bounds(self.start.get(p, 0), min(end, self.open_from.get(p, end)), end)
        return out

    def read_from(self, starts: Mapping[int, int], to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        for p, end in to.items():
            fresh = [r for r in self.records[p] if starts[p] <= r[1] < end]
            for i in range(0, len(fresh), self._batch):
                yield fresh[i : i + self._batch]

    def read(self, to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        self.reads += 1
        for p, end in to.items():
            fresh = [r for r in self.records[p] if self._positions[p] <= r[1] < end]
            self._positions[p] = max(end, self._positions[p])
            for i in range(0, len(fresh), self._batch):
                yield fresh[i : i + self._batch]


def output_partition(rid: str) -> int:
    return zlib.crc32(rid.encode()) % PARTITIONS


@dataclass
class World:
    """Payments and their outputs. `pay` appends an input; `answer` the output that a right job would give it."""

    source: MemoryLog = field(default_factory=MemoryLog)
    output: MemoryLog = field(default_factory=MemoryLog)
    totals: dict[str, int] = field(default_factory=dict)
    now_ms: int = 1_700_000_000_000

    def pay(self, account: str, sequence: int, amount: int = 5) -> tuple[str, str]:
        """Returns (id, value of the right output)."""
        rid = f"{account}:{sequence}"
        key = account.encode()
        self.source.append(zlib.crc32(key) % PARTITIONS, key, f"{rid},{account},{sequence},{amount}".encode())
        self.totals[account] = self.totals.get(account, 0) + amount
        return rid, f"{rid},{account},{sequence},{amount},{self.totals[account]},1"

    def answer(self, value: str, *, step_ms: int = 10, key: str | None = None) -> tuple[int, int]:
        """Append an output; returns its (partition, offset)."""
        rid, account = [*value.split(","), "", ""][:2]
        self.now_ms += step_ms
        partition = output_partition(rid)
        return partition, self.output.append(partition, (key or account).encode(), value.encode(), self.now_ms)

    def make(self, payments: Iterable[tuple[str, int]], amount: int = 5) -> dict[str, str]:
        """Pay all of them; returns the right outputs by id, none appended."""
        return dict(self.pay(account, sequence, amount + sequence) for account, sequence in payments)

    def audit(self, settings: AuditSettings | None = None, **more: object) -> Verdict:
        return AuditRun(self.source, self.output, settings or AuditSettings(), **more).run()  # type: ignore[arg-type]


def several(accounts: int = 3, each: int = 10) -> list[tuple[str, int]]:
    """Payments of some accounts, in turns."""
    return [(f"a{a:05d}", s) for s in range(1, each + 1) for a in range(1, accounts + 1)]
