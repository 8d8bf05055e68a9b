"""A failover to a region with fewer slots: ``--parallelism`` counts in every step that needs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_failover import failover, two_regions
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import writer
from tidegate import errors
from tidegate.model.steps import Unfinished

ASKED: dict[str, Any] = {"parallelism": 1}


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """As the folder's, with a worker in each of the two regions."""
    async with two_regions(client) as made:
        yield made


async def test_what_runs_smaller_there_is_made_ready_with_as_few(client: Client, world: World) -> None:
    """Made ready with the fleet file's it would find too few slots, and the advice of the plan would lead nowhere."""
    world.slots_free = 1
    await (await failover(client, **ASKED)).done()
    assert [one.parallelism for one in world.requests("prepare")] == [1]
    assert [one.parallelism for one in world.requests("ensure_running")] == [1]


async def test_o6_one_that_is_ended_by_another_starts_as_small_as_was_asked(client: Client, world: World) -> None:
    """What was begun may have come to nothing for want of slots."""
    world.unfinished = Unfinished(source="east", operation="failover-ledger-0ld", planned=False)
    world.closed, world.lives_in = {"payments", "balances"}, dict.fromkeys(("payments", "balances"), "west")
    runs = writer("v1", 8).model_copy(update={"region": "west"})
    world.record = world.record.model_copy(update={"epoch": 8, "writer": runs})
    run = await failover(client, **ASKED, take_over={"why": "lost"})
    await run.done()
    assert [one.parallelism for one in world.requests("ensure_running")] == [1]


async def test_i7_what_ran_smaller_is_put_back_as_small(client: Client, world: World) -> None:
    """A failback that does not hold, from a region with fewer slots: the fleet file's would never start there again."""
    assert world.record.writer is not None
    world.record = world.record.model_copy(update={"writer": world.record.writer.model_copy(update={"parallelism": 1})})
    world.will("rebase_copy", errors.Refused("a position cannot be proven"))
    run = await failover(client, requested_by="ana", bake_s=5)
    await run.failed("Undone")
    assert [one.parallelism for one in world.requests("ensure_running")] == [1]
