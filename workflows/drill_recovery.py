"""DrillRecovery: restore a fork in the standby, compare it with the live job, take it away. runbooks/drill-recovery.md.

The live deployment is only read: nothing of it is taken, held or written. The fork has a record of its own, and all
that is made carries its name. Tearing it down is the way back from every line, and the end of every drill.
"""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors, names
    from tidegate.errors import TidegateError
    from tidegate.model.drill import (
        DRILL_RECOVERY,
        GIVES_WAY,
        DrillCaughtUp,
        DrillInput,
        DrillLook,
        DrillSeen,
        DrillStarted,
        DrillStartStep,
        DrillStep,
        DrillWatchStep,
    )
    from tidegate.model.drilled import DrillCompared, DrillFacts
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import OperationResult, Outcome, Phase, StepState
    from tidegate.model.steps import Held, Located, ObserveInput, TakeInput
    from workflows import drill_facts, facts
    from workflows.calls import Aborted
    from workflows.drill_remains import DrillRemains
    from workflows.ending import Ending
    from workflows.kit import given, with_hint
    from workflows.unheld import OBSERVE_S

STEPS = ("observe", "take", "copy", "start", "catch up", "watch", "compare", "tear down", "conclude")
CLEAN_STEPS = ("observe", "tear down", "conclude")
TAKE_S = 60.0
COPY_S = 600.0
START_S = 600.0
ROOM_WAIT_S = 30.0
WATCH_MARGIN_S = 300.0
COMPARE_S = 1_800.0


