"""GameDay: they go, they are watched, and whatever happens they come back, or it is said where they are."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, start_server, workers
from tests.kit.temporal_world_facts import AT, Block
from tests.kit.temporal_world_gameday import GameDayWorld
from tidegate import errors
from tidegate.model.failover import Answers, MirrorBackFact
from tidegate.model.gameday import GAME_DAY, GameDayFacts, GameDayInput, Rule, Trip
from tidegate.model.notice import Event, Severity
from tidegate.model.operation import Outcome, Phase, StepState, Verdict
from tidegate.model.region import GroupStep
from tidegate.model.steps import ReportInput
from tidegate.names import CONTROL_QUEUE
from workflows import game_day

BOTH = ("east", "west")
RESTARTS = Trip(rule=Rule.RESTARTS, deployment="a", at=AT, what="a restarted 3 times (limit 2)")


@contextlib.asynccontextmanager
async def playing(client: Client, world: GameDayWorld, **fields: Any) -> AsyncIterator[Run]:
    """A game day from the east in the west, on workers of this world; what is left running is terminated."""
    request = GameDayInput.model_validate(
        {
            "region": "east",
            "to": "west",
            "deployments": tuple(world.worlds),
            "stay_s": 5,
            "bake_s": 1,
            "requested_by": "ana",
            **fields,
        }
    )
    async with workers(client, world, BOTH):
        handle = await client.start_workflow(
            GAME_DAY, request, id=f"game-day-region-east-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
        )
        yield Run(handle)
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(left.id).terminate("the test is over")


def told(world: GameDayWorld) -> tuple[ReportInput, GameDayFacts]:
    """Its report."""
    report = next(one for one in world.requests["write_report"] if one.runbook == GAME_DAY)
    assert report.game_day is not None
    return report, report.game_day


def ways(world: GameDayWorld) -> list[tuple[str, str]]:
    """Each failover that was begun, from where to where."""
    return [(one.region, one.to) for one in world.requests["look_group"]]


THERE, BACK = ("east", "west"), ("west", "east")


async def test_they_go_stay_under_watch_and_come_back(client: Client) -> None:
    world = GameDayWorld({"a": 0, "b": 1})
    async with playing(client, world) as run:
        result = await run.done()
        status = await run.status()
    assert result.outcome is Outcome.DONE
    assert result.summary == ("a, b ran in west for 5 s and are back in east: gap 4.2 s there, gap 4.2 s back, 0/0/0")
    assert ways(world) == [THERE, BACK]
    assert world.where() == {"east"}
    assert [row.state for row in status.steps] == [StepState.OK] * len(game_day.STEPS)
    report, facts = told(world)
    assert report.deployment == "region-east"
    assert report.verdict is not None
    assert report.verdict.text == "0/0/0"
    assert facts.there is not None
    assert (facts.there.gap_s, facts.back[0].gap_s) == (4.2, 4.2)
    assert facts.there.rto_s is not None
    assert [sample.lag for sample in facts.samples if sample.deployment == "a"] == [10, 20]
    assert facts.stands == ("a runs in east/cell-1, epoch 9", "b runs in east/cell-1, epoch 9")
    on_the_way, there = world.requests["watch_game_day"]
    assert on_the_way.jobs is None
    assert set(there.jobs) == {"a", "b"}
    assert (there.until - there.began).total_seconds() == 5


async def test_a_dry_run_looks_both_ways_and_moves_nothing(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    async with playing(client, world, dry_run=True) as run:
        result = await run.done()
    assert result.outcome is Outcome.PLANNED
    assert "would move a from east to west, leave them there for 5 s under watch, and bring them back" in result.summary
    assert "gap 300 s, lag 300 s, restarts 2" in result.summary
    assert {name for name, _ in world.told} == {"look_at_game_day"}


@pytest.mark.parametrize("error", [errors.Refused("an incident is open: x"), errors.Held("a is held by upgrade-a-1")])
async def test_what_could_not_come_back_or_is_held_does_not_go(client: Client, error: errors.Refused) -> None:
    world = GameDayWorld({"a": 0})
    world.will("look_at_game_day", "", error)
    async with playing(client, world) as run:
        result = await run.failed(type(error).__name__)
    assert result.outcome is Outcome.REFUSED
    assert error.message in result.why
    assert ways(world) == []


# -- rules


async def test_i7_a_rule_that_trips_while_they_are_there_brings_them_back_at_once(client: Client) -> None:
    world = GameDayWorld({"a": 0, "b": 1})
    world.trip = RESTARTS
    async with playing(client, world, stay_s=3_600) as run:
        result = await run.failed("Undone")
        status = await run.status()
    assert result.summary == "game day stopped: rule restarts; back as it was: 0/0/0"
    assert result.why == RESTARTS.text
    assert ways(world) == [THERE, BACK]
    assert world.where() == {"east"}
    rows = {row.name: row.state for row in status.steps}
    assert rows == {
        "observe": StepState.OK,
        "fail over": StepState.OK,
        "watch": StepState.FAILED,
        "fail back": StepState.OK,
        "prove": StepState.OK,
        "conclude": StepState.OK,
    }
    _, facts = told(world)
    assert facts.trips == (RESTARTS,)
    assert facts.stopped == RESTARTS.text
    assert facts.samples
    ended = [one for one in world.notices if one.runbook == GAME_DAY]
    assert [(one.event, one.severity) for one in ended] == [(Event.DRILL_FAILED, Severity.ERROR)]


async def test_i7_a_gap_on_the_way_has_the_failover_go_back_before_its_point_of_no_return(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("cut_group", "", block)
    gap = Trip(rule=Rule.GAP, deployment="a", at=AT, what="a has had no output for 12.0 s (limit 10 s)")

    async def when_closed() -> None:
        await block.entered.wait()
        world.trip_moving = gap

    world.will("watch_game_day", "", when_closed)
    async with playing(client, world, max_gap_s=10) as run:
        result = await run.failed("Undone")
    assert result.summary == "game day stopped: rule gap; back as it was: 0/0/0"
    assert result.why == gap.text
    assert ways(world) == [THERE]
    assert ("reopen_group", "") in world.told
    assert world.where() == {"east"}
    assert [one.outcome for one in result.members] == [Outcome.UNDONE]
    assert gap.text in result.members[0].why


async def test_a_gap_or_a_verdict_at_the_end_of_the_way_ends_the_stay_before_it_begins(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    async with playing(client, world, max_gap_s=4) as run:
        result = await run.failed("Undone")
    assert result.summary == "game day stopped: rule gap; back as it was: 0/0/0"
    assert "rule gap: a had a gap of 4.2 s on the way to west (limit 4 s)" in result.why
    assert [one.jobs for one in world.requests["watch_game_day"]] == [None]
    assert world.where() == {"east"}


async def test_i2_a_bad_verdict_brings_them_back_and_is_not_called_as_it_was(client: Client) -> None:
    world = GameDayWorld({"a": 0, "b": 0})
    world.worlds["b"].verdict = Verdict(audited=True, duplicated=2)
    async with playing(client, world) as run:
        result = await run.failed("BadVerdict")
    assert result.outcome is Outcome.BAD_VERDICT
    assert "0/2/0" in result.summary
    assert "rule verdict: b has a bad verdict on the way to west: 0/2/0" in result.why
    assert world.where() == {"east"}
    assert any(one.runbook == GAME_DAY and one.event is Event.BAD_VERDICT for one in world.notices)


async def test_a_rule_that_is_broken_on_the_way_back_is_told_though_there_is_nothing_to_stop(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    good = Verdict(audited=True, gap_ms=1_000.0)
    world.worlds["a"].verdict = good

    async def longer() -> None:
        world.worlds["a"].verdict = good.model_copy(update={"gap_ms": 9_000.0})

    world.will("watch_game_day", "", None, longer)
    async with playing(client, world, max_gap_s=5) as run:
        result = await run.failed("Undone")
    assert result.summary == "game day went to its end, but broke rule gap; back as it was: 0/0/0"
    assert result.why.startswith("rule gap: a had a gap of 9.0 s on the way back to east (limit 5 s)")
    assert world.where() == {"east"}


async def test_a_job_that_is_being_restarted_is_stopped_when_it_runs_again(client: Client) -> None:
    """It cannot be stopped with a savepoint before: a failover would be in vain, and cost a pause."""
    world = GameDayWorld({"a": 0})
    world.trip = RESTARTS

    async def restarting() -> None:
        world.worlds["a"].job_state = "DEPLOYING"

    world.will("watch_game_day", "", None, restarting)
    async with playing(client, world) as run:

        async def waits() -> None:
            assert "a is DEPLOYING in west/cell-1" in (await run.status()).waiting_for

        await eventually(waits)
        assert ways(world) == [THERE]
        world.worlds["a"].job_state = "RUNNING"
        result = await run.failed("Undone")
    assert result.summary == "game day stopped: rule restarts; back as it was: 0/0/0"
    assert ways(world) == [THERE, BACK]


# -- one command that stops and goes back


@pytest.mark.parametrize("cancel", [False, True])
async def test_abort_while_they_are_there_brings_them_back(client: Client, cancel: bool) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("watch_game_day", "", None, block)
    async with playing(client, world) as run:
        await block.entered.wait()
        if cancel:
            await run.handle.cancel(reason="enough")
        else:
            assert await run.update("abort", why="enough") == "goes back to east"
        result = await run.failed("Undone")
    assert "enough" in result.why
    assert result.summary == "game day stopped: abort; back as it was: 0/0/0"
    assert ways(world) == [THERE, BACK]
    assert world.where() == {"east"}
    rows = {row.name: row for row in told(world)[0].steps}
    assert (rows["watch"].state, "enough" in rows["watch"].fact) == (StepState.FAILED, True)


async def test_abort_on_the_way_has_the_failover_go_back(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("cut_group", "", block)
    async with playing(client, world) as run:
        await block.entered.wait()
        assert "what has not turned stays where it is" in await run.update("abort", why="wrong day")
        result = await run.failed("Undone")
    assert ways(world) == [THERE]
    assert ("reopen_group", "") in world.told
    assert "wrong day" in result.why
    assert world.where() == {"east"}


async def test_x24_abort_when_the_topics_have_turned_lets_the_failover_end_and_then_fails_back(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("open_group", "", block)
    async with playing(client, world) as run:
        await block.entered.wait()
        await run.update("abort", why="wrong day")
        block.released.set()
        result = await run.failed("Undone")
    assert ways(world) == [THERE, BACK]
    assert world.where() == {"east"}
    assert "back as it was: 0/0/0" in result.summary
    assert len(world.requests["watch_game_day"]) == 1, "they do not stay"


async def test_abort_before_anything_was_begun_changes_nothing(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("look_at_game_day", "", block)
    async with playing(client, world) as run:
        await block.entered.wait()
        await run.update("abort")
        result = await run.failed("Undone")
    assert result.summary == "nothing was changed"
    assert ways(world) == []


# -- what goes wrong


async def test_one_family_that_does_not_go_ends_it_and_the_other_comes_back(client: Client) -> None:
    world = GameDayWorld({"a": 0, "b": 0}, families=(("a",), ("b",)))
    world.will("stop_deployment", "b", errors.SavepointFailed("no space"))
    async with playing(client, world) as run:
        result = await run.failed("Undone")
    assert "rule failover: b on the way to west: undone" in result.why
    assert [one.deployments for one in world.requests["look_group"]] == [("a", "b"), ("a",)]
    assert world.where() == {"east"}


async def test_a_way_back_that_fails_calls_a_person_and_says_where_they_are(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    world.will("watch_game_day", "", None, lambda: _refuse_home(world))
    async with playing(client, world) as run:
        status = await run.phase(Phase.HALTED)
        assert status.why.startswith("a runs in west/cell-1, epoch 8, and not back in east: nothing was changed")
        assert "Kafka in west: no answer" in status.why
        assert status.next_commands == (
            f"tidegate ops resume {run.handle.id}",
            "tidegate failover region west --to east --deployment a",
        )

        async def paged() -> None:
            halts = [one for one in world.notices if one.event is Event.HALTED and one.runbook == GAME_DAY]
            assert [one.severity for one in halts] == [Severity.CRITICAL]
            assert halts[0].commands == status.next_commands

        await eventually(paged)
        world.home = Answers(region="west")
        assert await run.update("abort") == "the way back is tried again"
        result = await run.failed("Undone")
    assert world.where() == {"east"}
    assert "back as it was" in result.summary


async def test_i6_when_nobody_comes_in_a_day_it_ends_and_says_where_they_are() -> None:
    world = GameDayWorld({"a": 0})
    world.will("watch_game_day", "", None, lambda: _refuse_home(world))
    async with await start_server(time_skipping=True) as env, playing(env.client, world) as run:
        result = await run.failed("BadVerdict")
    assert result.outcome is Outcome.BAD_VERDICT
    assert result.summary == "game day NOT back: a runs in west/cell-1, epoch 8"
    assert "Kafka in west: no answer" in result.why
    assert result.next_commands == ("tidegate failover region west --to east --deployment a",)
    assert any(one.event is Event.BAD_VERDICT and one.severity is Severity.CRITICAL for one in world.notices)


async def _refuse_home(world: GameDayWorld) -> None:
    world.home = Answers(region="west", kafka="no answer")


async def test_brought_back_by_hand_it_sees_so_and_concludes(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    world.will("watch_game_day", "", None, lambda: _refuse_home(world))
    async with playing(client, world) as run:
        await run.phase(Phase.HALTED)
        world.worlds["a"].region_now = "east"
        world.links = {"east-to-west": "RUNNING", "west-to-east": "STOPPED"}
        await run.update("resume")
        result = await run.failed("Undone")
        rows = {row.name: row for row in (await run.status()).steps}
    assert "back as it was" in result.summary
    assert rows["fail back"].fact.startswith("brought back by hand")


async def test_what_is_not_as_it_was_is_named(client: Client) -> None:
    class NeverMirrored(GameDayWorld):
        def _mirror_group(self, request: GroupStep) -> MirrorBackFact:
            self.links = dict.fromkeys(self.links, "STOPPED")
            return MirrorBackFact(started=request.topics.back)

    world = NeverMirrored({"a": 0})
    async with playing(client, world) as run:
        result = await run.failed("BadVerdict")
    assert "mirror link east-to-west is STOPPED" in result.why
    assert result.summary == "game day back in east, and not as it was: 0/0/0"


async def test_o8_somebody_else_who_moves_one_of_them_goes_first(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    taken = Trip(rule=Rule.TAKEN, deployment="a", at=AT, what="a was moved or restarted by restore-a-1")
    world.trip = taken
    async with playing(client, world) as run:
        result = await run.failed("Superseded")
    assert ways(world) == [THERE]
    assert result.summary == "game day given up, somebody else acts: a runs in west/cell-1, epoch 8"
    assert result.next_commands == ("tidegate failover region west --to east --deployment a",)
    assert any(one.event is Event.DRILL_FAILED and one.runbook == GAME_DAY for one in world.notices)


async def test_o8_one_that_was_taken_over_on_its_way_is_not_taken_back(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    world.will("prove", "a", errors.Superseded("a was taken over by restore-a-1"))
    async with playing(client, world) as run:
        result = await run.failed("Superseded")
    assert ways(world) == [THERE]
    assert "a was taken over" in result.why


async def test_o17_all_workers_die_while_they_are_there_and_it_goes_on(client: Client) -> None:
    """Each way is begun once."""
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("watch_game_day", "", None, block)
    request = GameDayInput(region="east", to="west", deployments=("a",), stay_s=5, bake_s=1)
    async with workers(client, world, BOTH):
        handle = await client.start_workflow(
            GAME_DAY, request, id=f"game-day-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
        )
        await block.entered.wait()
    assert world.where() == {"west"}
    async with workers(client, world, BOTH):
        result = await Run(handle).done()
    assert result.outcome is Outcome.DONE
    assert ways(world) == [THERE, BACK]
    assert len({one.operation for one in world.requests["look_group"]}) == 2
    assert len(world.requests["watch_game_day"]) == 3, "the watch there was begun again"


async def test_o13_the_way_back_of_what_was_approved_waits_for_no_signature(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    world.approvals = ("a",)
    world.worlds["a"].approval_required = True
    async with playing(client, world) as run:

        async def waits() -> str:
            children = [one async for one in client.list_workflows("WorkflowType = 'FailoverMember'")]
            running = [one.id for one in children if one.status is not None and one.status.name == "RUNNING"]
            assert running
            member = Run(client.get_workflow_handle(running[0]))
            status = await member.phase(Phase.WAITING_FOR_APPROVAL)
            assert status.plan is not None
            await member.update("approve", plan_hash=status.plan.hash)
            return running[0]

        await eventually(waits)
        result = await run.done()
    assert result.outcome is Outcome.DONE
    reports = [one for one in world.requests["write_report"] if one.runbook == "FailoverDeployment"]
    assert [one.break_glass is not None for one in reports] == [False, True]
    assert "approved with the way there" in reports[-1].break_glass


async def test_nothing_to_resume_is_refused(client: Client) -> None:
    world = GameDayWorld({"a": 0})
    block = Block()
    world.will("look_at_game_day", "", block)
    async with playing(client, world) as run:
        await block.entered.wait()
        with pytest.raises(WorkflowUpdateFailedError):
            await run.update("resume")
        await run.update("abort")
        await run.failed("Undone")
