"""FailoverDeployment: the planned way and its way back, the unplanned way that has none, and from one to the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin, start_server, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT, POINT, artifact, writer
from tidegate import errors
from tidegate.cli.follow import print_end
from tidegate.errors import TidegateError
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput
from tidegate.model.groups import GroupFact, GroupLook
from tidegate.model.operation import Outcome, Phase, StepState
from tidegate.model.record import StartIntent
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.steps import RestoreFrom, Unfinished

LOOK = ["locate", "locate", "observe", "look_regions"]
TAKE = ["take", "observe", "look_regions", "prepare"]
LEAVE = ["ship_snapshot", "close_producers", "stop_deployment", "ship_snapshot", "cut_over"]
GO_ON = ["rebase_copy", "ensure_running", "open_producers", "prove", "mirror_back"]
MOVE_GROUPS = [*GO_ON[:2], "translate_groups", *GO_ON[2:]]
END = ["audit", "write_report", "release"]
SHOP = GroupLook(group="shop", topics=("balances",), partitions=2)
LOST = {"flink": "no answer within 5 s", "kafka": "connection refused", "s3": "no answer within 5 s"}


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """As the folder's, with a worker in each of the two regions."""
    made = World()
    async with workers(client, made, regions=("east", "west")):
        yield made
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(Exception):
                await client.get_workflow_handle(left.id).terminate("the test is over")


async def _failover(client: Client, **fields: Any) -> Run:
    return await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, **{"requested_by": "ana", "bake_s": 5, **fields})


async def _refused(run: Run, control: str) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await run.update(control)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return f"{cause.message} {cause.details}"


def _facts(world: World) -> FailoverFacts:
    found = world.reports[-1].failover
    assert found is not None
    return found


def _lives(world: World, region: str) -> None:
    """The job runs there, its topics live there, nobody is kept from writing them, and nobody holds the deployment."""
    assert world.record.writer is not None
    assert (world.record.writer.region, world.job_state) == (region, "RUNNING")
    assert set(world.lives_in.values()) == {region}
    assert world.closed == set()
    assert world.record.holder is None


# -- planned


