"""A deployment that is stopped and left stopped, in the simulated region (X2, X15, O5, O6)."""

from __future__ import annotations

import pytest

from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate.errors import SavepointFailed
from tidegate.model.record import IntentState, StopIntent
from tidegate.model.steps import StopFact


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
