"""X24: escalated before it has left anything, an approved failover goes on unplanned, as one that is not approved."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_env import Run
from tests.kit.temporal_failover import LOST, failover, two_regions
from tests.kit.temporal_world import World
from tidegate.model.operation import Outcome, Phase


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """As the folder's, with a worker in each of the two regions."""
    async with two_regions(client) as made:
        yield made


async def _approved(client: Client) -> Run:
    """It waits for its approval; then the region is lost while it is taken, and people escalate."""
    run = await failover(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    return run


async def _approve(run: Run) -> None:
    plan = (await run.status()).plan
    assert plan is not None
    await run.update("approve", by="bob", plan_hash=plan.hash)


async def test_x24_an_approved_one_that_is_escalated_as_it_is_taken_is_not_refused(
    client: Client, world: World
) -> None:
    """It ended refused, though it was told to go on without the region, and the next one had to be approved anew."""
    run = await _approved(client)
    block = world.block("observe")
    await _approve(run)
    await block.entered.wait()
    world.silent = LOST
    await run.update("escalate", why="east has just gone")
    block.released.set()
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert "shut_home" in world.names()
    assert "stop_deployment" not in world.names()
    assert world.requests("look_regions")[-1].unplanned is True
    assert world.record.writer is not None
    assert world.record.writer.region == "west"


async def test_x24_without_a_word_it_is_refused_as_ever(client: Client, world: World) -> None:
    run = await _approved(client)
    world.silent = LOST
    await _approve(run)
    result = await run.failed("Refused")
    assert "--unplanned" in result.why


async def test_o13_what_was_approved_is_what_is_done(client: Client, world: World) -> None:
    """Another basis voids the approval, escalated or not."""
    run = await _approved(client)
    block = world.block("observe")
    await _approve(run)
    await block.entered.wait()
    world.silent = LOST
    world.record = world.record.model_copy(update={"epoch": world.record.epoch + 1})
    await run.update("escalate", why="east has just gone")
    block.released.set()
    await run.failed("BasisChanged")