async def test_planned_it_goes_on_in_the_other_region_with_its_topics_and_their_writers(
    client: Client, world: World
) -> None:
    result = await (await _failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary.startswith("v1 runs in west/cell-1 since")
    assert world.names() == [*LOOK, *TAKE, *LEAVE, *GO_ON, *END]
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    _lives(world, "west")


async def test_x22_what_the_state_has_read_and_has_not_come_stands_at_the_end_beside_the_verdict(
    client: Client, world: World
) -> None:
    world.silent, world.ahead_of_mirror = LOST, ("7 input records that its state has read have not come",)
    result = await (await _failover(client, unplanned=True)).done()
    assert result.summary.endswith("; 7 input records that its state has read have not come")
    assert world.ahead_of_mirror[0] in _facts(world).notes


async def test_x22_a_verdict_of_one_region_on_a_state_that_is_ahead_does_not_look_like_a_failover_that_failed(
    client: Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.silent, world.ahead_of_mirror = LOST, ("7 input records that its state has read have not come",)
    world.verdict = world.verdict.model_copy(update={"wrong": 7})
    result = await (await _failover(client, unplanned=True)).failed("BadVerdict")
    assert result.outcome.exit_code == 7, "nobody has seen that its output is right"
    assert result.why.startswith("the failover is done, and nothing of it is to be undone: ledger runs in west.")
    assert "the return of east gives the verdict over both; bad verdict: lost 0" in result.why
    assert "7 input records that its state has read have not come" in result.summary
    assert result.next_commands == ("tidegate return region east",)
    print_end(result)
    shown = capsys.readouterr().out
    assert "next       tidegate return region east" in shown
    assert "go back" not in shown


async def test_each_step_is_done_beside_the_region_that_it_touches(client: Client, world: World) -> None:
    await (await _failover(client)).done()
    queues = {name: queue.rpartition("-")[2] for name, queue, _ in world.calls}
    west = (
        "observe",
        "look_regions",
        "prepare",
        "cut_over",
        "rebase_copy",
        "ensure_running",
        "open_producers",
        "prove",
    )
    assert {queues[name] for name in west} == {"west"}
    assert {queues[name] for name in ("ship_snapshot", "stop_deployment")} == {"east"}
    assert [request.at for request in world.requests("stop_deployment")] == ["east/cell-1"]
    for name in ("cut_over", "rebase_copy", "ensure_running", "open_producers", "prove", "audit"):
        assert {request.at for request in world.requests(name)} == {"west/cell-1"}, name


async def test_x20_it_starts_from_the_copy_of_what_the_stop_left(client: Client, world: World) -> None:
    await (await _failover(client)).done()
    ahead, of_the_stop = (request.snapshot for request in world.requests("ship_snapshot"))
    assert ahead is None, "the newest checkpoint, while it runs"
    assert of_the_stop == "s3://east/savepoints/ledger/e00000007-x/savepoint-1"
    (rebase,) = world.requests("rebase_copy")
    assert rebase.snapshot.startswith("s3://west/savepoints/ledger/from-east/")
    (start,) = world.requests("ensure_running")
    copy = f"s3://west/savepoints/ledger/copy-{rebase.snapshot.rpartition('/')[2]}"
    assert start.restore == RestoreFrom(until_epoch=7, snapshot=copy)


async def test_x18_where_the_producers_stopped_is_where_the_old_region_ends(client: Client, world: World) -> None:
    await (await _failover(client)).done()
    (cut,) = world.requests("cut_over")
    assert cut.ends == {"payments/0": 100}
    order = world.names()
    assert order.index("close_producers") < order.index("stop_deployment") < order.index("cut_over")
    assert order.index("ensure_running") < order.index("open_producers") < order.index("mirror_back")


async def test_the_report_says_how_it_went(client: Client, world: World) -> None:
    await (await _failover(client, detected_at=(AT + timedelta(seconds=5)).isoformat())).done()
    facts = _facts(world)
    assert (facts.source, facts.target, facts.planned, facts.strength) == ("east", "west", True, Strength.STOPPED)
    assert facts.input_until == AT + timedelta(seconds=1)
    assert facts.rto_detected_s == 15.0
    assert facts.rpo_s is None, "planned: nothing is lost"
    assert facts.lineage_turn == 1


async def test_back_home_it_is_the_same_runbook_the_other_way(client: Client, world: World) -> None:
    await (await _failover(client)).done()
    world.calls.clear()
    result = await (await _failover(client)).done()
    assert result.summary.startswith("v1 runs in east/cell-1 since")
    (cut,) = world.requests("cut_over")
    assert (cut.home, cut.at, cut.topics.links) == ("west/cell-1", "east/cell-1", ("west-to-east",))
    _lives(world, "east")


async def test_a_dry_run_changes_nothing_and_shows_where_there_is_no_way_back(client: Client, world: World) -> None:
    plan = (await (await _failover(client, dry_run=True)).done()).plan
    assert plan is not None
    assert [step.name for step in plan.steps] == [
        "observe", "ship", "close", "stop", "cut", "start v1", "open", "prove", "mirror", "conclude",
    ]  # fmt: skip
    assert [step.name for step in plan.steps if step.no_return] == ["open", "prove", "mirror", "conclude"]
    assert world.names() == LOOK


async def test_what_is_sent_ahead_is_only_time(client: Client, world: World) -> None:
    world.will("ship_snapshot", errors.SnapshotIncomplete("two checkpoints vanished"))
    run = await _failover(client)
    assert (await run.done()).outcome is Outcome.DONE
    (row,) = [row for row in (await run.status()).steps if row.name == "ship"]
    assert (row.state, row.fact) == (StepState.OK, "nothing sent ahead: two checkpoints vanished")


async def test_links_that_wait_for_the_other_region_are_told(client: Client, world: World) -> None:
    world.waiting = ("west-to-east: Connect in east does not answer",)
    result = await (await _failover(client)).done()
    assert result.next_commands == ("tidegate return region east",)


async def test_output_that_was_not_there_at_the_opening_is_looked_for_again_at_the_end(
    client: Client, world: World
) -> None:
    first, world.first_output_at = world.first_output_at, None
    block = world.block("mirror_back")
    run = await _failover(client)
    await block.entered.wait()
    world.first_output_at = first
    block.released.set()
    await run.done()
    assert len(world.requests("open_producers")) == 2
    assert _facts(world).rto_s is not None


# -- planned: the way back


@pytest.mark.parametrize(
    ("step", "plans"),
    [
        ("close_producers", [errors.OperationFailed("a broker is older than its topic")]),
        ("stop_deployment", [errors.SavepointFailed("no space")]),
        ("ship_snapshot", [None, errors.SnapshotIncomplete("a file is missing")]),
        ("cut_over", [errors.Refused("topic payments: somebody else turns it")]),
        ("rebase_copy", [errors.Refused("a start would read 3 records a second time")]),
        ("ensure_running", [errors.StartRejected("no such class")]),
    ],
)
async def test_i7_what_fails_before_the_opening_goes_back(
    client: Client, world: World, step: str, plans: list[TidegateError | None]
) -> None:
    world.will(step, *plans)
    result = await (await _failover(client)).failed("Undone")
    failed = next(plan for plan in plans if plan is not None)
    assert failed.message in result.why
    assert len(world.requests("reopen_home")) == 1
    assert "open_producers" not in world.names()
    back = world.names()[world.names().index("reopen_home") :]
    assert back == ["reopen_home", "ensure_running", "prove", "hold_gate", *END]
    assert {request.at for request in world.requests("prove")} == {"east/cell-1"}
    _lives(world, "east")


async def test_x18_what_came_late_after_the_reopening_is_told(client: Client, world: World) -> None:
    world.will("cut_over", errors.Refused("no"))
    world.gate_notes = ("User:p was denied payments in east again",)
    run = await _failover(client)
    await run.failed("Undone")
    (row,) = [row for row in (await run.status()).steps if row.name == "gate"]
    assert row.fact == "User:p was denied payments in east again"


async def test_i7_what_fails_at_the_stop_leaves_a_job_untouched(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    result = await (await _failover(client)).failed("Undone")
    assert result.summary == "v1 runs on, untouched in east/cell-1, epoch 7"
    assert "ensure_stopped" not in world.names(), "nothing was tried in the west"


async def test_x24_a_start_that_did_not_hold_is_ended_there_before_it_runs_at_home(
    client: Client, world: World
) -> None:
    world.will("ensure_running", errors.StartRejected("no such class"))
    await (await _failover(client)).failed("Undone")
    order = world.names()
    assert order.index("ensure_stopped") < order.index("reopen_home")
    assert [request.at for request in world.requests("ensure_stopped")] == ["west/cell-1"]
    assert [request.at for request in world.requests("ensure_running")] == ["west/cell-1", "east/cell-1"]


async def test_x24_one_that_has_committed_there_has_no_way_back(client: Client, world: World) -> None:
    async def committed_and_failed() -> None:
        assert world.record.writer is not None
        world._change(writer=world.record.writer.model_copy(update={"region": "west", "epoch": 8}), epoch=8)
        raise errors.StartRejected("it failed after its first checkpoint")

    world.will("ensure_running", committed_and_failed)
    run = await _failover(client)
    status = await run.phase(Phase.HALTED)
    assert "ledger has committed in west: there is no way back to east but a failback" in status.why
    assert "tidegate failover deployment ledger --to west --take-over --why TEXT" in status.why
    assert "reopen_home" not in world.names()
    assert "being put back" in await _refused(run, "abort")
    assert len(world.halts) == 1


async def test_o16_an_abort_before_the_opening_goes_back(client: Client, world: World) -> None:
    block = world.block("cut_over")
    run = await _failover(client)
    await block.entered.wait()
    await run.update("abort", why="wrong day")
    assert "aborted by bob: wrong day" in (await run.failed("Undone")).why
    _lives(world, "east")


async def test_an_abort_before_anything_was_closed_changes_nothing(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await _failover(client)
    await block.entered.wait()
    await run.update("abort")
    assert (await run.failed("Undone")).summary == "nothing was changed"
    assert "reopen_home" not in world.names()
    _lives(world, "east")


@pytest.mark.parametrize(
    ("step", "ways"),
    [
        ("close_producers", ["resume", "abort", "escalate"]),
        ("cut_over", ["resume", "abort", "escalate"]),
        ("rebase_copy", ["resume", "abort"]),
    ],
)
async def test_o9_what_nobody_can_decide_halts_and_may_go_back(
    client: Client, world: World, step: str, ways: list[str]
) -> None:
    world.will(step, errors.MustHalt("nobody can say"))
    run = await _failover(client)
    status = await run.phase(Phase.HALTED)
    assert [command.split()[2] for command in status.next_commands] == ways
    await run.update("abort", why="enough")
    result = await run.failed("Undone")
    assert "aborted by bob: enough (after: nobody can say)" in result.why
    assert world.halts[0].commands == status.next_commands
    _lives(world, "east")


async def test_o9_a_way_back_that_is_stuck_halts_and_is_taken_again(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Connect in west is not STOPPED"))
    run = await _failover(client)
    status = await run.phase(Phase.HALTED)
    assert [command.split()[2] for command in status.next_commands] == ["resume"]
    await run.update("resume")
    assert (await run.failed("Undone")).why.startswith("no space")
    assert len(world.requests("reopen_home")) == 2
    _lives(world, "east")


@pytest.mark.parametrize("step", [*LEAVE[1:3], "cut_over", *GO_ON])
async def test_o8_who_lost_the_fence_does_nothing_more(client: Client, world: World, step: str) -> None:
    world.will(step, errors.Superseded("fence 4 has become 5"))
    await (await _failover(client)).failed("Superseded")
    assert world.names()[-2:] == [step, "write_report"], "the report says it; nothing else is done"
    assert "reopen_home" not in world.names()


# -- consumer groups (X25)


async def test_x25_consumer_groups_are_moved_before_anybody_writes_there(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    run = await _failover(client)
    result = await run.done()
    assert world.names() == [*LOOK, *TAKE, *LEAVE, *MOVE_GROUPS, *END]
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    (moved,) = _facts(world).groups
    assert (moved.group, moved.put, moved.left) == ("shop", 2, ())
    (row,) = (step for step in world.reports[-1].steps if step.name == "groups")
    assert (row.state, row.fact) == (StepState.OK, "shop: goes on where it stood (2 partitions); nothing comes again")
    assert {queue.rpartition("-")[2] for name, queue, _ in world.calls if name == "translate_groups"} == {"west"}


async def test_x25_the_plan_says_how_each_group_would_go_on(client: Client, world: World) -> None:
    busy = SHOP.model_copy(update={"live": True})
    world.groups = (busy,)
    result = await (await _failover(client, dry_run=True)).done()
    assert result.plan is not None
    (step,) = (step for step in result.plan.steps if step.name == "groups")
    assert "consumer groups go on in west where they stood: shop: 2 partitions of balances, exactly" in step.what
    assert any("SOMEBODY IS IN IT THERE" in note for note in result.plan.notes)
    assert "translate_groups" not in world.names()


async def test_x25_a_group_that_is_left_stops_nothing_and_the_command_that_moves_it_is_named(
    client: Client, world: World
) -> None:
    world.groups = (SHOP,)
    world.moved = (GroupFact(group="shop", left=("somebody is in it in west",)),)
    result = await (await _failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary.endswith("; NOT MOVED: consumer group shop")
    assert result.next_commands == (
        "tidegate groups translate ledger",
        "tidegate failover deployment ledger --to east",
    )
    assert "LEFT AS IT WAS: somebody is in it in west" in _facts(world).groups[0].text
    _lives(world, "west")


async def test_x25_a_step_that_fails_stops_nothing(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    world.will("translate_groups", errors.InvalidInput("no such topic"))
    result = await (await _failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.next_commands[0] == "tidegate groups translate ledger"
    assert _facts(world).groups[0].left == ("no such topic",)
    (row,) = (step for step in world.reports[-1].steps if step.name == "groups")
    assert (row.state, row.fact) == (StepState.FAILED, "no group was moved: no such topic")
    _lives(world, "west")


async def test_x25_unplanned_and_escalated_groups_are_moved_too(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    block = world.block("close_producers")
    run = await _failover(client)
    await block.entered.wait()
    world.silent = LOST
    await run.update("escalate", why="east burns")
    block.released.set()
    await run.done()
    assert world.names()[-len([*MOVE_GROUPS, *END]) :] == [*MOVE_GROUPS, *END]
    assert [request.unplanned for request in world.requests("translate_groups")] == [True]
    assert [row.name for row in world.reports[-1].steps if row.name in {"groups", "open"}] == ["groups", "open"]


async def test_o8_x25_who_lost_the_fence_at_the_groups_does_nothing_more(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    world.will("translate_groups", errors.Superseded("fence 4 has become 5"))
    await (await _failover(client)).failed("Superseded")
    assert world.names()[-2:] == ["translate_groups", "write_report"]


# -- planned: after the opening


@pytest.mark.parametrize("step", ["open_producers", "prove", "mirror_back"])
async def test_x24_after_the_start_has_held_there_is_no_way_back(client: Client, world: World, step: str) -> None:
    world.will(step, errors.ProofFailed("3 restarts in 20 s (limit 2)"))
    run = await _failover(client)
    await run.phase(Phase.HALTED)
    assert "given up" in await _refused(run, "abort")
    assert "started in the other region already" in await _refused(run, "escalate")
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    again = {name: len(world.requests(name)) for name in GO_ON}
    assert again == dict.fromkeys(GO_ON, 1) | {step: 2}, "only what failed is done again"
    assert "reopen_home" not in world.names()
    _lives(world, "west")


async def test_a_job_that_flink_forgot_in_its_proof_is_started_again_there(client: Client, world: World) -> None:
    world.will("prove", errors.JobLost("forgotten"))
    run = await _failover(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    await run.done()
    assert len(world.requests("ensure_running")) == 2
    assert len(world.requests("rebase_copy")) == 1


async def test_a_bad_verdict_names_the_way_back_that_is_left(client: Client, world: World) -> None:
    world.verdict = world.verdict.model_copy(update={"duplicated": 2})
    result = await (await _failover(client)).failed("BadVerdict")
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    _lives(world, "west")


@pytest.mark.parametrize("step", LEAVE[1:])
async def test_o9_after_a_halt_nothing_that_was_done_is_done_again(client: Client, world: World, step: str) -> None:
    first = [None] if step == "ship_snapshot" else []
    world.will(step, *first, errors.NoProgress("it did not come to an end"))
    run = await _failover(client)
    await run.phase(Phase.HALTED)
    block = world.block(step)
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert len(world.requests("stop_deployment")) == (2 if step == "stop_deployment" else 1)
    assert len(world.requests("take")) == 1
    _lives(world, "west")


async def test_o9_a_start_that_halts_is_repeated_and_no_more(client: Client, world: World) -> None:
    world.will("ensure_running", errors.MustHalt("Flink in west answers no request"))
    run = await _failover(client)
    await run.phase(Phase.HALTED)
    block = world.block("ensure_running")
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    await run.done()
    assert len(world.requests("stop_deployment")) == 1
    assert len(world.requests("cut_over")) == 1


# -- unplanned


async def test_unplanned_it_goes_on_from_the_newest_recovery_point(client: Client, world: World) -> None:
    world.silent = LOST
    result = await (await _failover(client, unplanned=True)).done()
    assert result.outcome is Outcome.DONE
    assert world.names() == [*LOOK, *TAKE, "close_producers", "shut_home", "cut_over", *GO_ON, *END]
    (rebase,) = world.requests("rebase_copy")
    assert rebase.snapshot == POINT.snapshot
    assert {one.unplanned for name in ("close_producers", "shut_home", "cut_over") for one in world.requests(name)} == {
        True
    }
    _lives(world, "west")


async def test_x14_the_report_says_what_keeps_the_old_job_from_committing(client: Client, world: World) -> None:
    world.silent = LOST
    await (await _failover(client, unplanned=True)).done()
    facts = _facts(world)
    assert (facts.planned, facts.strength, facts.point) == (False, Strength.SUPERSEDED, POINT.id)
    assert facts.state_as_of == AT
    assert facts.rpo_s is not None


async def test_what_is_known_to_be_gone_is_not_asked_until_a_person_says_go_on(client: Client, world: World) -> None:
    world.silent = LOST
    world.will("shut_home", errors.NoProgress("the mirror is not shut"))
    run = await _failover(client, unplanned=True)
    await run.phase(Phase.HALTED)
    world.silent = {}
    await run.update("resume")
    await run.done()
    told = [request.answers for name in ("close_producers", "shut_home") for request in world.requests(name)]
    assert [answers is not None and not answers.all for answers in told] == [True, False, True, False]
    assert world.requests("cut_over")[0].answers is None


async def test_the_point_that_was_asked_for_is_asked_for_in_every_step(client: Client, world: World) -> None:
    world.silent = LOST
    await (await _failover(client, unplanned=True, point=POINT.id)).done()
    assert {one.point for name in ("look_regions", "shut_home") for one in world.requests(name)} == {POINT.id}


@pytest.mark.parametrize("step", ["close_producers", "shut_home", "cut_over", "rebase_copy", "ensure_running"])
async def test_x24_unplanned_there_is_no_way_back(client: Client, world: World, step: str) -> None:
    world.silent = LOST
    world.will(step, errors.Refused("not yet"))
    run = await _failover(client, unplanned=True)
    assert (await run.phase(Phase.HALTED)).why == "not yet"
    assert "given up" in await _refused(run, "abort")
    block = world.block(step)
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert "reopen_home" not in world.names()
    assert "stop_deployment" not in world.names()
    _lives(world, "west")


async def test_a_cancel_does_not_make_a_way_back(client: Client, world: World) -> None:
    world.silent = LOST
    block = world.block("shut_home")
    run = await _failover(client, unplanned=True)
    await block.entered.wait()
    await run.handle.cancel(reason="typo")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE


# -- from planned to unplanned


@pytest.mark.parametrize("step", ["close_producers", "stop_deployment", "ship_snapshot"])
async def test_in_mid_run_it_is_escalated_by_a_person(client: Client, world: World, step: str) -> None:
    if step == "ship_snapshot":
        world.will(step, None)
    block = world.block(step)
    run = await _failover(client)
    await block.entered.wait()
    world.silent = LOST
    assert "unplanned" in await run.update("escalate", why="east burns")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    tail = world.names()[-len([*GO_ON, *END]) - 3 :]
    assert tail == ["close_producers", "shut_home", "cut_over", *GO_ON, *END]
    for name in ("close_producers", "shut_home", "cut_over", "rebase_copy"):
        assert world.requests(name)[-1].answers is None, "what answered at the plan may be gone: it is asked anew"
    assert _facts(world).planned is False
    assert world.requests("rebase_copy")[-1].snapshot == POINT.snapshot
    _lives(world, "west")


async def test_in_the_cut_it_is_escalated_by_a_person(client: Client, world: World) -> None:
    block = world.block("cut_over")
    run = await _failover(client)
    await block.entered.wait()
    world.silent = LOST
    await run.update("escalate", why="east burns")
    assert (await run.done()).outcome is Outcome.DONE
    assert [request.unplanned for request in world.requests("cut_over")] == [False, True]
    assert _facts(world).planned is False
    _lives(world, "west")


async def test_a_cut_that_comes_to_its_end_all_the_same_gives_nothing_up(client: Client, world: World) -> None:
    entered = asyncio.Event()

    async def finish_all_the_same() -> None:
        entered.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()

    world.will("cut_over", finish_all_the_same)
    run = await _failover(client)
    await entered.wait()
    await run.update("escalate", why="east burns")
    assert (await run.done()).outcome is Outcome.DONE
    assert "shut_home" not in world.names()
    assert _facts(world).planned is True
    _lives(world, "west")


async def test_halted_it_is_escalated_by_a_person(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.NoProgress("the savepoint did not come"))
    run = await _failover(client)
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
    run = await _failover(client)
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
    run = await _failover(client)
    await block.entered.wait()
    world.silent = LOST
    assert "goes on unplanned" in await run.update("escalate", why="east burns")
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert _facts(world).planned is False
    assert not {"ship_snapshot", "stop_deployment"} & set(world.names())
    _lives(world, "west")


async def test_by_its_own_clock_it_is_escalated(client: Client, world: World) -> None:
    """It runs from the first step that leaves the region, and that step does not end: the clock comes in it."""
    world.block("ship_snapshot")
    run = await _failover(client, escalate_after_s=0.5)
    assert (await run.done()).outcome is Outcome.DONE
    assert _facts(world).planned is False
    rows = [row for row in world.reports[-1].steps if row.name != "conclude"]
    assert [row.name for row in rows if row.state is not StepState.OK] == ["ship"]
    (ship,) = [row for row in rows if row.name == "ship"]
    assert ship.fact == "not through with east in 0.5 s"


async def test_once_it_is_through_with_the_old_region_the_clock_does_nothing(client: Client, world: World) -> None:
    block = world.block("rebase_copy")
    run = await _failover(client, escalate_after_s=3_600)
    await block.entered.wait()
    assert "started in the other region already" in await _refused(run, "escalate")
    timers = [event async for event in run.handle.fetch_history_events()]
    assert sum(event.HasField("timer_started_event_attributes") for event in timers) == 1
    assert sum(event.HasField("timer_canceled_event_attributes") for event in timers) == 1
    block.released.set()
    await run.done()
    assert _facts(world).planned is True
    assert "shut_home" not in world.names()


async def test_an_escalation_before_anything_is_held_is_refused(client: Client, world: World) -> None:
    run = await _failover(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert "nothing was begun yet" in await _refused(run, "escalate")
    assert "--unplanned" in await _refused(run, "escalate")


async def test_x24_on_the_way_back_it_cannot_be_escalated(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Kafka in east does not answer"))
    run = await _failover(client, escalate_after_s=3_600)
    await run.phase(Phase.HALTED)
    refused = await _refused(run, "escalate")
    assert "being put back" in refused
    assert "--unplanned --take-over" in refused
    await run.handle.execute_update("resume", {"by": "bob"}, result_type=str)
    await run.failed("Undone")
    _lives(world, "east")


async def test_the_clock_does_not_wake_a_halted_way_back() -> None:
    """On a server that skips time while nothing runs: the clock comes when it stands halted, never before."""
    world = World()
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Kafka in east does not answer"))
    async with await start_server(time_skipping=True) as env, workers(env.client, world, ("east", "west")):
        run = await _failover(env.client, escalate_after_s=600)
        await run.phase(Phase.HALTED)

        async def fired() -> None:
            history = [event async for event in run.handle.fetch_history_events()]
            assert any(event.HasField("timer_fired_event_attributes") for event in history)

        await eventually(fired)
        assert (await run.status()).phase is Phase.HALTED
        assert len(world.requests("reopen_home")) == 1


# -- what cannot be done


async def test_without_room_there_it_is_refused_before_anything_is_changed(client: Client, world: World) -> None:
    world.slots_free = 1
    result = await (await _failover(client)).failed("Refused")
    assert "ledger needs 2 slots in west, and 1 of 8 are free" in result.why
    assert "--parallelism 1" in result.why
    assert world.names() == [*LOOK, "write_report"]


async def test_smaller_it_fits(client: Client, world: World) -> None:
    world.slots_free = 1
    await (await _failover(client, parallelism=1)).done()
    assert [request.parallelism for request in world.requests("ensure_running")] == [1]


async def test_planned_with_a_silent_home_names_the_unplanned_way(client: Client, world: World) -> None:
    world.silent = LOST
    result = await (await _failover(client)).failed("Refused")
    assert "tidegate failover deployment ledger --unplanned" in result.why
    assert "take" not in world.names()


async def test_x5_without_a_point_each_is_named_with_what_stands_against_it(client: Client, world: World) -> None:
    world.silent = LOST
    world.points = (POINT.model_copy(update={"problem": "a file is missing"}),)
    result = await (await _failover(client, unplanned=True)).failed("Refused")
    assert "e7-chk-12: a file is missing" in result.why
    assert "take" not in world.names()


async def test_where_it_lives_already_it_is_refused(client: Client, world: World) -> None:
    result = await (await _failover(client, to="east")).failed("InvalidInput")
    assert "ledger lives in east; name another region" in result.why


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
    result = await (await _failover(client, to=to, unplanned=True, take_over={"why": "Temporal is lost"})).done()
    assert result.outcome is Outcome.DONE
    begin_again = ["close_producers", "ensure_running", "open_producers", "prove", "mirror_back"]
    assert world.names() == [LOOK[0], *LOOK, *TAKE[:-1], *begin_again, *END]
    assert world.requests("close_producers")[0].take_over is True
    wanted = None if started else RestoreFrom(until_epoch=7, snapshot="s3://west/savepoints/ledger/copy-7")
    assert world.requests("ensure_running")[0].restore == wanted
    assert (_facts(world).source, _facts(world).target, _facts(world).planned) == ("east", "west", False)
    _lives(world, "west")


async def test_o6_one_that_has_not_ended_is_named_with_what_ends_it(client: Client, world: World) -> None:
    """Not "it lives in west already": nothing there is written."""
    for to in (None, "west", "east"):
        _left_half_way(world, started=True)
        result = await (await _failover(client, to=to)).failed("Refused")
        assert "failover-ledger-0ld has turned topics of ledger from east to west and not opened them" in result.why
        assert "tidegate failover deployment ledger --to west --take-over --why TEXT" in result.why
        assert world.names("locate", "observe", "look_regions", "write_report") == []
        world.calls.clear()


async def test_x24_what_fails_while_it_is_ended_halts_and_never_goes_back(client: Client, world: World) -> None:
    _left_half_way(world, started=True)
    world.will("ensure_running", errors.StartRejected("no slot"))
    run = await _failover(client, take_over={"why": "lost"})
    await run.phase(Phase.HALTED)
    assert "too late" in await _refused(run, "abort")
    await run.update("resume")
    await run.done()
    assert "reopen_home" not in world.names()


async def test_without_a_standby_the_region_must_be_named(client: Client, world: World) -> None:
    world.standby = None
    result = await (await _failover(client)).failed("InvalidInput")
    assert "no standby region" in result.why


async def test_o13_another_point_than_the_approved_one_voids_the_approval(client: Client, world: World) -> None:
    world.silent = LOST
    run = await _failover(client, unplanned=True, require_approval=True)
    plan = (await run.phase(Phase.WAITING_FOR_APPROVAL)).plan
    assert plan is not None
    assert plan.basis.snapshot == POINT.snapshot
    world.points = (POINT.model_copy(update={"id": "e7-chk-14", "snapshot": "s3://west/x/chk-14"}),)
    await run.update("approve", plan_hash=plan.hash)
    await run.failed("BasisChanged")
    assert "close_producers" not in world.names()
