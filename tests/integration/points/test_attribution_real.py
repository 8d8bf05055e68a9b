"""X4 on real parts: what is attributed to a checkpoint is what a full reading of the log says.

Parallelism 4, three output partitions, every subtask writes every partition, TaskManagers killed at random moments: 5
times, or 100 with TIDEGATE_MATRIX=1 (TIDEGATE_KILLS says otherwise, TIDEGATE_SEED which moments).
The full reading knows nothing of producers or transactional ids: an output belongs to the first checkpoint whose input
positions lie behind the payment that it was made of (X1).
"""

from __future__ import annotations

import asyncio
import os
import random
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, Stage
from tests.kit.eventually import eventually
from tests.kit.sandbox import running_sandbox
from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import TopicPartition
from tidegate.driver.base import ArtifactFile, StartKind, StartRequest, StopPhase, no_heartbeat
from tidegate.driver.session import SessionClusterDriver
from tidegate.model.fleet import Fleet, render_args
from tidegate.model.fleetfile import load_fleet
from tidegate.names import derive_id
from tidegate.points.attribution import Log, sides_of
from tidegate.points.keep import Keeper, Side
from tidegate.points.model import OutputCut, Point
from tidegate.points.store import PointStore
from tidegate.registry.artifacts import open_access, sha256_of
from tidegate.snapshot.place import place_in

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(7_200)]

ROOT = Path(__file__).parents[3]
SEED = int(os.environ.get("TIDEGATE_SEED") or f"{datetime.now(UTC):%Y%m%d}")
KILLS = int(os.environ.get("TIDEGATE_KILLS") or ("100" if os.environ.get("TIDEGATE_MATRIX") == "1" else "5"))
RATE, PARALLELISM, EPOCH = 500, 4, 1
TASKMANAGERS = 2
"""Two slots each: whichever is killed, it holds two of the four subtasks."""
WAIT_S = 120.0
BETWEEN_S = 2.5
"""The next one is killed at most so long after the job has recovered; a checkpoint is taken each second."""
CUT_AGAIN = 200
"""So many cuts, evenly over all, are made again of the whole log when all is decided; all of them were made before."""

Output = tuple[int, int]
"""Of an output record: its offset, and the number (from 0, in their order) of the first checkpoint that has it."""


@dataclass
class Scene:
    sandbox: Sandbox
    stage: Stage
    fleet: Fleet
    driver: SessionClusterDriver
    kafka: Kafka
    keeper: Keeper
    job_id: str


@asynccontextmanager
async def _scene(sandbox: Sandbox) -> AsyncIterator[Scene]:
    """The ledger at parallelism 4 under traffic, and a keeper that looks at it; no worker, no Temporal."""
    stage = Stage(sandbox, ROOT, print)
    await stage.build_ledger()
    await stage.create_topics()
    await stage.publish(("v1",))
    stage.add_generator(RATE)
    fleet = load_fleet(stage.fleet_file).fleet
    home = fleet.deployment(DEPLOYMENT).home_ref
    job_id = derive_id("attribution", SEED)

    async def jobs() -> Mapping[str, int]:
        return {job_id: EPOCH}

    client, control = FlinkClient(sandbox.endpoints.regions["east"].flink), open_access(fleet.control.s3)
    snapshots, kafka = open_access(fleet.region("east").s3), stage.kafka()
    async with client, control, snapshots, kafka:
        side = Side(place_in(fleet, DEPLOYMENT), snapshots)
        points = PointStore(control, fleet.control.bucket)
        keeper = Keeper(side, None, kafka, [OUTPUT_TOPIC], points, jobs)
        driver, jar = SessionClusterDriver(client), stage.jar("v1")
        artifact = ArtifactFile(path=jar, sha256=sha256_of(jar), name="v1")
        args = render_args(fleet, DEPLOYMENT, home.region, home.cell, EPOCH)
        entry_class = fleet.deployment(DEPLOYMENT).entry_class
        prepared = await driver.prepare(artifact, entry_class=entry_class, args=args, parallelism=PARALLELISM)
        started = await driver.start(
            StartRequest(job_id=job_id, prepared=prepared, args=args, parallelism=PARALLELISM, snapshot=None)
        )
        assert started.kind is StartKind.ACCEPTED, started
        await driver.wait_running(job_id, deadline_s=WAIT_S, heartbeat=no_heartbeat)
        yield Scene(sandbox, stage, fleet, driver, kafka, keeper, job_id)


