"""A snapshot of a job that goes on, in the simulated region (X2, O5, O7)."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate.clients.kafka_types import TxnState
from tidegate.errors import JobLost, OperationFailed, SavepointFailed
from tidegate.model.record import IntentState, SnapshotIntent
from tidegate.model.steps import SnapshotFact


def _take(w: World, op: Op, n: int = 1) -> SnapshotFact:
    fact = w.go("take-snapshot", lambda: op.snapshot(n))
    assert fact is not None
    return fact


def _intent(w: World) -> SnapshotIntent:
    (found,) = [intent for intent in w.record.intents if isinstance(intent, SnapshotIntent)]
    return found


def test_x2_it_is_a_recovery_point_when_the_next_checkpoint_has_committed_its_transactions():
    with world() as w:
        w.start("v1")
        op = w.op()
        before = w.live()
        fact = _take(w, op)
        assert w.live() == before
        assert fact.transactions == 2
        states = [txn.state for name, txn in w.kafka._txns.items() if name.endswith(f"-{fact.checkpoint_id}")]
        assert states == [TxnState.COMPLETE_COMMIT] * 2
        assert fact.partitions == len(fact.positions) > 0
        assert fact.location.startswith("s3://east/savepoints/ledger/t00000001-")
        assert _intent(w).state is IntentState.DONE
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x2_transactions_that_are_aborted_before_make_it_no_recovery_point():
    with world(checkpoint_every=0) as w:
        w.start("v1")
        w.checkpoint()
        op = w.op()

        def abort(call: Call) -> Fault:
            if "describe_transactions" in call.name:
                for name, txn in w.kafka._txns.items():
                    if txn.state is TxnState.ONGOING and name.endswith(f"-{_newest(w)}"):
                        w.kafka._end(txn, commit=False)
            return Fault.NONE

        w.gate.fault = abort
        with pytest.raises(OperationFailed, match=r"no recovery point: .* were not committed .*: aborted"):
            _take(w, op)


def _newest(w: World) -> int:
    (job_id,) = w.live()
    return w.flink.jobs[job_id].checkpoints[-1].id


def test_o7_asked_twice_it_is_one_savepoint():
    with world() as w:
        w.start("v1")
        op = w.op()
        one = _take(w, op)
        two = _take(w, op)
        assert one.location == two.location
        taken = [uri for uri in w.store.objects if "/ledger/t00000001-" in str(uri)]
        assert len(taken) == 1


def test_a_savepoint_that_fails_leaves_the_job_running():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.flink.fail_next_stop = "java.io.IOException: no space"
        with pytest.raises(SavepointFailed, match=r"which goes on: .*no space"):
            _take(w, op)
        assert w.go("give-up", lambda: op.snapshot(give_up=True)) is None
        assert _intent(w).state is IntentState.VOID
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_a_job_that_flink_forgot_is_named():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.lose_jobmanager()
        w.jobs.lingering = []
        with pytest.raises(JobLost, match="has ended, or Flink has forgotten it"):
            _take(w, op)


def test_o6_what_flink_has_forgotten_is_found_in_its_directory():
    """The process dies once it has asked; the trigger has left Flink's memory when the next attempt comes."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = lambda call: (
            Fault.DIE_AFTER
            if call.actor == "victim" and call.name.startswith("POST") and call.name.endswith("/savepoints")
            else Fault.NONE
        )
        with pytest.raises(Died):
            w.go("victim", op.snapshot)
        w.go("a-second-later", lambda: asyncio.sleep(1.0))
        w.flink.tick()
        for job_id in w.live():
            w.flink.advance(w.flink.jobs[job_id])
        w.flink.stops.clear()
        fact = _take(w, op)
        taken = [str(uri.parent) for uri in w.store.objects if "/ledger/t00000001-" in str(uri)]
        assert taken == [fact.location]
