"""Restores that make committed output come again: announced before, and excluded for readers by the lineage (X26)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from tests.kit.restores import kill, look, planned, ran, restore
from tests.kit.world import BUCKET, DEPLOYMENT, Died, Op, World, world
from tests.kit.world_gate import Fault
from tests.kit.world_job import OUTPUT, PARTITIONS
from tests.kit.world_judge import superseded
from tidegate.errors import Refused
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.model.steps import EnsureFact, RestoreFrom
from tidegate.operation.outputs import read_outputs


def test_x26_an_older_one_is_refused_unless_asked_for_by_name_and_replays_what_was_announced():
    with world() as w:
        ran(w, 5)
        kill(w)
        older = look(w).choices[2]
        with pytest.raises(
            Refused, match=f"would repeat committed output: lost 0, replayed {older.replayed}"
        ) as refused:
            planned(w, source=str(older.checkpoint_id))
        assert f"--from {older.name} --accept-replay {older.name}" in str(refused.value.hint)
        op = w.op()
        fact = restore(w, op, source=older.location, accept_replay=older.name)
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
        ran(w)
        op = w.op()
        older = look(w).choices[1]
        fact = restore(w, op, source=older.location, accept_replay=older.name)
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
        ran(w)
        op = w.op()
        older = look(w).choices[1]
        fact = restore(w, op, source=older.location, accept_replay=older.name)
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
    ran(w)
    _begin_lineage(w)
    op, older = w.op(), look(w).choices[1]
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
        ran(w)
        _begin_lineage(w)
        w.go("closes", lambda: LineageStore(w.site.control, w.site.control_bucket).close(OUTPUT, "failover-1/run"))
        older = look(w).choices[1]
        restore(w, w.op(), source=older.location, accept_replay=older.name)
        assert _excluded(w) == set()
        assert _lineage(w).holder == "failover-1/run"


def test_x26_what_was_written_in_another_region_since_comes_again_too():
    """There and back: between what the job wrote here before and since stands what the mirror has brought."""
    with world() as w:
        ran(w)
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
        newest = look(w).choices[0]
        assert newest.replayed == 3 * len(firsts)
        outputs = w.go("reads", lambda: read_outputs(w.site, None, ()))
        assert {(one.partition, one.first, one.last) for one in outputs.after(1, 1_000)} == {
            (partition, first, first + 2) for partition, first in came.items()
        }
        assert outputs.after(2, 0) == (), "that job began there, and nothing came after it"


def test_x26_restored_twice_to_ever_older_ones():
    with world() as w:
        ran(w, 5)
        op = w.op()
        beyond, one = look(w).choices[:2]
        restore(w, op, source=one.location, accept_replay=one.name)
        w.checkpoint()
        # What is beyond the point that it went on from is superseded, and can no longer be chosen.
        with pytest.raises(Refused, match="superseded"):
            planned(w, source=beyond.location)
        bare = beyond.name.partition("-")[2]  # numbers begin anew: what is superseded is hardly meant
        assert planned(w, source=bare).basis.snapshot != beyond.location
        two = next(c for c in look(w).choices if c.epoch == one.epoch and c.checkpoint_id < one.checkpoint_id)
        restore(w, op, n=2, source=two.location, accept_replay=two.name)
        w.go("release", op.release)
        assert w.assert_sound(artifact="v1").announced >= one.replayed
