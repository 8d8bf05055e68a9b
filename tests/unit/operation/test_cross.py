"""What stands against a start in another region, read from the copy, its files and the mirror (X5, X19, X20)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import WEST, Job
from tests.kit.temporal_world_facts import SAVEPOINT, pinned, writer
from tidegate.clients.kafka_types import TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.model.appraisal import Crossing
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import DeploymentRecord
from tidegate.operation import cross
from tidegate.operation.cross import crossing_at
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord
from tidegate.snapshot.shipped import SHIPPED_NAME, Shipped

FLEET = load_fleet(Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml").fleet
SHIPPED = "s3://west/savepoints/ledger/from-east/e7-savepoint-1-1a2b3c4d"
COPY = "s3://west/savepoints/ledger/copy-e7-savepoint-1-5e6f7a8b"
DEPLOYMENT = DeploymentRecord(deployment="ledger", epoch=7, writer=writer("v1", 7), pinned=pinned())


@dataclass
class Site:
    """What `crossing_at` asks of a site."""

    snapshots: MemoryStore
    fleet: Fleet = FLEET
    deployment: str = "ledger"
    region: str = "west"


@dataclass
class West:
    """A copy as rebase leaves it, and a mirror that has brought what lies below ``came``."""

    site: Site = field(default_factory=lambda: Site(MemoryStore()))
    came: dict[TopicPartition, int] = field(default_factory=lambda: {TopicPartition("balances", 0): 40})
    asked: list[str] = field(default_factory=list)

    async def place(self, **changes: Any) -> None:
        job = Job(base="s3://west/files")
        store = self.site.snapshots
        metadata = job.metadata(1, {"a.sst": 100}, {})
        await store.put(job.shared("a.sst"), b"x" * 100)
        await store.put(f"{job.location(1)}/keyed-meta", b"m" * 40)
        record: dict[str, Any] = {
            "deployment": "ledger", "fork": False, "source": SHIPPED, "source_region": "east", "region": "west",
            "replays": 3, "moved": (), "dropped": (), "operators_cut": (), "metadata_sha256": "0" * 64,
        }  # fmt: skip
        body = RebasedRecord.model_validate(record | changes).model_dump_json().encode()
        await store.put(f"{COPY}/{REBASED_NAME}", body)
        await store.put(f"{COPY}/_metadata", metadata)
        shipped = Shipped(
            deployment="ledger", id="e7-savepoint-1", kind="savepoint", epoch=7, job_id=None, checkpoint_id=1,
            source_region="east", source=SAVEPOINT, source_etag="e", target=SHIPPED, taken_at=pinned().at,
            shipped_at=pinned().at, metadata_sha256="0" * 64, files=(),
        )  # fmt: skip
        await store.put(f"{SHIPPED}/{SHIPPED_NAME}", shipped.model_dump_json().encode())

    async def look(self, location: str = COPY, record: DeploymentRecord = DEPLOYMENT) -> Crossing:
        return await crossing_at(self.site, record, location)  # type: ignore[arg-type]


@pytest.fixture
def west(monkeypatch: pytest.MonkeyPatch) -> West:
    made = West()

    @asynccontextmanager
    async def open_link(_: Fleet, name: str, timeout_s: float) -> AsyncIterator[str]:
        assert timeout_s > 0
        made.asked.append(name)
        yield name

    async def passed(_: str, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, bool]:
        return {tp: made.came.get(tp, 0) >= end for tp, end in ends.items()}

    monkeypatch.setattr(cross, "open_link", open_link)
    monkeypatch.setattr(cross, "passed_position", passed)
    asyncio.run(made.place())
    return made


async def test_x20_the_copy_of_the_stops_savepoint_may_be_started_from(west: West):
    found = await west.look(f"{COPY}/")
    assert found == Crossing(location=COPY, original=SAVEPOINT, replays=3)
    assert west.asked == ["east-to-west"]
    assert COPY.startswith(f"{WEST.savepoint_home}/")


async def test_what_is_no_copy_has_positions_of_another_kafka(west: West):
    assert "it is no copy that was rebased for west" in (await west.look(SHIPPED)).problem
    assert "expected its whole location" in (await west.look("e7-savepoint-1")).problem


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"region": "north"}, "its positions are of the Kafka in north"),
        ({"fork": True, "deployment": "ledger-fork"}, "it was made for ledger-fork, as a fork"),
        ({"source": "s3://west/other"}, f"it is of s3://west/other, and ledger was stopped with {SAVEPOINT}"),
    ],
)
async def test_x20_a_copy_for_something_else_is_refused(west: West, changes: dict[str, Any], why: str):
    await west.place(**changes)
    assert why in (await west.look()).problem


async def test_i3_a_file_that_is_missing_is_named(west: West):
    gone = S3Uri.parse(Job(base="s3://west/files").shared("a.sst"))
    await west.site.snapshots.delete(gone)
    assert f"{gone} is missing" in (await west.look()).problem


async def test_x19_outputs_that_have_not_crossed_stand_against_it(west: West):
    west.came = {TopicPartition("balances", 0): 39}
    problem = (await west.look()).problem
    assert "its outputs have not all come through the mirror: balances/0 up to 40 has not" in problem
    assert "tidegate mirror drain east-to-west" in problem


async def test_x5_without_a_mirror_nothing_shows_that_they_are_there(west: West):
    west.site = replace(west.site, fleet=FLEET.model_copy(update={"mirrors": {}}))
    assert "no mirror link brings balances from east" in (await west.look()).problem


async def test_i1_a_job_that_was_not_stopped_is_not_followed(west: West):
    running = DEPLOYMENT.model_copy(update={"pinned": pinned(epoch=6)})
    assert (await west.look(record=running)).problem == "ledger was not stopped with a savepoint"
