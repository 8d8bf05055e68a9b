"""DrillRegion: the recovery of all that lives in a region is drilled, as many at once as slots allow.
runbooks/drill-region.md.

Each drill is a DrillRecovery of its own, which tears its fork down whatever comes. This one only counts: who begins
when, under so many slots and in so much time, and what came of each.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

from temporalio import workflow
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors, names
    from tidegate.drill.queue import Forecast, Limits, Queue, forecast
    from tidegate.errors import TidegateError
    from tidegate.model.drill import DRILL_RECOVERY, DrillInput
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import MemberResult, OperationResult, OperationStatus, Outcome, Phase, StepState
    from tidegate.model.regiondrill import (
        DRILL_REGION,
        DrillCandidate,
        DrillRegionInput,
        DrillsSeen,
        GiveWayInput,
        LookDrillsInput,
    )
    from tidegate.model.steps import Located
    from workflows import drill_region_facts as told_of
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending
    from workflows.kit import given, known
    from workflows.members import operation_of, result_of
    from workflows.unheld import OBSERVE_S, Unheld

LOOK_S = 15.0
"""So often is looked whether a failover needs the slots; of a short budget more often."""
LOOKS_LEAST, LOOKS_MOST = 20, 2_000
"""So often in all of the budget: each look stands in the history."""
LOOK_DEADLINE_S = 60.0
ALL_CELLS = "all"


@workflow.defn(name=DRILL_REGION)
class DrillRegion(Unheld):
    """Done: all that were asked for were drilled, and are good. Undone: not all were drilled, and none has failed."""

    runbook = DRILL_REGION

    @workflow.init
    def __init__(self, request: DrillRegionInput | None = None) -> None:
        self.request = given(request, DrillRegionInput)
        super().__init__(self.request, ("observe",), reason=self.request.reason)
        self.seen: DrillsSeen | None = None
        self.queue: Queue | None = None
        self.results: dict[str, MemberResult] = {}
        self.over = False

    @workflow.update(description="Begin no more drills, and end those that run: their forks are torn down.")
    def abort(self, request: ControlInput) -> str:
        """What has ended stays as it ended."""
        self.stop(request)
        return "begins no more drills, and ends those that run; their forks are torn down"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """As for all, and who waits for slots."""
        told = super().status()
        waiting = [one.deployment for one in self.queue.waiting] if self.queue is not None else []
        if self.ending is not None or not waiting or self.phase is not Phase.RUNNING:
            return told
        return told.model_copy(update={"waiting_for": f"slots for {', '.join(waiting)}"})

    @workflow.run
    async def run(self, request: DrillRegionInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    # -- the runbook

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: what lives in the region, what of it was proven when, what room the standby has.
        seen = await self._observe()

        # Step 2. Plan: the order, and what fits into slots and time. A dry run ends here.
        planned = forecast(self._queue, self._now_s())
        self.queue = self._queue()
        self.board.replan([*(one.deployment for one in seen.candidates), "conclude"])
        if not planned.begins_s:
            return self._nothing_fits(planned)
        if self.request.dry_run:
            return self._planned(planned)

        # Step 3. Drill: each begins when there are slots for it, and time. One that fails does not stop the others.
        self.phase = Phase.RUNNING
        self.upsert_phase()
        watching = asyncio.create_task(self._give_way_to_a_failover())
        try:
            await self._drill()
        finally:
            self.over = True
        await workflow.wait([watching])
        watching.result()

        # Step 4. Conclude: a line for each, the report, in every outcome (unheld).
        return self._ending()

    async def _observe(self) -> DrillsSeen:
        self.begin("observe", OBSERVE_S)
        asked = LookDrillsInput(
            region=self.request.region,
            to=self.request.to,
            deployments=self.request.deployments,
            tiers=self.request.tiers,
            fleet_digest=self.request.fleet_digest,
        )
        seen = await self.calls.control(contracts.look_at_drills, asked, deadline_s=OBSERVE_S, interruptible=True)
        self.seen = seen
        region = self.request.to or next(iter(self._standbys), self.request.region)
        # The parts of the operation that are about no deployment: where its report's fleet file is, what region it is.
        self.located = Located(
            fleet_digest=seen.fleet_digest, region=region, cell=ALL_CELLS, tier=0, approval_required=False
        )
        self.works_in(region)
        self.ok("observe", told_of.region_seen(self.request.region, seen, self._limits))
        return seen

    async def _drill(self) -> None:
        queue = known(self.queue)
        drilling: list[asyncio.Task[None]] = []
        while True:
            if self.abort_requested is not None:
                queue.give_up(f"not begun: {self.abort_requested}")
            begin = queue.due(self._now_s())
            drilling += [asyncio.create_task(self._drill_one(one)) for one in begin]
            self._tell_not_drilled()
            if not queue.running:
                break
            await workflow.wait_condition(
                partial(self._has_changed, len(self.results), drilling), timeout_summary="drills"
            )
            for one in drilling:
                if one.done():
                    one.result()

    def _has_changed(self, ended: int, drilling: list[asyncio.Task[None]]) -> bool:
        """Whether one has ended, also as nobody foresaw, or no more shall begin."""
        given_up = self.abort_requested is not None and bool(known(self.queue).waiting)
        return len(self.results) > ended or given_up or any(one.done() and one.exception() for one in drilling)

    async def _drill_one(self, one: DrillCandidate) -> None:
        """One of them, from its beginning to its end."""
        name, began = one.deployment, workflow.now()
        operation = operation_of("drill", name)
        self.begin(name)
        wanted = DrillInput(
            deployment=name,
            window_s=self.request.window_s,
            catch_up_s=self.request.catch_up_s,
            requested_by=self.request.requested_by,
            reason=self.request.reason,
            fleet_digest=known(self.seen).fleet_digest,
            group=workflow.info().workflow_id,
        )
        try:
            # Cancelled, not left alone, if this one is terminated or lost: nobody counts its slots any more. It ends
            # as by an abort then, in good order, and its fork is torn down. Terminated, it would leave the fork.
            handle = await workflow.start_child_workflow(
                DRILL_RECOVERY,
                wanted,
                id=operation,
                result_type=OperationResult,
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                static_summary=f"with {workflow.info().workflow_id}",
            )
        except WorkflowAlreadyStartedError:
            why = f"{operation} was begun before: this run is played a second time"
            result = MemberResult(
                deployment=name, operation=operation, outcome=Outcome.UNDONE, summary="not begun", why=why
            )
        else:
            await workflow.wait_condition(lambda: handle.done() or self.abort_requested is not None)
            if not handle.done() and self.abort_requested is not None:
                try:
                    await handle.signal("give_up_together", self.abort_requested)
                except FailureError as error:
                    # It has ended meanwhile: how, its result says.
                    workflow.logger.info("%s did not hear that it is given up: %s", operation, error.message)
            result = await result_of(name, operation, handle)
            if result.drill is None and result.outcome is Outcome.UNDONE:
                fork = names.drill_fork(name, operation, handle.first_execution_run_id or "")
                result = told_of.ended_from_outside(result, fork)
        took_s = (workflow.now() - began).total_seconds()
        known(self.queue).ended(name, took_s if result.outcome is Outcome.DONE else None)
        self.results[name] = result
        state = StepState.OK if result.outcome is Outcome.DONE else StepState.FAILED
        self.board.end(name, state, workflow.now(), told_of.member(result))
        self.show()

    async def _give_way_to_a_failover(self) -> None:
        """Nothing gives way to a drill. A part that does not answer is asked again: nobody can fail over without it."""
        calls = Calls(changed=lambda: None, aborting=lambda: self.over)
        asked = GiveWayInput(fleet_digest=known(self.seen).fleet_digest, standbys=self._standbys)
        budget_s = self.request.budget_s
        every = timedelta(seconds=max(budget_s / LOOKS_MOST, min(LOOK_S, budget_s / LOOKS_LEAST)))
        while self.abort_requested is None:
            try:
                await workflow.wait_condition(
                    lambda: self.over or self.abort_requested is not None, timeout=every, timeout_summary="a failover?"
                )
            except TimeoutError:
                pass
            else:
                return
            try:
                fact = await calls.control(
                    contracts.see_failover, asked, deadline_s=LOOK_DEADLINE_S, interruptible=True
                )
            except (TidegateError, Aborted) as error:
                workflow.logger.info("whether a failover needs the slots is not known: %s", error)
                continue
            if fact.holder is not None:
                self.gave_way = self.abort_requested is None
                self.request_abort(f"gives way: {fact.holder}")

    # -- how it ends

    def _nothing_fits(self, planned: Forecast) -> Ending:
        for one in known(self.seen).candidates:
            known(self.queue).not_drilled[one.deployment] = planned.not_drilled[one.deployment]
        self._tell_not_drilled()
        self._conclude()
        each = "; ".join(f"{name}: {why}" for name, why in planned.not_drilled.items())
        return Ending.refused(
            errors.Refused(
                f"nothing of {self.request.region} can be drilled now: {each}",
                hint="say how many slots may be used, --slots N, or how much time there is, --budget TIME; nothing "
                "gives way to a drill",
            )
        )

    def _planned(self, planned: Forecast) -> Ending:
        seen = known(self.seen)
        self.members = tuple(
            told_of.member_planned(number, one, planned, seen.at) for number, one in enumerate(seen.candidates, start=1)
        )
        return Ending(Outcome.PLANNED, told_of.region_planned(self.request.region, seen, planned, self._limits))

    def _tell_not_drilled(self) -> None:
        for name, why in known(self.queue).not_drilled.items():
            if name in self.results:
                continue
            self.results[name] = MemberResult(
                deployment=name, operation=None, outcome=Outcome.REFUSED, summary="not drilled", why=why
            )
            self.board.end(name, StepState.SKIPPED, workflow.now(), f"not drilled: {why}")
        self.show()

    def _conclude(self) -> None:
        """What the result and the report say of each."""
        seen = known(self.seen)
        self.members = tuple(self.results[one.deployment] for one in seen.candidates)
        self.drills_facts = told_of.of_region(self.request, seen, self._limits, self.members, took_s=self._now_s())

    def _ending(self) -> Ending:
        self._conclude()
        return told_of.region_ending(known(self.drills_facts), self.abort_requested)

    def undone(self) -> str:
        """Only before anything was begun."""
        return f"no drill of {self.request.region} was begun"

    # -- small things

    def _queue(self) -> Queue:
        return Queue(
            known(self.seen).candidates,
            self._limits,
            window_s=self.request.window_s,
            budget_s=self.request.budget_s,
        )

    @property
    def _limits(self) -> Limits:
        return Limits.of(known(self.seen).cells, self.request.slots)

    @property
    def _standbys(self) -> tuple[str, ...]:
        return tuple(sorted({one.at.partition("/")[0] for one in known(self.seen).cells}))

    def _now_s(self) -> float:
        return (workflow.now() - workflow.info().start_time).total_seconds()
