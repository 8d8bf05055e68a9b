"""Ages of the newest usable recovery point, sampled: what a loss of home at that second would have cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Bound, Figures, Spread, spread

MEDIAN_INTERVALS = 6.0
WORST_INTERVALS = 20.0


class Look(Figures):
    """One look at the restorability index. Ages in seconds; None: no recovery point could be used then."""

    at_s: float
    """Since the sampling began."""
    home_s: float | None
    away_s: float | None
    why_not: str | None = None
    """What stood against a restore in the standby."""
    load: float = 0.0


class Ages(Figures):
    """What the looks say."""

    home: str
    away: str
    interval_s: float
    """Of the job's checkpoints, as Flink says it is set."""
    seconds: float
    samples: int
    home_s: Spread
    away_s: Spread
    load: Spread
    unusable: int
    """Looks at which no point of the standby could be used."""
    why_not: tuple[str, ...]
    """What stood against them, each once."""
    bounds: tuple[Bound, ...]
    looks: tuple[Look, ...]

    @property
    def passed(self) -> bool:
        """Every bound holds."""
        return all(bound.holds for bound in self.bounds)


def judge(looks: Sequence[Look], home: str, away: str, interval_s: float) -> Ages:
    """Judge a run; the standby and home must have been usable once each at least."""
    found_s = spread([look.away_s for look in looks if look.away_s is not None])
    unusable = [look for look in looks if look.away_s is None]
    bounds = (
        Bound(
            what=f"age in {away} in checkpoint intervals, median",
            value=found_s.median / interval_s,
            at_most=MEDIAN_INTERVALS,
        ),
        Bound(
            what=f"age in {away} in checkpoint intervals, worst",
            value=found_s.maximum / interval_s,
            at_most=WORST_INTERVALS,
        ),
        Bound(what=f"looks without a usable recovery point in {away}", value=len(unusable), at_most=0),
    )
    return Ages(
        home=home,
        away=away,
        interval_s=interval_s,
        seconds=looks[-1].at_s - looks[0].at_s,
        samples=len(looks),
        home_s=spread([look.home_s for look in looks if look.home_s is not None]),
        away_s=found_s,
        load=spread([look.load for look in looks]),
        unusable=len(unusable),
        why_not=tuple(dict.fromkeys(look.why_not for look in unusable if look.why_not)),
        bounds=bounds,
        looks=tuple(looks),
    )


def text(ages: Ages) -> str:
    """The table for a person."""
    load = f"load average {ages.load.median:.1f} ({ages.load.minimum:.1f} to {ages.load.maximum:.1f})"
    lines = [
        f"rpo: {ages.samples} looks in {ages.seconds:,.0f} s, a checkpoint each {ages.interval_s:g} s, {load}",
        "",
        f"{'age of the newest recovery point':<34}{'median':>9}{'worst':>9}   {'in intervals':>12}",
    ]
    for region, age_s in ((ages.away, ages.away_s), (f"{ages.home} (home)", ages.home_s)):
        share = f"{age_s.median / ages.interval_s:.1f}, worst {age_s.maximum / ages.interval_s:.1f}"
        lines.append(f"  {region:<32}{age_s.median:>7.1f} s{age_s.maximum:>7.1f} s   {share}")
    lines += [f"  none usable: {why}" for why in ages.why_not]
    return "\n".join([*lines, "", *(bound.line for bound in ages.bounds)])
