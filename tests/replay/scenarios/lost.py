"""How a failover that was lost is ended, alone and of a region, as it is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tests.kit.temporal_world_lost import LostWorld
from tests.replay.scenarios.moves import region
from tests.replay.scenarios.playing import Scenario, when_halted
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


async def _lost_at(
    client: Client, world: LostWorld, step: str, deployment: str, *, orphans: bool = False, **fields: Any
) -> None:
    world.dies(step, deployment, after=True, orphans=orphans)
    run = await region(client, world, **fields)
    try:
        await run.handle.result()
    except WorkflowFailureError:
        return await world.quiet()
    raise AssertionError(f"it has not died at {step} {deployment}")


async def _of_region(client: Client, world: LostWorld) -> Run:
    """One is done, one behind its turn, one before it."""
    await _lost_at(client, world, "ensure_running", "b")
    return await region(client, world, **WORD)


async def _of_region_unplanned(client: Client, world: LostWorld) -> Run:
    await _lost_at(client, world, "ensure_running", "a", unplanned=True)
    return await region(client, world, unplanned=True, **WORD)


async def _of_region_escalated(client: Client, world: LostWorld) -> Run:
    """One before its turn cannot leave as planned."""
    await _lost_at(client, world, "ensure_running", "a")
    world.will("stop_deployment", "c", errors.SavepointFailed("no space"))
    run = await region(client, world, **WORD)

    async def waits() -> None:
        assert "c cannot go on as planned" in (await run.status()).waiting_for

    await eventually(waits)
    await run.update("escalate", why="east is going")
    return run


async def _goes_back(client: Client, world: LostWorld) -> Run:
    """What the lost one had closed and stopped is put back, and its members are told."""
    await _lost_at(client, world, "stop_deployment", "b", orphans=True)
    world.will("prepare", "b", errors.Refused("no jar"))
    return await region(client, world, **WORD)


async def _nothing_left(client: Client, world: LostWorld) -> Run:
    """All are done, and the mirror is not turned round."""
    await _lost_at(client, world, "open_group", "")
    world.dies("mirror_group", "", after=False, orphans=False)
    run = await region(client, world, **WORD)
    try:
        await run.handle.result()
    except WorkflowFailureError:
        return await region(client, world, **WORD)
    raise AssertionError("it has not died at the mirror")


LOST_ALONE: dict[str, Scenario] = {
    "failover-ends-lost": _alone,
    "failover-ends-lost-halted": _alone_halted,
}
LOST_REGIONS: dict[str, Callable[[Client, LostWorld], Awaitable[Run]]] = {
    "region-ends-lost": _of_region,
    "region-ends-lost-unplanned": _of_region_unplanned,
    "region-ends-lost-escalated": _of_region_escalated,
    "region-ends-lost-at-the-mirror": _nothing_left,
    "region-ends-lost-back": _goes_back,
}
MEMBERS = {"region-ends-lost": "member-ends-lost", "region-ends-lost-back": "member-ends-lost-back"}
"""The operations of ``b`` in these: it stood behind its turn, or had been stopped by the lost one."""
