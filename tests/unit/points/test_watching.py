"""The step that keeps recovery points, on stores in memory: where it looks, and when it ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.testing import ActivityEnvironment

from activities import points
from activities.points import PointActivities
from activities.sites import Sites
from tests.kit.kafka_fake import FakeKafka
from tests.kit.mirror_world import MirrorWorld, holder
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import Job
from tidegate.mirror.control import fresh_record, start
from tidegate.mirror.link import MirrorLink
from tidegate.model.fleet import Fleet
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.record import ArtifactRef, DeploymentRecord, Writer
from tidegate.points.store import PointStore
from tidegate.registry.keptjars import KeptJars
from tidegate.registry.links import LinkStore, take_link

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
JAR = ArtifactRef(name="v1", sha256=hashlib.sha256(b"jar").hexdigest(), uri="s3://east/artifacts/ledger-v1.jar")
WEST = Job(epoch=8, job_id="8" * 32, base="s3://west/checkpoints")


class Scene:
    """The deployment has moved to the west; no mirror brings anything back."""

    def __init__(self, folder: Path, *, mirrors: bool = False) -> None:
        data: dict[str, Any] = yaml.safe_load(FLEET.read_text())
        if not mirrors:
            del data["mirrors"]
        self.fleet = Fleet.model_validate_json(json.dumps(data))
        self.control, self.kafka = MemoryStore(), FakeKafka()
        self.stores = {name: MemoryStore() for name in ("east", "west")}
        kafka, s3 = self.fleet.region("west").kafka, {name: self.fleet.region(name).s3 for name in self.stores}
        self.sites = Sites(
            self.control,
            self.fleet.control.bucket,
            folder,
            _fleets={"f": self.fleet},
            _stores={f"{at.endpoint} {at.access_key}": self.stores[name] for name, at in s3.items()},
            _kafkas={f"{kafka.bootstrap} {kafka.security.username}": self.kafka},
        )

    async def begin(self) -> None:
        await self.kafka.create_topic("balances", 1)
        await self.stores["east"].put(JAR.uri, b"jar")
        await WEST.checkpoint(self.stores["west"], 1, {"a": 100})
        writer = Writer(
            region="west", cell="cell-1", job_id=WEST.job_id, epoch=8, artifact=JAR, parallelism=2, started_from=None,
            since=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        record = DeploymentRecord(deployment="ledger", epoch=8, writer=writer)
        await self.control.put(f"s3://{self.fleet.control.bucket}/own/ledger.json", record.model_dump_json().encode())

    async def mirrored(self, monkeypatch: pytest.MonkeyPatch) -> MirrorWorld:
        """It runs in the east, and a link that runs brings its outputs to the west."""
        world = MirrorWorld(store=self.control)
        world.kafka["east"] = self.kafka
        east = self.fleet.region("east").kafka
        self.sites._kafkas[f"{east.bootstrap} {east.security.username}"] = self.kafka
        for topic in ("payments", "balances"):
            await self.kafka.create_topic(topic, 1)

        @asynccontextmanager
        async def opened(_: Fleet, name: str) -> AsyncIterator[MirrorLink]:
            assert name == world.link().name
            yield world.link()

        monkeypatch.setattr(points, "open_link", opened)
        links = LinkStore(self.control, self.fleet.control.bucket)
        tenure = await take_link(links, fresh_record(world.link()), holder("mirror-start-by-hand"))
        await start(world.link(), tenure)
        await tenure.release()
        return world

    async def watch(self, at: str | None) -> KeepFact:
        step = KeepStep(deployment="ledger", fleet_digest="f", at=at, interval_s=0.2, watch_s=0.5)
        found: KeepFact = await ActivityEnvironment().run(PointActivities(self.sites).keep_points, step)
        return found


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    await made.begin()
    return made


async def test_x17_a_mirror_whose_task_died_is_restarted_by_the_watch_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scene = Scene(tmp_path, mirrors=True)
    world = await scene.mirrored(monkeypatch)
    connector = world.connect["west"].connectors[world.link().connector]
    connector.task = "FAILED"

    assert (await scene.watch(None)).cycles > 0

    assert connector.task == "RUNNING"
    west = (await PointStore(scene.control, scene.fleet.control.bucket).read("ledger", "west")).points
    assert west is not None
    assert west.mirror is not None
    assert west.mirror.down is None
    assert ["Fenced: other epoch" in one.problem for one in west.mirror.revivals] == [True]


@pytest.mark.parametrize("at", [None, "east/cell-1"])
async def test_a_watch_of_the_region_that_it_has_left_ends_and_writes_nothing(scene: Scene, at: str | None):
    before = dict(scene.control.objects)
    assert (await scene.watch(at)).cycles == 0
    assert scene.control.objects == before


async def test_after_a_move_points_are_kept_of_where_it_lives_and_the_former_home_is_the_standby(scene: Scene):
    fact = await scene.watch("west/cell-1")
    assert fact.cycles > 0
    assert (fact.newest, fact.shipped) == ("e8-chk-1", 1)
    store = PointStore(scene.control, scene.fleet.control.bucket)
    for region in ("west", "east"):
        found = (await store.read("ledger", region)).points
        assert found is not None
        assert (found.home, [one.id for one in found.points]) == ("west", ["e8-chk-1"])
    kept = KeptJars(scene.control, scene.fleet.control.bucket, "ledger")
    assert await kept.has(JAR.sha256), "the jar of the writer outlives its region"
