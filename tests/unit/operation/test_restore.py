"""Restores, each rule by its number, in the simulated region: what is priced, what is refused, what then runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.kit.world import BUCKET, DEPLOYMENT, Died, Op, World, ref, world
from tests.kit.world_gate import Fault
from tests.kit.world_job import OUTPUT, PARTITIONS
from tests.kit.world_judge import superseded
from tidegate.clients.kafka_types import TxnState
from tidegate.clients.s3 import S3Uri
from tidegate.errors import InvalidInput, MustHalt, Refused
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.model.appraisal import Appraisal, SnapshotPrice
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Plan, RestoreInput
from tidegate.model.record import MadeWay
from tidegate.model.steps import EVERY_EPOCH, EnsureFact, RestoreFrom
from tidegate.model.timers import OperatorTimers, TimersFound
from tidegate.operation.appraise import appraise
from tidegate.operation.ensure_stopped import ensure_stopped
from tidegate.operation.outputs import read_outputs
from tidegate.operation.restore import accepted, choose_price, plan_restore

WAY = MadeWay(operation="failover-region-east-1", came_from="east")


def _look(w: World, source: str = "newest") -> Appraisal:
    return w.go("look", lambda: appraise(w.site, w.records, source))


def _seen(w: World, appraisal: Appraisal) -> Observation:
    record = w.record
    assert record.writer is not None
    job = w.flink.jobs.get(record.writer.job_id)
    return Observation(
        at=datetime.now(UTC),
        fleet_digest="f" * 64,
        deployment=DEPLOYMENT,
        region="east",
        cell="cell-1",
        tier=1,
        parallelism=2,
        approval_required=False,
        record=record.model_copy(update={"holder": None}),
        job=JobFacts(job_id=job.id, state=job.state.value) if job else None,
        artifacts=tuple(ArtifactFacts(ref=ref(name), size_bytes=1) for name in ("v1", "v2", "v2u")),
        appraisal=appraisal,
    )


def _asked(**fields: Any) -> RestoreInput:
    return RestoreInput.model_validate({"deployment": DEPLOYMENT, **fields})


def _plan(w: World, **fields: Any) -> Plan:
    asked = _asked(**fields)
    return plan_restore(asked, _seen(w, _look(w, asked.source)))


def _restore(w: World, op: Op, *, n: int = 1, **fields: Any) -> EnsureFact:
    """As the workflow: price, plan, refuse or go on; the deployment is held already."""
    asked = _asked(**fields)
    seen = _seen(w, _look(w, asked.source))
    plan = plan_restore(asked, seen)
    chosen = choose_price(asked, seen)
    wish = RestoreFrom(
        until_epoch=seen.record.epoch,
        snapshot=plan.basis.snapshot,
        loss_accepted=accepted(asked.accept_loss, chosen),
        replay_accepted=accepted(asked.accept_replay, chosen),
    )
    return w.go("restore", lambda: op.ensure(plan.to_artifact.name, n, restore=wish))


def test_x28_the_snapshot_that_is_gone_on_from_is_looked_into_and_no_other():
    with world() as w:
        _ran(w)
        choices = _look(w).choices
        assert len(choices) > 1
        assert [one.timers is not None for one in choices] == [one.newest for one in choices]
        oldest = choices[-1]
        assert [one.timers is not None for one in _look(w, oldest.location).choices][-1]
        then = w.go("look", lambda: appraise(w.site, w.records, "newest", oldest.completed_at)).choices
        assert [one.name for one in then if one.timers is not None] == [oldest.name]


def test_x28_overdue_timers_stand_in_the_plan():
    with world() as w:
        _ran(w)
        seen = _seen(w, _look(w))
        assert seen.appraisal is not None
        (*_, newest) = [one for one in seen.appraisal.choices if one.newest]
        timers = TimersFound(
            snapshot=newest.location,
            name=newest.name,
            taken_at=seen.at - timedelta(seconds=35),
            operators=(OperatorTimers(operator="balance", processing=True),),
        )
        told = Appraisal(choices=(newest.model_copy(update={"timers": timers}),))
        plan = plan_restore(_asked(), seen.model_copy(update={"appraisal": told}))
        assert any("those that fell due in the last 35 s" in note for note in plan.notes)


def _kill(w: World) -> None:
    """The job has failed for good, with whatever it was about to commit."""
    w.checkpoint_every = 0
    for job_id in w.live():
        w.flink.jobs[job_id].restarts = w.flink.restart_attempts
        w.flink.crash(job_id, "killed")


def _lose(w: World) -> None:
    """JobManager and TaskManagers are gone: Flink does not know the job any more."""
    w.checkpoint_every = 0
    w.lose_jobmanager()
    w.jobs.lingering = []


def _ran(w: World, checkpoints: int = 4) -> None:
    w.start("v1")
    w.checkpoint_every = 0
    for _ in range(checkpoints):
        w.checkpoint()


def _newest(appraisal: Appraisal) -> SnapshotPrice:
    (found,) = [choice for choice in appraisal.choices if choice.newest]
    return found


def _uncommitted(w: World) -> None:
    """A newest checkpoint that is complete, whose commit was not told to the sinks; then all is killed."""
    _ran(w)
    w.jobs.withheld = 1
    w.checkpoint()
    _kill(w)


def _abort(w: World, subtasks: int = PARTITIONS) -> list[str]:
    """The transactions of so many subtasks of the newest checkpoint time out."""
    newest = _newest(_look(w)).checkpoint_id
    ids = [name for name in w.kafka._txns if name.endswith(f"-{newest}")][:subtasks]
    for name in ids:
        w.kafka._end(w.kafka._txns[name], commit=False)
    return ids


# ---------------------------------------------------------------- the newest


def test_x3_what_is_ongoing_is_committed_and_nothing_is_lost():
    with world() as w:
        _uncommitted(w)
        newest = _newest(_look(w))
        assert (newest.transactions, newest.price) == ({"ongoing": 2}, "lost 0, replayed 0")
        op = w.op()
        fact = _restore(w, op)
        assert (fact.start.snapshot, fact.settled_committed, fact.replay) == (newest.location, 2, ())
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x15_a_job_that_flink_forgot_is_shut_out_and_restored_from_a_copy():
    with world() as w:
        _ran(w)
        _lose(w)
        op = w.op()
        fact = _restore(w, op)
        assert w.record.denied_epochs == (1,)
        assert "/copy-" in fact.start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_what_is_committed_is_fine():
    with world() as w:
        _ran(w)
        _kill(w)
        assert _newest(_look(w)).transactions == {"committed": 2}
        op = w.op()
        assert _restore(w, op).settled_committed == 0
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_a_job_that_fails_over_and_over_is_ended_and_restored():
    with world() as w:
        _ran(w)
        before = w.record.writer.job_id
        op = w.op()
        fact = _restore(w, op)
        assert not fact.was_running
        assert before not in w.live()
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_i3_a_newest_checkpoint_with_a_file_missing_is_refused_and_the_next_one_offered():
    with world() as w:
        _ran(w)
        _kill(w)
        newest = _newest(_look(w))
        w.store.objects[S3Uri.parse(newest.location).join("_metadata")] = w.store.objects[
            S3Uri.parse(newest.location).join("_metadata")
        ].__class__(b"\x49\x60", "e", {}, datetime.now(UTC))
        with pytest.raises(Refused, match="cannot be used") as refused:
            _plan(w)
        assert f"--from e1-chk-{newest.checkpoint_id - 1} --accept-replay" in str(refused.value.hint)


# ---------------------------------------------------------------- outputs that would be lost


@pytest.mark.parametrize("subtasks", [PARTITIONS, 1], ids=["all", "mixed"])
def test_x3_aborted_outputs_are_foreseen_counted_and_refused(subtasks: int):
    with world() as w:
        _uncommitted(w)
        aborted = _abort(w, subtasks)
        counted = sum(
            batch.records
            for name in aborted
            for partition in range(PARTITIONS)
            for batch in w.kafka._logs[OUTPUT][partition].batches
            if batch.producer_id == w.kafka._txns[name].producer_id and not batch.is_control
        )
        newest = _newest(_look(w))
        assert newest.lost == counted > 0
        assert newest.transactions.get("aborted") == subtasks
        assert newest.transactions.get("ongoing", 0) == PARTITIONS - subtasks
        with pytest.raises(Refused, match=f"would lose output: lost {counted}, replayed 0") as refused:
            _plan(w)
        older = next(choice for choice in _look(w).choices if choice.checkpoint_id == newest.checkpoint_id - 1)
        assert f"tidegate restore ledger --from {older.name}   ({older.price})" in str(refused.value.hint) or (
            f"--from {older.name} --accept-replay {older.name}   ({older.price})" in str(refused.value.hint)
        )


@pytest.mark.parametrize("subtasks", [PARTITIONS, 1], ids=["all", "mixed"])
def test_x3_the_loss_that_was_accepted_is_exactly_what_is_lost(subtasks: int):
    with world() as w:
        _uncommitted(w)
        _abort(w, subtasks)
        newest = _newest(_look(w))
        op = w.op()
        fact = _restore(w, op, accept_loss=newest.name)
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
        _uncommitted(w)
        _abort(w, subtasks)
        if subtasks == 1:  # the other subtask's was committed, as a job that lived on would have done
            newest = _newest(_look(w)).checkpoint_id
            for name, txn in list(w.kafka._txns.items()):
                if name.endswith(f"-{newest}") and txn.state is TxnState.ONGOING:
                    w.kafka._end(txn, commit=True)
        newest = _newest(_look(w))
        older = next(choice for choice in _look(w).choices if choice.checkpoint_id == newest.checkpoint_id - 1)
        assert older.lost == 0
        assert (older.replayed > 0) == (subtasks == 1)
        op = w.op()
        fact = _restore(w, op, source=older.name, accept_replay=older.name)
        assert sum(told.records for told in fact.replay) == older.replayed
        w.go("release", op.release)
        judged = w.assert_sound(artifact="v1")
        assert judged.announced == older.replayed


def test_x3_a_loss_accepted_for_another_snapshot_is_not_accepted():
    with world() as w:
        _uncommitted(w)
        _abort(w)
        with pytest.raises(Refused, match="would lose"):
            _plan(w, accept_loss="chk-1")


def test_x3_another_producer_is_judged_by_the_log():
    """InitProducerId has taken the ids over: committed ones are known by their markers, aborted ones are lost."""
    with world() as w:
        _ran(w)
        newest = _newest(_look(w)).checkpoint_id
        for name in [name for name in w.kafka._txns if name.endswith(f"-{newest}")]:
            w.kafka._init(name, 60_000)
        _kill(w)
        told = _newest(_look(w))
        assert (told.transactions, told.lost) == ({"another producer": 2}, 0)
        op = w.op()
        fact = _restore(w, op)
        assert "copy-" in fact.start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


@pytest.mark.parametrize("committed", [True, False])
def test_x3_an_emptied_id_is_judged_by_the_log(committed: bool):
    """The same producer id, its epoch raised by one, Empty: taken over where a commit raises no epoch (brokers before
    transaction version 2). The broker no longer says what became of the transaction; its marker does."""
    with world() as w:
        if committed:
            _ran(w)
        else:
            _uncommitted(w)
        newest = _newest(_look(w)).checkpoint_id
        names = [name for name in w.kafka._txns if name.endswith(f"-{newest}")]
        before = {name: w.kafka._txns[name].epoch - committed for name in names}
        for name in names:
            w.kafka._init(name, 60_000)
            w.kafka._txns[name].epoch = before[name] + 1
        _kill(w)
        told = _newest(_look(w))
        assert told.transactions == {"emptied": 2}
        assert (told.lost > 0) == (not committed)
        if not committed:
            with pytest.raises(Refused, match=f"would lose output: lost {told.lost}"):
                _plan(w)
            return
        op = w.op()
        assert "copy-" in _restore(w, op).start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_an_id_that_the_broker_has_forgotten_is_judged_by_the_log_and_not_tried():
    with world() as w:
        _ran(w)
        newest = _newest(_look(w)).checkpoint_id
        for name in [name for name in w.kafka._txns if name.endswith(f"-{newest}")]:
            w.kafka.forget(name)
        _kill(w)
        told = _newest(_look(w))
        assert (told.transactions, told.lost, told.lost_uncounted) == ({"unknown": 2}, 0, 0)
        op = w.op()
        assert "copy-" in _restore(w, op).start.snapshot
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_x3_what_times_out_between_plan_and_act_halts():
    with world() as w:
        _uncommitted(w)
        op = w.op()
        until = w.record.epoch
        _plan(w)
        _abort(w)
        with pytest.raises(MustHalt, match=r"would lose .* records of 2 transactions"):
            w.go("restore", lambda: op.ensure("v1", restore=RestoreFrom(until_epoch=until)))


# ---------------------------------------------------------------- older ones, by name


def test_x26_an_older_one_is_refused_unless_asked_for_by_name_and_replays_what_was_announced():
    with world() as w:
        _ran(w, 5)
        _kill(w)
        older = _look(w).choices[2]
        with pytest.raises(
            Refused, match=f"would repeat committed output: lost 0, replayed {older.replayed}"
        ) as refused:
            _plan(w, source=str(older.checkpoint_id))
        assert f"--from {older.name} --accept-replay {older.name}" in str(refused.value.hint)
        op = w.op()
        fact = _restore(w, op, source=older.location, accept_replay=older.name)
        assert fact.start.snapshot == older.location
        assert sum(told.records for told in fact.replay) == older.replayed > 0
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == older.replayed


def _lineage(w: World) -> TopicLineage:
    known = w.go("reads", lambda: LineageStore(w.site.control, w.site.control_bucket).read(OUTPUT))
    assert known is not None
    return known


def _begin_lineage(w: World) -> None:
    firsts = dict.fromkeys(range(PARTITIONS), 0)
    w.go("begins", lambda: LineageStore(w.site.control, w.site.control_bucket).begin(OUTPUT, "east", firsts))


def _excluded(w: World) -> set[tuple[str, int, int, int]]:
    return {
        (one.region, int(number), one.first, one.last)
        for number, partition in _lineage(w).partitions.items()
        for one in partition.excluded
    }


def test_x26_readers_who_go_by_the_lineage_find_there_what_comes_again():
    """Also if an attempt died before it had said it there: the next one of the step does."""
    with world() as w:
        _ran(w)
        op = w.op()
        older = _look(w).choices[1]
        fact = _restore(w, op, source=older.location, accept_replay=older.name)
        _begin_lineage(w)
        assert _excluded(w) == set()
        w.go("again", lambda: op.ensure("v1", restore=RestoreFrom(until_epoch=1, snapshot=older.location)))
        assert fact.replay
        assert _excluded(w) == {("east", one.partition, one.first, one.last) for one in fact.replay}
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == older.replayed


def test_o6_who_takes_over_between_the_start_and_the_word_of_it_says_it():
    """The step is nobody's to do again then: its start was made, what it supersedes was not excluded."""
    with world() as w:
        _ran(w)
        op = w.op()
        older = _look(w).choices[1]
        fact = _restore(w, op, source=older.location, accept_replay=older.name)
        assert fact.replay
        _begin_lineage(w)
        assert _excluded(w) == set(), "as if it had died there"
        other = w.op(take_over=True)
        found = w.go("other", lambda: other.ensure("v1"))
        assert found.was_running
        assert (found.replay, found.manifest) == (fact.replay, fact.manifest)
        assert _excluded(w) == {("east", one.partition, one.first, one.last) for one in fact.replay}
        w.go("release", other.release)
        assert w.assert_sound(artifact="v1").announced == older.replayed


