"""Going back after a switch, by the numbers of the rules, in the simulated region."""

from __future__ import annotations

import pytest

from tests.kit.trouble import on, upgraded
from tests.kit.world import Died, world
from tests.kit.world_gate import Fault
from tidegate.errors import (
    InvalidInput,
    MustHalt,
    StartRejected,
)
from tidegate.model.steps import StopFact


def test_x26_before_its_first_checkpoint_the_savepoint_of_the_stop_is_exact():
    with world(checkpoint_every=0) as w:
        op = upgraded(w, "v2u")
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot == w.record.pinned.location
        assert (fact.replay, fact.manifest) == ((), None)
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x26_after_it_the_newest_checkpoint_is_exact_if_the_old_artifact_reads_it():
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        job_id = w.record.writer.job_id
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert f"/{job_id}/chk-" in fact.start.snapshot
        assert fact.replay == ()
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0
        assert w.record.stale_state_of.name == "v2"  # X27


def test_x27_state_stands_still_after_an_upgrade_to_the_artifact_before_too():
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        assert w.record.stale_state_of is None
        w.go("back", lambda: op.switch("v1", n=2))
        assert w.record.stale_state_of.name == "v2"
        # Forward again: the plan has asked for a word on that. If it does not hold, v1 carries it still.
        with pytest.raises(StartRejected):
            w.go("forward", lambda: op.switch("crash-early", n=3))
        w.go("undo", lambda: op.ensure("v1", n=4))
        assert w.record.stale_state_of.name == "v2"
        w.go("forward", lambda: op.switch("v2", n=5))
        assert w.record.stale_state_of is None
        w.checkpoint()
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


def test_x26_if_it_cannot_the_savepoint_with_a_manifest_of_what_comes_twice():
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot == w.record.pinned.location
        told = sum(replay.records for replay in fact.replay)
        w.go("release", op.release)
        judged = w.assert_sound(artifact="v1")
        assert told > 0
        assert judged.announced >= told  # markers lie between the records


def test_x26_a_second_failure_before_the_first_checkpoint_after_a_replay():
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        w.go("undo", lambda: op.ensure("v1"))
        w.checkpoint_every = 0
        w.go("release", op.release)
        w.lose_jobmanager()
        w.jobs.lingering = []
        again = w.op()
        w.go("again", lambda: again.ensure("v1"))
        w.go("release", again.release)
        w.assert_sound(artifact="v1")


def test_x26_what_was_announced_as_superseded_is_not_gone_on_from():
    """Back to v1 with a replay; its job is lost before it commits; then forward to v2u again."""
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        w.checkpoint_every = 0
        assert w.go("back", lambda: op.ensure("v1")).replay
        w.lose_jobmanager()
        w.jobs.lingering = []
        fact = w.go("forward", lambda: op.ensure("v2u", n=2))
        assert fact.start.snapshot == w.record.pinned.location
        w.go("release", op.release)
        assert w.assert_sound(artifact="v2u").announced > 0


@pytest.mark.parametrize("at", ["POST /jars/", "replace s3://tidegate/own"])
def test_x21_a_manifest_counts_only_if_its_start_took_place(at: str):
    """Back to v1 is announced and begun; a taker goes forward from the checkpoint that it would have superseded."""
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        w.gate.fault = on(at, Fault.DIE_BEFORE, actor="victim")
        if at.startswith("replace"):
            w.gate.fault = lambda call: (
                Fault.DIE_BEFORE
                if call.actor == "victim"
                and at in call.name
                and any("/manifests/" in c.name for c in w.gate.of("victim"))
                else Fault.NONE
            )
        with pytest.raises(Died):
            w.go("victim", lambda: op.ensure("v1"))
        taker = w.op(take_over=True)
        fact = w.go("taker", lambda: taker.ensure("v2u"))
        assert "/chk-" in fact.start.snapshot or "/copy-" in fact.start.snapshot
        w.go("release", taker.release)
        assert any("/manifests/" in str(uri) for uri in w.control.objects)
        assert w.assert_sound(artifact="v2u").announced == 0


def test_x15_a_first_start_that_ran_is_stopped_with_nothing_lost():
    """It committed, was then found to keep no checkpoints as X11 wants them, and is ended."""
    with world(checkpoint_every=2) as w:
        op = w.op()
        w.jobs.behaviours["v1"].program.mode = "at_least_once"
        with pytest.raises(StartRejected, match="exactly once"):
            w.go("start", lambda: op.ensure("v1", from_empty=True))
        w.go("stop", lambda: op.ensure_stopped("v1"))
        w.go("release", op.release)
        assert w.live() == []
        w.jobs.behaviours["v1"].program.mode = "exactly_once"
        again = w.op()
        w.go("again", lambda: again.ensure("v1"))
        w.go("release", again.release)
        w.assert_sound(artifact="v1")


def test_x26_lost_with_a_new_epoch_then_back_with_a_replay():
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        w.lose_jobmanager()
        w.go("on", lambda: op.ensure("v2u"))
        w.checkpoint()
        w.go("back", lambda: op.ensure("v1", n=2))
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced > 0


def test_x26_on_unreadable_state_halt_asks_before_anything_comes_twice():
    with world() as w:
        op = upgraded(w, "v2u")
        w.checkpoint()
        with pytest.raises(MustHalt, match="cannot read its state"):
            w.go("undo", lambda: op.ensure("v1", on_unreadable_state="halt"))
        w.go("on", lambda: op.ensure("v2u", n=2))
        w.go("release", op.release)
        w.assert_sound(artifact="v2u")


@pytest.mark.parametrize("broken", ["rejected", "crash-early", "restore-fails", "crash-late"])
def test_o8_a_new_artifact_that_is_broken_is_undone(broken: str):
    with world() as w:
        w.start("v1")
        op = w.op()
        if broken == "crash-late":
            w.go("switch", lambda: op.switch(broken))
            for _ in range(12):
                w.checkpoint()
        else:
            with pytest.raises(StartRejected) as raised:
                w.go("switch", lambda: op.switch(broken))
            # The stop is not lost from sight because the start failed.
            stop = StopFact.model_validate(raised.value.details["stop"])
            assert stop.location == w.record.pinned.location
        w.go("undo", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_an_artifact_without_a_job_graph_is_refused_before_the_stop():
    with world() as w:
        w.start("v1")
        job = w.live()
        op = w.op()
        with pytest.raises(InvalidInput, match="no job graph"):
            w.go("switch", lambda: op.switch("throws"))
        assert w.live() == job
        w.go("release", op.release)
        w.assert_sound(artifact="v1")
