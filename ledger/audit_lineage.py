"""A topic as its lineage has it, for the auditor: each range from the log of the region that wrote it (X20), or all
from the log of one region, without what does not count.

What `read` calls an offset runs on across regions: each piece begins where the one before ends. `place` says what it is
in a region's own log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from ledger.audit_log import Bounds, Record
from ledger.audit_manifest import Superseded, SupersededRange
from ledger.faults import BadInput, CannotReach
from ledger.lineage import Lineage, Piece, pieces

ASIDE = 1 << 50
"""From here on count the offsets of what is read aside."""


class RegionLog(Protocol):
    """The topic in one region."""

    def bounds(self) -> dict[int, Bounds]:
        """The offsets now. Raises `CannotReach`."""
        ...

    def read_from(self, starts: Mapping[int, int], to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches of a range of each partition. Raises `CannotReach`."""
        ...


class _Laid(NamedTuple):
    """A piece, and which offset its first one is in the whole."""

    region: str
    first: int
    end: int | None
    base: int

    @property
    def limit(self) -> int:
        """Its end in the whole; that of the last piece is nowhere."""
        return ASIDE if self.end is None else self.base + self.end - self.first


class LineageLog:
    """As `ledger.audit_kafka.KafkaLog`, over the regions. ``keep``: give out what is excluded as well, so that it can
    be judged by `superseded`; else it is left out and counted. ``only``: read this region's log and no other.
    """

    def __init__(
        self,
        lineage: Callable[[], Lineage],
        open_log: Callable[[str], RegionLog],
        *,
        keep: bool = False,
        only: str | None = None,
    ) -> None:
        """Raises `CannotReach`, `BadInput`, both naming the region."""
        self._ask = lineage
        self._lineage = lineage()
        self._keep = keep
        self._laid = {
            p: _lay([Piece(only, 0, None)] if only is not None else pieces(known))
            for p, known in sorted(self._lineage.partitions.items())
        }
        self._aside = {p: _lay(self._outside(p), ASIDE) for p in self._laid} if only is None else {}
        self._positions = dict.fromkeys(self._laid, 0)
        self.excluded = 0
        """Records that were left out so far because they do not count."""
        needed = {piece.region for laid in (*self._laid.values(), *self._aside.values()) for piece in laid}
        self._logs: dict[str, RegionLog] = {}
        for region in sorted(needed):
            with _naming(region):
                self._logs[region] = open_log(region)
        self.superseded = Superseded(
            part
            for p, known in self._lineage.partitions.items()
            for x in known.excluded
            for part in self.ranges(x.region, p, x.first, x.last)
        )

    @property
    def region(self) -> str:
        """Where the topic is written."""
        return self._lineage.region

    def bounds(self) -> dict[int, Bounds]:
        """Start, last stable and end offset of each partition, now. Raises `CannotReach`."""
        self._check_unturned()
        found = {}
        for region, log in self._logs.items():
            with _naming(region):
                found[region] = log.bounds()
        return {p: self._bounds(p, {r: b[p] for r, b in found.items() if p in b}) for p in self._laid}

    def read(self, to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches up to ``to``, see `ledger.audit_log.Log`. Raises `CannotReach`."""
        for stage in range(max((len(laid) for laid in self._laid.values()), default=0)):
            asked: dict[str, dict[int, tuple[_Laid, int, int]]] = {}
            for p, end in to.items():
                laid = self._laid[p]
                if stage < len(laid):
                    piece = laid[stage]
                    first, last = max(self._positions[p], piece.base), min(end, piece.limit)
                    if first < last:
                        asked.setdefault(piece.region, {})[p] = (piece, first, last)
            for region, parts in asked.items():
                yield from self._read_pieces(region, parts)
        self._positions.update({p: max(end, self._positions[p]) for p, end in to.items()})

    def aside(self) -> Iterator[Sequence[Record]]:
        """Batches of what is excluded and in no segment, such as a tail that never crossed. Raises `CannotReach`."""
        for p, laid in self._aside.items():
            for piece in laid:
                with _naming(piece.region):
                    held = self._logs[piece.region].bounds()[p]
                first, last = max(piece.base, piece.base + held.start - piece.first), piece.limit
                last = min(last, piece.base + held.stable - piece.first)
                if first < last:
                    yield from self._read_pieces(piece.region, {p: (piece, first, last)})

    def place(self, partition: int, offset: int) -> tuple[str | None, int]:
        """Region and offset in its log."""
        laid = self._laid[partition] if offset < ASIDE else self._aside[partition]
        piece = next((x for x in reversed(laid) if x.base <= offset), laid[0])
        return piece.region, offset - piece.base + piece.first

    def ranges(self, region: str, partition: int, first: int, last: int) -> Iterator[SupersededRange]:
        """What a range of a region's log, both ends included, is in the whole: as much of it as is read."""
        for piece in (*self._laid.get(partition, ()), *self._aside.get(partition, ())):
            low = max(first, piece.first)
            high = last if piece.end is None else min(last, piece.end - 1)
            if piece.region == region and low <= high:
                shift = piece.base - piece.first
                yield SupersededRange(partition=partition, first=low + shift, last=high + shift)

    def _read_pieces(self, region: str, parts: Mapping[int, tuple[_Laid, int, int]]) -> Iterator[Sequence[Record]]:
        shifts = {p: piece.base - piece.first for p, (piece, _, _) in parts.items()}
        starts = {p: first - shifts[p] for p, (_, first, _) in parts.items()}
        ends = {p: last - shifts[p] for p, (_, _, last) in parts.items()}
        with _naming(region):
            for native in self._logs[region].read_from(starts, ends):
                batch = [(p, offset + shifts[p], at_ms, key, value) for p, offset, at_ms, key, value in native]
                if not self._keep and self.superseded.partitions:
                    count = len(batch)
                    batch = [record for record in batch if not self.superseded.covers(record[0], record[1])]
                    self.excluded += count - len(batch)
                if batch:
                    yield batch

    def _bounds(self, p: int, held: Mapping[str, Bounds]) -> Bounds:
        laid = self._laid[p]
        for i, piece in enumerate(laid):
            b = held.get(piece.region)
            if b is None:
                raise BadInput(f"region {piece.region}: {self._lineage.topic} has no partition {p} there")
            gone = f"region {piece.region}: {self._lineage.topic} partition {p}"
            if i and b.start > piece.first:
                raise CannotReach(f"{gone} begins at offset {b.start:,}, its segment at {piece.first:,}: part is gone")
            if piece.end is not None and b.end < piece.end:
                raise CannotReach(f"{gone} ends at offset {b.end:,}, its segment at {piece.end:,}: part is gone")
        stable = end = 0
        for piece in laid:
            b = held[piece.region]
            end = piece.base + max(0, (b.end if piece.end is None else piece.end) - piece.first)
        for piece in laid:
            b = held[piece.region]
            stable = piece.base + max(0, min(b.stable, b.stable if piece.end is None else piece.end) - piece.first)
            if piece.end is not None and b.stable < piece.end:
                break
        return Bounds(held[laid[0].region].start, stable, end)

    def _outside(self, p: int) -> list[Piece]:
        """The parts of excluded ranges in no segment that is read: what a region wrote behind its segment. (What
        stands before is the mirror's copy of what another region wrote, and is judged there.)
        """
        known = self._lineage.partitions[p]
        left: list[Piece] = []
        for x in known.excluded:
            behind = min((s.end for s in known.segments if s.region == x.region and s.end is not None), default=None)
            if behind is None or behind > x.last:
                continue
            parts = [(max(x.first, behind), x.last + 1)]
            for piece in self._laid[p]:
                if piece.region == x.region:
                    parts = [cut for part in parts for cut in _without(part, piece.first, piece.end)]
            left += [Piece(x.region, first, end) for first, end in parts]
        return left

    def _check_unturned(self) -> None:
        now, before = self._ask(), self._lineage
        if now.turn != before.turn or now.partitions != before.partitions:
            raise CannotReach(
                f"the lineage of {now.topic} changed while it was audited (turn {before.turn} in {before.region}, now "
                f"{now.turn} in {now.region}): audit it again"
            )


def _lay(parts: Sequence[Piece], base: int = 0) -> list[_Laid]:
    laid = []
    for part in parts:
        laid.append(_Laid(part.region, part.first, part.end, base))
        base += 0 if part.end is None else max(0, part.end - part.first)
    return laid


def _without(part: tuple[int, int], from_: int, to: int | None) -> list[tuple[int, int]]:
    """The range without what another has of it."""
    first, end = part
    cuts = [(first, min(end, from_)), (max(first, end if to is None else to), end)]
    return [(low, high) for low, high in cuts if low < high]


@contextmanager
def _naming(region: str) -> Iterator[None]:
    """Have the errors name the region."""
    try:
        yield
    except (CannotReach, BadInput) as error:
        if str(error).startswith(f"region {region}"):
            raise
        raise type(error)(f"region {region}: {error}") from error