@workflow.defn(name=DRILL_RECOVERY)
class DrillRecovery(DrillRemains):
    """Done: it can be restored, within its objectives, and says the same. In every outcome nothing of it is left."""

    runbook = DRILL_RECOVERY

    @workflow.init
    def __init__(self, request: DrillInput | None = None) -> None:
        self.request = given(request, DrillInput)
        steps = STEPS[:1] if self.request.dry_run else CLEAN_STEPS if self.request.clean else STEPS
        super().__init__(self.request, steps, reason=self.request.reason)
        info = workflow.info()
        self.fork = self.request.clean or names.drill_fork(
            self.request.deployment, info.workflow_id, info.first_execution_run_id
        )
        self.drill_facts = DrillFacts(fork=self.fork)
        self.group = self.request.group

    @workflow.signal(description="The drill of the region that it is a part of is given up.")
    def give_up_together(self, why: str) -> None:
        """As the update ``abort``."""
        self.request_abort(why)

    @workflow.update(description="End the drill. Its fork is torn down; the live deployment is not touched.")
    def abort(self, request: ControlInput) -> str:
        """End the drill: what was made is taken away."""
        self.stop(request)
        return "ends the drill; its fork is torn down"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.run
    async def run(self, request: DrillInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: which recovery point, is there room, would the fork be apart. Nothing is changed.
        located = await self.locate(self.request.fleet_digest)
        if located.standby is None:
            raise errors.InvalidInput(
                f"deployment: {self.request.deployment} has no standby region in the fleet file: there is nowhere to "
                f"restore it"
            )
        self.works_in(located.standby)
        if self.request.clean is not None:
            return await self._clean(located, located.standby)
        try:
            seen = await self._look(located, located.standby)
            if seen.left and not self.request.dry_run:
                seen = await self._tidy(located, located.standby, seen)
        except errors.SnapshotError as error:
            # That is what a drill is to find out: now it could not be restored.
            self._fail(error)
            return self._ended(None)
        if self.request.dry_run:
            first = f"would take away {', '.join(seen.left)}, which earlier drills have left; " if seen.left else ""
            would = f"{first}would restore {self.request.deployment} {drill_facts.begun_from(seen)}, as {self.fork}"
            return Ending(Outcome.PLANNED, would)

        # From here on something is there to be taken away, whatever happens: the way back stands before the act (I7).
        self.phase = Phase.RUNNING
        self.upsert_phase()
        given_up: str | None = None
        try:
            await self._drill(located, seen)
        except Aborted:
            given_up = self.abort_requested or "aborted"
        except (errors.BasisChanged, errors.Superseded, errors.Unavailable) as error:
            given_up = with_hint(error)
            if error.details.get(GIVES_WAY):
                # Wanted so, and nobody is called for it: what it gives way to is what people look at.
                self.gave_way = True
                self.request_abort(f"gives way: {error.message}")
        except TidegateError as error:
            self._fail(error)

        # Step 8. Tear down, in every outcome; then look whether anything is left.
        why = given_up or "; ".join(self._facts.failures)
        self.board.end_running(StepState.FAILED, workflow.now(), why)
        self.board.replan(["tear down", "conclude"])
        await self.tear_down(located, seen.at, clean=False)

        # Step 9. Conclude: the report, in every outcome (unheld).
        return self._ended(given_up)

    # -- the steps

    async def _look(self, located: Located, standby: str) -> DrillSeen:
        asked = DrillLook(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            fork=self.fork,
            home=located.at,
            standby=standby,
            point=self.request.point,
            room_wait_s=0.0 if self.group is None else ROOM_WAIT_S,
        )
        seen = await self.calls.region(
            standby, contracts.look_at_drill, asked, deadline_s=OBSERVE_S, interruptible=True
        )
        self._tell(
            at=seen.at,
            point=seen.point,
            age_s=seen.age_s,
            rpo_s=seen.rpo_s,
            rto_objective_s=seen.rto_objective_s,
            rpo_objective_s=seen.rpo_objective_s,
            notes=seen.notes,
        )
        self.ok("observe", drill_facts.begun_from(seen))
        return seen

    async def _tidy(self, located: Located, standby: str, seen: DrillSeen) -> DrillSeen:
        """What earlier drills have left goes first; then look again: is there room now?"""
        await self.take_away_left(located, seen)
        notes = self._facts.notes
        again = await self._look(located, standby)
        self._tell(notes=tuple(dict.fromkeys((*notes, *again.notes))))
        if again.left and again.slots_free < again.parallelism:
            raise errors.Refused(
                f"no room in {again.at}: {again.slots_free} of {again.slots_total} slots are free, and what an earlier "
                f"drill has left could not be taken away: {'; '.join(notes)}",
                hint=f"tidegate drill recovery {self.request.deployment} --clean {again.left[0]}",
            )
        return again

    async def _drill(self, located: Located, seen: DrillSeen) -> None:
        # Step 2. Take a record for the fork: whoever loses it does nothing more, and it says what is to be taken away.
        held = await self._take(located)
        region = seen.at.partition("/")[0]
        step = DrillStep(
            held=held,
            fleet_digest=located.fleet_digest,
            at=seen.at,
            deployment=self.request.deployment,
            home=located.at,
            epoch=seen.epoch,
            job_id=seen.job_id,
            artifact=seen.artifact,
            parallelism=seen.parallelism,
            snapshot=seen.snapshot,
            point=seen.point,
            began=workflow.info().start_time,
        )

        # Step 3. Copy: scratch topics, and a copy of the snapshot with the standby's positions and without the sinks'.
        self.begin("copy", COPY_S)
        copied = await self.calls.region(region, contracts.copy_for_drill, step, deadline_s=COPY_S, interruptible=True)
        self.ok("copy", f"{copied.location}: {copied.positions:,} positions, {copied.dropped:,} states dropped")

        # Step 4. Start the fork from it.
        self.begin("start", START_S)
        start_step = DrillStartStep(**dict(step), copy_location=copied.location)
        started = await self.calls.region(
            region, contracts.start_drill, start_step, deadline_s=START_S, interruptible=True
        )
        self.ok("start", f"job {started.job_id[:8]}… runs since {facts.clock(started.running_at)}")

        # Step 5. Catch up: all input that stands there is processed, and all state of the point is in a checkpoint.
        of_fork = {"fork_job": started.job_id, "copy_location": copied.location}
        deadline_s = self.request.catch_up_s
        self.begin("catch up", deadline_s)
        waits = DrillWatchStep(**dict(step), **of_fork, seconds=deadline_s)
        caught = await self.calls.region(
            region, contracts.catch_up_drill, waits, deadline_s=deadline_s + WATCH_MARGIN_S, interruptible=True
        )
        self._measure(step.began, started, caught)
        self.ok("catch up", f"{caught.took_s:,.1f} s; {caught.operators:,} operators have their state")

        # Step 6. Watch it for the window: both jobs process the same input.
        self.begin("watch", self.request.window_s + WATCH_MARGIN_S)
        watches = DrillWatchStep(**dict(step), **of_fork, seconds=self.request.window_s)
        watched = await self.calls.region(
            region,
            contracts.watch_drill,
            watches,
            deadline_s=self.request.window_s + WATCH_MARGIN_S,
            interruptible=True,
        )
        if not watched.under_traffic:
            self._note("not proven under traffic: no input came while the fork was watched")
        self.ok(
            "watch", f"{watched.watched_s:,.0f} s, {watched.checkpoints:,} checkpoints, {watched.restarts} restarts"
        )

        # Step 7. Stop it with a savepoint, so that its position is known, and compare.
        self.begin("compare", COMPARE_S)
        compared = await self.calls.region(
            region, contracts.compare_drill, step, deadline_s=COMPARE_S, interruptible=True
        )
        self._judge(compared)
        self.ok("compare", drill_facts.told(compared))

    async def _take(self, located: Located) -> Held:
        self.begin("take", TAKE_S)
        info = workflow.info()
        wanted = TakeInput(
            deployment=self.fork,
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            fleet_digest=located.fleet_digest,
            runbook=self.runbook,
            who=self.request.requested_by,
            why=self.request.reason,
            expected_fence=0,
        )
        held = await self.calls.control(contracts.take, wanted, deadline_s=TAKE_S)
        self.ok("take", self.fork)
        return held

    async def _clean(self, located: Located, standby: str) -> Ending:
        """Only tear down what an earlier drill has left."""
        fork = self.fork
        if not names.is_drill_of(fork, self.request.deployment):
            raise errors.InvalidInput(f"clean: {fork} is not what a drill of {self.request.deployment} is called")
        asked = ObserveInput(deployment=self.request.deployment, fleet_digest=located.fleet_digest, region=standby)
        place = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        self.ok("observe", f"{fork} in {place.at}")
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, f"would tear down {fork} in {place.at}")
        await self.tear_down(located, place.at, clean=True)
        return self._ended(None)

    # -- what came of it

    def _fail(self, error: TidegateError | str) -> None:
        text = error if isinstance(error, str) else with_hint(error)
        self._tell(failures=(*self._facts.failures, text))

    def _measure(self, began: datetime, started: DrillStarted, caught: DrillCaughtUp) -> None:
        """RTO and RPO against what is promised."""
        first = caught.first_output_at
        if first is None:
            self._note("no input gave any output: RTO is to when the fork ran")
        rto_s = max(0.0, ((first or started.running_at) - began).total_seconds())
        self._tell(rto_s=rto_s, caught_up_s=caught.took_s)
        for name, took_s, objective_s in (
            ("RTO", rto_s, self._facts.rto_objective_s),
            ("RPO", self._facts.rpo_s, self._facts.rpo_objective_s),
        ):
            if took_s is not None and objective_s is not None and took_s > objective_s:
                self._fail(f"{name} missed: {took_s:,.1f} s, objective {objective_s:g} s")

    def _judge(self, compared: DrillCompared) -> None:
        self._tell(compared=compared)
        if not compared.good:
            self._fail(
                f"the fork's output is not the live one's: {drill_facts.told(compared)}{drill_facts.examples(compared)}"
            )
        elif not compared.compared:
            self._note("nothing was compared by value")
            if compared.replayed and not compared.undetermined:
                self._fail(
                    f"{compared.replayed:,} input records were processed, and no output was there to compare: the "
                    f"drill shows nothing"
                )

    def _ended(self, given_up: str | None) -> Ending:
        found, deployment = self._facts, self.request.deployment
        commands: tuple[str, ...] = ()
        rest = "nothing of it is left" if found.torn_down is not None else "nothing was started"
        if found.left is not None:
            rest = f"NOT all of its fork {self.fork} is gone: {found.left}"
            commands = (f"tidegate drill recovery {deployment} --clean {self.fork}",)
        if found.failures or found.left is not None:
            how = "failed" if found.failures else "did not end clean"
            return Ending(
                Outcome.BAD_VERDICT,
                f"the drill of {deployment} {how}; {rest}",
                why="; ".join([*found.failures, *([given_up] if given_up else [])]),
                next_commands=commands,
            )
        if given_up is not None:
            return Ending(Outcome.UNDONE, f"the drill of {deployment} was given up; {rest}", why=given_up)
        if self.request.clean is not None:
            return Ending(Outcome.DONE, f"{self.fork} is torn down; {rest}")
        return Ending(
            Outcome.DONE, f"{deployment} can be restored in {found.at}: {drill_facts.measured(found)}; {rest}"
        )

    def undone(self) -> str:
        """Only what fails before anything was started comes here."""
        return f"the drill of {self.request.deployment} did not begin; nothing was started"
