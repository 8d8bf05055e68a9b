"""Two ways to do the same thing, in turns: from their times to a ratio, and whether its bound holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Bound, Figures, Spread, spread


class Pair(Figures):
    """One turn: ours and then the other, both in seconds."""

    ours_s: float
    other_s: float
    load: float = 0.0
    """Load average of the machine (1 minute) when the turn began."""

    @property
    def ratio(self) -> float:
        """How many times as long ours took."""
        return self.ours_s / self.other_s


class Comparison(Figures):
    """What the pairs of one measurement say."""

    what: str
    ours: str
    other: str
    amount: float
    """What one turn moved, read or looked at, in ``unit``."""
    unit: str
    ours_s: Spread
    other_s: Spread
    ratio: Spread
    load: Spread
    bound: Bound
    pairs: tuple[Pair, ...]

    @property
    def ours_rate(self) -> float:
        """``unit`` a second, by the median."""
        return self.amount / self.ours_s.median

    @property
    def other_rate(self) -> float:
        """``unit`` a second, by the median."""
        return self.amount / self.other_s.median


class Result(Figures):
    """A run of one benchmark."""

    benchmark: str
    comparisons: tuple[Comparison, ...]
    also: tuple[Bound, ...] = ()
    """Bounds on what is not compared with anything."""

    @property
    def passed(self) -> bool:
        """Every bound holds."""
        return all(one.holds for one in (*(one.bound for one in self.comparisons), *self.also))


def compare(
    pairs: Sequence[Pair], what: str, ours: str, other: str, *, amount: float, unit: str, at_most: float
) -> Comparison:
    """Judge the pairs of one measurement; at least one is needed. The ratio is taken within each, then the median."""
    ratio = spread([pair.ratio for pair in pairs])
    return Comparison(
        what=what,
        ours=ours,
        other=other,
        amount=amount,
        unit=unit,
        ours_s=spread([pair.ours_s for pair in pairs]),
        other_s=spread([pair.other_s for pair in pairs]),
        ratio=ratio,
        load=spread([pair.load for pair in pairs]),
        bound=Bound(what=f"{what}: time to that of {other} (median of ratios)", value=ratio.median, at_most=at_most),
        pairs=tuple(pairs),
    )


def text(result: Result) -> str:
    """The table for a person."""
    lines: list[str] = []
    for one in result.comparisons:
        load = one.load
        lines += [
            f"{result.benchmark}, {one.what}: {one.ratio.count} pairs, load average {_range(load, 1)}",
            _line(one.ours, one.ours_s, one.ours_rate, one.unit),
            _line(one.other, one.other_s, one.other_rate, one.unit),
            f"  {'ratio of times':<16}{_range(one.ratio, 2)}, half of them {one.ratio.low:.2f} to {one.ratio.high:.2f}",
            "",
        ]
    lines += [one.line for one in (*(one.bound for one in result.comparisons), *result.also)]
    return "\n".join(lines)


def _range(values: Spread, digits: int) -> str:
    return f"{values.median:,.{digits}f} ({values.minimum:,.{digits}f} to {values.maximum:,.{digits}f})"


def _line(name: str, took_s: Spread, rate: float, unit: str) -> str:
    return f"  {name:<16}{_range(took_s, 3)} s, {rate:,.1f} {unit}/s"
