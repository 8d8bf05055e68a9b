"""Drills of a deployment and of a region, and game days, as they are recorded."""

from __future__ import annotations

from typing import Any, cast

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.kit.temporal_world_drill import DrillWorld
from tests.kit.temporal_world_drills import DrillsWorld
from tests.kit.temporal_world_facts import AT, Block
from tests.kit.temporal_world_gameday import GameDayWorld
from tests.replay.scenarios.playing import Scenario, aborted_in
from tidegate import errors
from tidegate.model.drill import GIVES_WAY, DrillInput
from tidegate.model.failover import Answers
from tidegate.model.gameday import GAME_DAY, GameDayInput, Rule, Trip
from tidegate.model.operation import Phase
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput
from tidegate.names import CONTROL_QUEUE


async def _drill(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "DrillRecovery", DrillInput, requested_by="ana", **fields)


async def _drill_dry_run(client: Client, world: World) -> Run:
    return await _drill(client, world, dry_run=True)


async def _drill_failed(client: Client, world: World) -> Run:
    world.will("copy_for_drill", errors.SnapshotIncomplete("the snapshot at s3://west/x is incomplete"))
    return await _drill(client, world)


async def _drill_aborted(client: Client, world: World) -> Run:
    return await aborted_in("watch_drill", world, _drill(client, world), "wrong night")


async def _drill_left(client: Client, world: World) -> Run:
    world.will("tear_down_drill", errors.NoProgress("there is still topic x.balances"))
    return await _drill(client, world)


async def _drill_gave_way(client: Client, world: World) -> Run:
    taken = "ledger was taken by failover-1 (FailoverDeployment): the drill gives way to it"
    world.will("watch_drill", errors.BasisChanged(taken, details={GIVES_WAY: True}))
    return await _drill(client, world)


async def _drill_tidies(client: Client, world: DrillWorld) -> Run:
    world.left, world.slots_free = ("ledger-drill-0a0a0a0a",), 0
    return await _drill(client, world)


async def _drill_clean(client: Client, world: World) -> Run:
    return await _drill(client, world, clean="ledger-drill-1a2b3c4d")


async def _game_day(client: Client, _: GameDayWorld, **fields: Any) -> Run:
    told = {"region": "east", "to": "west", "deployments": ("a",), "stay_s": 2, "bake_s": 1, "requested_by": "ana"}
    request = GameDayInput.model_validate({**told, **fields})
    return Run(await client.start_workflow(GAME_DAY, request, id="game-day-1", task_queue=CONTROL_QUEUE))


async def _game_day_dry_run(client: Client, world: GameDayWorld) -> Run:
    return await _game_day(client, world, dry_run=True)


async def _game_day_tripped(client: Client, world: GameDayWorld) -> Run:
    world.trip = Trip(rule=Rule.RESTARTS, deployment="a", at=AT, what="a restarted 3 times (limit 2)")
    return await _game_day(client, world)


async def _game_day_aborted(client: Client, world: GameDayWorld) -> Run:
    block = Block()
    world.will("watch_game_day", "", None, block)
    run = await _game_day(client, world)
    await block.entered.wait()
    await run.update("abort", why="enough")
    return run


async def _game_day_aborted_on_the_way(client: Client, world: GameDayWorld) -> Run:
    block = Block()
    world.will("cut_group", "", block)
    run = await _game_day(client, world)
    await block.entered.wait()
    await run.update("abort", why="wrong day")
    return run


async def _game_day_halted_resumed(client: Client, world: GameDayWorld) -> Run:
    async def gone() -> None:
        world.home = Answers(region="west", kafka="no answer")

    world.will("watch_game_day", "", None, gone)
    run = await _game_day(client, world)
    await run.phase(Phase.HALTED)
    world.home = Answers(region="east")
    await run.update("resume")
    return run


async def _game_day_taken(client: Client, world: GameDayWorld) -> Run:
    world.trip = Trip(rule=Rule.TAKEN, deployment="a", at=AT, what="a was moved or restarted by restore-a-1")
    return await _game_day(client, world)


async def _drills(client: Client, world: World, **fields: Any) -> Run:
    """Of a world with three deployments in the east, on three slots."""
    request = DrillRegionInput.model_validate({"region": "east", "window_s": 20, "requested_by": "ana", **fields})
    name = f"drill-region-east-{len(cast('DrillsWorld', world).looks)}"
    return Run(await client.start_workflow(DRILL_REGION, request, id=name, task_queue=CONTROL_QUEUE))


async def _drills_dry_run(client: Client, world: World) -> Run:
    return await _drills(client, world, dry_run=True)


async def _drills_not_all(client: Client, world: World) -> Run:
    """One fails, one is held, one has no time."""
    drills = cast("DrillsWorld", world)
    drills.will("copy_for_drill", "a", errors.SnapshotIncomplete("the snapshot at s3://west/x is incomplete"))
    drills.will("look_at_drill", "b", errors.Held("b is held by upgrade-b-1"))
    for name, besides_s in (("a", 10.0), ("b", 10.0), ("c", 500.0)):
        drills.worlds[name].besides_s = besides_s
    return await _drills(client, world, budget_s=400.0)


async def _drills_refused(client: Client, world: World) -> Run:
    cast("DrillsWorld", world).slots_free = 1
    return await _drills(client, world)


async def _drills_aborted(client: Client, world: World) -> Run:
    """While two run and one waits."""
    blocks = [cast("DrillsWorld", world).block("watch_drill", name) for name in ("a", "b")]
    run = await _drills(client, world, slots=2)
    for block in blocks:
        await block.entered.wait()
    await run.update("abort", why="wrong night")
    return run


async def _drills_give_way(client: Client, world: World) -> Run:
    drills = cast("DrillsWorld", world)
    block = drills.block("watch_drill", "a")
    for member in drills.worlds.values():
        member.besides_s = 1.0
    run = await _drills(client, world, slots=1, budget_s=10.0, window_s=1.0)
    await block.entered.wait()
    drills.failover = "b is held by failover-b-1 (FailoverMember, ana)"
    return run


SCENARIOS: dict[str, Scenario] = {
    "drill-done": _drill,
    "drill-dry-run": _drill_dry_run,
    "drill-failed": _drill_failed,
    "drill-aborted": _drill_aborted,
    "drill-left": _drill_left,
    "drill-clean": _drill_clean,
    "drill-gave-way": _drill_gave_way,
    "drill-tidies": _drill_tidies,
    "game-day-done": _game_day,
    "game-day-dry-run": _game_day_dry_run,
    "game-day-tripped": _game_day_tripped,
    "game-day-aborted": _game_day_aborted,
    "game-day-aborted-on-the-way": _game_day_aborted_on_the_way,
    "game-day-halted-resumed": _game_day_halted_resumed,
    "game-day-taken": _game_day_taken,
    "drills-done": _drills,
    "drills-dry-run": _drills_dry_run,
    "drills-not-all": _drills_not_all,
    "drills-refused": _drills_refused,
    "drills-aborted": _drills_aborted,
    "drills-give-way": _drills_give_way,
}
