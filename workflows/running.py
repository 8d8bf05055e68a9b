"""Making an artifact run and prove itself, with the way back: the loop that every runbook which starts a job shares.

There are two goals, forward and back. What fails forward goes back; what fails on the way back, or cannot be decided by
a machine, stands halted until a person says which goal it shall be. Every act after the first is ``ensure_running``: it
finds out how things stand and goes on from there (O8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.operation import Outcome, Phase, StepState, Verdict
    from tidegate.model.record import ArtifactRef
    from tidegate.model.steps import EnsureInput, ProveInput, RestoreFrom, StartFact
    from workflows import facts
    from workflows.calls import Aborted
    from workflows.ending import Ending
    from workflows.kit import with_hint
    from workflows.preparing import Operation

ENSURE_S = 900.0
PROVE_MARGIN_S = 300.0
BACK_BAKE_S = 20.0
"""A job that ran well before need not prove itself for longer than this when it is put back."""
LOST_STARTS = 3
"""How often a job that Flink has forgotten is started again before the operation goes back."""

Start = Callable[[], Awaitable[StartFact]]


@dataclass(frozen=True)
class Goal:
    """An artifact that shall run in the end."""

    artifact: ArtifactRef
    parallelism: int
    bake_s: float
    readable_from: tuple[str, ...]
    """sha256 of the artifacts whose state it can read (X27)."""
    first_start: Start | None = None
    """How it is started the first time, if not by ensure_running."""
    from_empty: bool = False
    snapshot: str | None = None
    restore: RestoreFrom | None = None

    def starting_by(self, start: Start) -> Goal:
        """The same goal, started this way the first time."""
        return replace(self, first_start=start)

    @property
    def start_step(self) -> str:
        """Name of the step that starts it."""
        return f"start {self.artifact.name}"


class RunningOperation(Operation):
    """An operation that makes an artifact run."""

    on_unreadable_state: Literal["replay", "halt"] = "replay"
    """What to do if the way back would repeat committed output (X26)."""

    def goal(self, artifact: ArtifactRef, *, bake_s: float, also_reads: tuple[str, ...] = ()) -> Goal:
        """The artifact as a goal, with what the fleet file declares that it can read; ``also_reads``: sha256."""
        declared = (known.ref.sha256 for known in self.seen.artifacts if artifact.name in known.readable_by)
        reads = dict.fromkeys((artifact.sha256, *also_reads, *declared))
        return Goal(artifact, self.fixed_plan.basis.parallelism, bake_s, tuple(reads))

    async def make_run(self, forward: Goal, back: Goal | None, failed: str | None = None) -> Ending:
        """Make ``forward`` run and prove itself; else ``back``, proven too. ``back`` None: nothing ran, so stop it.

        ``failed``: why going forward has failed already, by other means; only the way back is left.

        Raises:
            Superseded: another operation took over.

        """
        self.acted_at = workflow.now()
        goal, start, why, lost = forward, forward.first_start, "", 0
        if failed is not None and back is not None:
            goal, start, why = back, None, failed
        while True:
            going_forward = goal is forward
            self.why = why
            self.enter(Phase.RUNNING if going_forward else Phase.UNDOING)
            try:
                started = await (start() if start else self._ensure(goal, interruptible=going_forward))
                if going_forward:
                    await self.safe_point()
                await self._prove(goal, started, interruptible=going_forward)
                return self._reached(going_forward, goal, started, why)
            except Aborted:
                why = self.abort_requested or "aborted"
                self.board.end_running(StepState.FAILED, workflow.now(), why)
                if back is None:
                    return await self._stop_again(goal, why)
                goal = back
            except errors.Superseded:
                raise
            except TidegateError as error:
                self.board.end_running(StepState.FAILED, workflow.now(), error.message)
                if isinstance(error, errors.JobLost) and lost < LOST_STARTS:
                    lost += 1
                elif goal is back or isinstance(error, errors.MustHalt | errors.Unavailable):
                    decision = await self.stand_halted(with_hint(error))
                    if decision == "abort":
                        why = f"{self.abort_requested or 'aborted'} (after: {error.message})"
                        if back is None:
                            return await self._stop_again(goal, why)
                        goal = back
                elif back is None:
                    return await self._stop_again(goal, with_hint(error))
                else:
                    why, goal = with_hint(error), back
            start = None  # from now on only ensure_running can tell how things stand
            self.board.replan([goal.start_step, "prove", "conclude"])

    async def _stop_again(self, goal: Goal, why: str) -> Ending:
        """The way back where nothing ran before: nothing runs. What cannot be decided stands halted until it can."""
        self.why, self.too_late = why, f"{self.base.deployment} is being stopped, as it was before"
        while True:
            self.enter(Phase.UNDOING)
            self.board.replan(["stop", "conclude"])
            self.begin("stop", ENSURE_S)
            wanted = EnsureInput(
                held=self.claim,
                fleet_digest=self.place.fleet_digest,
                at=self.place.at,
                n=self.next_n(),
                artifact=goal.artifact,
                parallelism=goal.parallelism,
                restore=goal.restore,
            )
            try:
                await self.calls.region(self.place.region, contracts.ensure_stopped, wanted, deadline_s=ENSURE_S)
            except errors.Superseded:
                raise
            except TidegateError as error:
                self.board.end_running(StepState.FAILED, workflow.now(), error.message)
                await self.stand_halted(with_hint(error))
            else:
                self.ok("stop", "cancelled; its transactions are settled")
                # Nothing runs, so the output cannot catch up with the input: there is nothing to audit.
                self.acted_at = None
                self.verdict = Verdict(audited=False, note="values not audited: nothing runs")
                return Ending(Outcome.UNDONE, f"{self.base.deployment} does not run, as before", why=why)

    def _reached(self, going_forward: bool, goal: Goal, started: StartFact, why: str) -> Ending:
        name, since = goal.artifact.name, facts.clock(started.running_at)
        if going_forward:
            return Ending(Outcome.DONE, f"{name} runs since {since}, epoch {started.epoch}")
        fact = self.ensure_fact
        if fact is not None and fact.was_running:
            return Ending(Outcome.UNDONE, f"{name} runs on, untouched, epoch {started.epoch}", why=why)
        replayed = facts.replayed(fact) if fact else 0
        again = (
            f"{name} runs again since {since}, epoch {started.epoch}, from {started.snapshot}, replayed {replayed:,}"
        )
        return Ending(Outcome.UNDONE, again, why=why)

    async def _ensure(self, goal: Goal, *, interruptible: bool) -> StartFact:
        self.begin(goal.start_step, ENSURE_S)
        wanted = EnsureInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            artifact=goal.artifact,
            parallelism=goal.parallelism,
            readable_from=goal.readable_from,
            on_unreadable_state=self.on_unreadable_state,
            from_empty=goal.from_empty,
            snapshot=goal.snapshot,
            restore=goal.restore,
        )
        fact = await self.calls.region(
            self.place.region, contracts.ensure_running, wanted, deadline_s=ENSURE_S, interruptible=interruptible
        )
        self.ensure_fact = fact
        self.ok(goal.start_step, facts.ensured(fact))
        return fact.start

    async def _prove(self, goal: Goal, started: StartFact, *, interruptible: bool) -> None:
        deadline_s = goal.bake_s + PROVE_MARGIN_S
        self.begin("prove", deadline_s)
        wanted = ProveInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            job_id=started.job_id,
            bake_s=goal.bake_s,
            lag_at_start=self.seen.lag,
        )
        fact = await self.calls.region(
            self.place.region, contracts.prove, wanted, deadline_s=deadline_s, interruptible=interruptible
        )
        self.prove_fact = fact
        self.ok("prove", facts.proven(fact))
