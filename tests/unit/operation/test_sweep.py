"""Sweeping: nothing that stays loses a file, wherever it is cut off; what is half removed is no snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, WEST, Job, savepoint
from tidegate.clients.objects import Object, S3Uri
from tidegate.errors import Held, Refused, Unavailable
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import ArtifactRef, DeploymentRecord, Holder, Pinned, StartIntent, Writer, utc_now
from tidegate.operation.guard import Lookout
from tidegate.operation.sweep import Broom
from tidegate.points.model import Point, Points
from tidegate.points.store import points_key
from tidegate.registry.records import encode
from tidegate.snapshot.catalog import catalog
from tidegate.snapshot.edit import place_copy
from tidegate.snapshot.files import read_snapshot, referenced_files, verify
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.pins import Pin, pin
from tidegate.snapshot.place import Place
from tidegate.snapshot.ship import ship
from tidegate.snapshot.sweep import Policy

FLEET = load_fleet(Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml").fleet
BUCKET = "tidegate"
V1 = ArtifactRef(name="v1", sha256="1" * 64, uri="s3://east/v1.jar")
DAY = timedelta(days=1)
OLD = Job(epoch=6, job_id="6" * 32)
NEW = Job(epoch=7, job_id=JOB)


def long_ago(store: MemoryStore, age: timedelta = 30 * DAY) -> None:
    """All that lies there was written so long before now."""
    for uri, item in list(store.objects.items()):
        at = item.last_modified - age
        store.objects[uri] = Object(item.body, item.etag, item.metadata, at)


class Scene:
    """A region's store and a control bucket; which jobs run."""

    def __init__(self, place: Place = EAST) -> None:
        self.place = place
        self.store, self.control = MemoryStore(), MemoryStore()
        self.running: set[str] = set()
        self.silent = False

    def broom(self, keep: int = 1, older_than: timedelta = timedelta(0), as_of: datetime | None = None) -> Broom:
        async def running(_: str) -> set[str]:
            if self.silent:
                raise Unavailable("Flink in east does not answer")
            return self.running

        lookout = Lookout(FLEET, self.place, self.control, BUCKET, running)
        policy = Policy(keep, older_than, as_of or datetime.now(UTC))
        return Broom(self.store, self.place, lookout, policy)

    async def record(self, **fields: object) -> None:
        record = DeploymentRecord.model_validate({"deployment": "ledger", "epoch": 7, **fields})
        await self.control.put(f"s3://{BUCKET}/own/{record.deployment}.json", encode(record))

    async def ids(self) -> set[str]:
        return {entry.id for entry in (await catalog(self.store, self.place)).entries}

    async def all_whole(self) -> None:
        for entry in (await catalog(self.store, self.place)).entries:
            assert entry.verified, entry

    async def swept(self, **policy: object) -> set[str]:
        """Ids that a sweep takes away; what its look told is what is gone, to the byte."""
        before = await self.ids()
        bytes_before = sum(len(item.body) for item in self.store.objects.values())
        files_before = len(self.store.objects)
        told = await self.broom(**policy).look()  # type: ignore[arg-type]
        gone = await self.broom(**policy).sweep()  # type: ignore[arg-type]
        await self.all_whole()
        freed = bytes_before - sum(len(item.body) for item in self.store.objects.values())
        assert (told.bytes, gone.bytes) == (freed, freed)
        assert told.files == gone.files == files_before - len(self.store.objects)
        assert not [uri for uri in self.control.objects if uri.key.startswith("sweeps/")]
        return before - await self.ids()


@pytest.fixture
async def scene() -> Scene:
    """Five checkpoints of a dead job, each sharing files with its neighbours, and two of the one that came after."""
    made = Scene()
    for number in range(1, 6):
        await OLD.checkpoint(made.store, number, {f"s{n}": 100 + n for n in range(number, number + 3)}, {"own": 9})
    for number in (6, 7):
        await NEW.checkpoint(made.store, number, {f"t{number}": 70, "t": 71})
    return made


async def test_old_ones_go_and_take_along_what_nothing_else_names(scene: Scene):
    assert await scene.swept(keep=4) == {"e6-chk-1", "e6-chk-2", "e6-chk-3"}
    left = {uri.name for uri in scene.store.objects if "/shared/" in uri.key and OLD.job_id in uri.key}
    assert left == {f"s{n}" for n in range(4, 8)}
    assert await scene.swept(keep=4) == set()


