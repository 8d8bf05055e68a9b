"""The timeline as numbers: steps over time, the gap, output rate and lag. Places are percent of the width. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.model.operation import StepState, StepStatus
from tidegate.model.steps import ReportInput
from tidegate.report import words

_TICK_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_MOST_TICKS = 5
_MOST_BARS = 240
_FEWEST_LAGS = 2
_FOCUS_SHARE = 0.4
"""If what matters takes more of the whole than this, one picture is enough."""


@dataclass(frozen=True)
class Bar:
    """A step: where it begins and how wide it is."""

    label: str
    state: str
    x: float
    width: float


@dataclass(frozen=True)
class Span:
    """A shaded stretch of time, with its words and the end of the text that stands at ``text_x``."""

    label: str
    x: float
    width: float
    text_x: float
    anchor: str


@dataclass(frozen=True)
class Tick:
    """A mark of the time axis, counted from the operation's start."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True)
class Rate:
    """Output records per second, or the lag, as a path in a 1000 x 100 box, with the top of its scale."""

    path: str
    top: int
    words: str


@dataclass(frozen=True)
class Picture:
    """One timeline: the whole operation, or the part around the gap."""

    title: str
    description: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    gap: Span | None
    rate: Rate | None
    lag: Rate | None


@dataclass(frozen=True)
class _Window:
    """A stretch of time as seconds since 1970."""

    start: float
    end: float
    origin: float

    def x(self, at: float) -> float:
        """The place of a moment, 0 to 100."""
        share = (at - self.start) / (self.end - self.start) * 100
        return round(min(100.0, max(0.0, share)), 3)


def pictures(request: ReportInput) -> tuple[Picture, ...]:
    """The whole operation, and the part around the gap if it would be too small to see."""
    begin = request.started.timestamp()
    whole = _Window(begin, max(request.ended.timestamp(), begin + 0.001), begin)
    found = [_picture(request, whole, "The whole operation")]
    focus = _focus(request, whole)
    if focus is not None:
        found.append(_picture(request, focus, "Closer, around the gap" if _gap(request, focus) else "Closer"))
    return tuple(found)


@dataclass(frozen=True)
class Lane:
    """Something that took its time: one bar of a picture of many."""

    label: str
    state: StepState
    began: datetime
    ended: datetime


def lanes(title: str, began: datetime, ended: datetime, of: Sequence[Lane]) -> Picture:
    """Many things over one stretch of time, each in a lane of its own; what lies outside of it is left out."""
    begin = began.timestamp()
    window = _Window(begin, max(ended.timestamp(), begin + 0.001), begin)
    steps = [StepStatus(number=0, name=one.label, state=one.state, started=one.began, ended=one.ended) for one in of]
    bars = tuple(bar for step in steps if (bar := _bar(step, window, ended)) is not None)
    told = f"{title}, from {words.utc(began)}, {words.between(began, ended)}."
    return Picture(title, " ".join([told, *(f"{bar.label}." for bar in bars)]), bars, _ticks(window), None, None, None)


def _moments(request: ReportInput) -> list[float]:
    """What the second picture must show: the gap, the stop, every start."""
    at: list[float] = []
    if request.switch:
        at += [request.switch.stop.asked_at.timestamp(), request.switch.start.running_at.timestamp()]
    if request.ensure and not request.ensure.was_running:
        start = request.ensure.start
        at += [start.submitted_at.timestamp(), start.running_at.timestamp()]
    verdict = request.verdict
    if verdict and verdict.gap_from_ms is not None and verdict.gap_to_ms is not None:
        at += [verdict.gap_from_ms / 1000, verdict.gap_to_ms / 1000]
    return at


def _focus(request: ReportInput, whole: _Window) -> _Window | None:
    at = _moments(request)
    if not at:
        return None
    first, last = max(min(at), whole.start), min(max(at), whole.end)
    margin = max(1.5, (last - first) * 0.6)
    start, end = max(whole.start, first - margin), min(whole.end, last + margin)
    if end <= start or (end - start) > _FOCUS_SHARE * (whole.end - whole.start):
        return None
    return _Window(start, end, whole.origin)


def _picture(request: ReportInput, window: _Window, title: str) -> Picture:
    bars = tuple(bar for step in request.steps if (bar := _bar(step, window, request.ended)) is not None)
    gap = _gap(request, window)
    rate = _rate(request.verdict.rate if request.verdict else (), window)
    lag = _lag(request.prove.lags if request.prove else (), window)
    parts = [
        f"{title}, from {words.utc(words.moment_of(window.start * 1000))}, {words.seconds(window.end - window.start)}."
    ]
    parts += [f"{bar.label}." for bar in bars]
    if gap:
        parts.append(f"{gap.label}.")
    if rate:
        parts.append(f"Output: {rate.words}.")
    if lag:
        parts.append(f"Lag: {lag.words}.")
    return Picture(title, " ".join(parts), bars, _ticks(window), gap, rate, lag)


