"""ReviewReadiness: could a deployment be restored and moved now? runbooks/review-readiness.md.

It holds nothing and changes nothing that lasts, so any number of them may run at once, also while an operation does.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import OperationResult, Outcome, Phase
    from tidegate.model.review import REVIEW_READINESS, BreachNote, DeploymentReview, ReviewInput, ReviewStep, Severity
    from tidegate.report.review import summary
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.unheld import Unheld

STEPS = ("observe", "review", "conclude")


@workflow.defn(name=REVIEW_READINESS)
class ReviewReadiness(Unheld):
    """Done: everything was asked, and what was found is reported. Bad verdict: the score is below the one asked for."""

    runbook = REVIEW_READINESS

    @workflow.init
    def __init__(self, request: ReviewInput | None = None) -> None:
        self.request = given(request, ReviewInput)
        super().__init__(self.request, STEPS, reason=self.request.reason)

    @workflow.update(description="Stop asking. Nothing was changed.")
    def abort(self, request: ControlInput) -> str:
        """Stop; there is nothing to undo."""
        self.stop(request)
        return "stops asking; nothing was changed"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.run
    async def run(self, request: ReviewInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: where it lives, by which fleet file.
        located = await self.locate(self.request.fleet_digest)
        self.works_in(located.region)
        standby = f", standby {located.standby}" if located.standby else ", no standby"
        self.ok("observe", f"{located.at}{standby}, tier {located.tier}")

        # Step 2. Review. Not beside the region: it asks both, and one of them may be what is away.
        self.phase = Phase.RUNNING
        deadline_s = self.request.deadline_s
        self.begin("review", deadline_s)
        step = ReviewStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            outage_s=self.request.outage_s,
        )
        self.review = await self.calls.control(
            contracts.review_readiness, step, deadline_s=deadline_s, interruptible=True
        )
        self.ok("review", summary(self.review))
        self.bell.breaches(BreachNote(review=self.review, operation=workflow.info().workflow_id, at=workflow.now()))

        # Step 3. Conclude: the report, in every outcome (unheld).
        if self.review.score < self.request.fail_under:
            return Ending(
                Outcome.BAD_VERDICT,
                summary(self.review),
                why=f"the score is below {self.request.fail_under}: {_worst(self.review)}",
            )
        return Ending(Outcome.DONE, summary(self.review))

    def undone(self) -> str:
        """It changes nothing."""
        return "not everything was asked; nothing was changed"


def _worst(review: DeploymentReview) -> str:
    """The first findings, by id."""
    breaches = [one.id for one in review.of(Severity.BREACH)] or [one.id for one in review.findings]
    more = f" and {len(breaches) - 3} more" if len(breaches) > 3 else ""
    return f"{', '.join(breaches[:3])}{more}"