def _replaying(w: World) -> tuple[Op, Callable[[], Awaitable[EnsureFact]]]:
    """A restore of an older snapshot, and its step."""
    _ran(w)
    _begin_lineage(w)
    op, older = w.op(), _look(w).choices[1]
    wish = RestoreFrom(until_epoch=1, snapshot=older.location, replay_accepted=True)
    return op, lambda: op.ensure("v1", restore=wish)


def test_o6_who_takes_over_wherever_it_died_says_of_its_start_what_comes_again():
    """Readers by the lineage skip what the manifests that count name, and nothing else, whoever comes next."""
    with world() as w:
        _, step = _replaying(w)
        w.go("victim", step)
        acts = [call.n for call in w.gate.of("victim") if call.mutating]
    said = 0
    for k in acts:
        with world() as w:
            _, step = _replaying(w)
            w.gate.fault = lambda call, k=k: (  # type: ignore[misc]
                Fault.DIE_AFTER if (call.actor, call.n) == ("victim", k) else Fault.NONE
            )
            with suppress(Died):
                w.go("victim", step)
            other = w.op(take_over=True)
            w.go("other", lambda other=other: other.ensure("v1"))  # type: ignore[misc]
            w.go("release", other.release)
            excluded = {
                (number, offset) for _, number, first, last in _excluded(w) for offset in range(first, last + 1)
            }
            assert excluded == superseded(w.control, BUCKET, DEPLOYMENT), w.gate.of("victim")[k]
            said += bool(excluded)
    assert said


