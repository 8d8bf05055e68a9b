"""What the cases do and look at: everything killed, what is there to restore from, when output comes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.kit.stage import BAKE_S, Operation, Scene
from tidegate.cli import operations
from tidegate.clients.kafka_types import ControlType, TopicPartition, TxnState
from tidegate.driver.base import StopPhase
from tidegate.model.inputs import RESTORE_DEPLOYMENT, RestoreInput
from tidegate.names import derive_id, taken_dir
from tidegate.snapshot.checkpoints import completed_checkpoints
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.sinks import Committable, committables

CHECKPOINTS, SAVEPOINTS = "s3://east/checkpoints", "s3://east/savepoints"
FLINK = "east/flink/"
_READY_S = 180.0


async def checkpoint_ids(scene: Scene) -> list[int]:
    """Numbers of the running job's retained checkpoints, the newest first."""
    record = await scene.record()
    assert record.writer is not None
    found = await completed_checkpoints(scene.snapshots, CHECKPOINTS, record.writer.job_id)
    return [one.id for one in found]


async def checkpointed(scene: Scene, at_least: int = 3) -> None:
    """The running job has completed so many checkpoints, and so committed under traffic."""

    async def enough() -> bool:
        found = await checkpoint_ids(scene)
        return len(found) >= min(at_least, 5) and found[0] >= at_least

    await scene.until(enough, f"{at_least} checkpoints")


def flink_parts(scene: Scene) -> list[str]:
    """The JobManager, then the TaskManagers."""
    return sorted(part.name for part in scene.sandbox.status() if part.name.startswith(FLINK))


async def kill_flink(scene: Scene) -> None:
    """kill -9 of the JobManager and of every TaskManager at once; the supervisor brings them up again, empty."""
    for part in flink_parts(scene):
        scene.sandbox.kill(part)
    await scene.sandbox.wait_ready("east", _READY_S)


async def restore(scene: Scene, **fields: Any) -> Operation:
    """Start a restore by the SDK, under an id of its own."""
    asked = RestoreInput.model_validate(
        {"deployment": DEPLOYMENT, "bake_s": BAKE_S, "requested_by": "test", "reason": "a test", **fields}
    )
    operation = scene.new_id()
    started = await operations.start(scene.client, RESTORE_DEPLOYMENT, asked, operation, operation)
    return Operation(scene, started.handle)


def unaudited(fleet: str) -> str:
    """The fleet file without the audit: a restore says then that values were not looked at."""
    return re.sub(r"\n    audit:\n.*?(?=\n    objectives:)", "", fleet, flags=re.DOTALL)


@asynccontextmanager
async def cheap(scene: Scene) -> AsyncIterator[str]:
    """Digest of a fleet file whose operations do not audit: an audit reads the whole log, each time."""
    async with scene.other_fleet(unaudited) as digest:
        yield digest


@dataclass(frozen=True)
class Output:
    """Output again, seconds after a time: the first data record appended, and the first that readers could have."""

    appended_s: float
    readable_s: float


async def output_after(scene: Scene, at_ms: int) -> Output:
    """When output came again after a time, by the broker's clock (log append time)."""
    appended: list[int] = []
    readable: list[int] = []
    offsets = await scene.kafka.offsets_at([OUTPUT_TOPIC], at_ms)
    ends = await scene.kafka.end_offsets([OUTPUT_TOPIC])
    for tp, offset in offsets.items():
        wrote: set[int] = set()
        for batch in await scene.kafka.batch_headers(tp, offset, ends[tp]) if offset < ends[tp] else []:
            if not batch.is_control:
                wrote.add(batch.producer_id)
                appended.append(batch.max_timestamp_ms)
            elif batch.producer_id in wrote and batch.control_type is ControlType.COMMIT:
                readable.append(batch.max_timestamp_ms)
    assert appended, "no output came"
    assert readable, "no output was committed"
    return Output((min(appended) - at_ms) / 1000, (min(readable) - at_ms) / 1000)


class Counts:
    """Committed records of input and output from the logs' begin, counted by their batches' headers, each once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._to: dict[TopicPartition, int] = {}
        self._found = {INPUT_TOPIC: 0, OUTPUT_TOPIC: 0}

    async def now(self) -> tuple[int, int]:
        """(input, output) up to the last stable offsets; the input is looked at last, so it is never behind."""
        for topic in (OUTPUT_TOPIC, INPUT_TOPIC):
            for tp, end in (await self._scene.kafka.last_stable_offsets([topic])).items():
                counted = await self._scene.kafka.committed_data_count(tp, self._to.get(tp, 0), end)
                self._found[topic] += counted.count
                self._to[tp] = end
        return self._found[INPUT_TOPIC], self._found[OUTPUT_TOPIC]


@dataclass(frozen=True)
class Left:
    """A snapshot whose job was killed before its transactions were committed."""

    location: str
    own: tuple[Committable, ...]


async def killed_between_snapshot_and_commit(scene: Scene, tries: int = 8) -> Left:
    """Kill everything after a savepoint is complete and before the next checkpoint commits its transactions."""
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
        for part in flink_parts(scene):  # the JobManager first: without it nobody is told to commit
            scene.sandbox.kill(part)
        await scene.sandbox.wait_ready("east", _READY_S)
        assert found.location is not None, found
        own = await transactions_of(scene, found.location)
        states = await scene.kafka.describe_transactions([one.transactional_id for one in own])
        if own and all(state.state is TxnState.ONGOING for state in states.values()):
            return Left(found.location, own)
        done = await (await restore(scene)).result()
        assert done.outcome.value == "done", done
    raise AssertionError(f"the job committed before it was killed, {tries} times")


async def transactions_of(scene: Scene, location: str) -> tuple[Committable, ...]:
    """What a snapshot counts as written."""
    return tuple(await committables(scene.snapshots, await read_snapshot(scene.snapshots, location)))


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