async def _keep(keeper: Keeper, found: dict[int, Point]) -> None:
    """Look again and again; what is attributed, as it is first said."""
    while True:
        kept = await keeper.cycle()
        for point in kept.home.points:
            if point.outputs is not None and point.inputs is not None and point.checkpoint_id is not None:
                found.setdefault(point.checkpoint_id, point)
        for note in kept.notes:
            print(note, flush=True)
        await asyncio.sleep(0.05)


async def _more(found: Mapping[int, Point], keeping: asyncio.Task[None], count: int) -> None:
    """So many more checkpoints are attributed: the job runs and commits."""
    wanted = len(found) + count

    async def enough() -> None:
        if keeping.done():
            keeping.result()
        assert len(found) >= wanted, f"{len(found)} of {wanted} checkpoints attributed"

    await eventually(enough, within_s=WAIT_S)


async def _stop(scene: Scene) -> None:
    """End the traffic, and the job when it has caught up: nothing is open in the log then."""
    await scene.stage.stop_generator()
    trigger, job_id = derive_id("attribution stop", SEED), scene.job_id
    target = scene.fleet.cell(scene.fleet.deployment(DEPLOYMENT).home_ref).savepoints
    await scene.driver.begin_stop(job_id, trigger_id=trigger, directory=f"{target}/{DEPLOYMENT}/attribution")
    stop = await scene.driver.wait_stop(job_id, trigger, deadline_s=WAIT_S, heartbeat=no_heartbeat)
    assert stop.phase is StopPhase.COMPLETED, stop

    async def settled() -> None:
        stable, ends = [await ask([OUTPUT_TOPIC]) for ask in (scene.kafka.last_stable_offsets, scene.kafka.end_offsets)]
        assert stable == ends

    await eventually(settled, within_s=WAIT_S)


def _position(point: Point, partition: int) -> int:
    """I(N) of an input partition; one that was not read yet has none, or Flink's negative number for the start."""
    assert point.inputs is not None
    (known,) = point.inputs.values()
    return max(0, known.get(f"{INPUT_TOPIC}/{partition}", 0))


async def _read(kafka: Kafka, points: Sequence[Point]) -> dict[TopicPartition, list[Output]]:
    """Every committed output with the number of its checkpoint (``len(points)``: of a later one), by the inputs."""
    came: dict[bytes, tuple[int, int]] = {}
    for tp, end in (await kafka.end_offsets([INPUT_TOPIC])).items():
        async for record in kafka.records(tp, 0, end):
            came[(record.value or b"").partition(b",")[0]] = (tp.partition, record.offset)
    positions = {
        partition: [_position(point, partition) for point in points] for partition in {at for at, _ in came.values()}
    }
    for column in positions.values():
        assert column == sorted(column), "a later checkpoint has read less"
    found: dict[TopicPartition, list[Output]] = {}
    for tp, end in (await kafka.end_offsets([OUTPUT_TOPIC])).items():
        found[tp] = []
        async for record in kafka.records(tp, 0, end):
            partition, offset = came[(record.value or b"").partition(b",")[0]]
            found[tp].append((record.offset, bisect_right(positions[partition], offset)))
    return found


@dataclass
class Reading:
    """One output partition, read whole: E(N), B(N) and the ranges for each checkpoint by its number."""

    outputs: list[Output]

    def __post_init__(self) -> None:
        self.offsets = [offset for offset, _ in self.outputs]
        self.owners = [owner for _, owner in self.outputs]
        count = max(self.owners, default=0) + 1
        firsts, lasts = [len(self.outputs)] * (count + 1), [-1] * (count + 1)
        for at, owner in enumerate(self.owners):
            lasts[owner] = at
            firsts[owner] = min(firsts[owner], at)
        self._last = list(accumulate(lasts, max))
        self._first_later = list(accumulate(reversed(firsts), min))[::-1]

    def last(self, number: int) -> int | None:
        """E(N)."""
        at = self._last[min(number, len(self._last) - 1)]
        return self.offsets[at] if at >= 0 else None

    def first_later(self, number: int) -> int | None:
        """B(N)."""
        at = self._first_later[number + 1] if number + 1 < len(self._first_later) else len(self.offsets)
        return self.offsets[at] if at < len(self.offsets) else None

    def between(self, number: int) -> list[Output]:
        """The committed outputs from B(N) to E(N)."""
        last, first = self.last(number), self.first_later(number)
        if last is None or first is None or first > last:
            return []
        return self.outputs[bisect_left(self.offsets, first) : bisect_right(self.offsets, last)]

    def ranges(self, number: int) -> tuple[tuple[int, int], ...]:
        """The runs of later outputs before E(N)."""
        found: list[tuple[int, int]] = []
        joined = False
        for offset, owner in self.between(number):
            if owner > number:
                found = [*found[:-1], (found[-1][0], offset)] if joined else [*found, (offset, offset)]
            joined = owner > number
        return tuple(found)