def test_x26_a_topic_that_is_being_turned_is_left_to_whoever_turns_it():
    with world() as w:
        _ran(w)
        _begin_lineage(w)
        w.go("closes", lambda: LineageStore(w.site.control, w.site.control_bucket).close(OUTPUT, "failover-1/run"))
        older = _look(w).choices[1]
        _restore(w, w.op(), source=older.location, accept_replay=older.name)
        assert _excluded(w) == set()
        assert _lineage(w).holder == "failover-1/run"


def test_x26_what_was_written_in_another_region_since_comes_again_too():
    """There and back: between what the job wrote here before and since stands what the mirror has brought."""
    with world() as w:
        _ran(w)
        _begin_lineage(w)
        store = LineageStore(w.site.control, w.site.control_bucket)
        ends = w.go("ends", lambda: w.site.kafka.end_offsets([OUTPUT]))
        firsts = {tp.partition: end for tp, end in ends.items()}
        turn = {"planned": True, "excluded": ()}
        w.go("closes", lambda: store.close(OUTPUT, "there/r"))
        w.go("turns", lambda: store.turn(OUTPUT, "there/r", "west", ends=firsts, cuts=firsts, epoch=2, **turn))
        w.go("opens", lambda: store.open(OUTPUT, "there/r"))
        ends = w.go("ends", lambda: w.site.kafka.end_offsets([OUTPUT]))
        came = {tp.partition: end for tp, end in ends.items()}
        for partition in firsts:
            w.kafka.write_plain(OUTPUT, partition, [b"west"] * 3, "User:mirror")
        until = {tp.partition: end for tp, end in w.go("ends", lambda: w.site.kafka.end_offsets([OUTPUT])).items()}
        w.go("closes", lambda: store.close(OUTPUT, "back/r"))
        w.go("turns", lambda: store.turn(OUTPUT, "back/r", "east", ends=until, cuts=until, epoch=3, **turn))
        w.go("opens", lambda: store.open(OUTPUT, "back/r"))
        newest = _look(w).choices[0]
        assert newest.replayed == 3 * len(firsts)
        outputs = w.go("reads", lambda: read_outputs(w.site, None, ()))
        assert {(one.partition, one.first, one.last) for one in outputs.after(1, 1_000)} == {
            (partition, first, first + 2) for partition, first in came.items()
        }
        assert outputs.after(2, 0) == (), "that job began there, and nothing came after it"


