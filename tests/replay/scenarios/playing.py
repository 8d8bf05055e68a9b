"""What scenarios are made of: an operation is begun on a world and a person, or the world, does something to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run
from tests.kit.temporal_world import World
from tidegate.model.operation import Phase

Scenario = Callable[[Client, Any], Awaitable[Run]]


async def aborted_in(step: str, world: World, begun: Awaitable[Run], why: str) -> Run:
    """Aborted while this step runs."""
    block = world.block(step)
    run = await begun
    await block.entered.wait()
    await run.update("abort", why=why)
    return run


async def when_halted(begun: Awaitable[Run], decision: str, **fields: Any) -> Run:
    """It stands halted, and a person decides."""
    run = await begun
    await run.phase(Phase.HALTED)
    await run.update(decision, **fields)
    return run
