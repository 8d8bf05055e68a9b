"""What the tests of restores do and look at: everything killed, what is there to restore from, when output comes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from sandbox.stage import DEPLOYMENT, OUTPUT_TOPIC
from tests.kit.stage import BAKE_S, Operation, Scene
from tidegate.cli import operations
from tidegate.clients.kafka_types import TopicPartition, TxnState
from tidegate.driver.base import StopPhase
from tidegate.model.operation import RESTORE_DEPLOYMENT, RestoreInput
from tidegate.names import derive_id, taken_dir
from tidegate.snapshot.checkpoints import completed_checkpoints
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.sinks import Committable, committables

CHECKPOINTS, SAVEPOINTS = "s3://east/checkpoints", "s3://east/savepoints"


async def checkpointed(scene: Scene, at_least: int = 3) -> None:
    """The running job has completed so many checkpoints, and so committed under traffic."""
    record = await scene.record()
    assert record.writer is not None
    job_id = record.writer.job_id

    async def enough() -> bool:
        found = await completed_checkpoints(scene.snapshots, CHECKPOINTS, job_id)
        return len(found) >= min(at_least, 5) and found[0].id >= at_least

    await scene.until(enough, f"{at_least} checkpoints of {job_id}")


async def kill_flink(scene: Scene) -> None:
    """kill -9 of the JobManager and of every TaskManager at once; the supervisor brings them up again, empty."""
    parts = [part.name for part in scene.sandbox.status() if part.name.startswith("east/flink/")]
    for part in parts:
        scene.sandbox.kill(part)
    await scene.sandbox.wait_ready("east", 180.0)


async def restore(scene: Scene, **fields: Any) -> Operation:
    """Start a restore by the SDK, under an id of its own."""
    asked = RestoreInput.model_validate(
        {"deployment": DEPLOYMENT, "bake_s": BAKE_S, "requested_by": "test", "reason": "a test", **fields}
    )
    operation = scene.new_id()
    started = await operations.start(scene.client, RESTORE_DEPLOYMENT, asked, operation, operation)
    return Operation(scene, started.handle)


async def first_output_after(scene: Scene, at_ms: int) -> int | None:
    """When the first output record was appended after this time, by the broker's clock; None: not yet."""
    found = []
    offsets = await scene.kafka.offsets_at([OUTPUT_TOPIC], at_ms)
    ends = await scene.kafka.end_offsets([OUTPUT_TOPIC])
    for tp, offset in offsets.items():
        batches = await scene.kafka.batch_headers(tp, offset, ends[tp]) if offset < ends[tp] else []
        found += [batch.max_timestamp_ms for batch in batches if not batch.is_control][:1]
    return min(found, default=None)


@dataclass(frozen=True)
class Frozen:
    """A savepoint of a job that was killed before the next checkpoint: its transactions were left open."""

    location: str
    own: tuple[Committable, ...]


async def frozen_between_snapshot_and_commit(scene: Scene, tries: int = 8) -> Frozen:
    """Kill everything after a snapshot is complete and before its transactions are committed."""
    for attempt in range(tries):
        await checkpointed(scene)
        record = await scene.record()
        assert record.writer is not None
        trigger = derive_id("test", scene.new_id(), attempt, time.time_ns())
        directory = taken_dir(SAVEPOINTS, DEPLOYMENT, record.writer.epoch, trigger)
        job_id = record.writer.job_id
        await scene.driver.begin_snapshot(job_id, trigger_id=trigger, directory=directory, canonical=False)
        while True:
            found = await scene.driver.poll_stop(job_id, trigger)
            if found.phase is not StopPhase.IN_PROGRESS:
                break
            await asyncio.sleep(0.01)
        parts = [part.name for part in scene.sandbox.status() if part.name.startswith("east/flink/")]
        for part in sorted(parts):  # the JobManager first: without it nobody is told to commit
            scene.sandbox.kill(part)
        await scene.sandbox.wait_ready("east", 180.0)
        assert found.location is not None, found
        own = tuple(await committables(scene.snapshots, await read_snapshot(scene.snapshots, found.location)))
        states = await scene.kafka.describe_transactions([one.transactional_id for one in own])
        if own and all(state.state is TxnState.ONGOING for state in states.values()):
            return Frozen(found.location, own)
        done = await (await restore(scene)).result()
        assert done.outcome.value == "done", done
    raise AssertionError(f"the job committed before it was killed, {tries} times")


async def records_of(scene: Scene, transactions: tuple[Committable, ...]) -> int:
    """How many output records these transactions hold, by the log."""
    wanted = {(one.producer_id, one.producer_epoch) for one in transactions}
    ends = await scene.kafka.end_offsets([OUTPUT_TOPIC])
    starts = await scene.kafka.start_offsets([OUTPUT_TOPIC])
    count = 0
    for tp, end in ends.items():
        for batch in await scene.kafka.batch_headers(TopicPartition(*tp), starts[tp], end):
            if not batch.is_control and (batch.producer_id, batch.producer_epoch) in wanted:
                count += batch.records
    return count
