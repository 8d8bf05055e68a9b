"""A deployment that is stopped and left stopped, in the simulated region (X2, X15, O5, O6)."""

from __future__ import annotations

from functools import partial

import pytest

from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate.errors import SavepointFailed
from tidegate.model.record import IntentState, MadeWay, StopIntent
from tidegate.model.steps import StopFact

WAY = MadeWay(operation="failover-region-east-1", came_from="east")


def _stop(w: World, op: Op, n: int = 1) -> StopFact:
    return w.go("stop", lambda: op.stop(n))


def _dies_once(match: str, fault: Fault) -> object:
    def at(call: Call) -> Fault:
        return fault if call.actor == "victim" and match in call.name else Fault.NONE

    return at


def test_x2_nothing_runs_its_savepoint_is_pinned_and_a_start_goes_on_from_it():
    with world() as w:
        w.start("v1")
        w.checkpoint()
        op = w.op()
        fact = _stop(w, op)
        assert w.live() == []
        pinned = w.record.pinned
        assert pinned is not None
        assert (pinned.location, pinned.committed) == (fact.location, True)
        assert w.record.writer is not None
        assert pinned.epoch == w.record.writer.epoch
        assert not w.record.open_intents()
        w.go("release", op.release)
        again = w.op()
        assert w.go("start", lambda: again.ensure("v1")).start.snapshot == fact.location
        w.go("release", again.release)
        assert w.assert_sound(artifact="v1").announced == 0


def test_o7_asked_twice_it_is_one_stop():
    with world() as w:
        w.start("v1")
        op = w.op()
        assert _stop(w, op).location == _stop(w, op).location


def test_a_stop_that_fails_leaves_the_job_running_and_nothing_open():
    with world() as w:
        w.start("v1")
        op = w.op()
        before = w.live()
        w.flink.fail_next_stop = "java.io.IOException: no space"
        with pytest.raises(SavepointFailed, match="no space"):
            _stop(w, op)
        assert w.live() == before
        assert [one.state for one in w.record.intents if isinstance(one, StopIntent)] == [IntentState.VOID]
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
def test_o6_a_process_that_dies_in_the_middle_is_gone_on_from(fault: Fault):
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = _dies_once("/stop", fault)  # type: ignore[assignment]
        with pytest.raises(Died):
            w.go("victim", op.stop)
        fact = _stop(w, op)
        assert w.live() == []
        assert w.record.pinned is not None
        assert w.record.pinned.location == fact.location


def test_o5_a_failed_stop_of_which_a_copy_may_be_under_way_ends_the_job():
    """A job that is trusted to run on would be ended by the copy, behind the back of whoever has it then."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.flink.fail_next_stop = "java.io.IOException: no space"
        w.gate.fault = _dies_once("/stop", Fault.DIE_HELD)  # type: ignore[assignment]
        with pytest.raises(Died):
            w.go("victim", op.stop)
        with pytest.raises(SavepointFailed, match="may still be on its way") as failed:
            _stop(w, op)
        assert failed.value.details["job_state"] == "CANCELED"
        assert w.live() == []
        assert not w.record.open_intents()


def test_o6_the_next_owner_finds_the_stop_that_was_begun_and_pins_it():
    with world() as w:
        w.start("v1")
        lost = w.op()
        w.gate.fault = _dies_once("/stop", Fault.DIE_AFTER)  # type: ignore[assignment]
        with pytest.raises(Died):
            w.go("victim", lost.stop)
        fact = _stop(w, w.op(take_over=True))
        assert w.live() == []
        assert w.record.pinned is not None
        assert w.record.pinned.location == fact.location
        assert not w.record.open_intents()


def test_who_made_way_is_written_with_the_savepoint_and_counts_until_something_is_started():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.go("stop", partial(op.stop, makes_way=WAY))
        assert w.record.made_way == WAY
        w.go("release", op.release)
        assert w.record.made_way == WAY
        again = w.op()
        w.go("start", lambda: again.ensure("v1"))
        w.go("release", again.release)
        assert w.record.made_way is None
        stop = w.op()
        w.go("stop", stop.stop)
        assert w.record.made_way is None, "this time somebody wanted it stopped"


def test_who_made_way_and_was_upgraded_makes_way_no_more():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.go("stop", partial(op.stop, makes_way=WAY))
        w.go("release", op.release)
        back = w.op()
        w.go("start", lambda: back.ensure("v1"))
        w.checkpoint()
        w.go("upgrade", lambda: back.switch("v2"))
        assert w.record.pinned is not None
        assert w.record.pinned.made_way is None
        assert w.record.made_way is None


def test_i7_a_stop_that_failed_leaves_no_word_that_it_made_way():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.flink.fail_next_stop = "java.io.IOException: no space"
        with pytest.raises(SavepointFailed):
            w.go("stop", partial(op.stop, makes_way=WAY))
        assert w.record.made_way is None
        w.go("release", op.release)
        by_hand = w.op()
        w.go("stop", by_hand.stop)
        assert w.record.made_way is None


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
@pytest.mark.parametrize("taken_over", [False, True])
def test_o6_who_dies_while_it_makes_way_leaves_the_word_to_whoever_finishes_the_stop(fault: Fault, taken_over: bool):
    """At each call in turn: before the intent it is nobody's, from then on it stands with the savepoint."""
    for at in range(1, 60):
        with world() as w:
            w.start("v1")
            op = w.op()
            calls = [0]

            def dies(call: Call, at: int = at, calls: list[int] = calls) -> Fault:
                calls[0] += call.actor == "victim"
                return fault if call.actor == "victim" and calls[0] == at else Fault.NONE

            w.gate.fault = dies  # type: ignore[assignment]
            try:
                w.go("victim", partial(op.stop, makes_way=WAY))
            except Died:
                pass
            else:
                assert at > 5, "nobody has died"
                return
            begun = bool(w.record.open_intents()) or w.record.pinned is not None
            after = w.op(take_over=True) if taken_over else op
            w.go("stop", partial(after.stop, makes_way=None if taken_over else WAY))
            assert w.live() == []
            assert w.record.made_way == (WAY if begun or not taken_over else None), at
    pytest.fail("it never came to its end")
