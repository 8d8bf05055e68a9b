"""FailoverDeployment, unplanned: there is no way back; from planned to unplanned; the end of one that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import start_server, workers
from tests.kit.temporal_failover import END, GO_ON, LOOK, LOST, TAKE, facts_of, failover, lives, refusal, two_regions
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT, POINT, artifact, writer
from tidegate import errors
from tidegate.cli.follow import print_end
from tidegate.model.operation import Outcome, Phase, StepState
from tidegate.model.record import StartIntent
from tidegate.model.recovery import Strength
from tidegate.model.steps import RestoreFrom, Unfinished


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    async with two_regions(client) as made:
        yield made


# -- unplanned


async def test_unplanned_it_goes_on_from_the_newest_recovery_point(client: Client, world: World) -> None:
    world.silent = LOST
    result = await (await failover(client, unplanned=True)).done()
    assert result.outcome is Outcome.DONE
    assert world.names() == [*LOOK, *TAKE, "close_producers", "shut_home", "cut_over", *GO_ON, *END]
    (rebase,) = world.requests("rebase_copy")
    assert rebase.snapshot == POINT.snapshot
    assert {one.unplanned for name in ("close_producers", "shut_home", "cut_over") for one in world.requests(name)} == {
        True
    }
    lives(world, "west")


async def test_x14_the_report_says_what_keeps_the_old_job_from_committing(client: Client, world: World) -> None:
    world.silent = LOST
    await (await failover(client, unplanned=True)).done()
    facts = facts_of(world)
    assert (facts.planned, facts.strength, facts.point) == (False, Strength.SUPERSEDED, POINT.id)
    assert facts.state_as_of == AT
    assert facts.rpo_s is not None


async def test_what_is_known_to_be_gone_is_not_asked_until_a_person_says_go_on(client: Client, world: World) -> None:
    world.silent = LOST
    world.will("shut_home", errors.NoProgress("the mirror is not shut"))
    run = await failover(client, unplanned=True)
    await run.phase(Phase.HALTED)
    world.silent = {}
    await run.update("resume")
    await run.done()
    told = [request.answers for name in ("close_producers", "shut_home") for request in world.requests(name)]
    assert [answers is not None and not answers.all for answers in told] == [True, False, True, False]
    assert world.requests("cut_over")[0].answers is None


async def test_the_point_that_was_asked_for_is_asked_for_in_every_step(client: Client, world: World) -> None:
    world.silent = LOST
    await (await failover(client, unplanned=True, point=POINT.id)).done()
    assert {one.point for name in ("look_regions", "shut_home") for one in world.requests(name)} == {POINT.id}


@pytest.mark.parametrize("step", ["close_producers", "shut_home", "cut_over", "rebase_copy", "ensure_running"])
async def test_x24_unplanned_there_is_no_way_back(client: Client, world: World, step: str) -> None:
    world.silent = LOST
    world.will(step, errors.Refused("not yet"))
    run = await failover(client, unplanned=True)
    assert (await run.phase(Phase.HALTED)).why == "not yet"
    assert "given up" in await refusal(run, "abort")
    block = world.block(step)
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert "reopen_home" not in world.names()
    assert "stop_deployment" not in world.names()
    lives(world, "west")


async def test_a_cancel_does_not_make_a_way_back(client: Client, world: World) -> None:
    world.silent = LOST
    block = world.block("shut_home")
    run = await failover(client, unplanned=True)
    await block.entered.wait()
    await run.handle.cancel(reason="typo")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE


async def test_x22_what_the_state_has_read_and_has_not_come_stands_at_the_end_beside_the_verdict(
    client: Client, world: World
) -> None:
    world.silent, world.ahead_of_mirror = LOST, ("7 input records that its state has read have not come",)
    result = await (await failover(client, unplanned=True)).done()
    assert result.summary.endswith("; 7 input records that its state has read have not come")
    assert world.ahead_of_mirror[0] in facts_of(world).notes


async def test_x22_a_verdict_of_one_region_on_a_state_that_is_ahead_does_not_look_like_a_failover_that_failed(
    client: Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.silent, world.ahead_of_mirror = LOST, ("7 input records that its state has read have not come",)
    world.verdict = world.verdict.model_copy(update={"wrong": 7})
    result = await (await failover(client, unplanned=True)).failed("BadVerdict")
    assert result.outcome.exit_code == 7, "nobody has seen that its output is right"
    assert result.why.startswith("the failover is done, and nothing of it is to be undone: ledger runs in west.")
    assert "the return of east gives the verdict over both; bad verdict: lost 0" in result.why
    assert "7 input records that its state has read have not come" in result.summary
    assert result.next_commands == ("tidegate return region east",)
    print_end(result)
    shown = capsys.readouterr().out
    assert "next       tidegate return region east" in shown
    assert "go back" not in shown


async def test_x5_without_a_point_each_is_named_with_what_stands_against_it(client: Client, world: World) -> None:
    world.silent = LOST
    world.points = (POINT.model_copy(update={"problem": "a file is missing"}),)
    result = await (await failover(client, unplanned=True)).failed("Refused")
    assert "e7-chk-12: a file is missing" in result.why
    assert "take" not in world.names()


async def test_o13_another_point_than_the_approved_one_voids_the_approval(client: Client, world: World) -> None:
    world.silent = LOST
    run = await failover(client, unplanned=True, require_approval=True)
    plan = (await run.phase(Phase.WAITING_FOR_APPROVAL)).plan
    assert plan is not None
    assert plan.basis.snapshot == POINT.snapshot
    world.points = (POINT.model_copy(update={"id": "e7-chk-14", "snapshot": "s3://west/x/chk-14"}),)
    await run.update("approve", plan_hash=plan.hash)
    await run.failed("BasisChanged")
    assert "close_producers" not in world.names()


# -- from planned to unplanned


@pytest.mark.parametrize("step", ["close_producers", "stop_deployment", "ship_snapshot"])
async def test_in_mid_run_it_is_escalated_by_a_person(client: Client, world: World, step: str) -> None:
    if step == "ship_snapshot":
        world.will(step, None)
    block = world.block(step)
    run = await failover(client)
    await block.entered.wait()
    world.silent = LOST
    assert "unplanned" in await run.update("escalate", why="east burns")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    tail = world.names()[-len([*GO_ON, *END]) - 3 :]
    assert tail == ["close_producers", "shut_home", "cut_over", *GO_ON, *END]
    for name in ("close_producers", "shut_home", "cut_over", "rebase_copy"):
        assert world.requests(name)[-1].answers is None, "what answered at the plan may be gone: it is asked anew"
    assert facts_of(world).planned is False
    assert world.requests("rebase_copy")[-1].snapshot == POINT.snapshot
    lives(world, "west")


async def test_in_the_cut_it_is_escalated_by_a_person(client: Client, world: World) -> None:
    block = world.block("cut_over")
    run = await failover(client)
    await block.entered.wait()
    world.silent = LOST
    await run.update("escalate", why="east burns")
    assert (await run.done()).outcome is Outcome.DONE
    assert [request.unplanned for request in world.requests("cut_over")] == [False, True]
    assert facts_of(world).planned is False
    lives(world, "west")


async def test_a_cut_that_comes_to_its_end_all_the_same_gives_nothing_up(client: Client, world: World) -> None:
    entered = asyncio.Event()

    async def finish_all_the_same() -> None:
        entered.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()

    world.will("cut_over", finish_all_the_same)
    run = await failover(client)
    await entered.wait()
    await run.update("escalate", why="east burns")
    assert (await run.done()).outcome is Outcome.DONE
    assert "shut_home" not in world.names()
    assert facts_of(world).planned is True
    lives(world, "west")


async def test_halted_it_is_escalated_by_a_person(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.NoProgress("the savepoint did not come"))
    run = await failover(client)
    await run.phase(Phase.HALTED)
    world.silent = LOST
    block = world.block("shut_home")
    await run.update("escalate", why="east burns")
    await block.entered.wait()
    status = await run.status()
    assert (status.phase, status.why) == (Phase.RUNNING, "escalated by bob: east burns")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert len(world.requests("stop_deployment")) == 1


async def test_paused_it_is_escalated_by_a_person(client: Client, world: World) -> None:
    block = world.block("close_producers")
    run = await failover(client)
    await block.entered.wait()
    await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    world.silent = LOST
    await run.update("escalate")
    assert (await run.done()).outcome is Outcome.DONE
    assert "stop_deployment" not in world.names()


async def test_escalated_while_it_is_prepared_it_goes_on_unplanned(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await failover(client)
    await block.entered.wait()
    world.silent = LOST
    assert "goes on unplanned" in await run.update("escalate", why="east burns")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert facts_of(world).planned is False
    assert not {"ship_snapshot", "stop_deployment"} & set(world.names())
    lives(world, "west")


async def test_by_its_own_clock_it_is_escalated(client: Client, world: World) -> None:
    """It runs from the first step that leaves the region, and that step does not end: the clock comes in it."""
    world.block("ship_snapshot")
    run = await failover(client, escalate_after_s=0.5)
    assert (await run.done()).outcome is Outcome.DONE
    assert facts_of(world).planned is False
    rows = [row for row in world.reports[-1].steps if row.name != "conclude"]
    assert [row.name for row in rows if row.state is not StepState.OK] == ["ship"]
    (ship,) = [row for row in rows if row.name == "ship"]
    assert ship.fact == "not through with east in 0.5 s"


async def test_once_it_is_through_with_the_old_region_the_clock_does_nothing(client: Client, world: World) -> None:
    block = world.block("rebase_copy")
    run = await failover(client, escalate_after_s=3_600)
    await block.entered.wait()
    assert "started in the other region already" in await refusal(run, "escalate")
    timers = [event async for event in run.handle.fetch_history_events()]
    assert sum(event.HasField("timer_started_event_attributes") for event in timers) == 1
    assert sum(event.HasField("timer_canceled_event_attributes") for event in timers) == 1
    block.released.set()
    await run.done()
    assert facts_of(world).planned is True
    assert "shut_home" not in world.names()


async def test_an_escalation_before_anything_is_held_is_refused(client: Client, world: World) -> None:
    run = await failover(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert "nothing was begun yet" in await refusal(run, "escalate")
    assert "--unplanned" in await refusal(run, "escalate")


async def test_x24_on_the_way_back_it_cannot_be_escalated(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Kafka in east does not answer"))
    run = await failover(client, escalate_after_s=3_600)
    await run.phase(Phase.HALTED)
    refused = await refusal(run, "escalate")
    assert "being put back" in refused
    assert "--unplanned --take-over" in refused
    await run.handle.execute_update("resume", {"by": "bob"}, result_type=str)
    await run.failed("Undone")
    lives(world, "east")


async def test_the_clock_does_not_wake_a_halted_way_back() -> None:
    """On a server that skips time while nothing runs: the clock comes when it stands halted, never before."""
    world = World()
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Kafka in east does not answer"))
    async with await start_server(time_skipping=True) as env, workers(env.client, world, ("east", "west")):
        run = await failover(env.client, escalate_after_s=600)
        await run.phase(Phase.HALTED)

        async def fired() -> None:
            history = [event async for event in run.handle.fetch_history_events()]
            assert any(event.HasField("timer_fired_event_attributes") for event in history)

        await eventually(fired)
        assert (await run.status()).phase is Phase.HALTED
        assert len(world.requests("reopen_home")) == 1


# -- the end of one that was lost


def _left_half_way(world: World, *, started: bool) -> None:
    """Its operation is lost behind the turn: the topics live in the west, closed; the east has been left."""
    world.unfinished = Unfinished(source="east", operation="failover-ledger-0ld", planned=False)
    world.closed, world.lives_in = {"payments", "balances"}, dict.fromkeys(("payments", "balances"), "west")
    if started:
        runs = writer("v1", 8).model_copy(update={"region": "west"})
        world.record = world.record.model_copy(update={"epoch": 8, "writer": runs})
    else:
        begun = StartIntent(
            id="s", step="ensure", n=1, job_id=f"{8:032x}", epoch=8, region="west", cell="cell-1",
            artifact=artifact("v1"), parallelism=2, snapshot="s3://west/savepoints/ledger/copy-7",
        )  # fmt: skip
        world.record = world.record.model_copy(update={"epoch": 8, "intents": (begun,)})
        world.began_from, world.job_state = begun.snapshot, None


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("to", [None, "west"])
async def test_o6_one_that_nobody_goes_on_with_is_ended_by_the_same_command(
    client: Client, world: World, to: str | None, started: bool
) -> None:
    """Without it nobody could ever write the topics again: they turn from a region only where they were opened."""
    _left_half_way(world, started=started)
    result = await (await failover(client, to=to, unplanned=True, take_over={"why": "Temporal is lost"})).done()
    assert result.outcome is Outcome.DONE
    begin_again = ["close_producers", "ensure_running", "open_producers", "prove", "mirror_back"]
    assert world.names() == [LOOK[0], *LOOK, *TAKE[:-1], *begin_again, *END]
    assert world.requests("close_producers")[0].take_over is True
    wanted = None if started else RestoreFrom(until_epoch=7, snapshot="s3://west/savepoints/ledger/copy-7")
    assert world.requests("ensure_running")[0].restore == wanted
    assert (facts_of(world).source, facts_of(world).target, facts_of(world).planned) == ("east", "west", False)
    lives(world, "west")


async def test_o6_one_that_has_not_ended_is_named_with_what_ends_it(client: Client, world: World) -> None:
    """Not "it lives in west already": nothing there is written."""
    for to in (None, "west", "east"):
        _left_half_way(world, started=True)
        result = await (await failover(client, to=to)).failed("Refused")
        assert "failover-ledger-0ld has turned topics of ledger from east to west and not opened them" in result.why
        assert "tidegate failover deployment ledger --to west --take-over --why TEXT" in result.why
        assert world.names("locate", "observe", "look_regions", "write_report") == []
        world.calls.clear()


async def test_x24_what_fails_while_it_is_ended_halts_and_never_goes_back(client: Client, world: World) -> None:
    _left_half_way(world, started=True)
    world.will("ensure_running", errors.StartRejected("no slot"))
    run = await failover(client, take_over={"why": "lost"})
    await run.phase(Phase.HALTED)
    assert "too late" in await refusal(run, "abort")
    await run.update("resume")
    await run.done()
    assert "reopen_home" not in world.names()
