"""Shipping: whole or no snapshot at all, wherever it is cut off; nothing sent twice; what vanishes is told."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, WEST, Job, body_of, savepoint
from tests.unit.snapshot.test_vectors import READ, expected, store_of
from tidegate.clients.objects import S3Uri
from tidegate.errors import Refused, SnapshotIncomplete, Unavailable
from tidegate.snapshot.catalog import Entry, Kind, catalog
from tidegate.snapshot.files import read_snapshot, referenced_files, verify
from tidegate.snapshot.handles import InlineHandle
from tidegate.snapshot.metadata import parse
from tidegate.snapshot.pace import Pace, Throttle
from tidegate.snapshot.ship import Outcome, ship, ship_newest
from tidegate.snapshot.shipped import SHIPPED_NAME, Shipped, read_shipped
from tidegate.snapshot.sinks import committables
from tidegate.snapshot.transfer import sum_uri

PACE = Pace(parallel=3, part_bytes=1000)
SHARED = {"small": 100, "big": 2500, "exact": 1000, "empty": 0}


async def _entries(store: MemoryStore) -> tuple[Entry, ...]:
    return (await catalog(store, EAST)).entries


async def _east() -> MemoryStore:
    store = MemoryStore()
    await Job().checkpoint(store, 12, SHARED, {"own": 300, "own-big": 4100})
    return store


def _bytes_of(store: MemoryStore) -> dict[str, bytes]:
    """What lies in a store, but for the time in the record of the shipment."""
    found = {str(uri): item.body for uri, item in store.objects.items()}
    for name, body in found.items():
        if name.endswith(SHIPPED_NAME):
            record = Shipped.model_validate_json(body)
            found[name] = record.model_copy(update={"shipped_at": record.taken_at}).model_dump_json().encode()
    return found


async def _shipped() -> tuple[MemoryStore, MemoryStore, Entry, Outcome]:
    east, west = await _east(), MemoryStore()
    (entry,) = await _entries(east)
    return east, west, entry, await ship(east, west, entry, WEST, PACE)


async def test_a_copy_is_whole_and_holds_the_same_bytes_under_new_names():
    east, west, entry, outcome = await _shipped()
    verified = await verify(west, outcome.location)
    assert verified.files == entry.files
    original = await read_snapshot(east, entry.location)
    copied = {file.source: file for file in outcome.record.files}
    for ref in referenced_files(original.metadata, original.directory):
        file = copied[str(ref.uri)]
        body = west.objects[S3Uri.parse(file.target)].body
        assert body == east.objects[ref.uri].body
        assert hashlib.sha256(body).hexdigest() == file.sha256
    assert {str(ref.uri) for ref in referenced_files(verified.metadata, outcome.location)} == {
        file.target for file in outcome.record.files
    }
    assert outcome.progress.sent == sum(file.size for file in outcome.record.files)
    assert outcome.progress.bytes == outcome.progress.of_bytes
    assert [one.transactional_id for one in await committables(west, verified.snapshot)] == [
        one.transactional_id for one in await committables(east, original)
    ]


async def test_it_is_in_the_other_regions_catalog_by_the_same_id():
    _, west, entry, outcome = await _shipped()
    (there,) = (await catalog(west, WEST)).entries
    assert (there.id, there.epoch, there.job_id, there.kind) == (entry.id, 7, entry.job_id, Kind.CHECKPOINT)
    assert (there.at, there.shipped_from, there.region) == (entry.at, "east", "west")
    assert there.verified
    assert there.location == outcome.location
    assert await read_shipped(west, outcome.location) == outcome.record


@pytest.mark.parametrize("name", READ)
async def test_what_flink_wrote_is_shipped_with_all_but_the_names_of_files_unchanged(name: str):
    store, west = await store_of(name), MemoryStore()
    at = S3Uri.parse(expected(name)["location"])
    entry = Entry(
        "x", "ledger", "east", Kind.CHECKPOINT, at, store.objects[at.join("_metadata")].last_modified, 1, None
    )
    outcome = await ship(store, west, entry, WEST, Pace())
    before, after = parse(store.objects[at.join("_metadata")].body), (await verify(west, outcome.location)).metadata
    assert [o.operator_id for o in before.operators] == [o.operator_id for o in after.operators]
    assert before.tail.of(before.data) == after.tail.of(after.data)
    sizes = [len(h.data) if isinstance(h, InlineHandle) else h.size for h in before.streams()]
    assert [len(h.data) if isinstance(h, InlineHandle) else h.size for h in after.streams()] == sizes


async def test_a_savepoints_relative_names_become_whole_ones():
    east, west = MemoryStore(), MemoryStore()
    await savepoint(east, Job(), "7c" * 16, 13)
    (entry,) = await _entries(east)
    outcome = await ship(east, west, entry, WEST, PACE)
    assert (await verify(west, outcome.location)).files == 3
    assert outcome.record.kind == "savepoint"


async def test_a_shared_file_is_sent_once():
    east, west, _, first = await _shipped()
    await Job().checkpoint(east, 13, {**SHARED, "new": 50}, {})
    newest, *_ = await _entries(east)
    second = await ship(east, west, newest, WEST, PACE)
    assert second.progress.sent == 50 + 40  # the new file and the meta data of the new checkpoint
    assert second.progress.files_sent == 2
    was = {file.target: file.sha256 for file in first.record.files}
    shared = [file for file in second.record.files if file.target in was]
    assert len(shared) == len(SHARED)
    assert all(was[file.target] == file.sha256 for file in shared)
    again = await ship(east, west, newest, WEST, PACE)
    assert (again.progress.sent, again.record) == (0, second.record)


async def test_a_file_of_the_right_name_and_another_size_is_sent_again():
    east, west, entry, outcome = await _shipped()
    damaged = next(file for file in outcome.record.files if file.size == 2500)
    await west.put(damaged.target, b"cut off")
    again = await ship(east, west, entry, WEST, PACE)
    assert again.progress.sent == 2500
    assert (await verify(west, outcome.location)).files == entry.files


async def test_another_file_under_the_old_name_is_another_file():
    """Flink gives each file a name of its own; were it not so, the copy of the one would not pass for the other."""
    east, west, _, first = await _shipped()
    await east.put(Job().shared("small"), b"z" * 100)
    await Job().checkpoint(east, 13)
    await east.put(f"{Job().location(13)}/_metadata", Job().metadata(13, {"small": 100}, {}))
    newest, *_ = await _entries(east)
    second = await ship(east, west, newest, WEST, PACE)
    assert {f.target for f in second.record.files}.isdisjoint(f.target for f in first.record.files)


class Killed(Exception):
    """The process is gone: none of its calls reaches a store any more."""


class Dying:
    """Ends a process at its n-th call to either store: before the call is applied, or after it."""

    def __init__(self, at: int, *, applied: bool) -> None:
        self.left = at
        self.applied = applied
        self.dead = False

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


def _heal(*stores: MemoryStore) -> None:
    for store in stores:
        fresh = MemoryStore()
        store.before, store.after = fresh.before, fresh.after


def _never_before_its_files(west: MemoryStore) -> Callable[[], None]:
    """A check: what is a snapshot at the target has every file, with the right bytes."""

    def check() -> None:
        for uri, item in west.objects.items():
            if uri.name == "_metadata":
                record = Shipped.model_validate_json(west.objects[uri.parent.join(SHIPPED_NAME)].body)
                for ref in referenced_files(parse(item.body), uri.parent):
                    there = west.objects[ref.uri]
                    assert len(there.body) == ref.size
                digests = {file.target: file.sha256 for file in record.files}
                for target, digest in digests.items():
                    assert hashlib.sha256(west.objects[S3Uri.parse(target)].body).hexdigest() == digest

    return check


async def _calls_of_a_ship() -> int:
    east, west = await _east(), MemoryStore()
    (entry,) = await _entries(east)
    east.calls.clear()
    await ship(east, west, entry, WEST, PACE)
    return len(east.calls) + len(west.calls)


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_o16_killed_at_each_call_and_done_again_it_is_the_same_and_never_half(applied: bool):
    _, reference, _, _ = await _shipped()
    wanted = _bytes_of(reference)
    total = await _calls_of_a_ship()
    assert total > 40
    for at in range(1, total + 1):
        east, west = await _east(), MemoryStore()
        (entry,) = await _entries(east)
        Dying(at, applied=applied).into(east, west)
        with pytest.raises(Killed):
            await ship(east, west, entry, WEST, PACE)
        _never_before_its_files(west)()
        half = {uri for uri in west.objects if uri.name == "_metadata"}
        _heal(east, west)
        outcome = await ship(east, west, entry, WEST, PACE)
        _never_before_its_files(west)()
        assert _times_aside(_bytes_of(west)) == _times_aside(wanted), f"killed at call {at}"
        # What was there is not sent again: at most the parts that were under way.
        assert outcome.progress.sent <= outcome.progress.of_bytes
        if half:
            assert outcome.progress.sent == 0


def _times_aside(objects: dict[str, bytes]) -> dict[str, bytes]:
    found = dict(objects)
    for name, body in objects.items():
        if name.endswith(SHIPPED_NAME):
            record = Shipped.model_validate_json(body)
            epoch = record.taken_at.replace(year=2000, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
            found[name] = record.model_copy(update={"taken_at": epoch, "shipped_at": epoch}).model_dump_json().encode()
    return found


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=6),
    kills=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=6),
    parallel=st.integers(1, 5),
)
async def test_o16_killed_again_and_again_it_sends_little_more_than_there_is(
    sizes: list[int], kills: list[tuple[int, bool]], parallel: int
):
    east, west = MemoryStore(), MemoryStore()
    pace = Pace(parallel=parallel, part_bytes=1000)
    await Job().checkpoint(east, 12, {f"f{n}": size for n, size in enumerate(sizes)})
    (entry,) = await _entries(east)
    sent = 0
    for at, applied in kills:
        seen: list[int] = []
        Dying(at, applied=applied).into(east, west)
        try:
            done = await ship(east, west, entry, WEST, pace, lambda told, seen=seen: seen.append(told["sent_bytes"]))
            sent += done.progress.sent
        except Killed:
            sent += (seen or [0])[-1]
        _heal(east, west)
        _never_before_its_files(west)()
    outcome = await ship(east, west, entry, WEST, pace)
    sent += outcome.progress.sent
    assert (await verify(west, outcome.location)).files == entry.files
    total = sum(sizes) + 40
    assert sent <= total + len(kills) * parallel * 1000
    for file in outcome.record.files:
        assert west.objects[S3Uri.parse(file.target)].body == east.objects[S3Uri.parse(file.source)].body


async def test_o16_two_workers_at_the_same_time_do_it_once():
    _, reference, _, _ = await _shipped()
    for seed in range(10):
        east, west = await _east(), MemoryStore()
        (entry,) = await _entries(east)
        turns = itertools.count(seed)

        async def yielding(_op: str, _uri: S3Uri, turns: itertools.count[int] = turns) -> None:
            for _ in range(next(turns) * 7 % 5):
                await asyncio.sleep(0)

        west.before = yielding
        one, other = await asyncio.gather(*(ship(east, west, entry, WEST, PACE) for _ in range(2)))
        assert one.record == other.record
        assert _times_aside(_bytes_of(west)) == _times_aside(_bytes_of(reference))


async def test_cancelled_it_leaves_nothing_that_could_be_taken_for_a_snapshot():
    east, west = await _east(), MemoryStore()
    (entry,) = await _entries(east)
    stuck = asyncio.Event()

    async def hold(op: str, _uri: S3Uri) -> None:
        if op == "upload_part":
            stuck.set()
            await asyncio.Event().wait()

    west.before = hold
    task = asyncio.create_task(ship(east, west, entry, WEST, PACE))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [uri for uri in west.objects if uri.name in ("_metadata", SHIPPED_NAME)]
    assert len(asyncio.all_tasks()) == 1
    _heal(west)
    assert (await verify(west, (await ship(east, west, entry, WEST, PACE)).location)).files == entry.files


async def test_x6_files_that_vanish_are_named_and_nothing_is_left_that_looks_whole():
    east, west = await _east(), MemoryStore()
    (entry,) = await _entries(east)

    async def deletes(op: str, uri: S3Uri) -> None:
        if op == "get_range" and uri.name == "big":
            east.objects.pop(uri, None)

    east.before = deletes
    with pytest.raises(SnapshotIncomplete, match="shared/big has gone"):
        await ship(east, west, entry, WEST, PACE)
    assert not [uri for uri in west.objects if uri.name == "_metadata"]


async def test_x6_the_next_newest_is_taken_and_after_two_misses_a_savepoint_is_asked_for():
    async def scene(vanishing: set[str]) -> tuple[MemoryStore, MemoryStore]:
        east = MemoryStore()
        for number in (10, 11, 12):
            await Job().checkpoint(east, number, {}, {f"own-{number}": 2500})

        async def deletes(op: str, uri: S3Uri) -> None:
            if op == "get_range" and uri.name in vanishing:
                east.objects.pop(uri, None)

        east.before = deletes
        return east, MemoryStore()

    east, west = await scene({"own-12"})
    outcome = await ship_newest(east, west, lambda: _entries(east), WEST, PACE)  # type: ignore[arg-type,return-value]
    assert outcome.record.id == "e7-chk-11"
    assert [name for name, _ in outcome.missed] == ["e7-chk-12"]
    east, west = await scene({"own-12", "own-11"})
    with pytest.raises(SnapshotIncomplete, match=r"e7-chk-12: .*e7-chk-11: ") as raised:
        await ship_newest(east, west, lambda: _entries(east), WEST, PACE)  # type: ignore[arg-type,return-value]
    assert "native savepoint" in (raised.value.hint or "")
    assert not [uri for uri in west.objects if uri.name == "_metadata"]


async def test_with_nothing_to_ship_it_says_so():
    with pytest.raises(SnapshotIncomplete, match="there is none"):
        await ship_newest(MemoryStore(), MemoryStore(), lambda: _entries(MemoryStore()), WEST, PACE)  # type: ignore[arg-type,return-value]


async def test_what_stands_at_the_target_and_is_another_snapshot_is_not_overwritten():
    east, west, entry, outcome = await _shipped()
    await west.put(outcome.location.join("_metadata"), b"another")
    with pytest.raises(Refused, match="is not this copy"):
        await ship(east, west, entry, WEST, PACE)
    assert west.objects[outcome.location.join("_metadata")].body == b"another"


async def test_an_answer_that_is_lost_is_found_done_by_doing_it_again():
    east, west = await _east(), MemoryStore()
    (entry,) = await _entries(east)

    async def lost(op: str, uri: S3Uri) -> None:
        if op == "create" and uri.name == "_metadata":
            raise Unavailable("no answer")

    west.after = lost
    with pytest.raises(Unavailable):
        await ship(east, west, entry, WEST, PACE)
    _heal(west)
    assert (await ship(east, west, entry, WEST, PACE)).progress.sent == 0


async def test_a_digest_stands_with_each_file():
    _, west, _, outcome = await _shipped()
    for file in outcome.record.files:
        at = S3Uri.parse(file.target)
        beside = west.objects.get(sum_uri(at))
        told = beside.body.decode() if beside else west.objects[at].metadata["sha256"]
        assert told == file.sha256
    assert body_of("big", 2500)


async def test_what_is_sent_keeps_to_the_rate():
    now, waited = [0.0], []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    throttle = Throttle(1000.0, clock=lambda: now[0], pause=pause)
    for _ in range(5):
        await throttle.take(500)
    assert now[0] == pytest.approx(2.0)
    now[0] += 60
    waited.clear()
    await throttle.take(500)
    assert waited == []
    await Throttle(None, clock=lambda: 0.0, pause=pause).take(10**9)
    assert waited == []
