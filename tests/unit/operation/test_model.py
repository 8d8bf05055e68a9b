"""O10: operations that overlap, twins, take-overs, and calls that are lost, held, doubled and come in another order.

The machine is the very code that the activities run. After every rule: no two jobs of different epochs commit, each
start is from what the record says, the record keeps its order. In the end one operation brings the deployment to a job
that runs, and the committed output is exact but for what was announced.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Fault, Late
from tidegate.errors import MustHalt, Refused, Superseded, TidegateError

MATRIX = bool(os.environ.get("TIDEGATE_MATRIX"))
ARTIFACTS = st.sampled_from(["v1", "v2", "v2u"])
NEVER_SOUND = ["rejected", "crash-early", "crash-late"]
BROKEN = st.sampled_from(NEVER_SOUND)
FAULTS = st.sampled_from(
    [Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.DIE_HELD, Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.HOLD, Fault.DOUBLE]
)
POINTS = st.dictionaries(st.integers(0, 45), FAULTS, max_size=3)


class Fleet(RuleBasedStateMachine):
    """One deployment, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.w: World = self._stack.enter_context(world(checkpoint_every=0))
        self.op: Op | None = None
        self.old: list[Op] = []
        self.attempt = 0
        self.incarnation = 1

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            self._stack.close()

    # ------------------------------------------------------------ operations

    @initialize(artifact=st.sampled_from(["v1", "v2"]), every=st.sampled_from([3, 7, 20]))
    def first(self, artifact: str, every: int) -> None:
        self.w.start(artifact)
        self.w.checkpoint_every = every

    def _go(self, op: Op, act: Any, faults: dict[int, Fault]) -> None:
        self.attempt += 1
        actor = f"a{self.attempt}"
        self.w.gate.fault = lambda call: faults.get(call.n, Fault.NONE) if call.actor == actor else Fault.NONE
        try:
            self.w.go(actor, act)
        except Died:
            note(f"{actor} died")
        except TidegateError as error:
            note(f"{actor}: {type(error).__name__}: {error.message[:150]}")
            self.w.trace.append(f"   {type(error).__name__}: {error.message}")
            if op is self.op:
                self._judge_error(error)
        finally:
            self.w.gate.fault = lambda call: Fault.NONE

    def _holder(self) -> Op:
        if self.op is None:
            self.op = self.w.op()
        return self.op

    def _judge_error(self, error: TidegateError) -> None:
        """What the holder itself may be told."""
        assert not isinstance(error, Superseded), error
        if isinstance(error, Refused):
            assert self.w.record.open_intents() or "no running job" in error.message, error

    @precondition(lambda self: self.op is not None)
    @rule()
    def take_over(self) -> None:
        assert self.op is not None
        self.old.append(self.op)
        self.op = self.w.op(take_over=True)

    @rule(to=st.one_of(ARTIFACTS, BROKEN), faults=POINTS)
    def switch(self, to: str, faults: dict[int, Fault]) -> None:
        op = self._holder()
        self._go(op, lambda: op.switch(to), faults)

    @rule(to=ARTIFACTS, n=st.integers(1, 3), faults=POINTS)
    def ensure(self, to: str, n: int, faults: dict[int, Fault]) -> None:
        op = self._holder()
        self._go(op, lambda: op.ensure(to, n), faults)

    @rule(to=ARTIFACTS, what=st.sampled_from(["switch", "ensure"]), seed=st.randoms(use_true_random=False))
    def twins(self, to: str, what: str, seed: Any) -> None:
        """Two attempts of one step at once, each call of either as slow as it likes."""
        op = self._holder()
        self.attempt += 1
        names = [f"a{self.attempt}-one", f"a{self.attempt}-two"]
        self.w.gate.pause = lambda call: seed.choice([0.0, 0.01, 0.3]) if call.actor in names else None

        async def both() -> None:
            step = op.switch if what == "switch" else op.ensure
            found = await asyncio.gather(
                *(asyncio.ensure_future(self.w.as_actor(name, lambda: step(to))) for name in names),
                return_exceptions=True,
            )
            for error in found:
                if isinstance(error, BaseException):
                    note(f"twin: {error!r:.150}")
                    assert isinstance(error, TidegateError), error
                    assert not isinstance(error, Superseded)

        try:
            self.w.loop.run_until_complete(both())
        finally:
            self.w.gate.pause = lambda call: None

    @precondition(lambda self: self.old)
    @rule(to=ARTIFACTS, what=st.sampled_from(["switch", "ensure", "release"]), which=st.integers(0, 5))
    def superseded_goes_on(self, to: str, what: str, which: int) -> None:
        """A process of an operation that was taken over wakes up."""
        op = self.old[which % len(self.old)]
        step = {"switch": lambda: op.switch(to), "ensure": lambda: op.ensure(to), "release": op.release}[what]
        before = len(self.w.gate.calls)
        self._go(op, step, {})
        assert not [call for call in self.w.gate.calls[before:] if call.mutating], "it acted without the fence (O8)"

    @precondition(lambda self: self.op is not None)
    @rule()
    def release(self) -> None:
        op = self.op
        assert op is not None
        self._go(op, op.release, {})
        if self.w.record.holder is None:
            self.op = None

    # ------------------------------------------------------------ the world

    @precondition(lambda self: self.w.gate.late)
    @rule(which=st.integers(0, 9), twice=st.booleans())
    def late_call_comes(self, which: int, twice: bool) -> None:
        late = self.w.gate.late.pop(which % len(self.w.gate.late))
        self._deliver(late)
        if twice:
            self._deliver(late)

    def _deliver(self, late: Late) -> None:
        said = self.w.loop.run_until_complete(late.deliver())
        self.w.trace.append(f"-- late: {late.call}: {said[:150]}")
        note(f"late {late.call}: {said[:100]}")

    @rule(times=st.integers(1, 3))
    def checkpoints(self, times: int) -> None:
        for _ in range(times):
            self.w.checkpoint()

    @rule(times=st.integers(1, 3))
    def job_crashes(self, times: int) -> None:
        for job_id in list(self.w.jobs.attempts) * times:
            if self.w.flink.jobs[job_id].live:
                self.w.flink.crash(job_id, "java.lang.OutOfMemoryError: by the test")

    @rule()
    def next_notification_is_lost(self) -> None:
        self.w.jobs.withheld = 1

    @rule(tasks_commit=st.booleans())
    def jobmanager_restarts(self, tasks_commit: bool) -> None:
        """It takes what was on its way to it: a submit or stop that arrives later went to a JobManager that is gone."""
        self.w.lose_jobmanager()
        self.w.gate.late[:] = [late for late in self.w.gate.late if late.call.part != "flink"]
        if tasks_commit:
            self.w.lingering_commit()
        self.w.jobs.lingering = []

    @rule(fails=st.booleans())
    def next_stop_goes_wrong(self, fails: bool) -> None:
        """No savepoint; or a savepoint, and its job fails before its transactions are committed."""
        self.w.flink.fail_next_stop = "java.io.IOException: no savepoint" if fails else None
        self.w.flink.break_next_stop = not fails

    # ------------------------------------------------------------ what must hold

    @invariant()
    def nothing_is_violated(self) -> None:
        assert not self.w.violations, f"{self.w.violations}\n" + "\n".join(self.w.trace[-120:])

    @invariant()
    def nothing_came_twice_or_wrong_or_went_missing(self) -> None:
        if self.w.jobs.attempts or self.w.started_jobs:
            judged = self.w.judge()
            assert (judged.wrong, judged.lost) == (0, 0), f"{judged}\n" + "\n".join(self.w.trace[-120:])

    def _finish(self) -> None:
        """Whatever stands: one more operation brings it to a job that runs, with an exact output."""
        w = self.w
        if not w.started_jobs:
            return
        w.flink.fail_next_stop, w.flink.break_next_stop, w.jobs.withheld = None, False, None
        if self.op is not None:
            self.old.append(self.op)
        last = w.op(take_over=True)
        writer = w.record.writer
        assert writer is not None
        trace = "\n".join(w.trace[-150:])
        # What runs for a while and then ends is no end to bring it to.
        for wanted in ["v1"] if writer.artifact.name in NEVER_SOUND else [writer.artifact.name, "v1"]:
            try:
                w.go("last", lambda wanted=wanted: last.ensure(wanted))
                break
            except MustHalt as halt:
                # Safe, and a person is asked. It must not be the usual end: `test_the_model` counts.
                w.trace.append(f"   halts: {halt.message}")
                HALTS.append(halt.message)
                return
            except TidegateError as error:
                if wanted == "v1":
                    raise AssertionError(f"{error!r}\n{trace}") from error
        for late in w.gate.late:
            self._deliver(late)
        w.go("last-release", last.release)
        w.assert_sound()


HALTS: list[str] = []


@pytest.mark.timeout(3_600 if MATRIX else 900)
def test_the_model():
    HALTS.clear()
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=2_000 if MATRIX else 150,
            stateful_step_count=30 if MATRIX else 14,
            deadline=None,
            derandomize=not MATRIX,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{len(HALTS)} runs ended with a question to a person")
    assert len(HALTS) < (400 if MATRIX else 30), HALTS[:5]
