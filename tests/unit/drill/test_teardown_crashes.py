"""Killed on each line, nothing is left behind: list before = list after, and the live job has not noticed."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from tests.kit.world import Died, World, world
from tests.kit.world_gate import Call, Fault
from tests.unit.drill.drill_world import FORK, Drill
from tidegate.drill.notes import ForkRecords
from tidegate.errors import Superseded
from tidegate.registry.ownership import Tenure

MATRIX = bool(os.environ.get("TIDEGATE_MATRIX"))
HOWS = [Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.DIE_HELD]


def _at(actor: str, k: int, how: Fault):
    def fault(call: Call) -> Fault:
        return how if call.actor == actor and call.n == k else Fault.NONE

    return fault


def _calls(actor: str) -> list[int]:
    """The calls of a whole drill, or of its tear-down, that change something."""
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", drill.all)
        w.go("tear", drill.tear_down)
        drill.assert_as_before("undisturbed")
        return [call.n for call in w.gate.of(actor) if call.mutating]


def _deliver(w: World) -> None:
    for late in w.gate.late:
        w.trace.append(f"-- late: {late.call}: " + w.loop.run_until_complete(late.deliver())[:200])
    w.gate.late.clear()


def test_a_drill_leaves_nothing_behind():
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", drill.all)
        there = drill.everything()
        assert f"{FORK}.balances" in there["topics"]
        assert FORK in there["groups"]
        assert any(f"/{FORK}/copy-" in uri for uri in there["objects"])
        assert any("/pins/ledger/" in f"/{uri}" for uri in there["control"])
        gone = w.go("tear", drill.tear_down)
        assert (gone.topics, gone.pins, gone.jobs) == (1, 1, 0)
        assert gone.objects > 2
        drill.assert_as_before("done")
        w.go("again", drill.tear_down)
        drill.assert_as_before("again")


@pytest.mark.parametrize("until", ["copy", "start"])
def test_a_drill_that_was_given_up_midway_leaves_nothing_behind(until: str):
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until=until))
        gone = w.go("tear", drill.tear_down)
        assert gone.jobs == (until == "start")
        drill.assert_as_before(until)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
def test_i7_a_drill_that_died_on_any_line_is_torn_down(how: Fault):
    for k in _calls("drill"):
        with world() as w:
            drill = Drill.made(w)
            w.gate.fault = _at("drill", k, how)
            with suppress(Died):
                w.go("drill", drill.all)
            try:
                w.go("tear", drill.tear_down)
                if how is Fault.DIE_HELD:
                    # Nobody can know of what is still on its way; what it makes is named by the fork, and goes by hand.
                    _deliver(w)
                    assert w.live() == drill.before["jobs"], "no job of the fork may come late"
                    w.go("clean", drill.clean)
                drill.assert_as_before(f"call {k}")
            except Exception as error:
                raise AssertionError(f"{how}, call {k}: {error!r}\n" + "\n".join(w.trace[-60:])) from error


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
@pytest.mark.parametrize("until", ["start", "stop"])
def test_o16_a_tear_down_that_died_on_any_line_is_finished_by_the_next(how: Fault, until: str):
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until=until))
        w.go("tear", drill.tear_down)
        points = [call.n for call in w.gate.of("tear") if call.mutating or (MATRIX and how is Fault.DIE_BEFORE)]
    for k in points:
        with world() as w:
            drill = Drill.made(w)
            w.go("drill", lambda drill=drill: drill.all(until=until))
            w.gate.fault = _at("tear", k, how)
            with suppress(Died):
                w.go("tear", drill.tear_down)
            try:
                w.go("again", drill.tear_down)
                if how is Fault.DIE_HELD:
                    _deliver(w)
                    w.go("clean", drill.clean)  # a mark beside the fork's manifest may come late
                drill.assert_as_before(f"call {k}")
            except Exception as error:
                raise AssertionError(f"{how}, call {k}: {error!r}\n" + "\n".join(w.trace[-60:])) from error


def test_x14_a_fork_that_flink_has_forgotten_is_shut_out_and_nothing_of_that_is_left():
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until="start"))
        fork = next(job for job in w.live() if job not in drill.before["jobs"])
        attempt = w.jobs.attempts.pop(fork)
        del w.flink.jobs[fork]
        w.jobs.lingering = [attempt]
        gone = w.go("tear", drill.tear_down)
        assert (gone.jobs, gone.denied) == (1, 1)
        drill.assert_as_before("forgotten")
        w.lingering_commit()
        drill.assert_as_before("lingering tasks have tried to commit")


def test_o8_what_of_the_drill_still_runs_does_nothing_more_once_it_is_torn_down():
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until="copy"))
        zombie = drill.run()
        w.go("tear", drill.tear_down)
        with pytest.raises(Superseded):
            w.go("zombie", zombie.tenure.read)
        fresh = Tenure(ForkRecords(w.control, "tidegate"), zombie.tenure.claim)
        with pytest.raises(Superseded):
            w.go("zombie-2", lambda: fresh.change("x", 1, lambda record: record))
        drill.assert_as_before("zombies")
