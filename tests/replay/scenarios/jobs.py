"""Upgrades, starts, restores, stops and savepoints of one deployment, as they are recorded."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin, upgrade
from tests.kit.temporal_world import World
from tests.replay.scenarios.playing import Scenario, aborted_in, when_halted
from tidegate import errors
from tidegate.model.inputs import RestoreInput, SnapshotInput, StartInput, StopInput
from tidegate.model.operation import Phase, Verdict


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
    return await when_halted(upgrade(client), "resume")


async def _halted_undo_aborted(client: Client, world: World) -> Run:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    return await when_halted(upgrade(client), "abort", why="enough")


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
    return await aborted_in("switch", world, upgrade(client), "wrong version")


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
    return await when_halted(_start(client, world), "resume")


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
    return await when_halted(_stop(client, world), "resume")


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
}