def _bar(step: StepStatus, window: _Window, ended: datetime) -> Bar | None:
    if step.started is None or step.state in {StepState.PENDING, StepState.SKIPPED}:
        return None
    first, last = step.started.timestamp(), (step.ended or ended).timestamp()
    if last < window.start or first > window.end:
        return None
    x = window.x(first)
    number = f"{step.number} " if step.number else ""
    state = "" if step.state is StepState.OK else f", {words.STATES[step.state]}"
    label = f"{number}{step.name}: {words.seconds(last - first)}{state}"
    return Bar(label, step.state.value, x, round(window.x(last) - x, 3))


def _gap(request: ReportInput, window: _Window) -> Span | None:
    """The measured gap; if none was measured, the time from stopped to RUNNING, and it says so."""
    verdict = request.verdict
    if verdict and verdict.gap_ms is not None and verdict.gap_from_ms is not None and verdict.gap_to_ms is not None:
        first, last = verdict.gap_from_ms / 1000, verdict.gap_to_ms / 1000
        label = f"gap {words.seconds(verdict.gap_ms / 1000)}"
    elif request.switch:
        first = request.switch.stop.completed_at.timestamp()
        last = request.switch.start.running_at.timestamp()
        label = f"no job ran for {words.seconds(last - first)} (output gap not measured)"
    else:
        return None
    if last < window.start or first > window.end:
        return None
    x, end = window.x(first), window.x(last)
    middle = (x + end) / 2
    anchor = _anchor(middle, 25)
    text_x = {"start": x, "middle": middle, "end": end}[anchor]
    return Span(label, x, round(end - x, 3), round(text_x, 3), anchor)


def _anchor(x: float, margin: float) -> str:
    if x < margin:
        return "start"
    return "end" if x > 100 - margin else "middle"


def _ticks(window: _Window) -> tuple[Tick, ...]:
    span = window.end - window.start
    step = next((tick for tick in _TICK_S if span / tick <= _MOST_TICKS), _TICK_S[-1])
    first = math.ceil((window.start - window.origin) / step - 1e-9)
    last = math.floor((window.end - window.origin) / step + 1e-9)
    ticks = []
    for number in range(first, last + 1):
        x = window.x(window.origin + number * step)
        ticks.append(Tick(x, _offset(number * step, step), _anchor(x, 4)))
    return tuple(ticks)


def _offset(at_s: float, step_s: float) -> str:
    """``12 s``, ``40 min``, ``2 h``; between whole minutes ``41:05``."""
    if at_s >= 3600 and step_s >= 1800:
        return f"{at_s / 3600:g} h"
    if at_s < 120 and step_s < 60:
        return f"{round(at_s, 1):g} s"
    if step_s >= 60:
        return f"{at_s / 60:g} min"
    minutes, rest = divmod(round(at_s, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}" if step_s < 1 else f"{minutes:.0f}:{rest:02.0f}"


def _rate(rate: Sequence[tuple[int, int]], window: _Window) -> Rate | None:
    """The counts that fall into the window, a second each; a long window is shown as means over several seconds.

    Seconds without output are left out of ``rate``; what lies outside of its first and last second was not measured.
    """
    if not rate:
        return None
    counts = dict(rate)
    first = max(min(counts), math.floor(window.start))
    last = min(max(counts), math.ceil(window.end) - 1)
    if last < first:
        return None
    width = max(1, math.ceil((last - first + 1) / _MOST_BARS))
    means: list[tuple[int, int, float]] = []
    for at in range(first, last + 1, width):
        end = min(at + width, last + 1)
        means.append((at, end, sum(counts.get(second, 0) for second in range(at, end)) / (end - at)))
    top = max(1.0, *(mean for *_, mean in means))
    scale = 1000 / (window.end - window.start)
    points = [f"M{(means[0][0] - window.start) * scale:.1f} 100"]
    for at, end, mean in means:
        y = 100 - mean / top * 100
        points.append(f"L{(at - window.start) * scale:.1f} {y:.1f}L{(end - window.start) * scale:.1f} {y:.1f}")
    points.append(f"L{(means[-1][1] - window.start) * scale:.1f} 100Z")
    low = min(mean for *_, mean in means)
    told = f"between {words.count(low)} and {words.count(top)} records a second"
    return Rate("".join(points), round(top), told)


def _lag(lags: Sequence[tuple[int, int]], window: _Window) -> Rate | None:
    """The lag as a line; the nearest point on either side of the window stays, so that the line reaches its edges."""
    inside = [n for n, (at, _) in enumerate(lags) if window.start <= at <= window.end]
    if not inside:
        return None
    shown = lags[max(0, inside[0] - 1) : inside[-1] + 2]
    if len(shown) < _FEWEST_LAGS:
        return None
    scale = 1000 / (window.end - window.start)
    known = [lag for _, lag in shown]
    top = max(1, *known)
    points = [f"{(at - window.start) * scale:.1f} {100 - lag / top * 100:.1f}" for at, lag in shown]
    low, high = words.count(min(known)), words.count(max(known))
    return Rate("M" + "L".join(points), top, f"between {low} and {high} records behind while the job was proven")
