"""Record how a failover that was lost is ended, alone and of a region:  .venv/bin/python -m tests.replay.record_lost

As ``tests.replay.record``, and with the same arguments: a suffix, and how the scenarios begin that are played.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin, start_server, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tests.kit.temporal_world_lost import LostWorld
from tests.replay.record import _keep
from tests.replay.scenarios.moves import _region
from tests.replay.scenarios.playing import when_halted
from tidegate import errors
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput
from tidegate.model.record import StartIntent
from tidegate.model.steps import Unfinished

WORD = {"take_over": {"why": "its Temporal is lost"}}


def left_half_way(world: World) -> None:
    """The topics of ``ledger`` have turned to the west and are closed; its start there was begun, and nobody knows what
    came of it.
    """
    world.unfinished = Unfinished(source="east", operation="failover-ledger-0ld", planned=False)
    world.closed, world.lives_in = {"payments", "balances"}, dict.fromkeys(("payments", "balances"), "west")
    begun = StartIntent(
        id="s", step="ensure", n=1, job_id=f"{8:032x}", epoch=8, region="west", cell="cell-1",
        artifact=artifact("v1"), parallelism=2, snapshot="s3://west/savepoints/ledger/copy-7",
    )  # fmt: skip
    world.record = world.record.model_copy(update={"epoch": 8, "intents": (begun,)})
    world.began_from, world.job_state = begun.snapshot, None


async def _alone(client: Client, world: World) -> Run:
    left_half_way(world)
    return await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, requested_by="ana", bake_s=5, **WORD)


async def _alone_halted(client: Client, world: World) -> Run:
    world.will("ensure_running", errors.StartRejected("no slot"))
    return await when_halted(_alone(client, world), "resume")


async def _lost_at(client: Client, world: LostWorld, step: str, deployment: str, **fields: Any) -> None:
    world.dies(step, deployment, after=True, orphans=False)
    run = await _region(client, world, **fields)
    try:
        await run.handle.result()
    except WorkflowFailureError:
        return
    raise AssertionError(f"it has not died at {step} {deployment}")


async def _of_region(client: Client, world: LostWorld) -> Run:
    """One is done, one behind its turn, one before it."""
    await _lost_at(client, world, "ensure_running", "b")
    return await _region(client, world, **WORD)


async def _of_region_unplanned(client: Client, world: LostWorld) -> Run:
    await _lost_at(client, world, "ensure_running", "a", unplanned=True)
    return await _region(client, world, unplanned=True, **WORD)


async def _of_region_escalated(client: Client, world: LostWorld) -> Run:
    """One before its turn cannot leave as planned."""
    await _lost_at(client, world, "ensure_running", "a")
    world.will("stop_deployment", "c", errors.SavepointFailed("no space"))
    run = await _region(client, world, **WORD)

    async def waits() -> None:
        assert "c cannot go on as planned" in (await run.status()).waiting_for

    await eventually(waits)
    await run.update("escalate", why="east is going")
    return run


async def _nothing_left(client: Client, world: LostWorld) -> Run:
    """All are done, and the mirror is not turned round."""
    await _lost_at(client, world, "open_group", "")
    world.dies("mirror_group", "", after=False, orphans=False)
    run = await _region(client, world, **WORD)
    try:
        await run.handle.result()
    except WorkflowFailureError:
        return await _region(client, world, **WORD)
    raise AssertionError("it has not died at the mirror")


LOST_ALONE: dict[str, Callable[[Client, World], Awaitable[Run]]] = {
    "failover-ends-lost": _alone,
    "failover-ends-lost-halted": _alone_halted,
}
LOST_REGIONS: dict[str, Callable[[Client, LostWorld], Awaitable[Run]]] = {
    "region-ends-lost": _of_region,
    "region-ends-lost-unplanned": _of_region_unplanned,
    "region-ends-lost-escalated": _of_region_escalated,
    "region-ends-lost-at-the-mirror": _nothing_left,
}
MEMBER = "member-ends-lost"
"""The operation of the deployment that stood behind its turn, in ``region-ends-lost``."""


async def record(suffix: str = "", only: str = "") -> None:
    """Play every scenario (those that begin with ``only``) and write its history."""
    async with await start_server(time_skipping=False) as env:
        for name, alone in LOST_ALONE.items():
            if name.startswith(only):
                world = World()
                async with workers(env.client, world, regions=("east", "west")):
                    await _keep(await alone(env.client, world), name + suffix)
        for name, of_region in LOST_REGIONS.items():
            if not name.startswith(only):
                continue
            lost = LostWorld(env.client, {"a": 0, "b": 1, "c": 2})
            async with workers(env.client, lost, regions=("east", "west")):
                await _keep(await of_region(env.client, lost), name + suffix)
                if name == "region-ends-lost":
                    member = [one.operation for one in lost.requests["take"] if one.deployment == "b"][-1]
                    await _keep(Run(env.client.get_workflow_handle(member)), MEMBER + suffix)


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:3]))
