"""What makes way for a region's failover comes back when its slots are free again, and only if nobody has it."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from tests.kit.eventually import eventually
from tests.kit.temporal_world_facts import Block
from tests.kit.temporal_world_region import MemberWorld, RegionWorld
from tests.workflow.test_failover_region import region
from tidegate import errors
from tidegate.model.operation import OperationResult, Outcome, StepState
from tidegate.model.record import MadeWay
from tidegate.model.region import FAILOVER_REGION, GaveWayNow, Other

EAST_FULL = {"east/cell-1": 0, "west/cell-1": 0}
WEST_FREE = {"east/cell-1": 0, "west/cell-1": 2}
HOME = {"region": "west", "to": "east"}


def a_world(**fields: Any) -> RegionWorld:
    """``a`` lives in the east, and ``reports``, which matters less, in the west, where there is no room for both."""
    world = RegionWorld({"a": 0}, families=(("a",),))
    world.worlds["reports"] = MemberWorld("reports", 3, region="west", slots=2, **fields)
    world.others = (Other(deployment="reports", tier=3, parallelism=2),)
    world.slots, world.free = [0], dict(EAST_FULL)
    return world


async def away(client: Client, world: RegionWorld) -> OperationResult:
    """East -> west: ``reports`` makes way."""
    world.slots = [0]
    async with region(client, world, room="shed", deployments=("a",)) as run:
        result = await run.done()
    assert world.worlds["reports"].job_state == "FINISHED"
    world.slots, world.others = [8], ()
    return result


async def back(client: Client, world: RegionWorld, **fields: Any) -> tuple[OperationResult, dict[str, StepState]]:
    """West -> east, when the slots in the west are free."""
    world.free = dict(WEST_FREE)
    async with region(client, world, **HOME, **fields) as run:
        result = await run.done()
        status = await run.status()
    world.free = dict(EAST_FULL)
    return result, {row.name: row.state for row in status.steps}


async def test_what_made_way_says_for_whom_and_is_told_with_the_command_that_starts_it(client: Client) -> None:
    world = a_world()
    result = await away(client, world)
    assert result.outcome is Outcome.DONE
    assert world.worlds["reports"].record.made_way == MadeWay(operation=result.operation, came_from="east")
    assert result.next_commands == ("tidegate failover region west --to east", "tidegate restore reports")
    assert "reports stays stopped: 2 slots are needed in west/cell-1, 0 are free" in result.why
    assert world.requests["ensure_running"][-1].at == "west/cell-1"
    assert {one.held.deployment for one in world.requests["ensure_running"]} == {"a"}


async def test_it_comes_back_from_its_savepoint_when_its_slots_are_free_again(client: Client) -> None:
    world = a_world()
    await away(client, world)
    reports = world.worlds["reports"]
    savepoint = reports.record.pinned
    assert savepoint is not None
    result, steps = await back(client, world)
    assert result.outcome is Outcome.DONE
    assert result.summary == "1 of 1 deployments of west run in east; reports came back"
    assert list(steps) == ["observe", "a", "close", "cut", "open", "mirror", "restore reports", "conclude"]
    assert set(steps.values()) == {StepState.OK}
    assert world.told.index(("mirror_group", "")) < world.told.index(("ensure_running", "reports"))
    started = [one for one in world.requests["ensure_running"] if one.held.deployment == "reports"]
    assert [(one.at, one.parallelism, one.restore.snapshot) for one in started] == [
        ("west/cell-1", 2, savepoint.location)
    ]
    assert (reports.region_now, reports.job_state, reports.record.made_way) == ("west", "RUNNING", None)
    assert result.next_commands == ("tidegate failover region east --to west",)


async def test_two_failovers_have_it_make_way_and_come_back_each_time(client: Client) -> None:
    world = a_world()
    for _ in range(2):
        world.others = (Other(deployment="reports", tier=3, parallelism=2),)
        await away(client, world)
        result, steps = await back(client, world)
        assert result.outcome is Outcome.DONE
        assert steps["restore reports"] is StepState.OK
    started = [one for one in world.requests["ensure_running"] if one.held.deployment == "reports"]
    assert len({one.restore.snapshot for one in started}) == len(started) == 2


async def test_the_plan_names_who_comes_back_from_what_and_changes_nothing(client: Client) -> None:
    world = a_world()
    await away(client, world)
    before = len(world.told)
    result, _ = await back(client, world, dry_run=True)
    assert result.outcome is Outcome.PLANNED
    assert result.why == "comes back: reports, from its savepoint e7-savepoint-1, 2 slots"
    assert {name for name, _ in world.told[before:]} == {"look_group"}


async def test_one_that_a_person_has_started_meanwhile_is_left_alone(client: Client) -> None:
    world = a_world()
    await away(client, world)
    block = Block()
    world.will("cut_group", "", block)
    world.free = dict(WEST_FREE)
    async with region(client, world, **HOME) as run:
        await block.entered.wait()
        world.worlds["reports"].start_by_hand()
        block.released.set()
        result = await run.done()
        status = await run.status()
    assert result.outcome is Outcome.DONE
    row = next(row for row in status.steps if row.name == "restore reports")
    assert row.state is StepState.SKIPPED
    assert row.fact.startswith("left alone: it has been started since: epoch 8")
    assert ("take", "reports") not in world.told[world.told.index(("mirror_group", "")) :]
    assert result.next_commands == ("tidegate failover region east --to west",)


async def test_o6_one_that_is_started_between_the_look_and_the_restore_is_left_alone(client: Client) -> None:
    """Its own operation looks again before it takes it, and after."""
    world = a_world()
    await away(client, world)
    reports = world.worlds["reports"]
    stale = GaveWayNow(gave_way=(reports.gave_way,) if reports.gave_way else ())

    async def looked() -> GaveWayNow:
        reports.start_by_hand()
        return stale

    world.will("look_gave_way", "", looked)
    result, steps = await back(client, world)
    assert result.outcome is Outcome.DONE
    assert steps["restore reports"] is StepState.FAILED
    assert "does not stand stopped to make way for failover-region-east-" in result.why
    assert "it has been started since (epoch 8)" in result.why
    assert reports.record.epoch == 8, "nothing was started beside it"


async def test_one_that_is_held_is_left_to_whoever_holds_it(client: Client) -> None:
    world = a_world()
    await away(client, world)
    world.worlds["reports"].supersede()
    result, steps = await back(client, world)
    assert result.outcome is Outcome.DONE
    assert steps["restore reports"] is StepState.SKIPPED
    assert "reports stays stopped: reports is held by other" in result.why
    assert "tidegate restore reports" in result.next_commands


async def test_one_that_fails_to_come_back_fails_nothing_and_is_named_with_the_command(client: Client) -> None:
    world = a_world()
    await away(client, world)
    world.will("ensure_running", "reports", errors.StartRejected("no such class"))
    result, steps = await back(client, world)
    assert result.outcome is Outcome.DONE
    assert result.summary == "1 of 1 deployments of west run in east"
    assert steps["restore reports"] is StepState.FAILED
    assert "reports stays stopped: undone: reports does not run, as before: no such class" in result.why
    assert result.next_commands[-1] == "tidegate restore reports"


async def test_without_slots_it_stays_stopped_and_the_next_failback_tries_again(client: Client) -> None:
    world = a_world()
    await away(client, world)
    world.free = {"east/cell-1": 0, "west/cell-1": 1}
    async with region(client, world, **HOME) as run:
        result = await run.done()
    assert result.outcome is Outcome.DONE
    assert "reports stays stopped: 2 slots are needed in west/cell-1, 1 are free" in result.why
    assert result.next_commands[-1] == "tidegate restore reports"
    assert world.worlds["reports"].record.made_way is not None


async def test_one_whose_topics_turn_along_is_named_with_the_region_where_they_live_then(client: Client) -> None:
    world = a_world()
    await away(client, world)
    world.idle = ("reports",)
    result, steps = await back(client, world)
    assert steps["restore reports"] is StepState.SKIPPED
    assert "its topics turn to east with what shares a mirror link or a topic with it" in result.why
    assert result.next_commands[-1] == "tidegate restore reports --region east"


async def test_asked_not_to_it_brings_nothing_back(client: Client) -> None:
    world = a_world()
    await away(client, world)
    result, _ = await back(client, world, bring_back=False)
    assert result.outcome is Outcome.DONE
    assert "reports stays stopped: as was asked" in result.why
    assert world.worlds["reports"].job_state == "FINISHED"


async def test_in_a_region_that_is_given_up_nothing_is_started(client: Client) -> None:
    world = a_world()
    await away(client, world)
    result, _ = await back(client, world, unplanned=True)
    assert result.outcome is Outcome.DONE
    assert "reports stays stopped: west is given up" in result.why
    assert world.worlds["reports"].job_state == "FINISHED"
    assert "look_gave_way" not in {name for name, _ in world.told[world.told.index(("shut_home", "a")) :]}


async def test_i7_aborted_before_the_turn_what_made_way_runs_again(client: Client) -> None:
    """Undone is the world as before: also for those that made way for nothing."""
    world = a_world()
    block = Block()
    world.will("cut_group", "", block)
    async with region(client, world, room="shed", deployments=("a",)) as run:
        await block.entered.wait()
        assert world.worlds["reports"].job_state == "FINISHED"
        world.free = dict(WEST_FREE)
        await run.update("abort", why="not now")
        result = await run.failed("Undone")
    assert result.summary == "0 of 1 deployments of east run in west; reports came back"
    assert (world.worlds["a"].region_now, world.worlds["reports"].job_state) == ("east", "RUNNING")


async def test_o16_a_failover_that_dies_leaves_the_word_in_the_record_and_the_failback_reads_it(
    client: Client,
) -> None:
    world = a_world()
    block = Block()
    world.will("close_group", "", block)
    async with region(client, world, room="shed", deployments=("a",)) as run:
        await block.entered.wait()
        await run.handle.terminate("somebody has terminated it")
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            await client.get_workflow_handle(left.id).terminate("and its member")
        block.released.set()
    world.worlds["a"].record = world.worlds["a"].record.model_copy(update={"holder": None})
    world.others, world.slots = (), [8]
    async with region(client, world, deployments=("a",)) as run:
        assert (await run.done()).outcome is Outcome.DONE
    result, steps = await back(client, world)
    assert result.outcome is Outcome.DONE
    assert steps["restore reports"] is StepState.OK


async def test_one_that_comes_back_goes_on_by_itself_if_the_failback_dies(client: Client) -> None:
    world = a_world()
    await away(client, world)
    block = Block()
    world.will("ensure_running", "reports", block)
    world.free = dict(WEST_FREE)
    async with region(client, world, **HOME) as run:
        await block.entered.wait()
        await run.handle.terminate("somebody has terminated it")
        block.released.set()

        async def restored() -> None:
            assert ("release", "reports") in world.told[world.told.index(("ensure_running", "reports")) :]

        await eventually(restored)
        async for one in client.list_workflows(f"WorkflowType = '{FAILOVER_REGION}'"):
            assert one.status is not WorkflowExecutionStatus.RUNNING
    assert world.worlds["reports"].job_state == "RUNNING"


async def test_those_that_ran_with_fewer_subtasks_run_at_home_as_the_fleet_file_says(client: Client) -> None:
    world = RegionWorld({})
    world.worlds = {name: MemberWorld(name, tier, slots=2) for name, tier in (("a", 0), ("b", 1))}
    world.families = (("a", "b"),)
    world.slots = [3]
    async with region(client, world, room="lower") as run:
        await run.done()
    runs = {name: one.record.writer.parallelism for name, one in world.worlds.items() if one.record.writer}
    assert runs == {"a": 2, "b": 1}
    world.slots = [8]
    async with region(client, world, **HOME, room="lower", dry_run=True) as run:
        planned = await run.done()
    assert [one.summary for one in planned.members] == [
        "tier 0, west/cell-1 -> east/cell-1 with 2 slots, goes at once",
        "tier 1, west/cell-1 -> east/cell-1 with 2 slots, 1 until now, goes at once",
    ]
    async with region(client, world, **HOME) as run:
        await run.done()
    runs = {name: one.record.writer.parallelism for name, one in world.worlds.items() if one.record.writer}
    assert runs == {"a": 2, "b": 2}


async def test_smaller_slots_are_named_in_the_plan_and_before_anything_is_begun(client: Client) -> None:
    world = RegionWorld({"a": 0})
    world.memory = ("a: the slots in west/cell-1 have less memory than those in east/cell-1",)
    async with region(client, world, dry_run=True) as run:
        assert (await run.done()).why == world.memory[0]
    async with region(client, world) as run:
        assert (await run.done()).outcome is Outcome.DONE, "Flink starts it all the same"
        status = await run.status()
    assert world.memory[0] in status.steps[0].fact


async def test_x24_escalated_nothing_is_started_in_the_region_that_is_given_up(client: Client) -> None:
    world = a_world()
    await away(client, world)
    block = Block()
    world.will("stop_deployment", "a", block)
    world.free = dict(WEST_FREE)
    async with region(client, world, **HOME) as run:
        await block.entered.wait()
        await run.update("escalate", why="west has just gone")
        result = await run.done()
    assert result.outcome is Outcome.DONE
    assert "reports stays stopped: west is given up" in result.why
    assert world.worlds["reports"].job_state == "FINISHED"


async def test_one_that_cannot_be_stopped_runs_on_and_nothing_is_begun_for_which_there_is_no_room(
    client: Client,
) -> None:
    world = a_world()
    world.will("take", "reports", errors.Held("reports is held by upgrade-reports-1"))
    async with region(client, world, room="shed", room_wait_s=0, deployments=("a",)) as run:
        result = await run.failed("Undone")
        status = await run.status()
    assert [(one.outcome, one.why) for one in result.members] == [(Outcome.UNDONE, "no slots in west for it")]
    assert next(row.state for row in status.steps if row.name == "stop reports") is StepState.FAILED
    assert not {"close_group", "stop_deployment", "look_gave_way"} & {name for name, _ in world.told}
    assert (world.worlds["a"].job_state, world.worlds["reports"].job_state) == ("RUNNING", "RUNNING")
