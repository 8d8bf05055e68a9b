"""DrillRegion: never more slots than may be used, none passed over in silence, and nothing left of any fork."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.docs.pages import table_under
from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, workers
from tests.kit.temporal_world_drill import GOOD
from tests.kit.temporal_world_drills import DrillsWorld
from tests.kit.temporal_world_facts import AT
from tidegate import errors
from tidegate.model.notice import Event
from tidegate.model.operation import Outcome, StepState
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput, LeftOut
from tidegate.names import CONTROL_QUEUE, is_drill_of

FOUR = {"a": (0, 1), "b": (1, 1), "c": (1, 2), "d": (2, 1)}
"""By name: tier and slots."""


@contextlib.asynccontextmanager
async def region(client: Client, world: DrillsWorld, **fields: Any) -> AsyncIterator[Run]:
    """Its drill, on workers of this world; at the end nothing of any fork is left."""
    request = DrillRegionInput.model_validate({"region": "east", "requested_by": "ana", "window_s": 20, **fields})
    async with workers(client, world, regions=("east", "west")):  # type: ignore[arg-type]
        handle = await client.start_workflow(
            DRILL_REGION, request, id=f"drill-region-east-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
        )
        yield Run(handle)
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(left.id).terminate("the test is over")
    assert not world.left, "something of a fork is left"
    assert not world.using


async def test_all_are_drilled_and_each_has_its_line(client: Client) -> None:
    world = DrillsWorld(FOUR)
    async with region(client, world, reason="nightly") as run:
        result = await run.done()
        status = await run.status()
    assert result.outcome is Outcome.DONE
    assert result.summary == (
        "4 of 4 deployments of east are proven restorable in west; RTO 20.0 s at worst, median 20.0 s; "
        "RPO 0.40 s at worst, median 0.40 s; nothing of the forks is left"
    )
    assert [one.deployment for one in result.members] == ["a", "b", "c", "d"]
    for one in result.members:
        assert one.outcome is Outcome.DONE
        assert one.drill is not None
        assert (one.drill.point, one.drill.rto_s, one.drill.rpo_s, one.drill.compared) == ("e7-chk-12", 20.0, 0.4, GOOD)
        assert "10,000 records compared" in one.summary
    assert {row.name: row.state for row in status.steps} == dict.fromkeys(
        ("observe", "a", "b", "c", "d", "conclude"), StepState.OK
    )
    assert status.region == "west"
    (report,) = [one for one in world.reports if one.runbook == DRILL_REGION]
    assert (report.deployment, report.reason, result.report) == ("region-east", "nightly", status.report)
    assert report.drills is not None
    assert [(line.deployment, line.result, line.report) for line in report.drills.lines] == [
        (one.deployment, "good", one.report) for one in result.members
    ]
    own = [one for one in world.reports if one.runbook == "DrillRecovery"]
    assert {one.deployment for one in own} == set(FOUR), "each drill has its own report, which is its proof"
    assert world.notices == []


async def test_so_many_run_beside_each_other_as_slots_allow_and_never_more(client: Client) -> None:
    """Two of four at a time: each waits for the other one of its pair, so a queue of one would stand for ever."""
    world = DrillsWorld({"a": (0, 1), "b": (0, 1), "c": (0, 1), "d": (0, 1)}, slots_free=4)
    met = {"ab": asyncio.Event(), "cd": asyncio.Event()}

    def meet(pair: str) -> Callable[[], Any]:
        async def wait() -> None:
            if set(pair) <= set(world.using):
                met[pair].set()
            await asyncio.wait_for(met[pair].wait(), 60.0)

        return wait

    for pair in met:
        for name in pair:
            world.will("watch_drill", name, meet(pair))
    async with region(client, world, slots=2) as run:
        assert (await run.done()).outcome is Outcome.DONE
    assert world.most == 2, "counted at each start of a fork"


async def test_what_needs_more_slots_waits_for_them_and_nobody_overtakes_it(client: Client) -> None:
    world = DrillsWorld(FOUR, slots_free=4, keep=1)
    blocks = {name: world.block("watch_drill", name) for name in FOUR}

    async def stands(*running: str) -> None:
        async def so() -> None:
            assert set(world.using) == set(running), world.using

        await eventually(so)

    async with region(client, world) as run:
        await stands("a", "b")
        blocks["a"].released.set()
        await stands("b", "c")
        assert "d" not in world.begun(), "a slot less than c needs was free for it all the time"
        assert (await run.status()).waiting_for == "slots for d"
        blocks["b"].released.set()
        await stands("c", "d")
        blocks["c"].released.set()
        blocks["d"].released.set()
        assert (await run.done()).outcome is Outcome.DONE
    assert world.most == 3, "counted at each start of a fork: one slot must stay free"


async def test_the_highest_tier_first_and_in_a_tier_the_oldest_proof(client: Client) -> None:
    world = DrillsWorld({"x": (2, 1), "new": (1, 1), "old": (1, 1), "never": (1, 1), "top": (0, 1)})
    world.worlds["new"].proven_at = AT - timedelta(days=1)
    world.worlds["old"].proven_at = AT - timedelta(days=9)
    world.worlds["x"].proven_at = AT - timedelta(days=90)
    async with region(client, world, slots=1) as run:
        assert (await run.done()).outcome is Outcome.DONE
    assert world.begun() == ["top", "never", "old", "new", "x"]
    assert world.most == 1


async def test_one_that_fails_does_not_stop_the_others(client: Client) -> None:
    world = DrillsWorld(FOUR)
    world.will("copy_for_drill", "a", errors.SnapshotIncomplete("1 of 9 files: s3://west/f is missing"))
    world.worlds["c"].compared = GOOD.model_copy(update={"differing": 1})
    async with region(client, world, slots=2) as run:
        result = await run.failed("BadVerdict")
    assert [one.outcome for one in result.members] == [
        Outcome.BAD_VERDICT, Outcome.DONE, Outcome.BAD_VERDICT, Outcome.DONE,
    ]  # fmt: skip
    assert result.summary.startswith("2 of 4 deployments of east are proven restorable in west, 2 FAILED")
    assert "a failed: 1 of 9 files: s3://west/f is missing" in result.why
    assert "1 differing" in result.why
    assert result.next_commands == ()
    assert [notice.event for notice in world.notices] == [Event.DRILL_FAILED], "told once, not once for each"
    assert "s3://west/f is missing" in world.notices[0].detail


async def test_what_is_refused_or_has_no_room_is_named_and_no_success(client: Client) -> None:
    world = DrillsWorld({**FOUR, "huge": (0, 4)})
    world.will("look_at_drill", "b", errors.Held("b is held by upgrade-b-1"))
    async with region(client, world) as run:
        result = await run.failed("Undone")
        status = await run.status()
    told = {one.deployment: (one.outcome, one.why) for one in result.members}
    assert told["huge"] == (
        Outcome.REFUSED,
        "no room: it needs 4 slots, 4 of 8 are free in west/cell-1, 1 of these must stay free for a",
    )
    assert told["b"] == (Outcome.REFUSED, "b is held by upgrade-b-1")
    assert result.summary.startswith("3 of 5 deployments of east are proven restorable in west, 2 NOT drilled; RTO")
    assert "huge not drilled: no room" in result.why
    assert "huge" not in world.begun()
    assert result.next_commands == ("tidegate drill region east --deployment huge --deployment b",)
    rows = {row.name: row for row in status.steps}
    assert (rows["huge"].state, rows["a"].state) == (StepState.SKIPPED, StepState.OK)
    (notice,) = world.notices
    assert (notice.event, notice.operation) == (Event.DRILL_FAILED, run.handle.id)


async def test_where_nothing_fits_it_is_refused_with_each_one_named_and_reported(client: Client) -> None:
    world = DrillsWorld(FOUR, slots_free=1, keep=1)
    async with region(client, world) as run:
        result = await run.failed("Refused")
    assert result.outcome is Outcome.REFUSED
    assert "a: no room: it needs 1 slots, 1 of 8 are free in west/cell-1, 1 of these must stay free for a" in result.why
    assert "--slots" in result.why
    assert [one.outcome for one in result.members] == [Outcome.REFUSED] * 4
    assert len(world.reports) == 1
    assert world.begun() == []


async def test_a_dry_run_says_the_order_and_the_time_and_starts_nothing(client: Client) -> None:
    world = DrillsWorld(FOUR)
    world.left_out = (LeftOut(deployment="s", why="it is stopped; its state is in s3://east/x"),)
    world.worlds["a"].besides_s = 40.0
    world.worlds["b"].proven_at = AT - timedelta(days=2)
    async with region(client, world, dry_run=True) as run:
        result = await run.done()
    assert result.outcome is Outcome.PLANNED
    assert result.summary.startswith("4 of 4 deployments of east would be drilled, until about 2 min")
    assert "3 of 4 free slots may be used at once in west/cell-1 (1 in west/cell-1 for a must stay free)" in (
        result.summary
    )
    assert "not asked: s, it is stopped" in result.summary
    lines = [one.summary for one in result.members]
    assert [one.deployment for one in result.members] == ["a", "c", "b", "d"]
    assert "1. tier 0, never proven; begins after" in lines[0]
    assert "takes about 1 min 00 s, 1 slot in west/cell-1" in lines[0]
    assert "last proven 2.0 days ago by drill-before" in lines[2]
    assert world.begun() == []
    assert world.reports == []


@pytest.mark.parametrize("cancel", [False, True])
async def test_i7_aborted_or_cancelled_in_the_middle_no_more_begin_and_nothing_is_left(
    client: Client, cancel: bool
) -> None:
    world = DrillsWorld(FOUR)
    blocks = [world.block("watch_drill", name) for name in ("b", "c")]
    async with region(client, world, slots=3) as run:
        for block in blocks:
            await block.entered.wait()

        async def a_is_over() -> None:
            assert {row.name: row.state for row in (await run.status()).steps}["a"] is StepState.OK

        await eventually(a_is_over)
        assert "slots for d" in (await run.status()).waiting_for
        if cancel:
            await run.handle.cancel(reason="wrong night")
        else:
            assert "torn down" in await run.update("abort", why="wrong night")
        result = await run.failed("Undone")
    assert [one.outcome for one in result.members] == [
        Outcome.DONE, Outcome.UNDONE, Outcome.UNDONE, Outcome.REFUSED,
    ]  # fmt: skip
    assert "wrong night" in result.why
    assert "not begun" in result.members[3].why
    assert "wrong night" in result.members[1].why
    assert result.summary.startswith("1 of 4 deployments of east are proven restorable in west, 3 NOT drilled")
    assert result.summary.endswith("nothing of the forks is left")
    assert set(world.begun()) == {"a", "b", "c"}
    assert {who for name, who in world.told if name == "tear_down_drill"} == {"a", "b", "c"}
    assert result.report, "what was proven before stands in the report"


async def test_i7_terminated_its_drills_end_in_order_and_nothing_is_left(client: Client) -> None:
    world = DrillsWorld(FOUR)
    blocks = [world.block("watch_drill", name) for name in ("a", "b")]
    async with region(client, world, slots=2) as run:
        for block in blocks:
            await block.entered.wait()
        await run.handle.terminate("somebody was in a hurry")

        async def torn_down() -> None:
            assert {who for name, who in world.told if name == "tear_down_drill"} == {"a", "b"}
            assert {one.deployment for one in world.reports} == {"a", "b"}

        await eventually(torn_down)
        assert {one.outcome for one in world.reports} == {Outcome.UNDONE}
        assert set(world.begun()) == {"a", "b"}


async def test_i6_none_is_begun_that_could_not_end_in_the_budget_and_each_is_named(client: Client) -> None:
    """By what the last ones took: b never fits, and c would have at the beginning, but not when its slot is free."""
    world = DrillsWorld({"a": (0, 1), "b": (1, 1), "c": (1, 1), "d": (2, 1)}, slots_free=4)
    for name, besides_s in (("a", 10.0), ("b", 980.0), ("c", 77.0), ("d", 1.0)):
        world.worlds[name].besides_s = besides_s

    async def some_time() -> None:
        began = datetime.now(UTC)

        async def passed() -> None:
            assert datetime.now(UTC) - began > timedelta(seconds=3.5)

        await eventually(passed)

    world.will("watch_drill", "a", some_time)
    async with region(client, world, slots=1, budget_s=100.0) as run:
        result = await run.failed("Undone")
    assert [(one.deployment, one.outcome) for one in result.members] == [
        ("a", Outcome.DONE), ("b", Outcome.REFUSED), ("c", Outcome.REFUSED), ("d", Outcome.DONE),
    ]  # fmt: skip
    assert result.members[1].why.startswith("no time: it takes about 1,000 s by its last one")
    assert re.fullmatch(
        r"no time: it takes about 97 s by its last one, and [5-9]\d s of 100 s were left", result.members[2].why
    )
    assert result.summary.startswith("2 of 4 deployments of east are proven restorable in west, 2 NOT drilled")
    assert world.begun() == ["a", "d"]
    report = world.reports[-1]
    assert (report.runbook, report.outcome) == (DRILL_REGION, Outcome.UNDONE)
    assert report.drills is not None
    assert [line.result for line in report.drills.lines] == ["good", "not drilled", "not drilled", "good"]


async def test_its_workers_are_gone_in_the_middle_and_others_go_on_where_it_stood(client: Client) -> None:
    world = DrillsWorld(FOUR)
    block = world.block("watch_drill", "a")
    request = DrillRegionInput(region="east", slots=2)
    name = f"drill-region-east-{uuid.uuid4().hex[:8]}"
    async with workers(client, world, regions=("east", "west")):  # type: ignore[arg-type]
        handle = await client.start_workflow(DRILL_REGION, request, id=name, task_queue=CONTROL_QUEUE)
        await block.entered.wait()
    async with workers(client, world, regions=("east", "west")):  # type: ignore[arg-type]
        result = await Run(handle).done()
    assert result.outcome is Outcome.DONE
    assert len({one.operation for one in result.members}) == 4
    assert sorted(who for name, who in world.told if name == "start_drill") == ["a", "b", "c", "d"], "each once"
    assert world.most <= 2
    assert not world.left


async def test_it_gives_way_to_a_failover_that_needs_the_slots(client: Client) -> None:
    """Looked for while they run; what is not known stops nothing: nobody can fail over without the registry."""
    world = DrillsWorld(FOUR)
    blocks = [world.block("watch_drill", name) for name in ("a", "b")]

    async def begins() -> None:
        world.failover = "b is held by failover-b-1 (FailoverMember, ana)"

    world.will("see_failover", "", errors.InvalidInput("the fleet file cannot be read"), begins)
    for member in world.worlds.values():
        member.besides_s = 1.0
    # In a budget of 10 s it looks each half second.
    async with region(client, world, slots=2, budget_s=10.0, window_s=1.0) as run:
        for block in blocks:
            await block.entered.wait()
        result = await asyncio.wait_for(run.failed("Undone"), 60.0)
    assert "gives way: b is held by failover-b-1" in result.why
    assert result.gave_way
    assert [one.outcome for one in result.members] == [*[Outcome.UNDONE] * 2, *[Outcome.REFUSED] * 2]
    assert set(world.begun()) == {"a", "b"}
    assert {who for name, who in world.told if name == "tear_down_drill"} == {"a", "b"}


async def test_a_failover_that_is_under_way_keeps_it_from_beginning(client: Client) -> None:
    world = DrillsWorld(FOUR)
    world.will("look_at_drills", "", errors.Held("a failover is under way, and drills give way to it: a is held by x"))
    async with region(client, world) as run:
        result = await run.failed("Held")
    assert result.outcome is Outcome.REFUSED
    assert world.begun() == []


async def test_a_fork_that_is_not_gone_is_named_with_its_command(client: Client) -> None:
    world = DrillsWorld(FOUR)
    world.will("tear_down_drill", "b", errors.NoProgress("there is still topic x.balances"))
    async with region(client, world) as run:
        result = await run.failed("BadVerdict")
        (command,) = result.next_commands
        assert command.startswith("tidegate drill recovery b --clean b-drill-")
        assert "NOT all of 1 forks is gone" in result.summary
        assert is_drill_of(command.rpartition(" ")[2], "b")
        world.worlds["b"].things.clear()
        world.using.clear()


async def test_a_drill_that_is_terminated_from_outside_may_have_left_its_fork_and_that_is_said(client: Client) -> None:
    world = DrillsWorld({"a": (0, 1), "b": (1, 1)})
    block = world.block("watch_drill", "a")
    async with region(client, world) as run:
        await block.entered.wait()
        async for one in client.list_workflows("WorkflowType = 'DrillRecovery' AND ExecutionStatus = 'Running'"):
            if one.id.startswith("drill-a-"):
                await client.get_workflow_handle(one.id).terminate("by hand")
        result = await run.failed("BadVerdict")
        assert [one.outcome for one in result.members] == [Outcome.BAD_VERDICT, Outcome.DONE]
        (command,) = result.next_commands
        assert is_drill_of(command.rpartition(" ")[2], "a")
        assert command.startswith("tidegate drill recovery a --clean ")
        block.released.set()
        world.worlds["a"].things.clear()
        world.using.clear()


async def test_the_page_names_the_steps_that_a_person_sees(client: Client) -> None:
    world = DrillsWorld({"a": (0, 1)})
    async with region(client, world) as run:
        assert (await run.done()).outcome is Outcome.DONE
        status = await run.status()
    shown = ["drill" if row.name == "a" else row.name for row in status.steps]
    assert shown == [row[0] for row in table_under("runbooks/drill-region.md", "## What it does")]