def test_one_that_is_named_is_found_however_many_are_newer(monkeypatch: pytest.MonkeyPatch):
    with world() as w:
        _ran(w)
        wanted = _look(w).choices[-1]
        monkeypatch.setattr("tidegate.operation.appraise.CHOICES", 1)
        assert wanted.name not in {one.name for one in _look(w).choices}
        assert wanted.name in {one.name for one in _look(w, wanted.name).choices}
        op = w.op()
        fact = _restore(w, op, source=wanted.name, accept_replay=wanted.name)
        assert fact.start.snapshot == wanted.location
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_x26_restored_twice_to_ever_older_ones():
    with world() as w:
        _ran(w, 5)
        op = w.op()
        beyond, one = _look(w).choices[:2]
        _restore(w, op, source=one.location, accept_replay=one.name)
        w.checkpoint()
        # What is beyond the point that it went on from is superseded, and can no longer be chosen.
        with pytest.raises(Refused, match="superseded"):
            _plan(w, source=beyond.location)
        bare = beyond.name.partition("-")[2]  # numbers begin anew: what is superseded is hardly meant
        assert _plan(w, source=bare).basis.snapshot != beyond.location
        two = next(c for c in _look(w).choices if c.epoch == one.epoch and c.checkpoint_id < one.checkpoint_id)
        _restore(w, op, n=2, source=two.location, accept_replay=two.name)
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced >= one.replayed


