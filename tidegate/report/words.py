"""Numbers and times as a report prints them: units, thousands separators, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.model.operation import Outcome, ReplayRange, StepState, Verdict


def count(number: float) -> str:
    """``184,233``."""
    return f"{number:,.0f}"


def size(size_bytes: int) -> str:
    """``812 B``, ``41 KiB``, ``12.3 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    if size_bytes < 1024 * 1024:
        return f"{size_bytes / 1024:,.0f} KiB"
    return f"{size_bytes / 1024 / 1024:,.1f} MiB"


def seconds(duration_s: float) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 03 min``."""
    if duration_s < 9.995:
        return f"{duration_s:.2f} s"
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def between(earlier: datetime, later: datetime) -> str:
    """The time from one moment to the other."""
    return seconds((later - earlier).total_seconds())


def utc(moment: datetime) -> str:
    """``2026-03-01 03:14:22.870 UTC``."""
    at = moment.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def clock(moment: datetime) -> str:
    """``03:14:22.870 UTC``."""
    return utc(moment)[11:]


def moment_of(ms: float) -> datetime:
    """A UTC time from milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)


OUTCOMES = {
    Outcome.DONE: "done",
    Outcome.PLANNED: "planned, nothing was changed",
    Outcome.UNDONE: "undone",
    Outcome.BAD_VERDICT: "runs, with a bad",
    Outcome.REFUSED: "refused, nothing was changed",
    Outcome.SUPERSEDED: "superseded",
}
"""An outcome as the first line says it. A bad verdict is said with its numbers."""

STATES = {state: state.value for state in StepState} | {StepState.RUNNING: "under way"}
"""A step's state in a report, which is written by the last step itself."""


def verdict_short(verdict: Verdict | None) -> str:
    """The verdict in the first line: ``verdict 0/0/0``, and what else must not be overlooked."""
    if verdict is None:
        return "no verdict"
    if not verdict.audited:
        return "values not audited"
    more = f" and {count(verdict.unexpected)} unexpected" if verdict.unexpected else ""
    return f"verdict {count(verdict.lost)}/{count(verdict.duplicated)}/{count(verdict.wrong)}{more}"


def verdict_word(verdict: Verdict | None) -> str:
    """The verdict in a column: ``0/0/0``, ``not audited`` or ``none``."""
    if verdict is None:
        return "none"
    return verdict.text if verdict.audited else "not audited"


def announced(ranges: tuple[ReplayRange, ...]) -> int:
    """Records that the manifest said would come again."""
    return sum(part.records for part in ranges)
