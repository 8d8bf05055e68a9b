"""From samples to figures: medians, ratios within each triple, and whether the bounds hold. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

ADDED_MS: Final = 100.0
"""What UpgradeDeployment may add between the stop's COMPLETED and the first byte of the submit; the median."""
TO_SCRIPT: Final = 1.05
TO_COMMAND_LINE: Final = 0.33


class Figures(BaseModel):
    """What was measured does not change."""

    model_config = ConfigDict(frozen=True)


class Sample(Figures):
    """One upgrade by one way. All in ms; the three parts of the gap are by Flink's own clock (see README.md)."""

    triple: int
    way: str
    upgrade: str
    gap_ms: float
    stop_ms: float
    """Last output of the old job to its FINISHED."""
    handover_ms: float
    """FINISHED of the old job to the new one's start, as the JobManager notes it: the submit is in it."""
    start_ms: float
    """The new job's start to its first output."""
    between_ms: float | None = None
    submit_ms: float | None = None
    load: float = 0.0


class Spread(Figures):
    """Figures of many samples."""

    count: int
    minimum: float
    median: float
    maximum: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""


class Bound(Figures):
    """A figure that has to hold."""

    what: str
    value: float
    at_most: float

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.value <= self.at_most

    @property
    def line(self) -> str:
        """It, for a person."""
        return f"{'PASS' if self.holds else 'FAIL'}  {self.what}: {self.value:.3g}, at most {self.at_most:g}"


class Summary(Figures):
    """What a run of the benchmark says."""

    triples: int
    gaps_ms: dict[str, Spread]
    parts_ms: dict[str, dict[str, float]]
    """Per way: median of each part of the gap."""
    ratios: dict[str, Spread]
    added_ms: Spread
    bounds: tuple[Bound, ...]
    load: Spread
    verdict: dict[str, object]
    exact: bool
    """The auditor found nothing lost, duplicated or wrong over all ways."""

    @property
    def passed(self) -> bool:
        """Every bound holds, and nobody was fast by being wrong."""
        return self.exact and all(bound.holds for bound in self.bounds)


@dataclass(frozen=True)
class Ways:
    """Names of the three ways."""

    tidegate: str
    script: str
    command_line: str


def spread(values: Sequence[float]) -> Spread:
    """Minimum, quartiles and maximum; at least one value is needed."""
    ordered = sorted(values)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return Spread(
        count=len(ordered),
        minimum=ordered[0],
        median=statistics.median(ordered),
        maximum=ordered[-1],
        low=quartiles[0],
        high=quartiles[2],
    )


def ratios(samples: Sequence[Sample], way: str, other: str) -> list[float]:
    """``way``'s gap by ``other``'s within each triple, so that both were measured on the same load."""
    found: dict[int, dict[str, float]] = {}
    for sample in samples:
        found.setdefault(sample.triple, {})[sample.way] = sample.gap_ms
    return [gaps[way] / gaps[other] for _, gaps in sorted(found.items()) if way in gaps and other in gaps]


def summarize(samples: Sequence[Sample], ways: Ways, verdict: Mapping[str, object]) -> Summary:
    """Judge one run."""
    of = {name: [sample for sample in samples if sample.way == name] for name in vars(ways).values()}
    added = spread([sample.between_ms for sample in of[ways.tidegate] if sample.between_ms is not None])
    to_script = spread(ratios(samples, ways.tidegate, ways.script))
    to_command_line = spread(ratios(samples, ways.tidegate, ways.command_line))
    bounds = (
        Bound(what="Tidegate adds between stop and submit, ms (median)", value=added.median, at_most=ADDED_MS),
        Bound(what=f"gap to {ways.script} (median of ratios)", value=to_script.median, at_most=TO_SCRIPT),
        Bound(
            what=f"gap to {ways.command_line} (median of ratios)", value=to_command_line.median, at_most=TO_COMMAND_LINE
        ),
    )
    return Summary(
        triples=len({sample.triple for sample in samples}),
        gaps_ms={name: spread([sample.gap_ms for sample in some]) for name, some in of.items()},
        parts_ms={
            name: {
                part: statistics.median(getattr(sample, part) for sample in some)
                for part in ("stop_ms", "handover_ms", "start_ms")
            }
            for name, some in of.items()
        },
        ratios={ways.script: to_script, ways.command_line: to_command_line},
        added_ms=added,
        bounds=bounds,
        load=spread([sample.load for sample in samples]),
        verdict=dict(verdict),
        exact=all(verdict.get(key) == 0 for key in ("lost", "duplicated", "wrong")),
    )


def text(summary: Summary) -> str:
    """The table for a person."""
    load, said = summary.load, summary.verdict
    lines = [
        f"{summary.triples} triples, load average {load.median:.1f} ({load.minimum:.1f} to {load.maximum:.1f})",
        "",
        f"{'gap, ms':<12}{'min':>8}{'median':>8}{'max':>8}   {'to FINISHED':>12}{'handover':>10}{'to output':>11}",
    ]
    for name, gap in summary.gaps_ms.items():
        parts = summary.parts_ms[name]
        lines.append(
            f"{name:<12}{gap.minimum:>8.0f}{gap.median:>8.0f}{gap.maximum:>8.0f}   "
            f"{parts['stop_ms']:>12.0f}{parts['handover_ms']:>10.0f}{parts['start_ms']:>11.0f}"
        )
    lines.append("")
    for name, ratio in summary.ratios.items():
        lines.append(
            f"tidegate / {name:<10} median {ratio.median:.3f}   half of them {ratio.low:.3f} to {ratio.high:.3f}   "
            f"all {ratio.minimum:.3f} to {ratio.maximum:.3f}"
        )
    added = summary.added_ms
    lines.append(
        f"tidegate adds         median {added.median:.0f} ms   all {added.minimum:.0f} to {added.maximum:.0f} ms   "
        "(stop's COMPLETED seen to first byte of the submit)"
    )
    counts = " · ".join(f"{what} {said.get(what)}" for what in ("lost", "duplicated", "wrong"))
    lines.append(f"verdict over all      {counts}")
    lines.append("")
    lines += [bound.line for bound in summary.bounds]
    if not summary.exact:
        lines.append("FAIL  the output is not exact: no figure above counts")
    return "\n".join(lines)
