"""What every runbook does before it changes anything: observe, plan, approve, take, prepare."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.model.inputs import StartInput, UpgradeInput
    from tidegate.model.operation import Observation, Outcome, Phase, Plan, StepState
    from tidegate.model.record import ArtifactRef
    from tidegate.model.steps import (
        Located,
        ObserveInput,
        PrepareInput,
        TakeInput,
    )
    from tidegate.operation.plan import make_plan
    from tidegate.temporal import search_attributes
    from workflows import facts
    from workflows.calls import Aborted
    from workflows.concluding import Concluding
    from workflows.ending import Ending

OBSERVE_S = 60.0
TAKE_S = 120.0
PREPARE_S = 300.0
TAKE_ATTEMPTS = 3


class Operation(Concluding):
    """One run of a runbook on a deployment. A runbook is a sequence of these steps, and reads like its page."""

    # -- steps before anything is changed

    async def observe(self) -> None:
        """Find out where the deployment lives and what is.

        Raises:
            TidegateError: it is unknown, or a part did not answer in time; nothing was changed.

        """
        self.begin("observe", OBSERVE_S)
        asked = ObserveInput(
            deployment=self.base.deployment,
            target=self.target,
            fleet_digest=self.base.fleet_digest,
            by_record=True,
            region=self.region,
        )
        self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        self.found_in(self.located)
        self.observation = await self.observe_in(self.located)
        self.ok("observe", facts.observed(self.observation))

    def found_in(self, located: Located) -> None:
        """From here on the operation is found by this region and cell."""
        workflow.upsert_search_attributes(
            [
                search_attributes.REGION.value_set(located.region),
                search_attributes.CELL.value_set(located.cell),
            ]
        )

    async def observe_in(self, located: Located) -> Observation:
        """What is, as the region's worker sees it."""
        asked = ObserveInput(
            deployment=self.base.deployment,
            target=self.target,
            fleet_digest=located.fleet_digest,
            held=self.held,
            at=located.at,
        )
        seen = await self.calls.region(
            located.region, contracts.observe, asked, deadline_s=OBSERVE_S, interruptible=True
        )
        # Held by this operation itself, the record stands in nobody's way.
        return seen.model_copy(update={"holder_run_closed": True}) if self.held else seen

    def draw_plan(self) -> Plan:
        """The plan for what was asked, from what was observed. A runbook with an input of its own draws its own."""
        if not isinstance(self.base, UpgradeInput | StartInput):
            raise TypeError(f"{type(self).__name__} draws no plan of its own")
        return make_plan(self.base, self.seen)

    def make_plan(self, rows: Callable[[Plan], list[str]]) -> Plan:
        """Plan from the observation; ``rows`` names the steps to be shown.

        Raises:
            Refused, InvalidInput: it makes no sense to go on; the message says why.

        """
        self.plan = self.draw_plan()
        names = (["approve"] if self._approval_asked() else []) + rows(self.plan)
        self.board.replan([name for name in names if not self.board.has_begun(name)])
        self.show()
        return self.plan

    def planned(self) -> Ending:
        """The end of a dry run."""
        return Ending(Outcome.PLANNED, facts.planned(self.fixed_plan))

    def _approval_asked(self) -> bool:
        return self.base.require_approval or self.place.approval_required or self.seen.approval_required

    async def approve_if_asked(self) -> None:
        """Wait for an approval of this very plan, if one is asked for.

        Raises:
            Refused: rejected, or nobody approved in time.
            Aborted: a person wants to go back.

        """
        if not self._approval_asked():
            return
        if self.base.break_glass is not None:
            self.board.end("approve", StepState.SKIPPED, workflow.now(), f"break-glass: {self.base.break_glass}")
            self.show()
            return
        timeout_s = self.base.approval_timeout_s
        plan = self.fixed_plan
        self.approval_wanted = True
        self.waiting_for = f"an approval of plan {plan.hash[:12]}"
        self.next_commands = tuple(
            f"{command} --who YOU" + (f" --plan {plan.hash[:12]}" if "ops approve" in command else "")
            for command in self._ops("approve", "reject")
        )
        self.begin("approve", timeout_s)
        self.enter(Phase.WAITING_FOR_APPROVAL)
        try:
            await workflow.wait_condition(
                lambda: self.approval is not None or self.abort_requested is not None,
                timeout=timedelta(seconds=timeout_s),
                timeout_summary="approval",
            )
        except TimeoutError:
            raise errors.Refused(f"not approved: nobody approved plan {plan.hash[:12]} in {timeout_s:,.0f} s") from None
        finally:
            self.approval_wanted, self.waiting_for, self.next_commands = False, "", ()
        if self.approval is None:
            raise Aborted
        words = f"claimed by {self.approval.by}" + (f": {self.approval.comment}" if self.approval.comment else "")
        if not self.approval.approved:
            raise errors.Refused(f"not approved: plan {plan.hash[:12]} was rejected, {words}")
        self.ok("approve", f"plan {plan.hash[:12]}, {words}")

    async def take(self, rows: Callable[[Plan], list[str]]) -> None:
        """Make the deployment this operation's, then observe again: what was planned must still be so (O4).

        Raises:
            Held: another operation holds it.
            BasisChanged: the world is not what was approved. Without an approval it is planned anew instead.

        """
        self.enter(Phase.RUNNING)
        for attempt in range(1, TAKE_ATTEMPTS + 1):
            await self.safe_point()
            self.begin("take", TAKE_S)
            info = workflow.info()
            wanted = TakeInput(
                deployment=self.base.deployment,
                operation=info.workflow_id,
                run_id=info.first_execution_run_id,
                fleet_digest=self.place.fleet_digest,
                runbook=self.runbook,
                who=self.base.requested_by,
                why=self.base.reason,
                expected_fence=self.seen.record.fence,
                take_over=self.base.take_over,
            )
            try:
                self.held = await self.calls.control(contracts.take, wanted, deadline_s=TAKE_S)
                break
            except errors.BasisChanged:
                # Somebody held it in between. Nobody has approved anything: look again, and plan for what is now.
                if self.approval is not None or attempt == TAKE_ATTEMPTS:
                    raise
                self.observation = await self.observe_in(self.place)
                self.make_plan(rows)
        before = self.fixed_plan
        self.observation = await self.observe_in(self.place)
        plan = self.make_plan(rows)
        if plan.hash != before.hash and self.approval is not None:
            raise errors.BasisChanged(
                f"the plan that was approved ({before.hash[:12]}) no longer fits what is: it would be {plan.hash[:12]}",
                hint="start it again and have the new plan approved",
            )
        self.ok("take", f"fence {self.claim.fence}")

    async def prepare(self, artifact: ArtifactRef, parallelism: int | None = None) -> None:
        """Do what can be done before the stop. ``parallelism``: if it shall run with other than the fleet file's."""
        await self.safe_point()
        self.begin("prepare", PREPARE_S)
        wanted = PrepareInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=1,
            artifact=artifact,
            parallelism=parallelism,
        )
        fact = await self.calls.region(
            self.place.region, contracts.prepare, wanted, deadline_s=PREPARE_S, interruptible=True
        )
        self.ok("prepare", facts.prepared(fact))
        await self.safe_point()
