"""UpgradeDeployment on a real Temporal server with faked activities: pause and abort."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from tests.kit.temporal_env import AFTER, BEFORE, upgrade
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tidegate.model.operation import Outcome, Phase


async def test_pause_in_the_switch_holds_before_the_proof_and_resume_goes_on(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    assert "safe point" in await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    assert "prove" not in world.names()
    await run.update("resume")
    assert await run.update("resume") == "goes on"
    assert (await run.done()).outcome is Outcome.DONE


async def test_resume_of_what_runs_is_refused(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await upgrade(client)
    await block.entered.wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("resume")
    assert "nothing to resume" in str(refused.value.cause)
    block.released.set()
    await run.done()


async def test_abort_before_the_switch_changes_nothing(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("abort", why="wrong deployment")
    result = await run.failed("Undone")
    assert result.summary == "nothing was changed"
    assert "aborted by bob: wrong deployment" in result.why
    assert world.names() == [*BEFORE, "write_report", "release"]


async def test_abort_in_the_switch_stops_it_and_goes_back(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("abort")
    await run.failed("Undone")
    assert world.names() == [*BEFORE, "switch", "ensure_running", "prove", *AFTER]


async def test_abort_that_the_switch_defers_goes_back_after_it_o16(client: Client, world: World) -> None:
    entered = asyncio.Event()

    async def finish_then_obey() -> None:
        entered.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        world._start(artifact("v2"))
        raise asyncio.CancelledError

    world.will("switch", finish_then_obey)
    run = await upgrade(client)
    await entered.wait()
    await run.update("abort")
    result = await run.failed("Undone")
    assert "v1 runs again" in result.summary
    assert world.record.writer is not None
    assert world.record.writer.artifact == artifact("v1")


async def test_abort_while_the_switch_ends_all_the_same_goes_back(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    await run.update("abort")
    await run.failed("Undone")
    assert [request.artifact.name for request in world.requests("ensure_running")] == ["v1"]


@pytest.mark.parametrize("where", ["observe", "prove"])
async def test_workflow_cancel_means_abort_o11(client: Client, world: World, where: str) -> None:
    block = world.block(where)
    run = await upgrade(client)
    await block.entered.wait()
    await run.handle.cancel(reason="typo")
    result = await run.failed("Undone")
    assert "typo" in result.why
    assert world.record.holder is None
    assert world.reports[0].outcome is Outcome.UNDONE


async def test_abort_after_the_proof_is_too_late(client: Client, world: World) -> None:
    block = world.block("audit")
    run = await upgrade(client)
    await block.entered.wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("abort")
    assert "too late" in str(refused.value.cause)
    block.released.set()
    await run.done()
