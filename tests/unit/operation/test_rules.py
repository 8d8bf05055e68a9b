"""The rules of switch and ensure_running, each by its number, in the simulated region."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.kit.world import DEPLOYMENT, Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate import names
from tidegate.clients.kafka_types import TxnState
from tidegate.clients.s3 import S3Uri
from tidegate.errors import (
    InvalidInput,
    JobLost,
    MustHalt,
    NoProgress,
    Refused,
    SavepointFailed,
    StartRejected,
    Superseded,
)
from tidegate.model.record import StartIntent
from tidegate.model.steps import StopFact


def _on(name: str, fault: Fault, *, actor: str = "", times: int = 1) -> Any:
    """The fault for the first calls whose line holds the name."""
    left = [times]

    def decide(call: Call) -> Fault:
        if left[0] and name in str(call) and call.actor.startswith(actor):
            left[0] -= 1
            return fault
        return Fault.NONE

    return decide


def _deliver(w: World) -> list[str]:
    said = [w.loop.run_until_complete(late.deliver()) for late in w.gate.late]
    w.gate.late.clear()
    return said


async def _until(seen: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 1_000
    while not seen():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def _upgraded(w: World, to: str = "v2") -> Op:
    w.start("v1")
    op = w.op()
    w.go("switch", lambda: op.switch(to))
    return op


# ---------------------------------------------------------------- going back (X26, X27)


def test_x26_before_its_first_checkpoint_the_savepoint_of_the_stop_is_exact():
    with world(checkpoint_every=0) as w:
        op = _upgraded(w, "v2u")
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot == w.record.pinned.location
        assert (fact.replay, fact.manifest) == ((), None)
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x26_after_it_the_newest_checkpoint_is_exact_if_the_old_artifact_reads_it():
    with world() as w:
        op = _upgraded(w, "v2")
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
        op = _upgraded(w, "v2")
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
        op = _upgraded(w, "v2u")
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
        op = _upgraded(w, "v2u")
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
        op = _upgraded(w, "v2u")
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
        op = _upgraded(w, "v2u")
        w.checkpoint()
        w.gate.fault = _on(at, Fault.DIE_BEFORE, actor="victim")
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
        op = _upgraded(w, "v2u")
        w.checkpoint()
        w.lose_jobmanager()
        w.go("on", lambda: op.ensure("v2u"))
        w.checkpoint()
        w.go("back", lambda: op.ensure("v1", n=2))
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced > 0


def test_x26_on_unreadable_state_halt_asks_before_anything_comes_twice():
    with world() as w:
        op = _upgraded(w, "v2u")
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
        w.gate.fault = _on("/stop", Fault.HOLD)
        with pytest.raises(SavepointFailed) as raised:
            w.go("switch", lambda: op.switch("v2"))
        assert raised.value.details["job_state"] == "CANCELED"
        w.go("undo", lambda: op.ensure("v1"))
        w.go("release", op.release)
        _deliver(w)
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
        w.gate.fault = _on("/stop", Fault.DIE_AFTER, actor="victim")
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
        op = _upgraded(w, "v2")
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
        op = _upgraded(w, "v2")
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


# ---------------------------------------------------------------- starting (X9, O6, X14)


def test_x14_a_job_that_flink_forgot_is_shut_out_before_the_next_one_starts():
    """Its submit may have a twin on the way, and high availability may bring it back."""
    with world() as w:
        op = _upgraded(w, "v2")
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
        w.gate.fault = _on("/run", Fault.DIE_HELD, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        taker = w.op(take_over=True)
        w.go("taker", lambda: taker.ensure("v1"))
        _deliver(w)
        assert len(w.live()) == 1
        assert 2 in w.record.denied_epochs
        w.go("release", taker.release)
        w.assert_sound(artifact="v1")


def test_o6_a_burn_that_cannot_be_had_leaves_the_deny():
    """The late submit comes after the JobManager has forgotten the burn."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = _on("/run", Fault.DIE_HELD, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        taker = w.op(take_over=True)
        w.go("taker", lambda: taker.ensure("v1"))
        w.lose_jobmanager()
        w.jobs.lingering = []
        _deliver(w)
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
            await _until(lambda: any("/savepoints/" in call.name for call in w.gate.of("slow")))
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
        op = _upgraded(w, "v2")
        for _ in range(3):
            w.checkpoint()
        w.gate.fault = _on("/run", Fault.DIE_AFTER, actor="victim")
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
        op = _upgraded(w, "v2")
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


# ---------------------------------------------------------------- settling (X3, X15)


def _dead_with_open_transactions(w: World) -> Op:
    """The job is lost; its newest checkpoint is complete and nobody told the sinks."""
    w.start("v1")
    w.checkpoint()
    w.jobs.withheld = 1
    w.checkpoint()
    w.checkpoint_every = 0
    w.jobs.work_of(w.live()[0], 2)
    w.lose_jobmanager()
    w.jobs.lingering = []
    return w.op()


def _listed(w: World) -> list[str]:
    """The open transactions of the newest checkpoint, and those after it."""
    return sorted(name for name, txn in w.kafka._txns.items() if txn.state is TxnState.ONGOING)


