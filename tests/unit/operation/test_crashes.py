"""O5 to O8, O16: a process dies at each of its calls in turn; whoever comes next brings it to a proven end.

For each call: before it left, after it was carried out, and on its way (it comes when the next owner has finished).
The next one is a second attempt of the same step, or another operation that takes over and wants the other artifact.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pytest

from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate.model.steps import RestoreFrom

MATRIX = bool(os.environ.get("TIDEGATE_MATRIX"))
HOWS = [Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.DIE_HELD]
Step = Callable[[Op], Awaitable[Any]]


def _crash_at(k: int, how: Fault) -> Callable[[Call], Fault]:
    return lambda call: how if call.actor == "victim" and call.n == k else Fault.NONE


def _scenario(name: str, w: World) -> tuple[Op, Step, str]:
    """The world as it stands before the step, the step, and what it wants to run."""
    w.start("v1")
    op = w.op()
    if name == "switch":
        return op, lambda o: o.switch("v2"), "v2"
    if name == "undo-readable":
        w.go("before", lambda: op.switch("v2"))
        w.checkpoint()
        return op, lambda o: o.ensure("v1"), "v1"
    if name == "undo-replay":
        w.go("before", lambda: op.switch("v2u"))
        w.checkpoint()
        return op, lambda o: o.ensure("v1"), "v1"
    if name == "after-loss":
        w.checkpoint()
        w.lose_jobmanager()
        return op, lambda o: o.ensure("v1"), "v1"
    if name == "snapshot":
        return op, lambda o: o.snapshot(), "v1"
    if name == "restore":
        w.checkpoint_every = 0
        for _ in range(3):
            w.checkpoint()
        older = sorted(str(uri.parent) for uri in w.store.objects if "/chk-" in str(uri))[-2]
        wish = RestoreFrom(until_epoch=w.record.epoch, snapshot=older, replay_accepted=True)
        return op, lambda o: o.ensure("v1", restore=wish), "v1"
    raise AssertionError(name)


SCENARIOS = ["switch", "undo-readable", "undo-replay", "after-loss", "restore", "snapshot"]


@cache
def _points(scenario: str, how: Fault) -> list[int]:
    """The calls to die at. A read leaves the world as it was, so to die around it is to die before the next act."""
    with world() as w:
        op, step, _ = _scenario(scenario, w)
        w.go("victim", lambda: step(op))
        return [call.n for call in w.gate.of("victim") if call.mutating or (MATRIX and how is Fault.DIE_BEFORE)]


def _die(w: World, op: Op, step: Step, k: int, how: Fault) -> None:
    w.gate.fault = _crash_at(k, how)
    with suppress(Died):
        w.go("victim", lambda: step(op))
    w.trace.append(f"-- died at {k} {how}")


def _deliver(w: World) -> None:
    for late in w.gate.late:
        w.trace.append(f"-- late: {late.call}")
        w.trace.append("   " + w.loop.run_until_complete(late.deliver())[:200])
    w.gate.late.clear()


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_o16_a_second_attempt_finishes_what_a_dead_one_began(scenario: str, how: Fault):
    for k in _points(scenario, how):
        with world() as w:
            op, step, wanted = _scenario(scenario, w)
            _die(w, op, step, k, how)
            try:
                w.go("again", lambda op=op, step=step: step(op))
                w.go("release", op.release)
                _deliver(w)
                w.assert_sound(artifact=wanted)
            except Exception as error:
                raise AssertionError(f"{scenario}, {how}, call {k}: {error!r}\n" + "\n".join(w.trace[-70:])) from error


@pytest.mark.parametrize("wanted", ["v1", "v2"])
@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_o6_a_taker_resolves_what_a_dead_owner_began(scenario: str, how: Fault, wanted: str):
    for k in _points(scenario, how):
        with world() as w:
            op, step, _ = _scenario(scenario, w)
            _die(w, op, step, k, how)
            taker = w.op(take_over=True)
            try:
                w.go("taker", lambda taker=taker: taker.ensure(wanted))
                _deliver(w)
                w.go("release", taker.release)
                w.assert_sound(artifact=wanted)
            except Exception as error:
                raise AssertionError(
                    f"{scenario}, {how}, call {k}, taker wants {wanted}: {error!r}\n" + "\n".join(w.trace[-70:])
                ) from error