async def test_younger_ones_stay_whatever_their_number(scene: Scene):
    assert await scene.swept(keep=1, older_than=DAY) == set()
    long_ago(scene.store, 2 * DAY)
    assert len(await scene.swept(keep=1, older_than=DAY)) == 6


async def test_what_came_since_it_was_looked_at_stays_and_pushes_nothing_out(scene: Scene):
    as_of = datetime.now(UTC)
    await NEW.checkpoint(scene.store, 8, {"t": 71})
    assert await scene.swept(keep=7, as_of=as_of) == set()
    assert await scene.swept(keep=6, as_of=as_of) == {"e6-chk-1"}


async def test_the_look_changes_nothing(scene: Scene):
    before = dict(scene.store.objects)
    sight = await scene.broom().look()
    assert len(sight.going) == 6
    assert scene.store.objects == before
    assert scene.control.objects == {}


async def test_flink_keeps_what_is_of_a_job_that_runs(scene: Scene):
    scene.running = {OLD.job_id}
    assert await scene.swept() == {"e7-chk-6"}


async def test_where_flink_cannot_be_asked_no_checkpoint_goes(scene: Scene):
    await savepoint(scene.store, OLD, "1" * 32, 2)
    await savepoint(scene.store, NEW, "2" * 32, 8)
    scene.silent = True
    assert {one.rpartition("-")[0] for one in await scene.swept()} == {"e6-savepoint-666666"}
    assert "does not answer" in str((await scene.broom().look()).choices[-1].stays)


async def test_x10_what_the_record_or_an_intent_or_a_pin_or_a_point_names_stays(scene: Scene):
    writer = Writer(
        region="east", cell="cell-1", job_id="9" * 32, epoch=9, artifact=V1, parallelism=1,
        started_from=OLD.location(1), since=utc_now(),
    )  # fmt: skip
    kept = Pinned(
        location=OLD.location(2), epoch=6, job_id=OLD.job_id, artifact=V1, parallelism=1, output_ends={}, at=utc_now()
    )
    start = StartIntent(
        id="s", step="start", n=1, job_id="8" * 32, epoch=8, region="east", cell="cell-1", artifact=V1, parallelism=1,
        snapshot=f"{OLD.location(3)}/",
    )  # fmt: skip
    await scene.record(writer=writer, base=kept, intents=(start,))
    await pin(scene.control, BUCKET, Pin(deployment="ledger", location=OLD.location(4), why="x", who="a", at=utc_now()))
    point = Point(id="e6-chk-5", kind="checkpoint", snapshot=OLD.location(5), taken_at=utc_now(), verified_at=utc_now())
    points = Points(deployment="ledger", region="east", home="east", updated_at=utc_now(), points=(point,))
    await scene.control.put(f"s3://{BUCKET}/{points_key('ledger', 'east')}", points.model_dump_json().encode())
    sight = await scene.broom().look()
    assert {choice.entry.id: choice.stays for choice in sight.choices if choice.entry.epoch == 6} == {
        "e6-chk-1": "what the writer started from",
        "e6-chk-2": "what the writer started from",
        "e6-chk-3": "a start of epoch 8",
        "e6-chk-4": "pinned by a: x",
        "e6-chk-5": "a recovery point in east",
    }
    assert await scene.swept() == {"e7-chk-6"}


async def test_x10_what_another_deployment_started_from_stays_with_all_that_its_copy_names(scene: Scene):
    original = await read_snapshot(scene.store, OLD.location(1))
    copy = await place_copy(scene.store, original, "s3://east/savepoints/fork/copy-1")
    based = Pinned(
        location=str(copy), epoch=1, job_id="f" * 32, artifact=V1, parallelism=1, output_ends={}, at=utc_now()
    )
    await scene.record(deployment="fork", base=based)
    await scene.record()
    assert (await scene.broom().look()).choices[-1].stays == "a copy of it names its files"
    assert await scene.swept() == {"e6-chk-2", "e6-chk-3", "e6-chk-4", "e6-chk-5", "e7-chk-6"}
    assert (await verify(scene.store, copy)).files == 6
    await scene.control.delete(f"s3://{BUCKET}/own/fork.json")
    assert await scene.swept() == set()  # not started yet, or no longer: as long as it lies there it has its files
    await scene.store.put(copy.join("_metadata"), b"no such thing")
    with pytest.raises(Refused, match="nobody knows which files it needs"):
        await scene.broom().sweep()


