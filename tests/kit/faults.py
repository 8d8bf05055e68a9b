"""Faults at a known moment: where an operation stands is read from record, Flink, S3 and heartbeats, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio.service import RPCError

from sandbox.stage import DEPLOYMENT
from tests.kit.stage import Operation, Scene
from tidegate.clients.flink_types import SavepointPhase
from tidegate.clients.objects import S3Uri
from tidegate.model.record import IntentState, StartIntent, StopIntent
from tidegate.snapshot.checkpoints import completed_checkpoints


@dataclass(frozen=True)
class Moment:
    """A place in an upgrade. ``reached`` says whether it is there."""

    name: str
    reached: Callable[[Scene, Operation], Awaitable[bool]]

    async def wait(self, scene: Scene, operation: Operation) -> None:
        """Until the operation stands there."""
        await scene.until(lambda: self._look(scene, operation), f"{operation.id} to reach: {self.name}", 240.0)

    async def _look(self, scene: Scene, operation: Operation) -> bool:
        try:
            return await self.reached(scene, operation)
        except RPCError:
            return False


async def _intents(scene: Scene, operation: Operation) -> tuple[StopIntent | None, StartIntent | None]:
    """The stop of the operation's switch and its newest start."""
    record = await scene.record()
    if record.holder is None or record.holder.operation != operation.id:
        return None, None
    stops = [intent for intent in record.intents if isinstance(intent, StopIntent)]
    starts = [intent for intent in record.intents if isinstance(intent, StartIntent)]
    return (stops[-1] if stops else None), (starts[-1] if starts else None)


async def _stopping(scene: Scene, operation: Operation) -> bool:
    stop, _ = await _intents(scene, operation)
    if stop is None:
        return False
    if stop.state is not IntentState.OPEN:
        return True  # it was quicker than this look
    seen = await scene.driver.client.savepoint_status(stop.job_id, stop.trigger_id)
    return seen.phase is not SavepointPhase.UNKNOWN


async def _submitting(scene: Scene, operation: Operation) -> bool:
    stop, start = await _intents(scene, operation)
    return stop is not None and start is not None and stop.state is IntentState.DONE


async def _submitted(scene: Scene, operation: Operation) -> bool:
    _, start = await _intents(scene, operation)
    return start is not None and await scene.driver.state(start.job_id) is not None


async def _first_checkpoint(scene: Scene, operation: Operation) -> bool:
    _, start = await _intents(scene, operation)
    if start is None:
        return False
    return bool(await completed_checkpoints(scene.snapshots, "s3://east/checkpoints", start.job_id))


async def _baking(scene: Scene, operation: Operation) -> bool:
    name, figures, _ = await operation.running()
    return name == "prove" and float(figures.get("watched_s", 0)) > 1.0


STOP = Moment("the stop", _stopping)
SUBMIT = Moment("the submit", _submitting)
SUBMITTED = Moment("right after the submit", _submitted)
FIRST_CHECKPOINT = Moment("the new job's first checkpoint", _first_checkpoint)
BAKE = Moment("the bake", _baking)


async def worker_of(scene: Scene, operation: Operation) -> str:
    """The sandbox part that runs the operation's step now."""
    found: list[str] = []

    async def known() -> bool:
        name, _, identity = await operation.running()
        pid = identity.partition("@")[0]
        found[:] = [part.name for part in scene.sandbox.status() if name and str(part.pid) == pid]
        return bool(found)

    await scene.until(known, "the worker that runs the step")
    return found[0]


async def outage(scene: Scene, part: str, seconds: float, *, kill: bool) -> None:
    """The part is away for so long: killed and started again, or stopped in its tracks (it keeps its connections)."""
    if kill:
        scene.sandbox.kill(part, for_good=True)
    else:
        scene.sandbox.pause(part)
    try:
        await asyncio.sleep(seconds)  # the length of the outage is the fault itself
    finally:
        if kill:
            scene.sandbox.start(part)
        else:
            scene.sandbox.resume(part)
    await scene.sandbox.wait_ready(part, 180.0)


def record_uri(scene: Scene) -> S3Uri:
    """The one object that says who holds the deployment."""
    return S3Uri(scene.bucket, f"own/{DEPLOYMENT}.json")