def test_what_a_job_that_goes_on_commits_meanwhile_does_not_stand_against_its_newest():
    with world() as w:
        _ran(w)
        before = w.record.writer.job_id
        looked = _look(w)
        newest = _newest(looked)
        moved_on = newest.model_copy(update={"replayed": 192})
        seen = _seen(w, Appraisal(choices=tuple(moved_on if one == newest else one for one in looked.choices)))
        assert "replayed 0" in plan_restore(_asked(), seen).steps[1].what
        with pytest.raises(Refused, match="would repeat committed output"):
            plan_restore(_asked(source=newest.name), seen)  # by its name it is that one, whatever came after it
        op = w.op()
        fact = _restore(w, op)
        assert fact.replay == ()
        assert w.record.writer.job_id != before
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_as_of_takes_the_newest_that_was_complete_then():
    with world() as w:
        _ran(w, 5)
        _kill(w)
        choices = _look(w).choices
        wanted = choices[2]
        plan = _plan(w, as_of=wanted.completed_at.isoformat(), accept_replay=wanted.name)
        assert plan.basis.snapshot == wanted.location
        assert f"replayed {wanted.replayed}" in plan.steps[1].what
        before = choices[-1].completed_at - timedelta(seconds=1)
        with pytest.raises(InvalidInput, match="no snapshot was complete at"):
            _plan(w, as_of=before.isoformat())