async def test_an_edited_copy_takes_only_itself_along_and_keeps_the_original_and_its_files(scene: Scene):
    original = await read_snapshot(scene.store, OLD.location(1))
    await place_copy(scene.store, original, "s3://east/savepoints/ledger/copy-1")
    # It is the newest, and is not counted as one: nobody goes back to a copy.
    assert await scene.swept() == {"e6-chk-2", "e6-chk-3", "e6-chk-4", "e6-chk-5", "e7-chk-6"}
    assert await scene.ids() == {"copy-1", "e6-chk-1", "e7-chk-7"}
    await NEW.checkpoint(scene.store, 8, {"t": 71})
    assert await scene.swept() == {"copy-1", "e6-chk-1", "e7-chk-7"}
    assert not [uri for uri in scene.store.objects if OLD.job_id in uri.key]


async def test_while_one_cannot_be_read_nothing_goes(scene: Scene):
    await scene.store.put(f"{OLD.location(3)}/_metadata", b"\x49\x60\x67\x43 of another time")
    before = dict(scene.store.objects)
    gone = await scene.broom().sweep()
    assert (gone.snapshots, gone.files) == (0, 0)
    assert scene.store.objects == before


async def test_one_that_is_not_whole_is_none_of_those_that_are_kept(scene: Scene):
    del scene.store.objects[S3Uri.parse(NEW.shared("t7"))]
    sight = await scene.broom().look()
    assert {choice.entry.id for choice in sight.choices if choice.stays} == {"e7-chk-7", "e7-chk-6"}
    for item in [uri for uri in scene.store.objects if uri.name == "keyed-meta"]:
        del scene.store.objects[item]
    assert (await scene.broom().look()).going == ()  # no whole one is left: each trace may be wanted


async def test_while_an_operation_holds_the_deployment_nothing_goes(scene: Scene):
    held = Holder(
        operation="upgrade-1", run_id="r", runbook="UpgradeDeployment", cluster_id="c", namespace="d", who="ana",
        why="", since=utc_now(),
    )  # fmt: skip
    await scene.record(holder=held, state="HELD")
    with pytest.raises(Held, match="upgrade-1"):
        await scene.broom().sweep()
    assert len((await scene.broom().look()).going) == 6  # but a look is free
    await scene.record()

    async def taken(op: str, uri: S3Uri) -> None:
        if op == "delete" and uri == S3Uri.parse(f"{OLD.location(2)}/_metadata"):
            await scene.record(holder=held, state="HELD")

    scene.store.after = taken
    gone = await scene.broom().sweep()
    assert (gone.snapshots, [name for name, _ in gone.kept]) == (2, ["e6-chk-3", "e6-chk-4", "e6-chk-5", "e7-chk-6"])
    await scene.all_whole()
    assert await scene.ids() == {"e6-chk-3", "e6-chk-4", "e6-chk-5", "e7-chk-6", "e7-chk-7"}


async def test_what_is_half_gone_is_ended_also_while_an_operation_holds_the_deployment(scene: Scene):
    held = Holder(
        operation="upgrade-1", run_id="r", runbook="UpgradeDeployment", cluster_id="c", namespace="d", who="ana",
        why="", since=utc_now(),
    )  # fmt: skip

    async def dies(op: str, uri: S3Uri) -> None:
        if op == "delete" and uri == S3Uri.parse(f"{OLD.location(2)}/_metadata"):
            raise Unavailable("the line is cut")

    scene.store.after = dies
    with pytest.raises(Unavailable):
        await scene.broom().sweep()
    await scene.record(holder=held, state="HELD")
    gone = await scene.broom().sweep()
    assert (gone.snapshots, len(gone.kept)) == (2, 4)
    await scene.all_whole()
    with pytest.raises(Held):
        await scene.broom().sweep()


