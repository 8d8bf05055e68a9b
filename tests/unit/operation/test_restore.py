"""Restores, each rule by its number, in the simulated region: what is gone on from, what is refused, what then runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.restores import asked_for, kill, look, lose, newest_of, planned, ran, restore, seen_of, uncommitted
from tests.kit.world import DEPLOYMENT, World, ref, world
from tidegate.clients.s3 import S3Uri
from tidegate.errors import InvalidInput, Refused
from tidegate.model.appraisal import Appraisal
from tidegate.model.operation import ArtifactFacts
from tidegate.model.record import MadeWay
from tidegate.model.steps import EVERY_EPOCH, RestoreFrom
from tidegate.model.timers import OperatorTimers, TimersFound
from tidegate.operation.appraise import appraise
from tidegate.operation.ensure_stopped import ensure_stopped
from tidegate.operation.restore import plan_restore

WAY = MadeWay(operation="failover-region-east-1", came_from="east")


def test_x28_the_snapshot_that_is_gone_on_from_is_looked_into_and_no_other():
    with world() as w:
        ran(w)
        choices = look(w).choices
        assert len(choices) > 1
        assert [one.timers is not None for one in choices] == [one.newest for one in choices]
        oldest = choices[-1]
        assert [one.timers is not None for one in look(w, oldest.location).choices][-1]
        then = w.go("look", lambda: appraise(w.site, w.records, "newest", oldest.completed_at)).choices
        assert [one.name for one in then if one.timers is not None] == [oldest.name]


def test_x28_overdue_timers_stand_in_the_plan():
    with world() as w:
        ran(w)
        seen = seen_of(w, look(w))
        assert seen.appraisal is not None
        (*_, newest) = [one for one in seen.appraisal.choices if one.newest]
        timers = TimersFound(
            snapshot=newest.location,
            name=newest.name,
            taken_at=seen.at - timedelta(seconds=35),
            operators=(OperatorTimers(operator="balance", processing=True),),
        )
        told = Appraisal(choices=(newest.model_copy(update={"timers": timers}),))
        plan = plan_restore(asked_for(), seen.model_copy(update={"appraisal": told}))
        assert any("those that fell due in the last 35 s" in note for note in plan.notes)


# ---------------------------------------------------------------- the newest


def test_x3_what_is_ongoing_is_committed_and_nothing_is_lost():
    with world() as w:
        uncommitted(w)
        newest = newest_of(look(w))
        assert (newest.transactions, newest.price) == ({"ongoing": 2}, "lost 0, replayed 0")
        op = w.op()
        fact = restore(w, op)
        assert (fact.start.snapshot, fact.settled_committed, fact.replay) == (newest.location, 2, ())
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x15_a_job_that_flink_forgot_is_shut_out_and_restored_from_a_copy():
    with world() as w:
        ran(w)
        lose(w)
        op = w.op()
        fact = restore(w, op)
        assert w.record.denied_epochs == (1,)
        assert "/copy-" in fact.start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_what_is_committed_is_fine():
    with world() as w:
        ran(w)
        kill(w)
        assert newest_of(look(w)).transactions == {"committed": 2}
        op = w.op()
        assert restore(w, op).settled_committed == 0
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_a_job_that_fails_over_and_over_is_ended_and_restored():
    with world() as w:
        ran(w)
        before = w.record.writer.job_id
        op = w.op()
        fact = restore(w, op)
        assert not fact.was_running
        assert before not in w.live()
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_i3_a_newest_checkpoint_with_a_file_missing_is_refused_and_the_next_one_offered():
    with world() as w:
        ran(w)
        kill(w)
        newest = newest_of(look(w))
        w.store.objects[S3Uri.parse(newest.location).join("_metadata")] = w.store.objects[
            S3Uri.parse(newest.location).join("_metadata")
        ].__class__(b"\x49\x60", "e", {}, datetime.now(UTC))
        with pytest.raises(Refused, match="cannot be used") as refused:
            planned(w)
        assert f"--from e1-chk-{newest.checkpoint_id - 1} --accept-replay" in str(refused.value.hint)


# ---------------------------------------------------------------- older ones, by name


def test_one_that_is_named_is_found_however_many_are_newer(monkeypatch: pytest.MonkeyPatch):
    with world() as w:
        ran(w)
        wanted = look(w).choices[-1]
        monkeypatch.setattr("tidegate.operation.appraise.CHOICES", 1)
        assert wanted.name not in {one.name for one in look(w).choices}
        assert wanted.name in {one.name for one in look(w, wanted.name).choices}
        op = w.op()
        fact = restore(w, op, source=wanted.name, accept_replay=wanted.name)
        assert fact.start.snapshot == wanted.location
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_what_a_job_that_goes_on_commits_meanwhile_does_not_stand_against_its_newest():
    with world() as w:
        ran(w)
        before = w.record.writer.job_id
        looked = look(w)
        newest = newest_of(looked)
        moved_on = newest.model_copy(update={"replayed": 192})
        seen = seen_of(w, Appraisal(choices=tuple(moved_on if one == newest else one for one in looked.choices)))
        assert "replayed 0" in plan_restore(asked_for(), seen).steps[1].what
        with pytest.raises(Refused, match="would repeat committed output"):
            plan_restore(asked_for(source=newest.name), seen)  # by its name it is that one, whatever came after it
        op = w.op()
        fact = restore(w, op)
        assert fact.replay == ()
        assert w.record.writer.job_id != before
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_as_of_takes_the_newest_that_was_complete_then():
    with world() as w:
        ran(w, 5)
        kill(w)
        choices = look(w).choices
        wanted = choices[2]
        plan = planned(w, as_of=wanted.completed_at.isoformat(), accept_replay=wanted.name)
        assert plan.basis.snapshot == wanted.location
        assert f"replayed {wanted.replayed}" in plan.steps[1].what
        before = choices[-1].completed_at - timedelta(seconds=1)
        with pytest.raises(InvalidInput, match="no snapshot was complete at"):
            planned(w, as_of=before.isoformat())


def test_a_snapshot_that_is_not_there_is_named_with_those_that_are():
    with world() as w:
        ran(w)
        with pytest.raises(InvalidInput, match="no snapshot chk-99; known: e1-chk-"):
            planned(w, source="chk-99")
        with pytest.raises(InvalidInput, match="no snapshot at s3://east/nowhere"):
            planned(w, source="s3://east/nowhere/chk-1")


def test_o8_once_the_restored_job_has_run_it_goes_on_from_its_own():
    """Lost after its first checkpoint: the same restore goes on, and does not go back a second time."""
    with world() as w:
        ran(w, 5)
        op = w.op()
        until = w.record.epoch
        older = look(w).choices[2]
        wish = RestoreFrom(until_epoch=until, snapshot=older.location, replay_accepted=True)
        w.go("restore", lambda: op.ensure("v1", restore=wish))
        w.checkpoint()
        w.checkpoint()
        kill(w)
        fact = w.go("again", lambda: op.ensure("v1", 2, restore=wish))
        assert f"{until + 1:08d}" not in fact.start.snapshot
        assert w.record.base.epoch == until + 1
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_x27_another_artifact_must_be_declared_to_read_it():
    with world() as w:
        w.start("v2u")
        w.checkpoint_every = 0
        w.checkpoint()
        kill(w)
        seen = seen_of(w, look(w)).model_copy(update={"target": ArtifactFacts(ref=ref("v1"), size_bytes=1)})
        with pytest.raises(Refused, match="v1 is not declared to read its state"):
            plan_restore(asked_for(artifact="v1"), seen)


# ---------------------------------------------------------------- the way back


def test_a_restore_that_is_undone_leaves_the_newest_to_go_on_from():
    """Nothing ran before, so nothing runs after; what the newest checkpoint lists is committed, not what was named."""
    with world() as w:
        uncommitted(w)
        newest = newest_of(look(w))
        older = look(w).choices[2]
        op = w.op()
        wish = RestoreFrom(until_epoch=w.record.epoch, snapshot=older.location, replay_accepted=True)
        request = op._ensure("v1", 1, restore=wish)
        w.go("undo", lambda: ensure_stopped(op.run(1), request))
        w.go("release", op.release)
        assert not w.live()
        next_op = w.op()
        fact = w.go("start", lambda: next_op.ensure("v1"))
        assert fact.start.snapshot == newest.location
        w.go("release", next_op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_i7_the_way_back_ends_the_job_that_did_not_hold():
    """Of the same artifact, and running: it is not taken for the one that ran before."""
    with world() as w:
        ran(w, 5)
        older = look(w).choices[2]
        op = w.op()
        restored = restore(w, op, source=older.location, accept_replay=older.name)
        w.checkpoint()
        back = RestoreFrom(until_epoch=EVERY_EPOCH)
        fact = w.go("back", lambda: op.ensure("v1", 2, restore=back))
        assert not fact.was_running
        assert restored.start.job_id not in w.live()
        assert fact.replay == ()
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == older.replayed


# ---------------------------------------------------------------- what made way


def _make_way(w: World) -> str:
    ran(w)
    op = w.op()
    found = w.go("stop", lambda: op.stop(makes_way=WAY))
    w.go("release", op.release)
    return found.location


def test_what_made_way_comes_back_from_its_savepoint_by_name_and_nothing_is_lost_or_comes_twice():
    with world() as w:
        savepoint = _make_way(w)
        op = w.op()
        fact = restore(w, op, source=savepoint, made_way_for=WAY.operation)
        assert fact.start.snapshot == savepoint
        assert not fact.replay
        assert w.record.made_way is None
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_one_that_has_been_started_since_is_not_started_again():
    with world() as w:
        savepoint = _make_way(w)
        by_hand = w.op()
        w.go("start", lambda: by_hand.ensure("v1"))
        w.go("release", by_hand.release)
        before = w.live()
        with pytest.raises(Refused, match=r"any more: it has been started since \(epoch 2\)") as refused:
            planned(w, source=savepoint, made_way_for=WAY.operation)
        assert refused.value.hint == f"to start it in any case:  tidegate restore {DEPLOYMENT}"
        assert w.live() == before


def test_one_that_somebody_has_stopped_since_or_made_way_for_another_is_left_stopped():
    with world() as w:
        savepoint = _make_way(w)
        with pytest.raises(Refused, match="it made way for failover-region-east-1 since"):
            planned(w, source=savepoint, made_way_for="failover-region-east-0")
        again = w.op()
        w.go("start", lambda: again.ensure("v1"))
        w.go("stop", lambda: again.stop(2))
        w.go("release", again.release)
        with pytest.raises(Refused, match="it is stopped, and not to make way"):
            planned(w, source=savepoint, made_way_for=WAY.operation)
