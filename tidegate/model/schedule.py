"""Schedules: an entry of the schedules file, what a scheduled run is given, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from enum import StrEnum
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    JsonValue,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tidegate.model.fleetfields import Days, Name, Text
from tidegate.model.fleetpart import Announce, Part
from tidegate.model.inputs import Input
from tidegate.model.nearest import did_you_mean
from tidegate.model.operation import Outcome
from tidegate.model.record import Frozen
from tidegate.schedules.cron import Cron

SCHEDULED_RUN: Final = "ScheduledRun"
CATCH_UP_S: Final = 600.0


def _text(check: Callable[[str], object]) -> Callable[[str], str]:
    """A validator for text: what ``check`` raises as ValueError, in our words."""

    def checked(value: str) -> str:
        try:
            check(value)
        except ValueError as error:
            raise PydanticCustomError("text", "{what}", {"what": str(error)}) from error
        return value

    return checked


_ZONES: Final = frozenset(name for name in available_timezones() if "/" in name) | {"UTC"}
"""Places only: ``EST`` and ``CET`` are left out, some of which know no summer time. Read as the module is loaded: it
walks folders, which a workflow that reads its input may not."""


def _zone(value: str) -> None:
    if value not in _ZONES:
        near = did_you_mean(value, _ZONES)
        raise ValueError(f"no such time zone: {value}{near}; expected an IANA name as Europe/Berlin, or UTC")


def _date(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError(f'not a date: {value}; expected "YYYY-MM-DD"') from None


def _time(value: str) -> None:
    if value == "24:00":
        return
    try:
        if len(value) != len("00:00"):
            raise ValueError
        time.fromisoformat(value)
    except ValueError:
        raise ValueError(f'not a time of day: {value}; expected "HH:MM", up to "24:00"') from None


def _as_json(value: object) -> object:
    """A file's lists are read as tuples, which JSON has not."""
    if isinstance(value, Mapping):
        return {name: _as_json(one) for name, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value


Zone = Annotated[str, AfterValidator(_text(_zone))]
Date = Annotated[str, AfterValidator(_text(_date))]
TimeOfDay = Annotated[str, AfterValidator(_text(_time))]
CronText = Annotated[str, AfterValidator(_text(Cron.parse))]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Condition = Literal["incident-open", "rollout-running"]


class Window(Part):
    """Hours in which a run may begin. One that begins late, or by jitter outside of them, is skipped."""

    days: tuple[Weekday, ...] = Field(default=(), description="a list of mon … sun; none: every day")
    start: TimeOfDay = Field(description='"HH:MM" in the time zone of the entry')
    end: TimeOfDay = Field(description='"HH:MM", up to "24:00"; not included')

    @model_validator(mode="after")
    def _runs_forward(self) -> Window:
        if self.end <= self.start:
            raise PydanticCustomError(
                "text", "{what}", {"what": f"ends at {self.end}, begins at {self.start}; expected two, one a day"}
            )
        return self


class Freeze(Part):
    """Days on which nothing is begun, first and last included."""

    first: Date = Field(description='"YYYY-MM-DD"')
    last: Date = Field(description='"YYYY-MM-DD", included')
    why: Text = Field(description="why; told with each run that is skipped")

    @model_validator(mode="after")
    def _runs_forward(self) -> Freeze:
        if self.last < self.first:
            what = f"ends on {self.last}, before it begins on {self.first}; expected the earlier day first"
            raise PydanticCustomError("text", "{what}", {"what": what})
        return self


class Entry(Part):
    """One runbook by the clock."""

    runbook: Text = Field(description="the workflow type")
    input: Annotated[dict[str, JsonValue], BeforeValidator(_as_json)] = Field(
        description="a mapping: the runbook's input, as its page has it"
    )
    cron: CronText = Field(description='"minute hour day-of-month month day-of-week"')
    time_zone: Zone = Field(description="an IANA name as Europe/Berlin")
    jitter_s: float = Field(default=0.0, ge=0, le=86_400, description="it begins up to so many seconds later")
    windows: tuple[Window, ...] = Field(default=(), description="a list of {days, start, end}; it begins only then")
    freezes: tuple[Freeze, ...] = Field(default=(), description="a list of {first, last, why}; it does not begin then")
    catch_up_s: float = Field(
        default=CATCH_UP_S, ge=10, le=7 * 86_400, description="seconds that it may begin late after an outage"
    )
    pause_after_failure: bool = Field(default=False, description="true or false")
    skip_if: tuple[Condition, ...] = Field(
        default=("incident-open", "rollout-running"), description="a list of incident-open, rollout-running"
    )
    max_age_days: Days | None = Field(default=None, description="days that its last success may be old")

    @property
    def deployment(self) -> str:
        """What it works on: a deployment, or as operations on all of a region are called; empty: the fleet."""
        region = self.input.get("region") if "deployment" not in self.input else None
        return f"region-{region}" if region else str(self.input.get("deployment") or "")

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.time_zone)