def test_a_snapshot_that_is_not_there_is_named_with_those_that_are():
    with world() as w:
        _ran(w)
        with pytest.raises(InvalidInput, match="no snapshot chk-99; known: e1-chk-"):
            _plan(w, source="chk-99")
        with pytest.raises(InvalidInput, match="no snapshot at s3://east/nowhere"):
            _plan(w, source="s3://east/nowhere/chk-1")


def test_o8_once_the_restored_job_has_run_it_goes_on_from_its_own():
    """Lost after its first checkpoint: the same restore goes on, and does not go back a second time."""
    with world() as w:
        _ran(w, 5)
        op = w.op()
        until = w.record.epoch
        older = _look(w).choices[2]
        wish = RestoreFrom(until_epoch=until, snapshot=older.location, replay_accepted=True)
        w.go("restore", lambda: op.ensure("v1", restore=wish))
        w.checkpoint()
        w.checkpoint()
        _kill(w)
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
        _kill(w)
        seen = _seen(w, _look(w)).model_copy(update={"target": ArtifactFacts(ref=ref("v1"), size_bytes=1)})
        with pytest.raises(Refused, match="v1 is not declared to read its state"):
            plan_restore(_asked(artifact="v1"), seen)


def test_a_restore_that_is_undone_leaves_the_newest_to_go_on_from():
    """Nothing ran before, so nothing runs after; what the newest checkpoint lists is committed, not what was named."""
    with world() as w:
        _uncommitted(w)
        newest = _newest(_look(w))
        older = _look(w).choices[2]
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
        _ran(w, 5)
        older = _look(w).choices[2]
        op = w.op()
        restored = _restore(w, op, source=older.location, accept_replay=older.name)
        w.checkpoint()
        back = RestoreFrom(until_epoch=EVERY_EPOCH)
        fact = w.go("back", lambda: op.ensure("v1", 2, restore=back))
        assert not fact.was_running
        assert restored.start.job_id not in w.live()
        assert fact.replay == ()
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced == older.replayed


def _make_way(w: World) -> str:
    _ran(w)
    op = w.op()
    found = w.go("stop", lambda: op.stop(makes_way=WAY))
    w.go("release", op.release)
    return found.location


def test_what_made_way_comes_back_from_its_savepoint_by_name_and_nothing_is_lost_or_comes_twice():
    with world() as w:
        savepoint = _make_way(w)
        op = w.op()
        fact = _restore(w, op, source=savepoint, made_way_for=WAY.operation)
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
            _plan(w, source=savepoint, made_way_for=WAY.operation)
        assert refused.value.hint == f"to start it in any case:  tidegate restore {DEPLOYMENT}"
        assert w.live() == before


def test_one_that_somebody_has_stopped_since_or_made_way_for_another_is_left_stopped():
    with world() as w:
        savepoint = _make_way(w)
        with pytest.raises(Refused, match="it made way for failover-region-east-1 since"):
            _plan(w, source=savepoint, made_way_for="failover-region-east-0")
        again = w.op()
        w.go("start", lambda: again.ensure("v1"))
        w.go("stop", lambda: again.stop(2))
        w.go("release", again.release)
        with pytest.raises(Refused, match="it is stopped, and not to make way"):
            _plan(w, source=savepoint, made_way_for=WAY.operation)
