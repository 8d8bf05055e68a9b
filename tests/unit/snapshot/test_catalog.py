"""What snapshots a deployment has, whose they are, and what keeps them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, WEST, Job, savepoint
from tests.unit.report import samples
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.record import StopIntent
from tidegate.names import savepoint_dir, taken_dir
from tidegate.snapshot import pins
from tidegate.snapshot.catalog import Kind, catalog, jobs_of
from tidegate.snapshot.files import read_snapshot, verify
from tidegate.snapshot.listing import Listing
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import epoch_of_directory, location_of, read_prefix, short_id
from tidegate.snapshot.ship import ship

OTHER = Job(deployment="fraud", epoch=3, job_id="6" * 32, uid="alerts-sink")
OLD = Job(epoch=6, job_id="4" * 32)


async def _store() -> MemoryStore:
    store = MemoryStore()
    await OLD.checkpoint(store, 40, {"a.sst": 100})
    await savepoint(store, OLD, "7c" * 16, 41)
    await Job().checkpoint(store, 11, {"b.sst": 200}, {"c": 7})
    await Job().checkpoint(store, 12, {"b.sst": 200, "d.sst": 9}, {"c": 7})
    await OTHER.checkpoint(store, 1)
    return store


async def test_savepoints_and_checkpoints_of_all_epochs_newest_first():
    store = await _store()
    seen = await catalog(store, EAST)
    assert [entry.id for entry in seen.entries] == [
        "e7-chk-12", "e7-chk-11", f"e6-savepoint-{OLD.job_id[:6]}-0123456789ab", "e6-chk-40",
    ]  # fmt: skip
    newest = seen.entries[0]
    assert (newest.kind, newest.epoch, newest.job_id, newest.checkpoint_id) == (Kind.CHECKPOINT, 7, JOB, 12)
    assert newest.verified
    whole = await verify(store, newest.location)
    assert (newest.files, newest.bytes) == (whole.files, whole.bytes)
    assert seen.entries[2].kind is Kind.SAVEPOINT
    assert seen.unknown_jobs == ()


async def test_x13_whose_a_job_is_its_own_state_says():
    """The jobs of another deployment lie in the same directory."""
    store = await _store()
    assert {entry.job_id for entry in (await catalog(store, EAST)).entries} == {JOB, OLD.job_id, None}
    fraud = await catalog(store, type(EAST)("fraud", "east", EAST.savepoints, EAST.checkpoints))
    assert [entry.full_id for entry in fraud.entries] == ["fraud/e3-chk-1"]


async def test_a_job_that_does_not_say_whose_it_is_is_told_and_the_record_knows_it():
    store = MemoryStore()
    await Job().checkpoint(store, 5, sink=False)
    assert await catalog(store, EAST) == type(await catalog(store, EAST))((), (JOB,))
    known = await catalog(store, EAST, {JOB: 7})
    assert [entry.id for entry in known.entries] == ["e7-chk-5"]


async def test_i3_what_is_not_whole_is_listed_with_what_is_missing():
    store = await _store()
    await store.delete(Job().shared("d.sst"))
    await store.put(f"{Job().location(11)}/_metadata", b"\x00")
    by_id = {entry.id: entry for entry in (await catalog(store, EAST)).entries}
    assert by_id["e7-chk-12"].problem == f"{Job().shared('d.sst')} is missing"
    assert not by_id["e7-chk-12"].verified
    assert "e7-chk-11" in by_id
    assert by_id["e7-chk-11"].files is None


async def test_many_files_are_seen_by_few_calls():
    """By listing: a call for each directory, not for each file; one reading a snapshot, one more to know a job."""
    store = MemoryStore()
    many = {f"{n:03}.sst": 3 for n in range(200)}
    for number in (1, 2, 3):
        await Job().checkpoint(store, number, many)
    store.calls.clear()
    assert len((await catalog(store, EAST, {JOB: 7})).entries) == 3
    ops = [op for op, _ in store.calls]
    assert "head" not in ops
    assert ops.count("get_or_none") == 3
    assert len(ops) < 10


async def test_a_listing_asks_for_a_directory_once():
    store = await _store()
    listing = Listing(store)
    await listing.below("s3://east/checkpoints")
    store.calls.clear()
    checked = await listing.check(await read_snapshot(store, Job().location(12)))
    assert checked.problem is None
    assert [op for op, _ in store.calls] == ["get_or_none"]
    assert len(await listing.below(f"s3://east/checkpoints/{JOB}/chk-1")) == 0  # chk-11 and chk-12 only begin the same


@pytest.mark.parametrize(
    ("prefix", "read"),
    [
        ("tg.ledger.balances-sink.e00000007.", ("ledger", "balances-sink", 7)),
        ("tg.ledger.a.e00000001.b.e00000012.", ("ledger", "a.e00000001.b", 12)),
        ("tg.ledger.balances-sink.e00000007", ("ledger", "balances-sink", 7)),
        ("kafka-sink", None),
        ("tg.ledger.e0000007.", None),
    ],
)
def test_x13_the_prefix_is_read_from_the_right(prefix: str, read: tuple[str, str, int] | None):
    found = read_prefix(prefix)
    assert (found and (found.deployment, found.sink_uid, found.epoch)) == read


def test_a_location_is_the_same_however_it_is_written():
    at = S3Uri.parse("s3://east/a/chk-1")
    assert {
        location_of(text) for text in ("s3://east/a/chk-1", "s3p://east/a/chk-1/", "s3://east/a/chk-1/_metadata")
    } == {at}
    assert short_id(at, 7, JOB) == "e7-chk-1"
    assert short_id(at, None, JOB) == "job-5bfb0000-chk-1"


# Pins


def _pin(location: str, who: str = "ana") -> pins.Pin:
    return pins.Pin(deployment="ledger", location=location, why="migration", who=who, at=datetime.now(UTC))


async def test_the_first_pin_stands_and_is_taken_away_by_name():
    store = MemoryStore()
    first = await pins.pin(store, "tidegate", _pin("s3://east/a/chk-1"))
    assert await pins.pin(store, "tidegate", _pin("s3p://east/a/chk-1/_metadata", "bob")) == first
    assert await pins.read_pins(store, "tidegate", "ledger") == [first]
    assert pins.protection("s3://east/a/chk-1", {}, [first]) == "pinned by ana: migration"
    assert pins.protection("s3://east/a/chk-10", {}, [first]) is None
    assert await pins.unpin(store, "tidegate", "ledger", "s3://east/a/chk-1") == first
    assert await pins.unpin(store, "tidegate", "ledger", "s3://east/a/chk-1") is None
    assert await pins.read_pins(store, "tidegate", "ledger") == []


async def test_a_damaged_pin_is_named():
    store = MemoryStore()
    await store.put("s3://tidegate/pins/ledger/x.json", b"{}")
    with pytest.raises(InvalidInput, match=r"pins/ledger/x\.json"):
        await pins.read_pins(store, "tidegate", "ledger")


def test_x10_what_the_record_names_is_kept_and_what_lies_below_a_stops_directory():
    stop = StopIntent(
        id="s", step="switch", n=1, job_id=JOB, epoch=7, trigger_id="7c", artifact=samples.V1, parallelism=2,
        directory="s3://east/savepoints/ledger/e00000007-7c",
    )  # fmt: skip
    record = samples.record(intents=(stop,))
    named = pins.named_by(record)
    assert record.writer is not None
    assert record.writer.started_from is None or location_of(record.writer.started_from) in named
    below = "s3://east/savepoints/ledger/e00000007-7c/savepoint-1"
    assert pins.protection(below, named, []) == "a stop of epoch 7"
    assert pins.protection("s3://east/savepoints/ledger/e00000007-7c0/savepoint-1", named, []) is None
    assert jobs_of(record)[JOB] == 7
    assert pins.named_by(None) == {}


def test_the_epoch_is_in_the_directory_of_a_stop_and_of_a_snapshot_that_was_taken():
    for directory in (savepoint_dir("s3://b/sp", "ledger", 7, "ab"), taken_dir("s3://b/sp", "ledger", 7, "ab")):
        assert epoch_of_directory(S3Uri.parse(directory).name) == 7
    assert epoch_of_directory("copy-chk-12-1a2b3c4d") is None


async def test_of_many_copies_only_the_newest_are_looked_at_where_that_is_asked():
    east, west = MemoryStore(), MemoryStore()
    for number in (8, 9, 10, 11):
        await Job().checkpoint(east, number, {"a.sst": 100})
    await savepoint(east, Job(), "7c" * 16, 12)
    entries = (await catalog(east, EAST)).entries
    for entry in entries:
        await ship(east, west, entry, WEST, Pace())
    everything = await catalog(west, WEST)
    assert len(everything.entries) == len(entries) == 5
    some = {entry.id for entry in (await catalog(west, WEST, shipped_at_most=2)).entries}
    assert {name for name in some if "chk" in name} == {"e7-chk-10", "e7-chk-11"}
    assert len(some) == 3, "a savepoint does not say by its name how old it is"
    west.calls.clear()
    await catalog(west, WEST, shipped_at_most=4)
    listed = [str(uri) for op, uri in west.calls if op == "list"]
    assert not [uri for uri in listed if "-chk-" in uri], "the copies of checkpoints are listed together"
