"""Schedules on a real Temporal: they fire, skip with a reason, pause after a failure; applied twice, and at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError

from tests.kit.eventually import eventually
from tests.kit.scheduled import asked, delete_schedules
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.errors import BasisChanged, InvalidInput
from tidegate.model.operation import Outcome
from tidegate.model.record import Holder
from tidegate.model.schedule import RunOutcome, ScheduledInput, ScheduledResult, SkipReason
from tidegate.names import CONTROL_QUEUE, schedule_id
from tidegate.schedules.diff import Act, plan
from tidegate.temporal import schedules

WITHIN_S = 60.0


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _no_schedules(client: Client) -> AsyncIterator[None]:
    yield
    await delete_schedules(client)


def _name() -> str:
    return f"sweep-{uuid.uuid4().hex[:6]}"


async def _run(client: Client, request: ScheduledInput) -> ScheduledResult:
    """A scheduled run without its schedule."""
    run = f"{schedule_id(request.name)}-{uuid.uuid4().hex[:6]}"
    try:
        told = await client.execute_workflow("ScheduledRun", request, id=run, task_queue=CONTROL_QUEUE)
    except WorkflowFailureError as error:
        told = _details(error)
    return ScheduledResult.model_validate(told)


def _details(failure: WorkflowFailureError) -> Any:
    assert isinstance(failure.cause, ApplicationError), failure.cause
    assert failure.cause.type == "ScheduledRunFailed"
    return failure.cause.details[0]


async def _fired(client: Client, name: str) -> ScheduleDescription:
    """The schedule, once it has started something."""

    async def there() -> ScheduleDescription:
        described = await schedules.ours(client, name)
        assert described.info.recent_actions
        return described

    return await eventually(there, within_s=WITHIN_S)


async def test_a_run_begins_its_runbook_as_a_child_with_an_id_of_its_own(client: Client, world: World) -> None:
    result = await _run(client, asked())
    assert (result.outcome, result.operation_outcome) == (RunOutcome.DONE, Outcome.DONE)
    assert str(result.operation).startswith("sweep-ledger-")
    (step,) = world.requests("sweep_snapshots")
    assert step.keep == 3
    assert world.reports[0].requested_by == "schedule sweep-ledger"
    assert [note.result for note in world.noted] == [result]


async def test_it_is_skipped_with_the_reason_as_result_attribute_and_memo(client: Client, world: World) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    frozen = asked(time_zone="UTC", freezes=[{"first": today, "last": "2999-01-01", "why": "year end"}])
    result = await _run(client, frozen)
    assert (result.outcome, result.skip, result.operation) == (RunOutcome.SKIPPED, SkipReason.FREEZE, None)
    assert "year end" in result.why
    described = await client.get_workflow_handle(result.run).describe()
    assert described.typed_search_attributes[schedules_attribute("TidegateSkipped")] == "freeze"
    assert described.typed_search_attributes[schedules_attribute("TidegatePhase")] == "skipped"
    assert "year end" in (await described.memo())["tidegate"]
    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert world.names() == ["weigh_schedule", "note_run"]


def schedules_attribute(name: str) -> Any:
    from tidegate.temporal import search_attributes  # noqa: PLC0415

    return next(key for key in search_attributes.ALL if key.name == name)


async def test_an_open_incident_a_holder_and_a_rollout_keep_it_from_beginning(client: Client, world: World) -> None:
    world.incidents = ["inc-7"]
    assert (await _run(client, asked())).skip is SkipReason.INCIDENT_OPEN
    assert (await _run(client, asked(skip_if=[]))).outcome is RunOutcome.DONE
    world.incidents = []
    holder = Holder(
        operation="upgrade-ledger-1", run_id="r", runbook="UpgradeDeployment", cluster_id="c", namespace="default",
        who="ana", why="", since=datetime.now(UTC),
    )  # fmt: skip
    world._change(holder=holder)
    held = await _run(client, asked(skip_if=[]))
    assert (held.skip, "upgrade-ledger-1" in held.why) == (SkipReason.HELD, True)
    other = asked(input={"deployment": "audit"})
    assert (await _run(client, other)).skip is SkipReason.ROLLOUT_RUNNING


async def test_what_is_taken_between_look_and_start_is_skipped_too(client: Client, world: World) -> None:
    world.will("sweep_snapshots", errors.Held("ledger is held by upgrade-1"))
    result = await _run(client, asked())
    assert (result.outcome, result.skip) == (RunOutcome.SKIPPED, SkipReason.HELD)


async def test_if_nobody_can_say_whether_an_incident_is_open_nothing_begins(client: Client, world: World) -> None:
    world.will("weigh_schedule", errors.Refused("the control bucket is away"))
    result = await _run(client, asked())
    assert (result.outcome, result.skip) == (RunOutcome.SKIPPED, SkipReason.NOT_KNOWN)
    assert "sweep_snapshots" not in world.names()


async def test_cancelled_it_ends_its_operation_in_good_order_o11(client: Client, world: World) -> None:
    block = world.block("sweep_snapshots")
    run = f"tidegate-x-{uuid.uuid4().hex[:6]}"
    handle = await client.start_workflow("ScheduledRun", asked(), id=run, task_queue=CONTROL_QUEUE)
    await block.entered.wait()
    await handle.cancel(reason="typo")
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    (note,) = world.noted
    assert (note.result.outcome, note.result.operation_outcome) == (RunOutcome.FAILED, Outcome.UNDONE)
    assert len(world.reports) == 1  # the operation has reported its own end


async def test_a_runbook_that_is_unknown_fails_at_once_with_the_known_ones(client: Client, world: World) -> None:
    result = await _run(client, asked(runbook="SwepSnapshots"))
    assert result.outcome is RunOutcome.FAILED
    assert "SwepSnapshots" in result.why
    assert "SweepSnapshots" in result.why


async def test_a_schedule_fires_by_the_clock_and_by_hand(client: Client, world: World) -> None:
    name = _name()
    await schedules.create(client, asked(name, cron="* * * * *", time_zone="UTC", skip_if=[]), "by ana")
    due = await _fired_by_clock(client, name)
    assert due.second == 0

    async def second_over() -> None:
        assert datetime.now(UTC) >= due + timedelta(seconds=1)

    # Temporal names a run by the second in which it was due or triggered: of two in one second it drops one.
    await eventually(second_over)
    await client.get_schedule_handle(schedule_id(name)).trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)

    async def noted() -> None:
        assert len([note for note in world.noted if note.result.outcome is RunOutcome.DONE]) >= 2

    await eventually(noted, within_s=WITHIN_S)
    operations = {note.result.operation for note in world.noted}
    assert len(operations) == len(world.noted)  # each run has an operation of its own


async def _fired_by_clock(client: Client, name: str) -> datetime:
    async def there() -> datetime:
        described = await schedules.ours(client, name)
        assert described.info.recent_actions
        return described.info.recent_actions[0].scheduled_at

    return await eventually(there, within_s=90.0)


async def test_a_failure_pauses_the_schedule_if_the_entry_says_so(client: Client, world: World) -> None:
    kept, paused = _name(), _name()
    for name, pause in ((kept, False), (paused, True)):
        world.will("sweep_snapshots", errors.Refused("a copy cannot be read"))
        await schedules.create(client, asked(name, pause_after_failure=pause), "by ana")
        await client.get_schedule_handle(schedule_id(name)).trigger()
        await _fired(client, name)

        async def ended() -> None:
            assert len(world.noted) == (2 if pause else 1)  # noqa: B023

        await eventually(ended, within_s=WITHIN_S)

    async def is_paused() -> str:
        described = await schedules.ours(client, paused)
        assert described.schedule.state.paused
        return described.schedule.state.note or ""

    assert "failure" in await eventually(is_paused, within_s=WITHIN_S)
    assert not (await schedules.ours(client, kept)).schedule.state.paused
    assert [note.paused for note in world.noted] == [False, True]
    assert {note.result.outcome for note in world.noted} == {RunOutcome.FAILED}
    await schedules.resume(client, paused, "resumed by ana: mended")
    assert not (await schedules.ours(client, paused)).schedule.state.paused


async def test_a_skip_does_not_pause(client: Client, world: World) -> None:
    name = _name()
    world.incidents = ["inc-7"]
    await schedules.create(client, asked(name, pause_after_failure=True), "by ana")
    await client.get_schedule_handle(schedule_id(name)).trigger()
    await _fired(client, name)

    async def noted() -> None:
        assert [note.result.skip for note in world.noted] == [SkipReason.INCIDENT_OPEN]

    await eventually(noted, within_s=WITHIN_S)
    assert not (await schedules.ours(client, name)).schedule.state.paused


# -- what an apply does


async def _plan(client: Client, *wanted: ScheduledInput) -> list[Any]:
    described = await schedules.look(client, [one.name for one in wanted])
    found = {name: await schedules.found_of(client, one) for name, one in described.items()}
    return plan({one.name: schedules.fields_of(one) for one in wanted}, found, {})


async def test_applied_twice_nothing_changes_and_a_change_by_hand_is_drift(client: Client) -> None:
    request = asked(
        _name(), cron="*/20 1-3 * * mon-fri", jitter_s=90, pause_after_failure=True, max_age_days=8,
        windows=[{"days": ["mon"], "start": "01:00", "end": "24:00"}],
    )  # fmt: skip
    assert [line.act for line in await _plan(client, request)] == [Act.CREATE]
    await schedules.create(client, request, "by ana")
    (line,) = await _plan(client, request)
    assert (line.act, line.changes) == (Act.KEEP, ())

    async def by_hand(held: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = held.description.schedule
        schedule.policy.pause_on_failure = False
        schedule.spec.time_zone_name = "UTC"
        return ScheduleUpdate(schedule)

    handle = client.get_schedule_handle(schedule_id(request.name))
    await handle.update(by_hand)
    (line,) = await _plan(client, request)
    assert (line.act, line.drift) == (Act.CHANGE, True)
    assert {key: now for key, now, _ in line.changes} == {
        "time_zone": "UTC (its runs are told Europe/Berlin)",
        "pause_after_failure": "false (its runs are told true)",
    }
    await schedules.change(client, request, (await handle.describe()).raw_description.conflict_token, "by ana")
    assert [line.act for line in await _plan(client, request)] == [Act.KEEP]


async def test_a_change_of_the_file_is_a_change_and_no_drift_and_paused_stays_paused(client: Client) -> None:
    name = _name()
    await schedules.create(client, asked(name), "by ana")
    await schedules.pause(client, name, "paused by ana: audit")
    later = asked(name, cron="45 4 * * *")
    (line,) = await _plan(client, later)
    assert (line.act, line.drift, line.changes) == (Act.CHANGE, False, (("cron", "30 2 * * *", "45 4 * * *"),))
    described = await schedules.ours(client, name)
    await schedules.change(client, later, described.raw_description.conflict_token, "by bob")
    state = (await schedules.ours(client, name)).schedule.state
    assert (state.paused, state.note) == (True, "paused by ana: audit")


async def test_of_two_who_apply_at_once_one_is_told_and_neither_is_half_done(client: Client) -> None:
    name = _name()
    await schedules.create(client, asked(name), "by ana")
    basis = (await schedules.ours(client, name)).raw_description.conflict_token
    wanted = [asked(name, cron=f"{minute} 4 * * *") for minute in (10, 20)]
    ends = await asyncio.gather(
        *(schedules.change(client, one, basis, "by ana") for one in wanted), return_exceptions=True
    )
    assert sorted(type(end).__name__ for end in ends) == ["BasisChanged", "NoneType"]
    won = wanted[[end is None for end in ends].index(True)]
    assert [line.act for line in await _plan(client, won)] == [Act.KEEP]
    with pytest.raises(BasisChanged):
        await schedules.create(client, asked(name), "by bob")
    with pytest.raises(BasisChanged):
        await schedules.delete(client, name, basis)


async def test_what_the_file_names_no_more_is_told_and_a_strangers_is_never_touched(client: Client) -> None:
    mine, stranger = _name(), _name()
    action = ScheduleActionStartWorkflow("X", id="x", task_queue="q")
    foreign = Schedule(action=action, spec=ScheduleSpec(), state=ScheduleState(note="not ours"))
    for identity in (schedule_id(stranger), "reports-of-another-team"):
        await client.create_schedule(identity, foreign)
    await schedules.create(client, asked(mine), "by ana")

    async def listed() -> list[Any]:
        lines = await _plan(client)
        assert [line.name for line in lines] == [mine]
        return lines

    (line,) = await eventually(listed, within_s=WITHIN_S)
    assert line.act is Act.UNNAMED
    by_name = {one.name: one.act for one in await _plan(client, asked(stranger))}
    assert by_name == {mine: Act.UNNAMED, stranger: Act.STRANGER}
    token = (await client.get_schedule_handle(schedule_id(stranger)).describe()).raw_description.conflict_token
    for touch in (
        schedules.change(client, asked(stranger), token, "by ana"),
        schedules.pause(client, stranger, "no"),
        schedules.resume(client, stranger, "no"),
    ):
        with pytest.raises(InvalidInput, match="was not made by tidegate"):
            await touch
    with pytest.raises(BasisChanged):
        await schedules.delete(client, stranger, token)
    described = await client.get_schedule_handle(schedule_id(stranger)).describe()
    assert described.schedule.state.note == "not ours"
    assert described.raw_description.conflict_token == token


# -- the clocks


async def _fires(client: Client, request: ScheduledInput, first: str, days: int) -> list[str]:
    """When Temporal says that it fires, in UTC, in so many days from this one on."""
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    schedule = schedules.schedule_of(request, ScheduleState(note="clocks"))
    schedule.spec.start_at, schedule.spec.end_at = start, start + timedelta(days=days)
    handle = await client.create_schedule(schedule_id(request.name), schedule)
    times = (await handle.describe()).info.next_action_times
    return [f"{time:%m-%d %H:%M}" for time in times]


async def test_a_local_time_that_does_not_exist_does_not_fire_on_that_day(client: Client) -> None:
    berlin = await _fires(client, asked(_name()), "2027-03-27", 3)
    assert berlin == ["03-27 01:30", "03-29 00:30"]  # nothing on the 28th
    new_york = await _fires(client, asked(_name(), time_zone="America/New_York"), "2027-03-13", 3)
    assert new_york == ["03-13 07:30", "03-15 06:30"]  # nothing on the 14th


async def test_a_local_time_that_comes_twice_fires_by_the_zone(client: Client) -> None:
    berlin = await _fires(client, asked(_name()), "2027-10-30", 3)
    assert berlin == ["10-30 00:30", "10-31 01:30", "11-01 01:30"]  # on the 31st the second 02:30 only
    new_york = asked(_name(), cron="30 1 * * *", time_zone="America/New_York")
    assert await _fires(client, new_york, "2027-11-06", 3) == [
        "11-06 05:30", "11-07 05:30", "11-07 06:30", "11-08 06:30",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "first", "times"),
    [
        ("Europe/Berlin", "2027-03-27", ["03-27 03:30", "03-28 02:30", "03-29 02:30"]),
        ("Europe/Berlin", "2027-10-30", ["10-30 02:30", "10-31 03:30", "11-01 03:30"]),
        ("America/New_York", "2027-03-13", ["03-13 09:30", "03-14 08:30", "03-15 08:30"]),
        ("America/New_York", "2027-11-06", ["11-06 08:30", "11-07 09:30", "11-08 09:30"]),
    ],
)
async def test_half_past_four_fires_once_a_day_over_every_change(
    client: Client, zone: str, first: str, times: list[str]
) -> None:
    assert await _fires(client, asked(_name(), cron="30 4 * * *", time_zone=zone), first, 3) == times


async def test_an_hourly_schedule_leaves_out_one_hour_in_autumn_east_of_greenwich(client: Client) -> None:
    hourly = asked(_name(), cron="0 * * * *")
    # 01:00 UTC is 02:00 for the second time, and is left out.
    assert await _fires(client, hourly, "2027-10-30T23:00:00", 1) == [
        "10-30 23:00", "10-31 00:00", "10-31 02:00", "10-31 03:00", "10-31 04:00",
        "10-31 05:00", "10-31 06:00", "10-31 07:00", "10-31 08:00", "10-31 09:00",
    ]  # fmt: skip
    spring = asked(_name(), cron="0 * * * *")
    assert (await _fires(client, spring, "2027-03-28T00:00:00", 1))[:3] == ["03-28 00:00", "03-28 01:00", "03-28 02:00"]
