"""What was measured from operation to operation, as a line to look at. Places in percent, so that any width will do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidegate.model.fleet import Objectives
from tidegate.model.review import DeploymentReview, Measured
from tidegate.report import words


@dataclass(frozen=True)
class Dot:
    """One measurement: its place, and what it says when one points at it."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Trend:
    """One quantity over time, newest at the right. ``path`` in a box of 1000 by 100; ``objective_y`` in percent."""

    title: str
    description: str
    dots: tuple[Dot, ...]
    path: str
    top: str
    objective_y: float | None
    objective: str
    first: str
    last: str


def trends(one: DeploymentReview, objectives: Objectives | None) -> tuple[Trend, ...]:
    """RTO, RPO, gap and score: each that was measured twice at least, for one dot is no trend."""
    promised = objectives or Objectives()
    seconds = words.seconds
    found = (
        _trend("RTO", one.trend, lambda at: at.rto_s, promised.rto_s, seconds),
        _trend("RPO", one.trend, lambda at: at.rpo_s, promised.rpo_s, seconds),
        _trend("Gap", one.trend, lambda at: at.gap_s, promised.gap_s, seconds),
        _trend("Score", one.trend, lambda at: at.score, None, words.count, top=100.0),
    )
    return tuple(trend for trend in found if trend is not None)


def _trend(
    title: str,
    measured: Sequence[Measured],
    value: Callable[[Measured], float | None],
    objective: float | None,
    say: Callable[[float], str],
    *,
    top: float | None = None,
) -> Trend | None:
    taken = [(one, number) for one in measured if (number := value(one)) is not None]
    if len(taken) < 2:
        return None
    highest = top or max([number for _, number in taken] + ([objective] if objective is not None else [])) * 1.1 or 1.0
    begin, end = taken[0][0].at.timestamp(), taken[-1][0].at.timestamp()
    span_s = max(end - begin, 1.0)

    def place(one: Measured, number: float) -> Dot:
        x = (one.at.timestamp() - begin) / span_s * 100
        label = f"{say(number)}, {one.operation}, {words.utc(one.at)[:16]} UTC"
        return Dot(round(x, 2), round(100 - number / highest * 100, 2), label)

    dots = tuple(place(one, number) for one, number in taken)
    path = " ".join(f"{'M' if at == 0 else 'L'}{dot.x * 10:g},{dot.y:g}" for at, dot in enumerate(dots))
    newest = say(taken[-1][1])
    told = f"; the objective is {say(objective)}" if objective is not None else ""
    return Trend(
        title=title,
        description=f"{title} in {len(dots)} operations, {newest} in the newest{told}.",
        dots=dots,
        path=path,
        top=say(highest),
        objective_y=None if objective is None else round(100 - objective / highest * 100, 2),
        objective="" if objective is None else f"objective {say(objective)}",
        first=f"{taken[0][0].at:%Y-%m-%d}",
        last=f"{taken[-1][0].at:%Y-%m-%d}",
    )
