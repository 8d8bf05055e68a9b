"""Record the histories that the replay test replays:  .venv/bin/python -m tests.replay.record

Run it when a runbook changes on purpose, behind `workflow.patched`: new files are added under a new name (the first
argument is a suffix; a second one names the scenarios to play, by how they begin), and the old ones stay, because
operations that began under the old code may still be waiting.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from temporalio.client import Client, WorkflowFailureError

from tests.kit.scheduled import asked
from tests.kit.temporal_env import Run, begin, start_server, upgrade, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_drill import DrillWorld
from tests.kit.temporal_world_drills import DrillsWorld
from tests.kit.temporal_world_facts import AT, Block, pinned
from tests.kit.temporal_world_gameday import GameDayWorld
from tests.kit.temporal_world_region import MemberWorld, RegionWorld
from tidegate import errors
from tidegate.model.drill import GIVES_WAY, DrillInput
from tidegate.model.failover import FAILOVER_DEPLOYMENT, Answers, FailoverInput
from tidegate.model.gameday import GAME_DAY, GameDayInput, Rule, Trip
from tidegate.model.groups import GroupLook
from tidegate.model.keep import KeepInput
from tidegate.model.operation import Phase, RestoreInput, SnapshotInput, StartInput, StopInput, Verdict
from tidegate.model.record import MadeWay
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput, Other
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput
from tidegate.model.returning import RETURN_REGION, ReturnInput
from tidegate.model.review import REVIEW_READINESS, ReviewInput
from tidegate.model.ship import ShipInput
from tidegate.model.sweep import SweepInput
from tidegate.names import CONTROL_QUEUE

HISTORIES = Path(__file__).parent / "histories"

Scenario = Callable[[Client, Any], Awaitable[Run]]


async def _aborted_in(step: str, world: World, begun: Awaitable[Run], why: str) -> Run:
    """Aborted while this step runs."""
    block = world.block(step)
    run = await begun
    await block.entered.wait()
    await run.update("abort", why=why)
    return run


async def _when_halted(begun: Awaitable[Run], decision: str, **fields: Any) -> Run:
    """It stands halted, and a person decides."""
    run = await begun
    await run.phase(Phase.HALTED)
    await run.update(decision, **fields)
    return run


async def _done(client: Client, _: World) -> Run:
    return await upgrade(client)


async def _dry_run(client: Client, _: World) -> Run:
    return await upgrade(client, dry_run=True)


async def _approved(client: Client, _: World) -> Run:
    run = await upgrade(client, require_approval=True)
    status = await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert status.plan is not None
    await run.update("approve", plan_hash=status.plan.hash)
    return run


async def _not_approved(client: Client, _: World) -> Run:
    return await upgrade(client, require_approval=True, approval_timeout_s=0.2)


async def _undone(client: Client, world: World) -> Run:
    world.will("prove", errors.ProofFailed("3 restarts in 20 s (limit 2)"))
    return await upgrade(client)


async def _job_lost(client: Client, world: World) -> Run:
    world.will("prove", *[errors.JobLost("forgotten")] * 4)
    return await upgrade(client)


async def _halted_resumed(client: Client, world: World) -> Run:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    return await _when_halted(upgrade(client), "resume")


async def _halted_undo_aborted(client: Client, world: World) -> Run:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    return await _when_halted(upgrade(client), "abort", why="enough")


async def _paused(client: Client, world: World) -> Run:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    await run.update("resume")
    return run


async def _aborted_in_switch(client: Client, world: World) -> Run:
    return await _aborted_in("switch", world, upgrade(client), "wrong version")


async def _cancelled_in_proof(client: Client, world: World) -> Run:
    block = world.block("prove")
    run = await upgrade(client)
    await block.entered.wait()
    await run.handle.cancel(reason="typo")
    return run


async def _superseded(client: Client, world: World) -> Run:
    world.will("prove", errors.Superseded("fence 4 has become 5"))
    return await upgrade(client)


async def _basis_changed(client: Client, world: World) -> Run:
    world.will("take", errors.BasisChanged("fence 3 has become 4"))
    return await upgrade(client)


async def _bad_verdict(client: Client, world: World) -> Run:
    world.verdict = Verdict(audited=True, wrong=3)
    return await upgrade(client)


async def _start(client: Client, world: World) -> Run:
    world._change(writer=None, epoch=0)
    world.job_state = None
    return await begin(client, "StartDeployment", StartInput, artifact="v1", from_empty=True, bake_s=5)


async def _start_stopped_again(client: Client, world: World) -> Run:
    world.will("prove", errors.ProofFailed("3 restarts"))
    return await _start(client, world)


async def _start_halted_resumed(client: Client, world: World) -> Run:
    world.will("ensure_running", errors.MustHalt("there is no snapshot that it can read"))
    return await _when_halted(_start(client, world), "resume")


async def _restore(client: Client, world: World, **fields: Any) -> Run:
    return await begin(client, "RestoreDeployment", RestoreInput, bake_s=5, **fields)


async def _restore_newest(client: Client, world: World) -> Run:
    world.job_state = "FAILED"
    return await _restore(client, world)


async def _restore_refused(client: Client, world: World) -> Run:
    return await _restore(client, world, source="e7-chk-11")


async def _restore_undone(client: Client, world: World) -> Run:
    world.will("prove", errors.ProofFailed("3 restarts"))
    return await _restore(client, world, source="e7-chk-11", accept_replay="e7-chk-11")


async def _ship(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "ShipSnapshots", ShipInput, requested_by="ana", **fields)


async def _ship_dry_run(client: Client, world: World) -> Run:
    return await _ship(client, world, dry_run=True)


async def _ship_vanished(client: Client, world: World) -> Run:
    world.will("ship_snapshot", errors.SnapshotIncomplete("two checkpoints vanished"))
    return await _ship(client, world)


async def _ship_aborted(client: Client, world: World) -> Run:
    return await _aborted_in("ship_snapshot", world, _ship(client, world), "wrong hour")


async def _take(client: Client, world: World) -> Run:
    return await begin(client, "TakeSnapshot", SnapshotInput)


async def _take_given_up(client: Client, world: World) -> Run:
    world.will("take_snapshot", errors.SavepointFailed("no space"))
    return await _take(client, world)


async def _stop(client: Client, _: World) -> Run:
    return await begin(client, "StopDeployment", StopInput)


async def _stop_goes_back(client: Client, world: World) -> Run:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    return await _stop(client, world)


async def _stop_halted_resumed(client: Client, world: World) -> Run:
    world.will("stop_deployment", errors.NoProgress("the savepoint did not come"))
    return await _when_halted(_stop(client, world), "resume")


async def _keep_points_aborted(client: Client, world: World) -> Run:
    keep = begin(client, "KeepRecoveryPoints", KeepInput, requested_by="ana")
    return await _aborted_in("keep_points", world, keep, "moves to another region")


async def _sweep(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "SweepSnapshots", SweepInput, requested_by="ana", **fields)


async def _sweep_dry_run(client: Client, world: World) -> Run:
    return await _sweep(client, world, dry_run=True)


async def _sweep_held(client: Client, world: World) -> Run:
    world.will("sweep_snapshots", errors.Held("ledger is held by upgrade-1"))
    return await _sweep(client, world)


async def _sweep_aborted(client: Client, world: World) -> Run:
    return await _aborted_in("sweep_snapshots", world, _sweep(client, world), "wrong region")


async def _review(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, REVIEW_READINESS, ReviewInput, requested_by="ana", **fields)


async def _review_too_low(client: Client, world: World) -> Run:
    return await _review(client, world, fail_under=90)


async def _review_aborted(client: Client, world: World) -> Run:
    return await _aborted_in("review_readiness", world, _review(client, world), "not now")


async def _drill(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "DrillRecovery", DrillInput, requested_by="ana", **fields)


async def _drill_dry_run(client: Client, world: World) -> Run:
    return await _drill(client, world, dry_run=True)


async def _drill_failed(client: Client, world: World) -> Run:
    world.will("copy_for_drill", errors.SnapshotIncomplete("the snapshot at s3://west/x is incomplete"))
    return await _drill(client, world)


async def _drill_aborted(client: Client, world: World) -> Run:
    return await _aborted_in("watch_drill", world, _drill(client, world), "wrong night")


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


async def _failover(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, requested_by="ana", bake_s=5, **fields)


async def _failover_undone(client: Client, world: World) -> Run:
    world.will("cut_over", errors.Refused("topic payments: somebody else turns it"))
    return await _failover(client, world)


async def _failover_start_undone(client: Client, world: World) -> Run:
    world.will("ensure_running", errors.StartRejected("no such class"))
    return await _failover(client, world)


async def _failover_aborted(client: Client, world: World) -> Run:
    return await _aborted_in("stop_deployment", world, _failover(client, world), "wrong day")


async def _failover_unplanned(client: Client, world: World) -> Run:
    world.silent = {"flink": "no answer", "kafka": "no answer", "s3": "no answer"}
    return await _failover(client, world, unplanned=True)


async def _failover_unplanned_halted(client: Client, world: World) -> Run:
    world.will("rebase_copy", errors.Refused("a position cannot be proven"))
    return await _when_halted(_failover_unplanned(client, world), "resume")


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
    return await _when_halted(_failover(client, world), "escalate")


async def _failover_halted_resumed(client: Client, world: World) -> Run:
    world.will("cut_over", errors.NoProgress("the mirror is not drained"))
    return await _when_halted(_failover(client, world), "resume")


async def _failover_open_halted(client: Client, world: World) -> Run:
    world.will("open_producers", errors.MustHalt("Kafka in west answers no request"))
    return await _when_halted(_failover(client, world), "resume")


async def _failover_proof_halted(client: Client, world: World) -> Run:
    world.will("prove", errors.JobLost("forgotten"))
    return await _when_halted(_failover(client, world), "resume")


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
    return await _when_halted(_return(client, world), "resume")


async def _scheduled(client: Client, _: World, run: str = "done") -> Run:
    request = asked(skip_if=["incident-open"])
    identity = f"tidegate-sweep-ledger-{run}"
    return Run(await client.start_workflow("ScheduledRun", request, id=identity, task_queue=CONTROL_QUEUE))


async def _scheduled_skipped(client: Client, world: World) -> Run:
    world.incidents = ["inc-7"]
    return await _scheduled(client, world, "skipped")


async def _scheduled_failed(client: Client, world: World) -> Run:
    world.will("sweep_snapshots", errors.Refused("a copy cannot be read"))
    return await _scheduled(client, world, "failed")


async def _region(client: Client, _: RegionWorld, **fields: Any) -> Run:
    request = FailoverRegionInput.model_validate(
        {"region": "east", "to": "west", "requested_by": "ana", "bake_s": 5, **fields}
    )
    identity = f"failover-region-east-{uuid.uuid4().hex[:8]}"
    return Run(await client.start_workflow(FAILOVER_REGION, request, id=identity, task_queue=CONTROL_QUEUE))


async def _region_shed(client: Client, world: RegionWorld) -> Run:
    """What lives in the west and matters less gives way."""
    world.slots, world.free = [0, 8], {"east/cell-1": 0, "west/cell-1": 0}
    world.others = (Other(deployment="reports", tier=3, parallelism=1),)
    world.worlds["reports"] = MemberWorld("reports", 3, region="west")
    return await _region(client, world, room="shed", deployments=("a",))


async def _region_came_back(client: Client, world: RegionWorld) -> Run:
    """It goes home, and what gave way in the west comes back."""
    world.worlds["a"] = MemberWorld("a", 0, region="west")
    reports = world.worlds["reports"] = MemberWorld("reports", 3, region="west")
    way = MadeWay(operation="failover-region-east-1", came_from="east")
    kept = pinned(location=reports.savepoint, parallelism=1, made_way=way)
    reports.record, reports.job_state = reports.record.model_copy(update={"pinned": kept}), "FINISHED"
    return await _region(client, world, region="west", to="east")


async def _region_undone(client: Client, world: RegionWorld) -> Run:
    """What gave way for nothing comes back."""
    block = Block()
    world.will("cut_group", "", block)
    run = await _region_shed(client, world)
    await block.entered.wait()
    world.free = {"west/cell-1": 8}
    await run.update("abort", why="not now")
    return run


REGION_SCENARIOS: dict[str, Callable[[Client, RegionWorld], Awaitable[Run]]] = {
    "region-done": _region,
    "region-shed": _region_shed,
    "region-came-back": _region_came_back,
    "region-undone": _region_undone,
}
SCENARIOS: dict[str, Scenario] = {
    "upgrade-done": _done,
    "upgrade-dry-run": _dry_run,
    "upgrade-approved": _approved,
    "upgrade-not-approved": _not_approved,
    "upgrade-undone": _undone,
    "upgrade-job-lost": _job_lost,
    "upgrade-halted-resumed": _halted_resumed,
    "upgrade-halted-aborted": _halted_undo_aborted,
    "upgrade-paused": _paused,
    "upgrade-aborted-in-switch": _aborted_in_switch,
    "upgrade-cancelled-in-proof": _cancelled_in_proof,
    "upgrade-superseded": _superseded,
    "upgrade-basis-changed": _basis_changed,
    "upgrade-bad-verdict": _bad_verdict,
    "start-done": _start,
    "start-stopped-again": _start_stopped_again,
    "start-halted-resumed": _start_halted_resumed,
    "restore-newest": _restore_newest,
    "restore-refused": _restore_refused,
    "restore-undone": _restore_undone,
    "stop-done": _stop,
    "stop-goes-back": _stop_goes_back,
    "stop-halted-resumed": _stop_halted_resumed,
    "take-done": _take,
    "take-given-up": _take_given_up,
    "ship-done": _ship,
    "ship-dry-run": _ship_dry_run,
    "ship-vanished": _ship_vanished,
    "ship-aborted": _ship_aborted,
    "keep-points-aborted": _keep_points_aborted,
    "sweep-done": _sweep,
    "sweep-dry-run": _sweep_dry_run,
    "sweep-held": _sweep_held,
    "sweep-aborted": _sweep_aborted,
    "review-done": _review,
    "review-too-low": _review_too_low,
    "review-aborted": _review_aborted,
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
    "scheduled-done": _scheduled,
    "scheduled-skipped": _scheduled_skipped,
    "scheduled-failed": _scheduled_failed,
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
NO_REGION_WORKER = "upgrade-without-region-worker"


def _world(scenario: str) -> Any:
    if scenario.startswith("game-day-"):
        return GameDayWorld({"a": 0})
    if scenario.startswith("drills-"):
        return DrillsWorld({"a": (0, 1), "b": (1, 1), "c": (2, 2)})
    return DrillWorld() if scenario.startswith("drill-") else World()


async def record(suffix: str = "", only: str = "") -> None:
    """Play every scenario (those that begin with ``only``) and write its history."""
    HISTORIES.mkdir(exist_ok=True)
    async with await start_server(time_skipping=False) as env:
        for name, scenario in SCENARIOS.items():
            if not name.startswith(only):
                continue
            world = _world(name)
            async with workers(env.client, world, regions=("east", "west")):
                await _keep(await scenario(env.client, world), name + suffix)
        for name, of_region in REGION_SCENARIOS.items():
            if name.startswith(only):
                several = RegionWorld({"a": 0})
                async with workers(env.client, several, regions=("east", "west")):
                    await _keep(await of_region(env.client, several), name + suffix)
        if not NO_REGION_WORKER.startswith(only):
            return
        world = World()
        async with workers(env.client, world, regions=()):
            await _keep(await upgrade(env.client), NO_REGION_WORKER + suffix)


async def _keep(run: Run, name: str) -> None:
    try:
        await run.handle.result()
    except WorkflowFailureError as error:
        print(f"{name}: {error.cause}")
    history = await run.handle.fetch_history()
    path = HISTORIES / f"{name}.json.gz"
    # mtime 0: the same history is the same file.
    path.write_bytes(gzip.compress(json.dumps(_without_traces(json.loads(history.to_json()))).encode(), mtime=0))
    print(f"{path.name}: {len(history.events)} events")


def _without_traces(value: Any) -> Any:
    """The history without what tells the machine it was recorded on: stacks, process ids, host names."""
    if isinstance(value, list):
        return [_without_traces(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_traces(one) for key, one in value.items() if key != "stackTrace"}
    return kept | {key: "worker" for key in kept if key.lower().endswith("identity")}


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:3]))