def _compare_recorded(cut: OutputCut, reading: Reading, number: int) -> None:
    """What was said while the job ran: later transactions were undecided then, and some have been aborted since."""
    if cut.last is None:
        assert (reading.last(number) or -1) < cut.upto, "an output of it that was not seen"
    else:
        assert (cut.last, cut.upto) == (reading.last(number), cut.last + 1)
    later = reading.first_later(number)
    if cut.first_later is None:
        assert later is None or later >= cut.upto
    elif cut.first_later != later:
        assert later is None or cut.first_later < later
        at = bisect_left(reading.offsets, cut.first_later)
        assert at == len(reading.offsets) or reading.offsets[at] != cut.first_later, "committed, and of another side"
    for offset, owner in reading.between(number):
        named = any(first <= offset <= last for first, last in cut.later)
        assert named is (owner > number), (offset, owner, number, cut)
    assert all(last < cut.upto for _, last in cut.later)


async def _compare_settled(kafka: Kafka, points: Sequence[Point], read: Mapping[TopicPartition, Reading]) -> None:
    """When all is decided, E(N), B(N) and the ranges are exactly those of the reading."""
    listed = await kafka.list_transactions(f"tg.{DEPLOYMENT}.")
    for tp, reading in read.items():
        log = Log(0)
        async for batch in kafka.batches(tp, 0, (await kafka.end_offsets([tp.topic]))[tp]):
            log.add(batch)
        for number in range(len(points) - 1, -1, -max(1, len(points) // CUT_AGAIN)):
            point = points[number]
            assert point.checkpoint_id is not None
            sides = sides_of(listed, (), (), deployment=DEPLOYMENT, epoch=EPOCH, checkpoint_id=point.checkpoint_id)
            cut = log.cut(sides)
            assert (cut.last, cut.first_later) == (reading.last(number), reading.first_later(number)), (point.id, tp)
            assert tuple((one.first, one.last) for one in cut.later) == reading.ranges(number), (point.id, tp)


async def _kill_at_random(scene: Scene, found: Mapping[int, Point], keeping: asyncio.Task[None]) -> None:
    moments = random.Random(SEED)
    for kill in range(KILLS):
        await _more(found, keeping, 2)
        await asyncio.sleep(moments.uniform(0, BETWEEN_S))  # a random moment between two checkpoints, not a wait
        part = f"east/flink/taskmanager-{moments.randint(1, TASKMANAGERS)}"
        scene.sandbox.kill(part)
        print(f"kill {kill + 1} of {KILLS}: {part}, {len(found)} checkpoints attributed", flush=True)
        await scene.sandbox.wait_ready(part, WAIT_S)
    await _more(found, keeping, 3)


async def _attributed(sandbox: Sandbox) -> str:
    found: dict[int, Point] = {}
    async with _scene(sandbox) as scene:
        keeping = asyncio.create_task(_keep(scene.keeper, found))
        try:
            await _kill_at_random(scene, found, keeping)
            restarts = (await scene.driver.observe(scene.job_id)).restarts
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        await _stop(scene)
        points = [found[number] for number in sorted(found)]
        read = {tp: Reading(outputs) for tp, outputs in (await _read(scene.kafka, points)).items()}
        for number, point in enumerate(points):
            assert point.outputs is not None
            assert set(point.outputs) == {f"{tp.topic}/{tp.partition}" for tp in read}
            for tp, reading in read.items():
                _compare_recorded(point.outputs[f"{tp.topic}/{tp.partition}"], reading, number)
        await _compare_settled(scene.kafka, points, read)
    mixed = [one for reading in read.values() for at in range(len(points)) if (one := reading.ranges(at))]
    assert restarts >= KILLS, f"{restarts} restarts after {KILLS} kills"
    assert mixed, "no interval was mixed with a later one: nothing was proven"
    outputs, spans = sum(len(reading.outputs) for reading in read.values()), sum(map(len, mixed))
    return (
        f"seed {SEED}: {KILLS} kills, {restarts} restarts, {outputs:,} outputs; {len(points)} checkpoints on "
        f"{len(read)} partitions compared, {len(mixed)} cuts with {spans} ranges of later outputs before E(N)"
    )


def test_x4_what_is_attributed_is_what_a_full_reading_says(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "data", "east", taskmanagers=TASKMANAGERS) as sandbox:
        print(asyncio.run(_attributed(sandbox)), flush=True)
