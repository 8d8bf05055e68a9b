"""X12: the copy that a fork starts from: which snapshot, what is left out, and what is not touched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, WEST, Job, savepoint
from tidegate.errors import InvalidInput, Refused, SnapshotIncomplete
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.rebasing import Reach
from tidegate.model.fleet import Fleet
from tidegate.model.record import ArtifactRef, DeploymentRecord, Writer
from tidegate.operation.fork import ForkWish, make_fork
from tidegate.snapshot.catalog import catalog
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.pins import read_pins
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.ship import ship
from tidegate.snapshot.sinks import committables, writer_states

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
AT = ("payments", 0)


@asynccontextmanager
async def no_links(_source: str, _target: str) -> AsyncIterator[tuple[MirrorLink, ...]]:
    yield ()


class Scene:
    """The live job in the east with a checkpoint, and a savepoint that was taken before it."""

    def __init__(self) -> None:
        data: dict[str, Any] = yaml.safe_load(FLEET.read_text())
        data["deployments"]["ledger-fork"] = data["deployments"]["ledger"]
        self.fleet = Fleet.model_validate_json(json.dumps(data))
        self.store, self.control, self.kafka = MemoryStore(), MemoryStore(), FakeKafka()

    async def begin(self) -> None:
        await self.kafka.create_topic("payments", 1)
        self.kafka.write_plain("payments", 0, [b"x"] * 100)
        self.savepoint = await savepoint(self.store, Job(), "t1", 11, positions={AT: 40})
        await Job().checkpoint(self.store, 12, {"a": 100}, positions={AT: 60})
        v1 = ArtifactRef(name="v1", sha256="1" * 64, uri="s3://east/artifacts/ledger-v1.jar")
        writer = Writer(
            region="east", cell="cell-1", job_id=JOB, epoch=7, artifact=v1, parallelism=2, started_from=None,
            since=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        record = DeploymentRecord(deployment="ledger", epoch=7, writer=writer)
        await self.control.put("s3://tidegate/own/ledger.json", record.model_dump_json().encode())

    async def fork(self, snapshot: str | None = None, **changes: Any):
        asked: dict[str, Any] = {"fork": "ledger-fork", "region": "east", "of": "ledger", "who": "ana"}
        asked |= {"snapshot": snapshot} | changes
        reach = Reach(self.store, lambda _: self.kafka, no_links)
        return await make_fork(reach, self.fleet, self.control, "tidegate", ForkWish(**asked))


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.begin()
    return made


async def test_x12_the_newest_that_lasts_is_copied_without_the_sinks_state_and_pinned(scene: Scene):
    before = dict(scene.store.objects)
    made = await scene.fork()
    assert made.copy.source.directory == scene.savepoint
    assert str(made.copy.location).startswith("s3://east/savepoints/ledger-fork/copy-")
    copy = await read_snapshot(scene.store, made.copy.location)
    assert await kafka_positions(scene.store, copy) == {"payments-source": {AT: 40}}
    assert await committables(scene.store, copy) == []
    assert await writer_states(scene.store, copy) == []
    assert {uri: scene.store.objects[uri] for uri in before} == before
    (pin,) = await read_pins(scene.control, "tidegate", "ledger")
    assert (pin.location, pin.who) == (str(scene.savepoint), "ana")

    after = dict(scene.store.objects)
    assert (await scene.fork()).copy.location == made.copy.location
    assert scene.store.objects == after, "done again it is found done"


async def test_x12_a_checkpoint_of_the_live_job_does_not_last_and_one_of_an_older_job_does(scene: Scene):
    for named in ("e7-chk-12", "ledger/e7-chk-12", Job().location(12)):
        with pytest.raises(Refused, match="Flink may remove it") as raised:
            await scene.fork(named)
        assert raised.value.hint == "take one that lasts:  tidegate snapshot take ledger"
    older = Job(epoch=6, job_id="6" * 32)
    await older.checkpoint(scene.store, 3, {"a": 100}, positions={AT: 20})
    assert str((await scene.fork("e6-chk-3")).copy.source.directory) == older.location(3)


async def test_what_is_not_there_or_not_whole_is_refused_by_name(scene: Scene):
    with pytest.raises(InvalidInput, match="ledger has no e9-chk-1 in east; those that last: e7-savepoint") as raised:
        await scene.fork("e9-chk-1")
    assert raised.value.hint == "tidegate snapshot list ledger --region east"
    with pytest.raises(InvalidInput, match="fork of itself"):
        await scene.fork(of="ledger-fork")
    await scene.store.delete(scene.savepoint.join("data"))
    with pytest.raises(SnapshotIncomplete, match="data"):
        await scene.fork(str(scene.savepoint))
    with pytest.raises(Refused, match="no whole snapshot in east that lasts"):
        await scene.fork()


async def test_x12_a_copy_that_was_shipped_lasts(scene: Scene):
    entry = next(one for one in (await catalog(scene.store, EAST)).entries if one.id == "e7-chk-12")
    await ship(scene.store, scene.store, entry, WEST, Pace())
    entries = (await catalog(scene.store, WEST)).entries
    assert [one.shipped_from for one in entries] == ["east"]
    with pytest.raises(Refused, match="positions cannot be moved from east to west"):  # there is no mirror
        await scene.fork("e7-chk-12", region="west")
