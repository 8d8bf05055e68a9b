"""Telling that a scheduled run has failed, by the signed request that announces a topic's turn, too; and that one is
paused by it, by the way of all notices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx

from tidegate import names
from tidegate.errors import InvalidInput
from tidegate.lineage.announce import Receiver, tell
from tidegate.model.fleetpart import Announce
from tidegate.model.notice import Event, Notice, Severity
from tidegate.model.schedule import NoteFact, RunNote, ScheduledResult
from tidegate.notices.delivery import ATTEMPTS, FIRST_PAUSE_S


def body_of(result: ScheduledResult, *, paused: bool) -> bytes:
    """What is posted: the same bytes for the same run, at every attempt."""
    said = {
        "event": "schedule-failed",
        "schedule": result.schedule,
        "runbook": result.runbook,
        "run": result.run,
        "operation": result.operation,
        "due": result.due.isoformat(),
        "at": result.ended.isoformat(),
        "why": result.why,
        "report": result.report,
        "paused": paused,
        "next": [*_show(result)] + [f"tidegate schedules resume {result.schedule}"] * paused,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def paused(note: RunNote) -> Notice:
    """Its failure pauses the schedule: until a person resumes it, nothing more is done by the clock."""
    result = note.result
    return Notice(
        id=names.derive_id("schedule-paused", result.run),
        event=Event.SCHEDULE_PAUSED,
        severity=Severity.WARNING,
        title=f"schedule {result.schedule} is paused: its run of {result.due:%Y-%m-%d %H:%M} UTC has failed",
        detail=result.why or result.summary,
        commands=(*_show(result), f"tidegate schedules resume {result.schedule}"),
        **_about(note),
    )


def runs_again(note: RunNote, paused_by: str) -> Notice:
    """The schedule that the failure of ``paused_by`` has paused was resumed, and its run is done."""
    return Notice(
        id=names.derive_id("schedule-paused", paused_by, "over"),
        event=Event.SCHEDULE_PAUSED,
        over=True,
        severity=Severity.WARNING,
        title=f"schedule {note.result.schedule} runs again, and its run is done",
        **_about(note),
    )


def _about(note: RunNote) -> dict[str, Any]:
    result = note.result
    return {
        "subject": f"schedule/{result.schedule}",
        "operation": result.operation or "",
        "runbook": result.runbook,
        "deployment": note.deployment,
        "requested_by": f"schedule {result.schedule}",
        "at": result.ended,  # of the run, not of this attempt: told again, it is the same notice
        "report": result.report,
    }


def _show(result: ScheduledResult) -> tuple[str, ...]:
    return (f"tidegate ops show {result.operation}",) if result.operation else ()


async def tell_failed(
    wanted: Sequence[Announce],
    result: ScheduledResult,
    *,
    paused: bool,
    attempts: int = ATTEMPTS,
    first_pause_s: float = FIRST_PAUSE_S,
) -> NoteFact:
    """Tell each receiver, a bounded number of times; who could not be told is in the answer."""
    receivers: list[Receiver] = []
    problems: list[str] = []
    for one in wanted:
        try:
            receivers.append(Receiver.of(one))
        except InvalidInput as error:
            problems.append(f"{one.url}: {error.message}")
    body, key = body_of(result, paused=paused), f"schedule-failed/{result.run}"
    async with httpx.AsyncClient() as http:
        told = await tell(receivers, body, key, http, attempts=attempts, first_pause_s=first_pause_s)
    problems += [f"{one.url}: {one.problem}" for one in told if one.problem is not None]
    return NoteFact(told=sum(one.problem is None for one in told), problems=tuple(problems))
