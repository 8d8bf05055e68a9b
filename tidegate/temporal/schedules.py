"""Entries of the schedules file as Temporal's Schedules: made, read back, changed, and never a stranger's.

Ours has a memo that says so, under the id that its entry has. What an apply sets is read back field by field, as the
server says it, so that a change by hand shows. State (paused, its note) is a person's and is never touched by an apply.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import UpdateScheduleRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from tidegate.errors import BasisChanged, InvalidInput, TidegateError
from tidegate.model.schedule import SCHEDULED_RUN, Entry, ScheduledInput
from tidegate.names import CONTROL_QUEUE, SCHEDULE_PREFIX, schedule_id
from tidegate.schedules.cron import Cron
from tidegate.schedules.diff import Found, digest
from tidegate.temporal.connect import TemporalUnreachable

RPC: Final = timedelta(seconds=10)
MEMO: Final = "tidegate"
APPLIED: Final = "tidegate-applied"
SEEN_S: Final = 10.0
_ALL_DAYS, _ALL_MONTHS, _ALL_WEEKDAYS = frozenset(range(1, 32)), frozenset(range(1, 13)), frozenset(range(7))
T = TypeVar("T")


def fields_of(asked: ScheduledInput) -> dict[str, str]:
    """What an apply sets for an entry, by field, for a person to compare."""
    entry = asked.entry
    return {
        "starts": f"{SCHEDULED_RUN} on {CONTROL_QUEUE} as {schedule_id(asked.name)}",
        "cron": entry.cron,
        "time_zone": entry.time_zone,
        "jitter_s": f"{entry.jitter_s:g}",
        "catch_up_s": f"{entry.catch_up_s:g}",
        "overlap": "skip",
        "pause_after_failure": _yes(entry.pause_after_failure),
        **_told(asked),
    }


def _told(asked: ScheduledInput) -> dict[str, str]:
    """What only the run is told, and Temporal does not act on."""
    entry = asked.entry.model_dump(mode="json", exclude=set(_SPEC))
    notices = [one.model_dump(mode="json", exclude_none=True) for one in asked.notices]
    given = {**entry, "notices": notices}
    return {key: _shown(value) for key, value in given.items() if value not in (None, [], {})}


_SPEC: Final = ("cron", "time_zone", "jitter_s", "catch_up_s", "pause_after_failure")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _yes(value: bool) -> str:
    return "true" if value else "false"


def schedule_of(asked: ScheduledInput, state: ScheduleState) -> Schedule:
    """The Schedule of an entry."""
    entry = asked.entry
    return Schedule(
        action=ScheduleActionStartWorkflow(
            SCHEDULED_RUN,
            asked,
            id=schedule_id(asked.name),  # Temporal adds the time at which it was due
            task_queue=CONTROL_QUEUE,
            memo={APPLIED: digest(fields_of(asked))},
            static_summary=f"{entry.runbook} {entry.deployment}, by schedule {asked.name}",
        ),
        spec=ScheduleSpec(
            calendars=[_calendar(entry)],
            jitter=timedelta(seconds=entry.jitter_s) if entry.jitter_s else None,
            time_zone_name=entry.time_zone,
        ),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=timedelta(seconds=entry.catch_up_s),
            pause_on_failure=entry.pause_after_failure,
        ),
        state=state,
    )


def _calendar(entry: Entry) -> ScheduleCalendarSpec:
    cron = Cron.parse(entry.cron)

    def ranges(numbers: Iterable[int]) -> list[ScheduleRange]:
        return [ScheduleRange(number) for number in sorted(numbers)]

    return ScheduleCalendarSpec(
        minute=ranges(cron.minutes),
        hour=ranges(cron.hours),
        day_of_month=[ScheduleRange(1, 31)] if cron.days == _ALL_DAYS else ranges(cron.days),
        month=[ScheduleRange(1, 12)] if cron.months == _ALL_MONTHS else ranges(cron.months),
        day_of_week=[ScheduleRange(0, 6)] if cron.weekdays == _ALL_WEEKDAYS else ranges(cron.weekdays),
        comment=entry.cron,
    )


async def found_of(client: Client, described: ScheduleDescription) -> Found:
    """A schedule as it is held, by the fields of ``fields_of``."""
    name = described.id.removeprefix(SCHEDULE_PREFIX)
    memo = await described.memo()
    mark = memo.get(MEMO)
    ours = described.id == schedule_id(name) and isinstance(mark, dict) and mark.get("schedule") == name
    if not ours:
        return Found(name, ours=False, fields={}, token=b"")
    schedule = described.schedule
    action, spec, policy = schedule.action, schedule.spec, schedule.policy
    asked = await asked_of(client, described)
    starts, applied = "nothing that is known here", None
    if isinstance(action, ScheduleActionStartWorkflow):
        starts = f"{action.workflow} on {action.task_queue} as {action.id}"
        payload = (action.memo or {}).get(APPLIED)
        if isinstance(payload, Payload):
            (applied,) = await client.data_converter.decode([payload], [str])
    fields = {
        "starts": starts,
        "cron": _cron(spec),
        "time_zone": spec.time_zone_name or "UTC",
        "jitter_s": f"{(spec.jitter or timedelta()).total_seconds():g}",
        "catch_up_s": f"{policy.catchup_window.total_seconds():g}" if policy.catchup_window else "the server's",
        "overlap": policy.overlap.name.lower(),
        "pause_after_failure": _yes(policy.pause_on_failure),
        **(_told(asked) if asked else {"input": "not readable as that of a ScheduledRun"}),
    }
    if asked is not None:
        for key, value in fields_of(asked).items():
            if key in _SPEC and value != fields[key]:
                fields[key] += f" (its runs are told {value})"
    if extra := _extra(schedule):
        fields["also"] = extra
    return Found(name, ours=True, fields=fields, token=described.raw_description.conflict_token, applied=applied)


async def asked_of(client: Client, described: ScheduleDescription) -> ScheduledInput | None:
    """What the runs of a schedule are given; None: it cannot be read (a newer Tidegate, or a change by hand)."""
    action = described.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow) or len(action.args) != 1:
        return None
    try:
        (asked,) = await client.data_converter.decode([action.args[0]], [ScheduledInput])
    except Exception:  # noqa: BLE001 (whatever a converter raises for what somebody else wrote)
        return None
    return asked if isinstance(asked, ScheduledInput) else None


def _cron(spec: ScheduleSpec) -> str:
    """The cron of a spec that an apply has made; of any other one what can be said of it."""
    if len(spec.calendars) == 1 and not spec.cron_expressions:
        calendar = spec.calendars[0]
        held = (
            _numbers(calendar.minute),
            _numbers(calendar.hour),
            _numbers(calendar.day_of_month),
            _numbers(calendar.month),
            _numbers(calendar.day_of_week),
        )
        text = calendar.comment or ""
        try:
            cron = Cron.parse(text)
        except ValueError:
            cron = None
        plain = _numbers(calendar.second) == {0} and not calendar.year
        if plain and cron and held == (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays):
            return text
    calendars = [
        " ".join(
            ",".join(map(str, sorted(_numbers(part))))
            for part in (one.minute, one.hour, one.day_of_month, one.month, one.day_of_week)
        )
        for one in spec.calendars
    ]
    return "; ".join([*calendars, *spec.cron_expressions]) or "none"


def _numbers(ranges: Iterable[ScheduleRange]) -> frozenset[int]:
    return frozenset(
        number for one in ranges for number in range(one.start, max(one.start, one.end) + 1, max(one.step, 1))
    )


def _extra(schedule: Schedule) -> str:
    """What an apply never sets and somebody has."""
    spec, state = schedule.spec, schedule.state
    told = [
        f"intervals {len(spec.intervals)}" if spec.intervals else "",
        f"skips {len(spec.skip)}" if spec.skip else "",
        f"from {spec.start_at:%Y-%m-%d}" if spec.start_at else "",
        f"until {spec.end_at:%Y-%m-%d}" if spec.end_at else "",
        f"{state.remaining_actions} actions left" if state.limited_actions else "",
    ]
    return ", ".join(one for one in told if one)


async def describe(client: Client, name: str) -> ScheduleDescription | None:
    """A schedule under the id of an entry, whosever it is; None: there is none. Raises TemporalUnreachable."""
    try:
        return await client.get_schedule_handle(schedule_id(name)).describe(rpc_timeout=RPC)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise _rpc(error) from error


async def ours(client: Client, name: str) -> ScheduleDescription:
    """A schedule of ours. Raises InvalidInput if there is none, TemporalUnreachable."""
    described = await describe(client, name)
    if described is None or not (await found_of(client, described)).ours:
        msg = f"no such schedule: {name}" if described is None else f"{schedule_id(name)} was not made by tidegate"
        raise InvalidInput(msg, hint="see:  tidegate schedules list")
    return described


async def look(client: Client, names: Iterable[str]) -> dict[str, ScheduleDescription]:
    """Those of these names, and all that are ours, by name. Raises TemporalUnreachable.

    Those of ``names`` are asked for one by one: the list that the server keeps is a moment behind.
    """
    known = list(names)
    try:
        async for one in await client.list_schedules(rpc_timeout=RPC):
            name = one.id.removeprefix(SCHEDULE_PREFIX)
            if one.id == schedule_id(name) and MEMO in await one.memo():
                known.append(name)
    except RPCError as error:
        raise _rpc(error) from error
    found = {name: await describe(client, name) for name in dict.fromkeys(known)}
    return {name: described for name, described in found.items() if described is not None}


async def create(client: Client, asked: ScheduledInput, note: str) -> None:
    """Make it. Raises BasisChanged if one is there meanwhile, TemporalUnreachable, InvalidInput."""
    try:
        await client.create_schedule(
            schedule_id(asked.name),
            schedule_of(asked, ScheduleState(note=note)),
            memo={MEMO: {"schedule": asked.name}},
            rpc_timeout=RPC,
        )
    except ScheduleAlreadyRunningError as error:
        raise changed(asked.name) from error
    except RPCError as error:
        raise _rpc(error) from error


async def change(client: Client, asked: ScheduledInput, basis: bytes, note: str) -> None:
    """Make the schedule what the entry says, if it is still as it was read (``basis``); paused stays paused.

    Raises:
        BasisChanged: somebody has changed it since.
        TemporalUnreachable, InvalidInput.

    """
    described = await ours(client, asked.name)
    if described.raw_description.conflict_token != basis:
        raise changed(asked.name)
    state = described.schedule.state
    state = replace(state, note=state.note if state.paused else note, limited_actions=False, remaining_actions=0)
    # By hand: the SDK's update sends no conflict token (its own TODO), and of two applies at once one would be lost.
    wanted = await schedule_of(asked, state)._to_proto(client)  # noqa: SLF001
    request = UpdateScheduleRequest(
        namespace=client.namespace,
        schedule_id=schedule_id(asked.name),
        schedule=wanted,
        conflict_token=basis,
        identity=client.identity,
        request_id=str(uuid.uuid4()),
    )
    try:
        await client.workflow_service.update_schedule(request, retry=True, timeout=RPC)
    except RPCError as error:
        if error.status in {RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.ABORTED}:
            raise changed(asked.name) from error
        raise _rpc(error) from error
    await _seen(client, asked, basis)


async def _seen(client: Client, asked: ScheduledInput, basis: bytes) -> None:
    """Wait until a change shows, and see whose it is: a server may drop one whose token is old, and say nothing.

    Raises:
        BasisChanged: it is somebody else's.
        TemporalUnreachable: nothing shows.

    """
    deadline = time.monotonic() + SEEN_S
    while time.monotonic() < deadline:
        found = await found_of(client, await ours(client, asked.name))
        if found.token != basis:
            if found.fields != fields_of(asked):
                raise changed(asked.name)
            return
        await asyncio.sleep(0.05)
    raise TemporalUnreachable(
        f"the change of schedule {asked.name} does not show after {SEEN_S:g} s",
        hint="see whether it was done:  tidegate schedules plan",
    )


async def delete(client: Client, name: str, basis: bytes) -> None:
    """Delete one of ours, if it is as it was read; not there is fine. Raises BasisChanged, TemporalUnreachable."""
    described = await describe(client, name)
    if described is None:
        return
    found = await found_of(client, described)
    if not found.ours or found.token != basis:
        raise changed(name)
    await _call(client.get_schedule_handle(schedule_id(name)).delete(rpc_timeout=RPC))


async def pause(client: Client, name: str, note: str) -> None:
    """It fires no more. Raises InvalidInput, TemporalUnreachable."""
    await ours(client, name)
    await _call(_handle(client, name).pause(note=note, rpc_timeout=RPC))


async def resume(client: Client, name: str, note: str) -> None:
    """It fires again, from its next time on. Raises InvalidInput, TemporalUnreachable."""
    await ours(client, name)
    await _call(_handle(client, name).unpause(note=note, rpc_timeout=RPC))


def changed(name: str) -> BasisChanged:
    """The error for a schedule that is not as it was when it was looked at."""
    return BasisChanged(
        f"schedule {name} was changed by somebody else meanwhile; it was left as it is",
        hint="see what it is now:  tidegate schedules plan",
    )


def _handle(client: Client, name: str) -> ScheduleHandle:
    return client.get_schedule_handle(schedule_id(name))


async def _call(call: Awaitable[T]) -> T:
    try:
        return await call
    except RPCError as error:
        raise _rpc(error) from error


def _rpc(error: RPCError) -> TidegateError:
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return InvalidInput(f"Temporal does not take it: {error.message}")
    return TemporalUnreachable(f"Temporal does not answer: {error.message}")
