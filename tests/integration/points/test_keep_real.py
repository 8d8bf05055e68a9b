"""KeepRecoveryPoints on real parts: what it publishes for the standby is what a full reading of the output log says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, Stage
from tests.kit.sandbox import UP_S
from tests.kit.stage import publish, stage_sandbox
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.names import place_of_transactional_id
from tidegate.points.index import against
from tidegate.points.model import Outage, Point, Points
from tidegate.points.store import PointStore
from tidegate.registry.artifacts import open_access
from tidegate.snapshot.shipped import read_shipped

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[3]
RATE = 200
ACCOUNTS = 100_000
BACKLOG_RATE, BACKLOG = 3_000, 40_000
"""So much state that Flink writes files for it: below 20 KiB it lies in ``_metadata``."""
PUBLISHED_S = 120.0
SEEN_S = 60.0
"""A cycle takes 2 s, and longer where much else runs on the machine."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """East whole; of the west what a mirror and a shipment need. A start asks the Connect of the way back, too."""
    with stage_sandbox(tmp_path_factory.mktemp("points") / "data") as made:
        asyncio.run(made.up(("east",), 2, print, UP_S, mirror=True))
        asyncio.run(made.up(("west",), 0, print, UP_S, mirror=True))
        yield made


async def _until(fleet: Fleet, wanted: Callable[[Points], Awaitable[T | None]], within_s: float) -> T:
    ends = time.monotonic() + within_s
    points: Points | None = None
    while time.monotonic() < ends:
        async with open_access(fleet.control.s3) as control:
            points = (await PointStore(control, fleet.control.bucket).read(DEPLOYMENT, "west")).points
        found = await wanted(points) if points is not None else None
        if found is not None:
            return found
        await asyncio.sleep(0.2)
    told = [(point.id, against(points, point)) for point in points.points[:5]] if points else "nothing"
    pytest.fail(f"not within {within_s:g} s: {told}")


async def _usable(points: Points) -> Point | None:
    return next((point for point in points.points if against(points, point) is None), None)


async def _is_the_full_reading(stage: Stage, point: Point) -> int:
    """Compare the cuts with a reading of the whole log; how many batches were compared.

    Whose a batch is, is told here by the broker's list of transactional ids, which the keeper's cuts do not keep.
    """
    assert point.outputs is not None
    assert point.checkpoint_id is not None
    kafka, compared = stage.kafka(), 0
    try:
        ends = await kafka.end_offsets([OUTPUT_TOPIC])
        assert set(point.outputs) == {f"{tp.topic}/{tp.partition}" for tp in ends}
        batches = {tp: [one async for one in kafka.batches(tp, 0, end)] for tp, end in ends.items()}
        owner = {one.producer_id: one.transactional_id for one in await kafka.list_transactions(f"tg.{DEPLOYMENT}.")}
    finally:
        await kafka.aclose()
    for tp, found in batches.items():
        cut = point.outputs[f"{tp.topic}/{tp.partition}"]
        own, later = [], []
        for batch in found:
            if batch.is_control:
                continue
            place = place_of_transactional_id(owner[batch.producer_id])
            assert place is not None
            belongs = place <= (point.epoch, point.checkpoint_id)
            (own if belongs else later).append(batch)
            for offset in (batch.base_offset, batch.last_offset):
                named_later = any(first <= offset <= last for first, last in cut.later)
                assert (offset < cut.upto and not named_later) == belongs, (tp, offset, cut)
            compared += 1
        assert own
        assert later, "it was read long enough"
        if cut.last is not None:
            assert cut.last == max(batch.last_offset for batch in own)
        if cut.first_later is not None:
            assert cut.first_later == min(batch.base_offset for batch in later)
    return compared


async def _files(west: ObjectStore, point: Point) -> dict[str, tuple[str, int]]:
    """The files of a point in the west: where each came from, to where it lies and its size."""
    record = await read_shipped(west, point.snapshot)
    assert record is not None
    return {file.source: (file.target, file.size) for file in record.files}


async def _traffic(stage: Stage) -> None:
    """A backlog that makes state, then few payments a second."""
    stage.add_generator(BACKLOG_RATE, ACCOUNTS)
    kafka = stage.kafka()
    try:
        ends = time.monotonic() + 120.0
        while sum((await kafka.end_offsets([INPUT_TOPIC])).values()) < BACKLOG:
            assert time.monotonic() < ends, "the backlog does not come"
            await asyncio.sleep(0.2)
    finally:
        await kafka.aclose()
    await stage.stop_generator()
    stage.add_generator(RATE, ACCOUNTS)


async def _told(fleet: Fleet, missing: str) -> Outage:
    """What the index says of a file that was deleted."""
    gone_at = time.monotonic()

    async def told(points: Points) -> Outage | None:
        return next((one for one in points.outages if missing in one.problem), None)

    found = await _until(fleet, told, SEEN_S)
    print(f"told {time.monotonic() - gone_at:.1f} s after {missing} was deleted: {found}")
    return found


async def test_x4_x5_a_point_in_the_west_is_exact_and_a_file_that_goes_missing_is_told(sandbox: Sandbox) -> None:
    stage = Stage(sandbox, ROOT, print)
    await stage.set_up(("v1",), rate=0)
    await publish(stage)
    fleet = load_fleet(stage.fleet_file).fleet
    await _traffic(stage)
    print(await stage.must("mirror", "start", "east-to-west", "--yes", "--timeout", "180"))
    await stage.must("start", DEPLOYMENT, "v1", "--from-empty", "--bake", "0s", "--yes")
    began = time.monotonic()
    print(await stage.must("points", DEPLOYMENT, "--keep"))
    point = await _until(fleet, _usable, PUBLISHED_S)
    print(f"{point.id} published {time.monotonic() - began:.1f} s after the keeper was asked for")

    async def later(points: Points) -> Point | None:
        newest = await _usable(points)
        return newest if newest is not None and newest.id != point.id else None

    second = await _until(fleet, later, SEEN_S)
    for one in (point, second):
        print(f"{one.id}: {await _is_the_full_reading(stage, one):,} batches as a full reading has them")
    shown = await stage.tidegate("points", DEPLOYMENT)
    assert shown.status == 0, shown.out + shown.err

    async with open_access(fleet.region("west").s3) as west:
        # One that the newest shares with others: it is sent again within the cycle, and told all the same.
        newest = await _until(fleet, _usable, SEEN_S)
        shared = {file: size for source, (file, size) in (await _files(west, newest)).items() if "/shared/" in source}
        assert shared, "the state was too small for files"
        file = max(shared, key=lambda one: shared[one])
        await west.delete(file)
        outage = await _told(fleet, file)
        assert outage.whole_at is not None
        assert outage.since > outage.whole_at

        # One that only older ones need: nothing sends it again, so what stands against them stays.
        async def older(points: Points) -> tuple[Point, str] | None:
            usable = [one for one in points.points if against(points, one) is None]
            if len(usable) < 3:
                return None
            needed = await _files(west, usable[0])
            for one in usable[2:]:
                alone = [file for source, (file, _) in (await _files(west, one)).items() if source not in needed]
                if alone:
                    return one, alone[0]
            return None

        old, only = await _until(fleet, older, SEEN_S)
        await west.delete(only)
        await _told(fleet, only)

        async def stays(points: Points) -> str | None:
            found = next((one for one in points.points if one.id == old.id), None)
            return against(points, found) if found is not None else None

        assert only in await _until(fleet, stays, SEEN_S)
        shown = await stage.tidegate("points", DEPLOYMENT)
        assert only in shown.out
        print(shown.out)
        refused = await stage.tidegate("snapshot", "rebase", old.snapshot, "--to", "west", "--yes")
        assert refused.status != 0
        assert only in refused.err, refused.out + refused.err
        print(refused.err)
        assert await west.get_or_none(S3Uri.parse(only)) is None, "it was not sent again"
