"""A start in another region, in the simulated world: who is the writer then, and what stays as it was (I1, X24, O6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kit.world import Died, World, world
from tests.kit.world_gate import Fault
from tidegate.errors import MustHalt, StartRejected
from tidegate.model.appraisal import Crossing
from tidegate.model.record import StartIntent
from tidegate.model.steps import EnsureFact, RestoreFrom
from tidegate.operation import choose, resolve
from tidegate.operation.gone import gone_since
from tidegate.snapshot.pins import named_by
from tidegate.snapshot.place import location_of


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is found of the copy; ``problem`` stands against it."""
    said = {"problem": ""}

    async def crossing_at(_site: object, _record: object, location: str) -> Crossing:
        return Crossing(location=location, original="s3://east/savepoint", problem=said["problem"])

    monkeypatch.setattr(choose, "crossing_at", crossing_at)
    return said


def _stopped(w: World) -> str:
    """Stopped in the east; from now on the site is in the west, of the same Flink and stores."""
    w.start("v1")
    w.checkpoint()
    op = w.op()
    location = w.go("stop", op.stop).location
    w.go("release", op.release)
    w.site = replace(w.site, region="west")
    return location


def _go_on(w: World, location: str, artifact: str = "v1") -> EnsureFact:
    op = w.op()
    wanted = RestoreFrom(until_epoch=w.record.epoch, snapshot=location)
    return w.go("start", lambda: op.ensure(artifact, restore=wanted))


def test_i1_it_is_the_writer_there_and_the_copy_is_what_it_goes_back_to(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        assert _go_on(w, location).start.snapshot == location
        record = w.record
        assert record.writer is not None
        assert (record.writer.region, record.writer.started_from) == ("west", location)
        assert record.base is not None
        assert record.pinned == record.base
        assert record.base.epoch == record.writer.epoch - 1
        assert len(w.live()) == 1


def test_x22_the_record_keeps_what_it_went_on_from_whatever_is_started_there_since(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        moved = w.op()
        wanted = RestoreFrom(until_epoch=w.record.epoch, snapshot=location)
        w.go("start", lambda: moved.ensure("v1", restore=wanted))
        w.go("release", moved.release)
        gone = w.record.gone
        assert {region: (one.to, one.snapshots, one.left) for region, one in gone.items()} == {
            "east": ("west", (location,), None)
        }
        w.checkpoint()
        op = w.op()
        w.go("switch", lambda: op.switch("v2"))
        w.go("release", op.release)
        assert w.record.base is not None
        assert w.record.base.location != location
        assert w.record.gone == gone
        assert location_of(location) in named_by(w.record)


def test_x22_an_edited_copy_is_known_as_what_it_is_a_copy_of(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        op = w.op()
        assert w.record.writer is not None
        epoch = w.record.writer.epoch
        w.go("deny", lambda: resolve.deny_epoch(op.run(), epoch))
        w.go("release", op.release)
        started = _go_on(w, location).start.snapshot
        assert started is not None
        assert started != location
        assert w.record.gone["east"].snapshots == (location,)


def test_x22_of_what_was_started_there_only_what_crossed_is_kept(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        _go_on(w, location)
        record = w.record
        own, copy = "s3://west/savepoints/ledger/e00000002-a/savepoint-1", "s3://west/savepoints/ledger/copy-x-1a2b"
        assert gone_since(record, "west", own) == record.gone
        assert gone_since(record, "west", copy)["east"].snapshots == (location, copy)
        assert gone_since(record, "west", None)["east"].snapshots == (location, None)
        assert set(gone_since(record, "east", copy)) == {"west"}


def test_x20_what_stands_against_the_copy_by_then_halts_it_before_anything_is_begun(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        found["problem"] = "s3://west/f is missing"
        with pytest.raises(MustHalt, match="cannot be used in west: s3://west/f is missing"):
            _go_on(w, location)
        assert w.record.writer is not None
        assert w.record.writer.region == "east"
        assert w.live() == []


def test_i1_a_job_that_was_not_stopped_halts_it(found: dict[str, str]):
    with world() as w:
        w.start("v1")
        w.site = replace(w.site, region="west")
        with pytest.raises(MustHalt, match="was not seen to end where it ran last"):
            _go_on(w, "s3://west/copy")


def test_i3_it_never_begins_empty_where_it_has_not_run(found: dict[str, str]):
    """Whoever takes over a start that was begun here finds no copy named, and no word that empty will do."""
    with world() as w:
        _stopped(w)
        op = w.op()
        with pytest.raises(MustHalt, match="nothing says from which copy it shall go on in west"):
            w.go("start", lambda: op.ensure("v1"))
        assert w.live() == []
        assert [one for one in w.record.intents if isinstance(one, StartIntent)] == []


def test_i1_a_start_that_was_begun_in_another_region_is_not_voided_from_here(found: dict[str, str]):
    """Its job may run there: to Flink here it never came."""
    with world() as w:
        location = _stopped(w)
        op = w.op()
        wanted = RestoreFrom(until_epoch=w.record.epoch, snapshot=location)
        w.gate.fault = lambda call: (
            Fault.DIE_AFTER if call.actor == "start" and "/run" in call.name and call.mutating else Fault.NONE
        )
        with pytest.raises(Died):
            w.go("start", lambda: op.ensure("v1", restore=wanted))
        (begun,) = w.record.open_intents()
        assert len(w.live()) == 1
        w.site = replace(w.site, region="east")
        other = w.op(take_over=True)
        with pytest.raises(MustHalt, match="was begun in west/cell-1, and is not known to have ended") as told:
            w.go("other", lambda: other.ensure("v1"))
        assert "--to west --take-over" in (told.value.hint or "")
        assert w.record.open_intents() == (begun,)


def test_x24_a_start_that_does_not_hold_leaves_it_in_the_old_region(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        w.flink.reject_next_start = "no such class"
        with pytest.raises(StartRejected):
            _go_on(w, location)
        assert w.record.writer is not None
        assert w.record.writer.region == "east"
        assert not w.record.open_intents()


def test_x24_one_that_has_committed_there_lives_there_though_it_did_not_hold(
    found: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    async def completed(*_: object) -> list[int]:
        return [1]

    with world() as w:
        location = _stopped(w)
        w.flink.reject_next_start = "no such class"
        monkeypatch.setattr(resolve, "completed_checkpoints", completed)
        with pytest.raises(StartRejected):
            _go_on(w, location)
        record = w.record
        assert record.writer is not None
        assert record.writer.region == "west"
        assert record.pinned == record.base
        assert not record.open_intents()


def test_o8_the_way_back_of_a_start_that_did_not_hold_settles_there_and_starts_nothing(found: dict[str, str]):
    with world() as w:
        location = _stopped(w)
        w.flink.reject_next_start = "no such class"
        op = w.op()
        wanted = RestoreFrom(until_epoch=w.record.epoch, snapshot=location)
        with pytest.raises(StartRejected):
            w.go("start", lambda: op.ensure("v1", restore=wanted))
        w.go("stop again", lambda: op.ensure_stopped("v1", 2))
        assert w.live() == []
        assert w.record.pinned is not None
        assert w.record.pinned.location == location, "in the east it may be started again from there"
        w.go("release", op.release)