def test_x3_ongoing_of_the_snapshot_is_committed_and_all_later_is_ended():
    with world() as w:
        op = _dead_with_open_transactions(w)
        before = _listed(w)
        fact = w.go("on", lambda: op.ensure("v1"))
        assert (fact.settled_committed, fact.settled_ended) == (2, 2)
        assert len(before) == 4
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_x3_prepare_commit_is_waited_for():
    with world() as w:
        op = _dead_with_open_transactions(w)
        w.kafka.hold_markers = True
        calls = 0

        def release(call: Call) -> Fault:
            nonlocal calls
            calls += "describe" in call.name
            if calls == 4:
                w.kafka.release_markers()
            return Fault.NONE

        w.gate.fault = release
        w.go("on", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


@pytest.mark.parametrize("fate", ["aborted", "another producer", "forgotten"])
def test_x3_outputs_of_the_snapshot_that_cannot_be_had_any_more_are_not_lost_in_silence(fate: str):
    with world() as w:
        op = _dead_with_open_transactions(w)
        name = _listed(w)[0]
        if fate == "aborted":
            w.kafka._end(w.kafka._txns[name], commit=False)
        elif fate == "another producer":
            w.kafka._txns[name].producer_id += 1
        else:
            w.kafka.forget(name)
        with pytest.raises(MustHalt, match=name):
            w.go("on", lambda: op.ensure("v1"))
        assert w.live() == []


def test_x3_a_transaction_that_was_committed_and_forgotten_is_dropped_from_the_copy():
    with world() as w:
        op = _upgraded(w, "v2")
        snapshot = w.record.pinned
        w.checkpoint_every = 0
        for name in [n for n in w.kafka._txns if names.epoch_of_transactional_id(n) == snapshot.epoch]:
            w.kafka.forget(name)
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot != snapshot.location
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_a_settling_never_touches_a_newer_epoch():
    """A slow attempt settles for epoch 1 while epoch 2, started by its twin, has transactions open."""
    with world() as w:
        op = _dead_with_open_transactions(w)
        w.gate.pause = lambda call: 50.0 if call.actor == "slow" and "list_transactions" in call.name else None

        async def main() -> None:
            slow = asyncio.ensure_future(w.as_actor("slow", lambda: op.ensure("v1")))
            await _until(lambda: any("list_transactions" in call.name for call in w.gate.of("slow")))
            await asyncio.ensure_future(w.as_actor("twin", lambda: op.ensure("v1")))
            w.checkpoint()
            w.jobs.work_of(w.live()[0], 2)
            mine = _listed(w)
            assert mine
            ended: list[str] = []
            w.gate.fault = lambda call: ended.append(call.name) or Fault.NONE if call.actor == "slow" else Fault.NONE
            await asyncio.wait({slow})
            slow.exception()
            assert not any("end_transaction" in name for name in ended), ended
            assert _listed(w) == mine

        w.loop.run_until_complete(main())
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_h_a_checkpoint_that_lands_after_the_settling_is_not_chosen():
    with world() as w:
        op = _dead_with_open_transactions(w)
        job_id = w.record.writer.job_id
        newest = max(
            (uri for uri in w.store.objects if f"/{job_id}/chk-" in uri.key), key=lambda u: int(u.parent.name[4:])
        )
        late = w.store.objects.pop(newest)
        w.gate.fault = _on("create s3://tidegate/manifests", Fault.DIE_BEFORE, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.ensure("v1"))
        w.store.objects[S3Uri.parse(newest)] = late
        w.go("again", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


# ---------------------------------------------------------------- the record (O3, O7, O9)


def test_o9_release_is_refused_while_an_intent_is_open():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = _on("/stop", Fault.DIE_BEFORE, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        with pytest.raises(Refused, match="stop of epoch 1, start of epoch 2"):
            w.go("release", op.release)


def test_o8_who_lost_the_fence_does_nothing_more():
    with world() as w:
        w.start("v1")
        op = w.op()
        taker = w.op(take_over=True)
        for step in (lambda: op.switch("v2"), lambda: op.ensure("v2"), op.release):
            with pytest.raises(Superseded):
                w.go("old", step)
        assert not [call for call in w.gate.of("old") if call.mutating]
        w.go("release", taker.release)
        w.assert_sound(artifact="v1")


def test_o7_every_attempt_names_the_same_thing():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = _on("/run", Fault.DIE_AFTER, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        begun = [i for i in w.record.intents if isinstance(i, StartIntent)]
        fact = w.go("again", lambda: op.switch("v2"))
        assert [fact.start.job_id] == [i.job_id for i in begun]
        assert len(w.net.sent("/run$")) == 2
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.DOUBLE])
def test_o3_i4_every_call_may_be_lost_or_doubled(fault: Fault):
    """Each changing call of an upgrade in turn, and no process dies: it is done in the end, once."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.go("dry", lambda: op.switch("v2"))
        count = len(w.gate.of("dry"))
    for k in range(count):
        with world() as w:
            w.start("v1")
            op = w.op()
            w.gate.fault = lambda call, k=k: fault if call.actor == "it" and call.n == k else Fault.NONE
            w.go("it", lambda op=op: op.switch("v2"))
            w.go("release", op.release)
            w.assert_sound(artifact="v2")
