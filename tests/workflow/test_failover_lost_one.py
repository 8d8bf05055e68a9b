"""X24, I7: who takes a planned failover over that was lost, and goes back, puts back what that one had begun."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_env import Run
from tests.kit.temporal_failover import failover, two_regions
from tests.kit.temporal_world import World
from tidegate import errors


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """As the folder's, with a worker in each of the two regions. One was lost when it had closed the topics."""
    async with two_regions(client) as made:
        made.closed = {"payments", "balances"}
        yield made


async def _taken_over(client: Client) -> Run:
    asked = {"take_over": {"why": "its Temporal is lost"}}
    return await failover(client, **asked)


def _is_as_it_was(world: World) -> None:
    (reopened,) = world.requests("reopen_home")
    assert reopened.take_over is True
    assert world.closed == set(), "nobody else would ever open them"
    assert world.job_state == "RUNNING"
    assert world.record.holder is None
    assert not {"close_producers", "stop_deployment", "cut_over"} & set(world.names())


async def test_x24_one_that_cannot_be_made_ready_opens_what_the_lost_one_had_closed(
    client: Client, world: World
) -> None:
    """It had "changed nothing", gave the deployment back, and left topics that nobody could write, with no word."""
    world.will("prepare", errors.StartRejected("2 slots are needed, 1 is free"))
    result = await (await _taken_over(client)).failed("Undone")
    assert "2 slots are needed" in result.why
    _is_as_it_was(world)


@pytest.mark.parametrize("step", ["prepare", "ship_snapshot"])
async def test_x24_aborted_before_it_closes_anything_it_opens_what_the_lost_one_had_closed(
    client: Client, world: World, step: str
) -> None:
    block = world.block(step)
    run = await _taken_over(client)
    await block.entered.wait()
    await run.update("abort")
    block.released.set()
    await run.failed("Undone")
    _is_as_it_was(world)
