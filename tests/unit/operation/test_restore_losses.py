"""Restores that would lose output: counted before, refused unless accepted, and then exactly that is lost (X3)."""

from __future__ import annotations

import pytest

from tests.kit.restores import abort, kill, look, newest_of, planned, ran, restore, uncommitted
from tests.kit.world import world
from tests.kit.world_job import OUTPUT, PARTITIONS
from tidegate.clients.kafka_types import TxnState
from tidegate.errors import MustHalt, Refused
from tidegate.model.steps import RestoreFrom


@pytest.mark.parametrize("subtasks", [PARTITIONS, 1], ids=["all", "mixed"])
def test_x3_aborted_outputs_are_foreseen_counted_and_refused(subtasks: int):
    with world() as w:
        uncommitted(w)
        aborted = abort(w, subtasks)
        counted = sum(
            batch.records
            for name in aborted
            for partition in range(PARTITIONS)
            for batch in w.kafka._logs[OUTPUT][partition].batches
            if batch.producer_id == w.kafka._txns[name].producer_id and not batch.is_control
        )
        newest = newest_of(look(w))
        assert newest.lost == counted > 0
        assert newest.transactions.get("aborted") == subtasks
        assert newest.transactions.get("ongoing", 0) == PARTITIONS - subtasks
        with pytest.raises(Refused, match=f"would lose output: lost {counted}, replayed 0") as refused:
            planned(w)
        older = next(choice for choice in look(w).choices if choice.checkpoint_id == newest.checkpoint_id - 1)
        assert f"tidegate restore ledger --from {older.name}   ({older.price})" in str(refused.value.hint) or (
            f"--from {older.name} --accept-replay {older.name}   ({older.price})" in str(refused.value.hint)
        )


@pytest.mark.parametrize("subtasks", [PARTITIONS, 1], ids=["all", "mixed"])
def test_x3_the_loss_that_was_accepted_is_exactly_what_is_lost(subtasks: int):
    with world() as w:
        uncommitted(w)
        abort(w, subtasks)
        newest = newest_of(look(w))
        op = w.op()
        fact = restore(w, op, accept_loss=newest.name)
        assert fact.lost == newest.lost
        assert "copy-" in fact.start.snapshot  # Flink's committer must not try what is gone
        w.go("release", op.release)
        w.settle_down()
        assert not w.violations
        judged = w.judge()
        assert (judged.lost, judged.duplicated, judged.wrong) == (newest.lost, 0, 0)


@pytest.mark.parametrize("subtasks", [PARTITIONS, 1], ids=["all", "mixed"])
def test_x3_the_older_point_costs_what_was_told(subtasks: int):
    """All aborted: the one before is exact. One of two: what the other committed comes again, as announced."""
    with world() as w:
        uncommitted(w)
        abort(w, subtasks)
        if subtasks == 1:  # the other subtask's was committed, as a job that lived on would have done
            newest = newest_of(look(w)).checkpoint_id
            for name, txn in list(w.kafka._txns.items()):
                if name.endswith(f"-{newest}") and txn.state is TxnState.ONGOING:
                    w.kafka._end(txn, commit=True)
        newest = newest_of(look(w))
        older = next(choice for choice in look(w).choices if choice.checkpoint_id == newest.checkpoint_id - 1)
        assert older.lost == 0
        assert (older.replayed > 0) == (subtasks == 1)
        op = w.op()
        fact = restore(w, op, source=older.name, accept_replay=older.name)
        assert sum(told.records for told in fact.replay) == older.replayed
        w.go("release", op.release)
        judged = w.assert_sound(artifact="v1")
        assert judged.announced == older.replayed


def test_x3_a_loss_accepted_for_another_snapshot_is_not_accepted():
    with world() as w:
        uncommitted(w)
        abort(w)
        with pytest.raises(Refused, match="would lose"):
            planned(w, accept_loss="chk-1")


def test_x3_another_producer_is_judged_by_the_log():
    """InitProducerId has taken the ids over: committed ones are known by their markers, aborted ones are lost."""
    with world() as w:
        ran(w)
        newest = newest_of(look(w)).checkpoint_id
        for name in [name for name in w.kafka._txns if name.endswith(f"-{newest}")]:
            w.kafka._init(name, 60_000)
        kill(w)
        told = newest_of(look(w))
        assert (told.transactions, told.lost) == ({"another producer": 2}, 0)
        op = w.op()
        fact = restore(w, op)
        assert "copy-" in fact.start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


@pytest.mark.parametrize("committed", [True, False])
def test_x3_an_emptied_id_is_judged_by_the_log(committed: bool):
    """The same producer id, its epoch raised by one, Empty: taken over where a commit raises no epoch (brokers before
    transaction version 2). The broker no longer says what became of the transaction; its marker does."""
    with world() as w:
        if committed:
            ran(w)
        else:
            uncommitted(w)
        newest = newest_of(look(w)).checkpoint_id
        names = [name for name in w.kafka._txns if name.endswith(f"-{newest}")]
        before = {name: w.kafka._txns[name].epoch - committed for name in names}
        for name in names:
            w.kafka._init(name, 60_000)
            w.kafka._txns[name].epoch = before[name] + 1
        kill(w)
        told = newest_of(look(w))
        assert told.transactions == {"emptied": 2}
        assert (told.lost > 0) == (not committed)
        if not committed:
            with pytest.raises(Refused, match=f"would lose output: lost {told.lost}"):
                planned(w)
            return
        op = w.op()
        assert "copy-" in restore(w, op).start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_an_id_that_the_broker_has_forgotten_is_judged_by_the_log_and_not_tried():
    with world() as w:
        ran(w)
        newest = newest_of(look(w)).checkpoint_id
        for name in [name for name in w.kafka._txns if name.endswith(f"-{newest}")]:
            w.kafka.forget(name)
        kill(w)
        told = newest_of(look(w))
        assert (told.transactions, told.lost, told.lost_uncounted) == ({"unknown": 2}, 0, 0)
        op = w.op()
        assert "copy-" in restore(w, op).start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_what_times_out_between_plan_and_act_halts():
    with world() as w:
        uncommitted(w)
        op = w.op()
        until = w.record.epoch
        planned(w)
        abort(w)
        with pytest.raises(MustHalt, match=r"would lose .* records of 2 transactions"):
            w.go("restore", lambda: op.ensure("v1", restore=RestoreFrom(until_epoch=until)))