async def test_one_that_is_pinned_meanwhile_stays(scene: Scene):
    async def pinned(op: str, uri: S3Uri) -> None:
        if op == "delete" and uri == S3Uri.parse(f"{OLD.location(1)}/_metadata"):
            late = Pin(deployment="ledger", location=OLD.location(2), why="stop", who="a", at=utc_now())
            await pin(scene.control, BUCKET, late)

    scene.store.after = pinned
    gone = await scene.broom().sweep()
    assert gone.kept == (("e6-chk-2", "pinned by a: stop"),)
    await scene.all_whole()
    assert await scene.ids() == {"e6-chk-2", "e7-chk-7"}


async def _west() -> tuple[MemoryStore, Scene]:
    east, west = MemoryStore(), Scene(WEST)
    for number in range(1, 5):
        await NEW.checkpoint(east, number, {f"s{n}": 900 + n for n in range(number, number + 3)} | {"big": 2500})
        entry = (await catalog(east, EAST)).entries[0]
        await ship(east, west.store, entry, WEST, Pace(part_bytes=1000))
    return east, west


async def test_shipped_ones_go_with_their_files_and_sums_and_share_what_stays():
    _, west = await _west()
    west.running = {JOB}  # the original's job runs over there; the copy is nobody's
    assert len(await west.swept(keep=2)) == 2
    needed = set()
    for entry in (await catalog(west.store, WEST)).entries:
        snapshot = await read_snapshot(west.store, entry.location)
        needed |= {ref.uri for ref in referenced_files(snapshot.metadata, snapshot.directory)}
    there = {uri for uri in west.store.objects if "/files/" in uri.key and not uri.key.endswith(".sha256")}
    assert there == needed
    assert len([uri for uri in west.store.objects if uri.key.endswith(".sha256")]) == 1  # of the big one


async def test_what_a_ship_left_goes_when_it_is_old_and_not_before():
    east, west = await _west()
    await NEW.checkpoint(east, 9, {"big9": 3500, "s9": 10})
    entry = (await catalog(east, EAST)).entries[0]

    async def dies(op: str, uri: S3Uri) -> None:
        if op == "create" and uri.name == "_metadata":
            raise Unavailable("the line is cut")

    west.store.before = dies
    with pytest.raises(Unavailable):
        await ship(east, west.store, entry, WEST, Pace(part_bytes=1000))
    west.store.before = MemoryStore().before
    half = await west.store.start_upload(WEST.shipped_from("east").join("files", "x", "y"))
    other = await west.store.start_upload("s3://west/savepoints/ledger/e00000007-x/part")
    sight = await west.broom(keep=9).look()
    assert (sight.leftovers, sight.uploads) == ((), ())
    long_ago(west.store)
    west.store.touched[half] -= 30 * DAY
    west.store.touched[other] -= 30 * DAY
    west.store.touched["unknown"] = datetime.now(UTC)
    sight = await west.broom(keep=9).look()
    assert {item.uri.name.rpartition("-")[0] or item.uri.name for item in sight.leftovers} >= {"big9", "s9"}
    gone = await west.broom(keep=9).sweep()
    assert (gone.snapshots, gone.leftovers, gone.uploads) == (0, len(sight.leftovers), 1)
    assert other in west.store.open_uploads  # not of a ship: Flink's
    await west.all_whole()
    assert len(await west.ids()) == 4
    assert (await ship(east, west.store, entry, WEST, Pace(part_bytes=1000))).progress.files_sent == 3


class Killed(Exception):
    """The process is gone: none of its calls reaches a store any more."""


class Dying:
    """Ends a process at its n-th call to either store, before or after it is applied."""

    def __init__(self, at: int, *, applied: bool) -> None:
        self.left, self.applied, self.dead = at, applied, False

    async def before(self, _op: str, _uri: S3Uri) -> None:
        if self.dead:
            raise Killed
        self.left -= 1
        if self.left == 0 and not self.applied:
            self.dead = True
            raise Killed

    async def after(self, _op: str, _uri: S3Uri) -> None:
        if self.dead or self.left == 0:
            self.dead = True
            raise Killed

    def into(self, *stores: MemoryStore) -> None:
        for store in stores:
            store.before, store.after = self.before, self.after


def heal(*stores: MemoryStore) -> None:
    for store in stores:
        store.before, store.after = MemoryStore().before, MemoryStore().after


