"""What keeps a fleet ready, by hand or by the clock: snapshots shipped, kept and swept, reviews, scheduled runs."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.scheduled import asked
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.replay.scenarios.playing import Scenario, aborted_in
from tidegate import errors
from tidegate.model.keep import KeepInput
from tidegate.model.review import REVIEW_READINESS, ReviewInput
from tidegate.model.ship import ShipInput
from tidegate.model.sweep import SweepInput
from tidegate.names import CONTROL_QUEUE


async def _ship(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "ShipSnapshots", ShipInput, requested_by="ana", **fields)


async def _ship_dry_run(client: Client, world: World) -> Run:
    return await _ship(client, world, dry_run=True)


async def _ship_vanished(client: Client, world: World) -> Run:
    world.will("ship_snapshot", errors.SnapshotIncomplete("two checkpoints vanished"))
    return await _ship(client, world)


async def _ship_aborted(client: Client, world: World) -> Run:
    return await aborted_in("ship_snapshot", world, _ship(client, world), "wrong hour")


async def _keep_points_aborted(client: Client, world: World) -> Run:
    keep = begin(client, "KeepRecoveryPoints", KeepInput, requested_by="ana")
    return await aborted_in("keep_points", world, keep, "moves to another region")


async def _sweep(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, "SweepSnapshots", SweepInput, requested_by="ana", **fields)


async def _sweep_dry_run(client: Client, world: World) -> Run:
    return await _sweep(client, world, dry_run=True)


async def _sweep_held(client: Client, world: World) -> Run:
    world.will("sweep_snapshots", errors.Held("ledger is held by upgrade-1"))
    return await _sweep(client, world)


async def _sweep_aborted(client: Client, world: World) -> Run:
    return await aborted_in("sweep_snapshots", world, _sweep(client, world), "wrong region")


async def _review(client: Client, _: World, **fields: Any) -> Run:
    return await begin(client, REVIEW_READINESS, ReviewInput, requested_by="ana", **fields)


async def _review_too_low(client: Client, world: World) -> Run:
    return await _review(client, world, fail_under=90)


async def _review_aborted(client: Client, world: World) -> Run:
    return await aborted_in("review_readiness", world, _review(client, world), "not now")


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


SCENARIOS: dict[str, Scenario] = {
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
    "scheduled-done": _scheduled,
    "scheduled-skipped": _scheduled_skipped,
    "scheduled-failed": _scheduled_failed,
}
