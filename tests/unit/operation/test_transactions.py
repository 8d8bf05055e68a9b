"""A deployment's transactions for a person, in the simulated region: found, decided, done, proven (X14, X15)."""

from __future__ import annotations

import pytest

from tests.kit.world import World, world
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.operation.transactions import Decision, Outlook, decide, look, settle_by_hand, wait_for_readers
from tidegate.snapshot.sinks import Committable


def _look(w: World) -> Outlook:
    return w.go("look", lambda: look(w.site, w.records))


def _settle(w: World) -> dict[str, tuple[int, int]]:
    op = w.op()
    run = op.run(1)
    w.go("settle", lambda: settle_by_hand(run, op.held))
    after = _look(w)
    offsets = w.go("readers", lambda: wait_for_readers(run, after))
    w.go("release", op.release)
    return {str(tp): both for tp, both in offsets.items()}


def _dead(w: World, *, forgotten: bool) -> None:
    """A newest checkpoint whose commit was not told, and a later interval begun; then the job ends."""
    w.start("v1")
    w.checkpoint_every = 0
    for _ in range(3):
        w.checkpoint()
    w.jobs.withheld = 1
    w.checkpoint()
    for job_id in w.live():
        w.jobs.work_of(job_id, 1)
        if not forgotten:
            w.flink.jobs[job_id].restarts = w.flink.restart_attempts
            w.flink.crash(job_id, "killed")
    if forgotten:
        w.lose_jobmanager()
        w.jobs.lingering = []


def _by_decision(outlook: Outlook, decision: Decision) -> list[str]:
    return [one.status.transactional_id for one in outlook.transactions if one.decision is decision]


def test_x15_what_the_newest_snapshot_lists_is_committed_and_what_is_later_is_ended():
    with world() as w:
        _dead(w, forgotten=False)
        outlook = _look(w)
        commit, end = _by_decision(outlook, Decision.COMMIT), _by_decision(outlook, Decision.END)
        assert len(commit) == len(end) == 2
        held_by = [one for one in outlook.transactions if one.holds]
        assert {one.status.transactional_id for one in held_by} == {*commit, *end}
        assert all(one.listed_by for one in outlook.transactions if one.decision is Decision.COMMIT)
        proof = _settle(w)
        assert proof
        assert all(lso == last for lso, last in proof.values())
        states = {name: txn.state for name, txn in w.kafka._txns.items()}
        assert {states[name] for name in commit} == {TxnState.COMPLETE_COMMIT}
        assert {states[name] for name in end} == {TxnState.COMPLETE_ABORT}
        assert not _look(w).to_do
        assert w.record.denied_epochs == ()


def test_x14_a_job_that_flink_has_forgotten_is_shut_out_before():
    with world() as w:
        _dead(w, forgotten=True)
        _settle(w)
        assert w.record.denied_epochs == (1,)
        assert not _look(w).to_do


@pytest.mark.parametrize("forgotten", [False, True])
def test_x15_a_start_after_it_loses_nothing(forgotten: bool):
    with world() as w:
        _dead(w, forgotten=forgotten)
        _settle(w)
        op = w.op()
        w.go("start", lambda: op.ensure("v1"))
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_i1_a_job_that_runs_is_not_touched():
    with world() as w:
        w.start("v1")
        w.checkpoint_every = 0
        w.checkpoint()
        (job_id,) = w.live()
        w.jobs.work_of(job_id, 1)
        outlook = _look(w)
        assert len(_by_decision(outlook, Decision.LEAVE)) == 2
        assert not outlook.to_do
        _settle(w)
        assert w.live() == [job_id]
        assert len(_by_decision(_look(w), Decision.LEAVE)) == 2
        w.assert_sound(artifact="v1")


def test_what_an_earlier_epoch_left_open_beside_a_job_that_runs_is_ended():
    with world() as w:
        w.start("v1")
        stranger = w.kafka.producer("tg.ledger.balances-sink.e00000000.-0-1", "User:ledger", 900_000)
        w.loop.run_until_complete(stranger.init())
        w.loop.run_until_complete(stranger.write("balances", 0, ["left"]))
        assert _by_decision(_look(w), Decision.END) == [stranger.transactional_id]
        _settle(w)
        assert w.kafka._txns[stranger.transactional_id].state is TxnState.COMPLETE_ABORT
        assert w.live()


def test_i4_done_twice_it_is_done_once():
    with world() as w:
        _dead(w, forgotten=False)
        op = w.op()
        w.go("once", lambda: settle_by_hand(op.run(1), op.held))
        w.go("twice", lambda: settle_by_hand(op.run(1), op.held))
        w.go("release", op.release)
        assert not _look(w).to_do


@pytest.mark.parametrize(
    ("state", "producer_id", "live", "wanted"),
    [
        (TxnState.ONGOING, 7, None, Decision.COMMIT),
        (TxnState.ONGOING, 8, None, Decision.END),  # another producer: the snapshot's own is gone
        (TxnState.ONGOING, 7, 3, Decision.LEAVE),
        (TxnState.ONGOING, 7, 4, Decision.END),  # of an epoch before the one that runs
        (TxnState.COMPLETE_ABORT, 7, None, Decision.NOTHING),
        (TxnState.PREPARE_COMMIT, 7, None, Decision.NOTHING),
    ],
)
def test_x15_decided(state: TxnState, producer_id: int, live: int | None, wanted: Decision):
    name = "tg.ledger.balances-sink.e00000003.-0-5"
    status = TransactionState(name, state, producer_id, 0)
    listed = Committable("balances-sink", "a" * 32, 0, 5, name, 7, 0)
    assert decide(status, listed, live, 4) is wanted