async def _mixed() -> Scene:
    scene = Scene()
    for number in (1, 2):
        await OLD.checkpoint(scene.store, number, {f"s{n}": 100 for n in range(number, number + 2)}, {"own": 9})
    await savepoint(scene.store, OLD, "1" * 32, 4)
    await NEW.checkpoint(scene.store, 6, {"t": 71})
    return scene


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_o16_killed_at_each_call_all_that_stays_is_whole_and_done_again_it_is_the_same(applied: bool):
    reference = await _mixed()
    told = await reference.broom(keep=2).sweep()
    counted = await _mixed()
    counted.store.calls.clear()
    await counted.broom(keep=2).sweep()
    total = len(counted.store.calls) + len(counted.control.calls)
    assert total > 60
    for at in range(1, total + 1):
        scene = await _mixed()
        Dying(at, applied=applied).into(scene.store, scene.control)
        with pytest.raises(Killed):
            await scene.broom(keep=2).sweep()
        heal(scene.store, scene.control)
        await scene.all_whole()
        reported = any(op == "delete" for op, _ in scene.control.calls)
        again = await scene.broom(keep=2).sweep()
        await scene.all_whole()
        assert set(scene.store.objects) == set(reference.store.objects), f"killed at call {at}"
        assert not [uri for uri in scene.control.objects if uri.key.startswith("sweeps/")]
        # It tells again what was done before, unless the dead one had ended but for taking its notes away.
        assert reported or again == told


@settings(max_examples=20, deadline=None)
@given(data=st.data())
async def test_o16_whatever_is_swept_wherever_it_is_killed_what_stays_verifies(data: st.DataObject):
    """Random snapshots that share random files, random pins and policies, killed again and again."""
    seed = random.Random(data.draw(st.integers(0, 2**32)))
    scene = Scene()
    sizes = {f"f{n}": seed.randint(0, 300) for n in range(6)}
    for number in range(1, data.draw(st.integers(1, 8)) + 1):
        job = seed.choice((OLD, NEW))
        shared = {name: sizes[name] for name in seed.sample(sorted(sizes), seed.randint(0, 4))}
        await job.checkpoint(scene.store, number, shared, {"own": 5})
    if data.draw(st.booleans()):
        await savepoint(scene.store, OLD, "3" * 32, 20)
    before = await scene.ids()
    entries = {entry.id: entry for entry in (await catalog(scene.store, EAST)).entries}
    pinned = {one for one in before if seed.random() < 0.2}
    for one in pinned:
        at = str(entries[one].location)
        await pin(scene.control, BUCKET, Pin(deployment="ledger", location=at, why="y", who="a", at=utc_now()))
    scene.running = {job.job_id for job in (OLD, NEW) if seed.random() < 0.2}
    keep = data.draw(st.integers(1, 4))
    for at, applied in data.draw(st.lists(st.tuples(st.integers(1, 120), st.booleans()), max_size=5)):
        Dying(at, applied=applied).into(scene.store, scene.control)
        with contextlib.suppress(Killed):
            await scene.broom(keep=keep).sweep()
        heal(scene.store, scene.control)
        await scene.all_whole()
    await scene.broom(keep=keep).sweep()
    await scene.all_whole()
    left = await scene.ids()
    running = {one for one, entry in entries.items() if entry.job_id in scene.running}
    newest = sorted(entries.values(), key=lambda entry: (entry.at, entry.checkpoint_id or 0, entry.id))[-keep:]
    assert left == pinned | running | {entry.id for entry in newest}
    for job in (OLD, NEW):
        if job.job_id in scene.running:
            continue
        base = S3Uri.parse(f"s3://east/checkpoints/{job.job_id}").key
        named: set[S3Uri] = set()
        for one in left:
            snapshot = await read_snapshot(scene.store, entries[one].location)
            named |= {ref.uri for ref in referenced_files(snapshot.metadata, snapshot.directory)}
        shared = {uri for uri in scene.store.objects if uri.key.startswith(f"{base}/shared/")}
        assert shared <= named


async def test_o16_two_at_the_same_time_end_as_one(scene: Scene):
    one, other = await asyncio.gather(scene.broom(keep=2).sweep(), scene.broom(keep=2).sweep())
    await scene.all_whole()
    assert await scene.ids() == {"e7-chk-6", "e7-chk-7"}
    assert one.snapshots + other.snapshots >= 5
