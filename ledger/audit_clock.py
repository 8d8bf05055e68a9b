"""The gap and the rate of the output, from log append times, in memory that grows with seconds and not with records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from ledger.audit_log import Record


class OutputClock:
    """Partitions are read one after another or mixed, so the merged stream is never seen in order. Which milliseconds
    had an output is therefore kept as one bit each (a 1,000-bit number a second), and walked in order at the end.
    """

    def __init__(self) -> None:
        self._marks: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def add(self, batch: Iterable[Record]) -> None:
        """Take the append times of a batch. Records of one request share theirs: runs are counted at once."""
        run_ms, run = -1, 0
        for record in batch:
            at_ms = record[2]
            if at_ms == run_ms:
                run += 1
                continue
            self._mark(run_ms, run)
            run_ms, run = at_ms, 1
        self._mark(run_ms, run)

    def _mark(self, at_ms: int, count: int) -> None:
        if at_ms < 0:
            return
        second, ms = divmod(at_ms, 1000)
        self._marks[second] = self._marks.get(second, 0) | 1 << ms
        self._counts[second] = self._counts.get(second, 0) + count

    def _times_ms(self) -> Iterator[int]:
        for second in sorted(self._marks):
            mark = self._marks[second]
            while mark:
                low = mark & -mark
                yield second * 1000 + low.bit_length() - 1
                mark ^= low

    def gap(self, from_ms: int | None = None, to_ms: int | None = None) -> tuple[int, int] | None:
        """The longest pause as (its first output's time, its last one's), UTC ms, the earliest of equal ones.

        A pause counts if it overlaps the window at all, and then in full: the outputs that bound it may stand outside.
        """
        best: tuple[int, int] | None = None
        for before, after in pairwise(self._times_ms()):
            if (from_ms is not None and after <= from_ms) or (to_ms is not None and before >= to_ms):
                continue
            if best is None or after - before > best[1] - best[0]:
                best = (before, after)
        return best

    def rate(self, newest: int) -> list[tuple[int, int]]:
        """(UTC second, outputs appended in it), at most the ``newest`` seconds that had any."""
        return [(second, self._counts[second]) for second in sorted(self._counts)[-newest:]]
