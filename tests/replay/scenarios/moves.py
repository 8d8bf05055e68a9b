"""Failovers of a deployment and of a region, and returns, as they are recorded."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import Block, pinned
from tests.kit.temporal_world_region import MemberWorld, RegionWorld
from tests.replay.scenarios.playing import Scenario, aborted_in, when_halted
from tidegate import errors
from tidegate.model.failover import FAILOVER_DEPLOYMENT, Answers, FailoverInput
from tidegate.model.groups import GroupLook
from tidegate.model.operation import StepState
from tidegate.model.record import MadeWay
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput, Other
from tidegate.model.returning import RETURN_REGION, ReturnInput
from tidegate.names import CONTROL_QUEUE


async def _failover(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, requested_by="ana", bake_s=5, **fields)


async def _failover_undone(client: Client, world: World) -> Run:
    world.will("cut_over", errors.Refused("topic payments: somebody else turns it"))
    return await _failover(client, world)


async def _failover_start_undone(client: Client, world: World) -> Run:
    world.will("ensure_running", errors.StartRejected("no such class"))
    return await _failover(client, world)


async def _failover_aborted(client: Client, world: World) -> Run:
    return await aborted_in("stop_deployment", world, _failover(client, world), "wrong day")


async def _failover_unplanned(client: Client, world: World) -> Run:
    world.silent = {"flink": "no answer", "kafka": "no answer", "s3": "no answer"}
    return await _failover(client, world, unplanned=True)


async def _failover_unplanned_halted(client: Client, world: World) -> Run:
    world.will("rebase_copy", errors.Refused("a position cannot be proven"))
    return await when_halted(_failover_unplanned(client, world), "resume")


async def _failover_escalated(client: Client, world: World) -> Run:
    block = world.block("stop_deployment")
    run = await _failover(client, world)
    await block.entered.wait()
    await run.update("escalate", why="east burns")
    return run


async def _failover_escalated_by_the_clock(client: Client, world: World) -> Run:
    world.block("cut_over")
    return await _failover(client, world, escalate_after_s=0.5)


async def _failover_halted_escalated(client: Client, world: World) -> Run:
    world.will("stop_deployment", errors.NoProgress("the savepoint did not come"))
    return await when_halted(_failover(client, world), "escalate")


async def _failover_halted_resumed(client: Client, world: World) -> Run:
    world.will("cut_over", errors.NoProgress("the mirror is not drained"))
    return await when_halted(_failover(client, world), "resume")


async def _failover_open_halted(client: Client, world: World) -> Run:
    world.will("open_producers", errors.MustHalt("Kafka in west answers no request"))
    return await when_halted(_failover(client, world), "resume")


async def _failover_proof_halted(client: Client, world: World) -> Run:
    world.will("prove", errors.JobLost("forgotten"))
    return await when_halted(_failover(client, world), "resume")


async def _failover_groups(client: Client, world: World) -> Run:
    world.groups = (GroupLook(group="shop", topics=("balances",), partitions=2),)
    return await _failover(client, world)


async def _failover_groups_left(client: Client, world: World) -> Run:
    world.will("translate_groups", errors.InvalidInput("no such topic"))
    return await _failover_groups(client, world)


async def _return(client: Client, world: World) -> Run:
    assert world.record.writer is not None
    moved = world.record.writer.model_copy(update={"region": "west"})
    world.record = world.record.model_copy(update={"writer": moved})
    return await begin(client, RETURN_REGION, ReturnInput, requested_by="ana", region="east")


async def _return_halted_resumed(client: Client, world: World) -> Run:
    world.will("set_apart", errors.MustHalt("Kafka in east is away"))
    return await when_halted(_return(client, world), "resume")


async def region(client: Client, _: RegionWorld, **fields: Any) -> Run:
    """A failover of the east to the west."""
    request = FailoverRegionInput.model_validate(
        {"region": "east", "to": "west", "requested_by": "ana", "bake_s": 5, **fields}
    )
    identity = f"failover-region-east-{uuid.uuid4().hex[:8]}"
    return Run(await client.start_workflow(FAILOVER_REGION, request, id=identity, task_queue=CONTROL_QUEUE))


async def _region_unplanned(client: Client, world: RegionWorld) -> Run:
    """Two tiers: the lower one is made ready while the other starts, and both are audited at the end."""
    world.worlds["b"], world.families = MemberWorld("b", 1), (("a", "b"),)
    world.home = Answers(region="east", flink="no answer", kafka="no answer", s3="no answer")
    return await region(client, world, unplanned=True)


async def _region_shed(client: Client, world: RegionWorld) -> Run:
    """What lives in the west and matters less gives way."""
    world.slots, world.free = [0, 8], {"east/cell-1": 0, "west/cell-1": 0}
    world.others = (Other(deployment="reports", tier=3, parallelism=1),)
    world.worlds["reports"] = MemberWorld("reports", 3, region="west")
    return await region(client, world, room="shed", deployments=("a",))


async def _region_came_back(client: Client, world: RegionWorld) -> Run:
    """It goes home, and what gave way in the west comes back."""
    world.worlds["a"] = MemberWorld("a", 0, region="west")
    reports = world.worlds["reports"] = MemberWorld("reports", 3, region="west")
    way = MadeWay(operation="failover-region-east-1", came_from="east")
    kept = pinned(location=reports.savepoint, parallelism=1, made_way=way)
    reports.record, reports.job_state = reports.record.model_copy(update={"pinned": kept}), "FINISHED"
    return await region(client, world, region="west", to="east")


async def _region_undone(client: Client, world: RegionWorld) -> Run:
    """What gave way for nothing comes back."""
    block = Block()
    world.will("cut_group", "", block)
    run = await _region_shed(client, world)
    await block.entered.wait()
    world.free = {"west/cell-1": 8}
    await run.update("abort", why="not now")
    return run


async def _region_escalated_again(client: Client, world: RegionWorld) -> Run:
    """Refused as planned when it is escalated already, and begun again."""
    looks, closes = Block(), Block()

    async def refused() -> None:
        await looks()
        raise errors.Refused("east does not answer")

    world.will("look_regions", "a", refused)
    world.will("close_group", "", closes)
    run = await region(client, world)
    await looks.entered.wait()
    await run.update("escalate", why="east has gone")
    await closes.entered.wait()
    looks.released.set()

    async def ended() -> None:
        assert any(one.name == "a" and one.state is StepState.FAILED for one in (await run.status()).steps)

    await eventually(ended)
    closes.released.set()
    return run


SCENARIOS: dict[str, Scenario] = {
    "return-done": _return,
    "return-halted-resumed": _return_halted_resumed,
    "failover-done": _failover,
    "failover-undone": _failover_undone,
    "failover-start-undone": _failover_start_undone,
    "failover-aborted": _failover_aborted,
    "failover-unplanned": _failover_unplanned,
    "failover-unplanned-halted": _failover_unplanned_halted,
    "failover-escalated": _failover_escalated,
    "failover-escalated-by-the-clock": _failover_escalated_by_the_clock,
    "failover-halted-escalated": _failover_halted_escalated,
    "failover-halted-resumed": _failover_halted_resumed,
    "failover-open-halted": _failover_open_halted,
    "failover-proof-halted": _failover_proof_halted,
    "failover-groups": _failover_groups,
    "failover-groups-left": _failover_groups_left,
}

REGION_SCENARIOS: dict[str, Callable[[Client, RegionWorld], Awaitable[Run]]] = {
    "region-done": region,
    "region-unplanned": _region_unplanned,
    "region-shed": _region_shed,
    "region-came-back": _region_came_back,
    "region-undone": _region_undone,
    "region-escalated-again": _region_escalated_again,
}
"""On a world of several deployments."""
