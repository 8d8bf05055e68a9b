"""Starting, by the numbers of the rules, in the simulated region."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.trouble import deliver, on, until, upgraded
from tests.kit.world import Died, world
from tests.kit.world_gate import Fault
from tidegate.errors import (
    JobLost,
    NoProgress,
    StartRejected,
)
from tidegate.model.record import SlotMemory


def test_x14_a_job_that_flink_forgot_is_shut_out_before_the_next_one_starts():
    """Its submit may have a twin on the way, and high availability may bring it back."""
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        w.go("release", op.release)
        lost = w.record.writer
        submit = next(r for r in reversed(w.net.requests) if r.line.endswith("/run"))
        w.lose_jobmanager()
        again = w.op()
        w.go("again", lambda: again.ensure("v2"))
        w.go("release", again.release)
        assert lost.epoch in w.record.denied_epochs
        w.net.receive(submit)
        w.lingering_commit()
        w.assert_sound(artifact="v2")


def test_x14_a_forgotten_job_that_high_availability_brings_back_commits_nothing():
    with world() as w:
        w.start("v1")
        w.checkpoint()
        lost = w.record.writer
        job = w.flink.jobs.pop(lost.job_id)  # the new JobManager has not recovered it yet
        w.flink.used_ids.discard(lost.job_id)
        w.jobs.attempts.clear()
        op = w.op()
        w.go("on", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.flink.jobs[lost.job_id] = job
        w.flink.crash(lost.job_id, "recovered by high availability")
        for _ in range(3):
            w.checkpoint()
        assert job.state.value == "FAILED"
        w.assert_sound(artifact="v1")


def test_o6_a_start_that_shall_not_be_is_burned_and_denied():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = on("/run", Fault.DIE_HELD, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        taker = w.op(take_over=True)
        w.go("taker", lambda: taker.ensure("v1"))
        deliver(w)
        assert len(w.live()) == 1
        assert 2 in w.record.denied_epochs
        w.go("release", taker.release)
        w.assert_sound(artifact="v1")


def test_o6_a_burn_that_cannot_be_had_leaves_the_deny():
    """The late submit comes after the JobManager has forgotten the burn."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = on("/run", Fault.DIE_HELD, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        taker = w.op(take_over=True)
        w.go("taker", lambda: taker.ensure("v1"))
        w.lose_jobmanager()
        w.jobs.lingering = []
        deliver(w)
        w.go("on", lambda: taker.ensure("v1", n=2))
        w.go("release", taker.release)
        for job_id in w.live():
            if job_id != w.record.writer.job_id:
                w.flink.cancel(job_id)
        w.assert_sound(artifact="v1")


def test_x9_a_slow_attempt_does_not_start_a_second_time_what_its_twin_has_run():
    """The first attempt freezes after its stop; its twin starts the job, which checkpoints and is forgotten."""
    with world() as w:
        w.start("v1")
        op = w.op()
        frozen = asyncio.Event()

        async def main() -> None:
            slow = asyncio.ensure_future(w.as_actor("slow", lambda: op.switch("v2")))
            await until(lambda: any("/savepoints/" in call.name for call in w.gate.of("slow")))
            w.gate.pause = lambda call: 1_000.0 if call.actor == "slow" and not frozen.is_set() else None
            await asyncio.ensure_future(w.as_actor("twin", lambda: op.switch("v2")))
            w.checkpoint()
            w.lose_jobmanager()
            w.jobs.lingering = []
            frozen.set()
            await asyncio.wait({slow})
            assert slow.exception() is None or isinstance(slow.exception(), JobLost | StartRejected)

        w.loop.run_until_complete(main())
        w.go("on", lambda: op.ensure("v2"))
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


def test_d_a_taker_adopts_a_start_and_knows_what_it_began_from():
    """The taker finds the start of an undo, adopts it, and that job fails before its first checkpoint."""
    with world() as w:
        op = upgraded(w, "v2")
        for _ in range(3):
            w.checkpoint()
        w.gate.fault = on("/run", Fault.DIE_AFTER, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.ensure("v1"))
        w.gate.fault = lambda call: Fault.NONE
        w.checkpoint_every = 0
        taker = w.op(take_over=True)
        fact = w.go("taker", lambda: taker.ensure("v1"))
        assert fact.was_running
        assert w.record.base.location == w.record.writer.started_from
        w.go("release", taker.release)
        w.lose_jobmanager()
        w.jobs.lingering = []
        again = w.op()
        w.go("again", lambda: again.ensure("v1"))
        w.go("release", again.release)
        w.assert_sound(artifact="v1")


def test_a_start_that_did_not_come_to_run_is_ended():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.jobs.behaviours["v2"].program.start_takes_s = 1e6
        w.site.driver.poll_ms = 1_000
        with pytest.raises((NoProgress, StartRejected)):
            w.go("switch", lambda: op.switch("v2"))
        with pytest.raises((NoProgress, StartRejected)):
            w.go("ensure", lambda: op.ensure("v2"))
        assert w.live() == []
        assert not w.record.open_intents()
        w.go("undo", lambda: op.ensure("v1", n=2))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_x26_what_a_failed_start_has_committed_is_known_to_the_next_operation():
    """The operation gives up and releases; the epoch that ran stands in no writer."""
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        w.go("release", op.release)
        # an undo whose job commits, and is then found to keep no checkpoints as X11 wants them
        w.jobs.behaviours["v1"].program.mode = "at_least_once"
        again = w.op()
        w.checkpoint_every = 2
        with pytest.raises(StartRejected, match="exactly once"):
            w.go("undo", lambda: again.ensure("v1"))
        w.go("release", again.release)
        w.jobs.behaviours["v1"].program.mode = "exactly_once"
        third = w.op()
        w.go("third", lambda: third.ensure("v1"))
        w.go("release", third.release)
        w.assert_sound(artifact="v1")


def test_the_record_says_what_the_slots_had_that_it_was_started_in():
    """For whom must compare when this region is gone."""
    with world() as w:
        for taskmanager in w.flink.taskmanagers:
            taskmanager.managed_mib, taskmanager.heap_mib = 512, 1_024
        w.start("v1")
        slots = w.flink.taskmanagers[0].slots
        assert w.record.writer is not None
        assert w.record.writer.slot_memory == SlotMemory(managed_mib=512 / slots, heap_mib=1_024 / slots)


def test_no_start_fails_for_want_of_that():
    with world() as w:
        w.gate.fault = lambda call: Fault.LOSE_REQUEST if call.name.endswith("/taskmanagers") else Fault.NONE
        w.start("v1")
        assert w.record.writer is not None
        assert w.record.writer.slot_memory is None
        w.assert_sound(artifact="v1")


def test_o6_a_start_that_is_taken_on_in_a_full_cluster_counts_the_slots_that_its_job_holds_already():
    """Its own job was there, and had all slots: it was ended for want of slots."""
    with world() as w:
        op = upgraded(w, "v2")
        w.checkpoint()
        w.flink.taskmanagers[0].slots = len(w.flink.taskmanagers[0].held)
        w.gate.fault = on("/run", Fault.DIE_AFTER, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.ensure("v1"))
        w.gate.fault = lambda call: Fault.NONE
        (there,) = w.live()
        fact = w.go("on", lambda: op.ensure("v1"))
        assert fact.start.job_id == there
        assert w.live() == [there]
        w.go("release", op.release)
        w.assert_sound(artifact="v1")
