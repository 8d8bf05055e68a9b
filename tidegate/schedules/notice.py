"""Telling that a scheduled run has failed, by the signed request that announces a topic's turn, too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx

from tidegate.errors import InvalidInput
from tidegate.lineage.announce import Receiver, tell
from tidegate.model.fleetpart import Announce
from tidegate.model.schedule import NoteFact, ScheduledResult
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
        "next": [f"tidegate ops show {result.operation}"] * bool(result.operation)
        + [f"tidegate schedules resume {result.schedule}"] * paused,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


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