class SchedulesFile(Part):
    """``runbooks/schedules.yaml``: desired state, as a person wrote it."""

    version: Literal[1] = Field(description="the format of this file: 1")
    freezes: tuple[Freeze, ...] = Field(default=(), description="a list of {first, last, why}, of all entries")
    notices: tuple[Announce, ...] = Field(default=(), description="a list of {url, secret}, told of each failure")
    schedules: dict[Name, Entry] = Field(description="entries by name")

    def wanted(self) -> dict[str, ScheduledInput]:
        """What the runs of each entry are given: the file's freezes and notices with each."""
        return {
            name: ScheduledInput(
                name=name,
                entry=entry.model_copy(update={"freezes": (*self.freezes, *entry.freezes)}),
                notices=self.notices,
            )
            for name, entry in self.schedules.items()
        }


class ScheduledInput(Input):
    """ScheduledRun: what it is given. It is the whole entry, so that what a schedule does can be read in Temporal."""

    name: str = Field(min_length=1, description="name in the schedules file")
    entry: Entry = Field(description="the entry, with the freezes of the file")
    notices: tuple[Announce, ...] = Field(default=(), description="who is told of a failure")


class SkipReason(StrEnum):
    """Why a run that was due did nothing."""

    FREEZE = "freeze"
    OUTSIDE_WINDOW = "outside-window"
    INCIDENT_OPEN = "incident-open"
    ROLLOUT_RUNNING = "rollout-running"
    HELD = "held"
    NOT_KNOWN = "not-known"
    GAVE_WAY = "gave-way"


class RunOutcome(StrEnum):
    """What became of a run."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class Skip(Frozen):
    """It does not begin."""

    reason: SkipReason
    why: str


class WeighInput(Frozen):
    """weigh_schedule: shall it begin now?"""

    request: ScheduledInput
    at: AwareDatetime


class WeighFact(Frozen):
    """The answer. ``skip`` None: it begins."""

    skip: Skip | None = None


class ScheduledResult(Frozen):
    """What became of a run; a failed one carries it as the error's details."""

    schedule: str
    runbook: str
    run: str
    """Workflow id of the scheduled run."""
    due: datetime
    """When it was due, before jitter and delay; of one that a person triggered: when that was."""
    ended: datetime
    outcome: RunOutcome
    skip: SkipReason | None = None
    why: str = ""
    operation: str | None = None
    """The operation that it began."""
    operation_outcome: Outcome | None = None
    summary: str = ""
    report: str | None = None


class RunNote(Frozen):
    """note_run: what is kept of it, and who is told."""

    result: ScheduledResult
    paused: bool
    """The schedule is paused by it."""
    deployment: str = ""
    """What it works on; empty: the fleet."""
    notices: tuple[Announce, ...] = ()


class NoteFact(Frozen):
    """note_run: who could not be told, and why."""

    told: int = 0
    problems: tuple[str, ...] = ()


class ScheduleLog(Frozen):
    """``schedules/<name>.json``: the last run of a schedule and its last good one."""

    version: Literal[1] = 1
    name: str
    last: ScheduledResult | None = None
    last_done: ScheduledResult | None = None
    paused_by: str | None = None
    """The run whose failure has paused it, until people were told that it runs again."""
    seq: int = 0
    write_id: str = ""
