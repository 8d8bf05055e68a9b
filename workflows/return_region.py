"""ReturnRegion: a region that was given up answers again. runbooks/return-region.md."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.failover.plan import plan_return
    from tidegate.model.failover import FailoverStep, LookRegionsInput, RegionsSeen
    from tidegate.model.operation import Observation, OperationResult, Outcome, Plan
    from tidegate.model.returning import RETURN_REGION, QuarantineFact, ReturnInput, ReturnStep, TailFact
    from tidegate.model.steps import Located, ObserveInput
    from workflows import failover_facts
    from workflows.ending import Ending
    from workflows.kit import given, known
    from workflows.preparing import OBSERVE_S
    from workflows.running import RunningOperation

QUARANTINE_S = 600.0
TAIL_S = 3_600.0
BACK_S = 300.0


@workflow.defn(name=RETURN_REGION)
class ReturnRegion(RunningOperation):
    """Done: the old region can write no more, what it had beyond the cut is set apart, and it is mirrored to."""

    runbook = RETURN_REGION

    @workflow.init
    def __init__(self, request: ReturnInput | None = None) -> None:
        request = given(request, ReturnInput)
        super().__init__(request, target=None)
        self.request = request
        self.back: Located | None = None
        self.regions: RegionsSeen | None = None
        self.quarantine_fact: QuarantineFact | None = None
        self.tail_fact: TailFact | None = None
        self.others: tuple[str, ...] = ()
        """Deployments that share a link with it and are to be returned before that link can run."""

    @workflow.run
    async def run(self, request: ReturnInput | None = None) -> OperationResult:
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: where the deployment lives, and what of the region answers. Nothing is changed up to step 4.
        await self.observe()

        # Step 2. Plan. A dry run ends here.
        self.make_plan(rows)
        if self.request.dry_run:
            return self.planned()

        # Step 3. Approve, where the runbook's input or the fleet file asks for it.
        await self.approve_if_asked()

        # Step 4. Take the deployment. Its job is not touched by what follows.
        await self.take(rows)
        self.too_late = "a region that is half in quarantine is the worst of both: this goes on to its end"

        # Step 5. Quarantine: nothing of the old job can commit there, nobody writes there, its mirror is shut.
        await self.insist(self._quarantine)

        # Step 6. Tail: what it took beyond the cut is fed or held, and said not to count in its log.
        await self.insist(self._tail)

        # Step 7. Mirror: from where the deployment lives to the region, from the cut on.
        await self.insist(self._mirror)

        # Step 8. Conclude, in every outcome: verdict, report, release (concluding).
        name, region = self.base.deployment, self.request.region
        if self.others:
            return Ending(
                Outcome.DONE,
                f"{name} is in quarantine in {region}; it is mirrored to once {', '.join(self.others)} is, too",
                next_commands=tuple(f"tidegate return region {region} --deployment {one}" for one in self.others),
            )
        return Ending(
            Outcome.DONE,
            f"{region} is a standby of {name} again",
            next_commands=(f"tidegate failover deployment {name} --to {region}",),
        )

    async def observe_in(self, located: Located) -> Observation:
        """As every runbook, where the deployment lives; and the region that returns."""
        if located.region == self.request.region:
            raise errors.InvalidInput(
                f"region: {self.base.deployment} lives in {located.region}: it did not leave it",
            )
        seen = await super().observe_in(located)
        asked = ObserveInput(
            deployment=self.base.deployment, fleet_digest=located.fleet_digest, region=self.request.region
        )
        self.back = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        both = LookRegionsInput(
            deployment=self.base.deployment,
            fleet_digest=located.fleet_digest,
            home=self.back.at,
            at=located.at,
            returning=True,
        )
        self.regions = await self.calls.region(
            located.region, contracts.look_regions, both, deadline_s=OBSERVE_S, interruptible=True
        )
        return seen

    def draw_plan(self) -> Plan:
        """The plan of a return."""
        return plan_return(self.request, self.seen, known(self.regions))

    async def _quarantine(self) -> None:
        self.begin("quarantine", QUARANTINE_S)
        self.quarantine_fact = await self.calls.control(contracts.quarantine, self._step(), deadline_s=QUARANTINE_S)
        self.ok("quarantine", failover_facts.quarantined(self.quarantine_fact))

    async def _tail(self) -> None:
        self.begin("tail", TAIL_S)
        self.tail_fact = await self.calls.control(contracts.set_apart, self._step(), deadline_s=TAIL_S)
        self.ok("tail", failover_facts.set_apart(self.tail_fact))

    async def _mirror(self) -> None:
        self.begin("mirror", BACK_S)
        step = FailoverStep(**self._step().model_dump(exclude={"tail"}))
        fact = await self.calls.control(contracts.mirror_back, step, deadline_s=BACK_S)
        self.others = fact.at_large
        if fact.waiting and not fact.at_large:
            raise errors.Unavailable(f"{self.request.region} does not answer any more: {fact.waiting[0]}")
        self.ok("mirror", failover_facts.mirrored(fact))
        self.acted_at = workflow.now()

    def _step(self) -> ReturnStep:
        return ReturnStep(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            n=self.next_n(),
            at=self.place.at,
            home=known(self.back).at,
            topics=known(self.regions).topics,
            unplanned=True,
            take_over=self.request.take_over is not None,
            tail=self.request.tail,
        )


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", *(step.name for step in plan.steps if step.name != "observe")]
