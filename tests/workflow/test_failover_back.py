"""FailoverDeployment, planned: the way back as long as there is one, and what is repeated once there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_failover import END, GO_ON, LEAVE, failover, lives, refusal, two_regions
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.errors import TidegateError
from tidegate.model.operation import Outcome, Phase


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    async with two_regions(client) as made:
        yield made


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
    result = await (await failover(client)).failed("Undone")
    failed = next(plan for plan in plans if plan is not None)
    assert failed.message in result.why
    assert len(world.requests("reopen_home")) == 1
    assert "open_producers" not in world.names()
    back = world.names()[world.names().index("reopen_home") :]
    assert back == ["reopen_home", "ensure_running", "prove", "hold_gate", *END]
    assert {request.at for request in world.requests("prove")} == {"east/cell-1"}
    lives(world, "east")


async def test_x18_what_came_late_after_the_reopening_is_told(client: Client, world: World) -> None:
    world.will("cut_over", errors.Refused("no"))
    world.gate_notes = ("User:p was denied payments in east again",)
    run = await failover(client)
    await run.failed("Undone")
    (row,) = [row for row in (await run.status()).steps if row.name == "gate"]
    assert row.fact == "User:p was denied payments in east again"


async def test_i7_what_fails_at_the_stop_leaves_a_job_untouched(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    result = await (await failover(client)).failed("Undone")
    assert result.summary == "v1 runs on, untouched in east/cell-1, epoch 7"
    assert "ensure_stopped" not in world.names(), "nothing was tried in the west"


async def test_x24_a_start_that_did_not_hold_is_ended_there_before_it_runs_at_home(
    client: Client, world: World
) -> None:
    world.will("ensure_running", errors.StartRejected("no such class"))
    await (await failover(client)).failed("Undone")
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
    run = await failover(client)
    status = await run.phase(Phase.HALTED)
    assert "ledger has committed in west: there is no way back to east but a failback" in status.why
    assert "tidegate failover deployment ledger --to west --take-over --why TEXT" in status.why
    assert "reopen_home" not in world.names()
    assert "being put back" in await refusal(run, "abort")
    assert len(world.halts) == 1


async def test_o16_an_abort_before_the_opening_goes_back(client: Client, world: World) -> None:
    block = world.block("cut_over")
    run = await failover(client)
    await block.entered.wait()
    await run.update("abort", why="wrong day")
    assert "aborted by bob: wrong day" in (await run.failed("Undone")).why
    lives(world, "east")


async def test_an_abort_before_anything_was_closed_changes_nothing(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await failover(client)
    await block.entered.wait()
    await run.update("abort")
    assert (await run.failed("Undone")).summary == "nothing was changed"
    assert "reopen_home" not in world.names()
    lives(world, "east")


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
    run = await failover(client)
    status = await run.phase(Phase.HALTED)
    assert [command.split()[2] for command in status.next_commands] == ways
    await run.update("abort", why="enough")
    result = await run.failed("Undone")
    assert "aborted by bob: enough (after: nobody can say)" in result.why
    assert world.halts[0].commands == status.next_commands
    lives(world, "east")


async def test_o9_a_way_back_that_is_stuck_halts_and_is_taken_again(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    world.will("reopen_home", errors.MustHalt("Connect in west is not STOPPED"))
    run = await failover(client)
    status = await run.phase(Phase.HALTED)
    assert [command.split()[2] for command in status.next_commands] == ["resume"]
    await run.update("resume")
    assert (await run.failed("Undone")).why.startswith("no space")
    assert len(world.requests("reopen_home")) == 2
    lives(world, "east")


@pytest.mark.parametrize("step", [*LEAVE[1:3], "cut_over", *GO_ON])
async def test_o8_who_lost_the_fence_does_nothing_more(client: Client, world: World, step: str) -> None:
    world.will(step, errors.Superseded("fence 4 has become 5"))
    await (await failover(client)).failed("Superseded")
    assert world.names()[-2:] == [step, "write_report"], "the report says it; nothing else is done"
    assert "reopen_home" not in world.names()


# -- planned: after the opening


@pytest.mark.parametrize("step", ["open_producers", "prove", "mirror_back"])
async def test_x24_after_the_start_has_held_there_is_no_way_back(client: Client, world: World, step: str) -> None:
    world.will(step, errors.ProofFailed("3 restarts in 20 s (limit 2)"))
    run = await failover(client)
    await run.phase(Phase.HALTED)
    assert "given up" in await refusal(run, "abort")
    assert "started in the other region already" in await refusal(run, "escalate")
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    again = {name: len(world.requests(name)) for name in GO_ON}
    assert again == dict.fromkeys(GO_ON, 1) | {step: 2}, "only what failed is done again"
    assert "reopen_home" not in world.names()
    lives(world, "west")


async def test_a_job_that_flink_forgot_in_its_proof_is_started_again_there(client: Client, world: World) -> None:
    world.will("prove", errors.JobLost("forgotten"))
    run = await failover(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    await run.done()
    assert len(world.requests("ensure_running")) == 2
    assert len(world.requests("rebase_copy")) == 1


async def test_a_bad_verdict_names_the_way_back_that_is_left(client: Client, world: World) -> None:
    world.verdict = world.verdict.model_copy(update={"duplicated": 2})
    result = await (await failover(client)).failed("BadVerdict")
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    lives(world, "west")


@pytest.mark.parametrize("step", LEAVE[1:])
async def test_o9_after_a_halt_nothing_that_was_done_is_done_again(client: Client, world: World, step: str) -> None:
    first = [None] if step == "ship_snapshot" else []
    world.will(step, *first, errors.NoProgress("it did not come to an end"))
    run = await failover(client)
    await run.phase(Phase.HALTED)
    block = world.block(step)
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    assert (await run.done()).outcome is Outcome.DONE
    assert len(world.requests("stop_deployment")) == (2 if step == "stop_deployment" else 1)
    assert len(world.requests("take")) == 1
    lives(world, "west")


async def test_o9_a_start_that_halts_is_repeated_and_no_more(client: Client, world: World) -> None:
    world.will("ensure_running", errors.MustHalt("Flink in west answers no request"))
    run = await failover(client)
    await run.phase(Phase.HALTED)
    block = world.block("ensure_running")
    await run.update("resume")
    await block.entered.wait()
    assert (await run.status()).phase is Phase.RUNNING
    block.released.set()
    await run.done()
    assert len(world.requests("stop_deployment")) == 1
    assert len(world.requests("cut_over")) == 1
