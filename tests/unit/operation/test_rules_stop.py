"""Stopping, and jobs that somebody else ended, by the numbers of the rules, in the simulated region."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.trouble import deliver, on, upgraded
from tests.kit.world import DEPLOYMENT, Died, world
from tests.kit.world_gate import Fault
from tidegate import names
from tidegate.errors import (
    MustHalt,
    SavepointFailed,
    StartRejected,
)

# ---------------------------------------------------------------- stopping (X2)


def test_x2_a_stop_that_failed_leaves_the_job_running_and_the_record_clean():
    with world() as w:
        w.start("v1")
        job = w.live()
        op = w.op()
        w.flink.fail_next_stop = "java.io.IOException: disk full"
        with pytest.raises(SavepointFailed) as raised:
            w.go("switch", lambda: op.switch("v2"))
        assert raised.value.details["job_state"] == "RUNNING"
        assert w.live() == job
        assert not w.record.open_intents()
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.was_running
        w.go("release", op.release)
        w.assert_sound(artifact="v1")
        assert w.live() == job


def test_o5_a_stop_that_may_still_be_on_its_way_ends_the_job():
    """A copy of the stop waits in a proxy: the job cannot be trusted to run on."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.flink.fail_next_stop = "java.io.IOException: disk full"
        w.gate.fault = on("/stop", Fault.HOLD)
        with pytest.raises(SavepointFailed) as raised:
            w.go("switch", lambda: op.switch("v2"))
        assert raised.value.details["job_state"] == "CANCELED"
        w.go("undo", lambda: op.ensure("v1"))
        w.go("release", op.release)
        deliver(w)
        w.assert_sound(artifact="v1")


def test_x2_x15_a_job_that_failed_while_stopping_is_settled_before_the_start():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.flink.break_next_stop = True
        w.go("switch", lambda: op.switch("v2"))
        assert w.record.pinned.committed
        assert w.jobs.lost_on_restore == []
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


def test_o6_the_savepoint_of_a_stop_is_found_when_flink_has_forgotten_it():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = on("/stop", Fault.DIE_AFTER, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        w.loop.run_until_complete(asyncio.sleep(1))
        w.flink.tick()
        w.lose_jobmanager()
        w.go("again", lambda: op.switch("v2"))
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


def test_i_retained_checkpoints_that_a_finished_job_leaves_are_not_preferred():
    with world() as w:
        w.jobs.keep_retained = True
        w.start("v1")
        for _ in range(4):
            w.checkpoint()
        op = w.op()
        with pytest.raises(StartRejected):
            w.go("switch", lambda: op.switch("rejected"))
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot == w.record.pinned.location
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


# ---------------------------------------------------------------- jobs that somebody else ended (I3)


def test_i3_a_job_that_was_finished_from_outside_is_not_started_from_older_state():
    """Its checkpoints are gone with it, and its savepoint is nowhere that we know."""
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        w.go("release", op.release)
        w.flink.stop(w.live()[0], "f" * 32, "s3://elsewhere/by-hand")
        w.loop.run_until_complete(asyncio.sleep(1))
        w.flink.tick()
        assert w.live() == []
        again = w.op()
        with pytest.raises(MustHalt, match="committed"):
            w.go("again", lambda: again.ensure("v2"))


def test_i3_a_first_job_that_was_finished_from_outside_is_not_started_empty():
    with world() as w:
        w.start("v1")
        w.checkpoint()
        w.flink.stop(w.live()[0], "f" * 32, "s3://elsewhere/by-hand")
        w.loop.run_until_complete(asyncio.sleep(1))
        w.flink.tick()
        again = w.op()
        with pytest.raises(MustHalt, match="committed"):
            w.go("again", lambda: again.ensure("v1"))


def test_i3_a_late_stop_of_ours_leaves_a_savepoint_that_is_found():
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        w.go("release", op.release)
        record = w.record
        directory = names.savepoint_dir(w.site.savepoints, DEPLOYMENT, record.writer.epoch, "e" * 32)
        w.flink.stop(w.live()[0], "e" * 32, directory)
        w.loop.run_until_complete(asyncio.sleep(1))
        w.flink.tick()
        again = w.op()
        fact = w.go("again", lambda: again.ensure("v2"))
        assert fact.start.snapshot.startswith(directory)
        w.go("release", again.release)
        w.assert_sound(artifact="v2")
