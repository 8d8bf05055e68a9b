"""Taking a drill away: its own fork in every outcome, and first what earlier drills have left.

No abort interrupts the taking away of its own: an abort asks for just this.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.errors import TidegateError
    from tidegate.model.drill import DrillInput, DrillSeen, TearDownStep
    from tidegate.model.drilled import DrillFacts
    from tidegate.model.operation import Phase, StepState
    from tidegate.model.steps import Located
    from workflows import drill_facts
    from workflows.unheld import Unheld

TEAR_DOWN_S = 1_800.0


class DrillRemains(Unheld):
    """A drill, as far as it takes away its own fork and what earlier ones have left."""

    request: DrillInput
    fork: str

    async def take_away_left(self, located: Located, seen: DrillSeen) -> None:
        """What earlier drills have left goes first: it may hold the slots, and nobody else takes it away."""
        for fork in seen.left:
            try:
                gone = await self.calls.region(
                    seen.at.partition("/")[0],
                    contracts.tear_down_drill,
                    self._tear_down_step(located, seen.at, fork, clean=True),
                    deadline_s=TEAR_DOWN_S,
                    interruptible=True,
                )
            except TidegateError as error:
                self._note(f"{fork}, which an earlier drill has left, is still there: {error.message}")
            else:
                self._note(f"{fork}, which an earlier drill had left, was taken away: {drill_facts.taken_away(gone)}")

    async def tear_down(self, located: Located, at: str, *, clean: bool) -> None:
        """Take all of the fork away. Not interrupted: an abort asks for just this."""
        self.phase = Phase.UNDOING
        self.upsert_phase()
        self.begin("tear down", TEAR_DOWN_S)
        wanted = self._tear_down_step(located, at, self.fork, clean=clean)
        try:
            gone = await self.calls.region(
                at.partition("/")[0], contracts.tear_down_drill, wanted, deadline_s=TEAR_DOWN_S
            )
        except TidegateError as error:
            self._tell(left=error.message)
            self.board.end("tear down", StepState.FAILED, workflow.now(), error.message)
        else:
            self._tell(torn_down=gone)
            self.ok("tear down", drill_facts.taken_away(gone))

    def _tear_down_step(self, located: Located, at: str, fork: str, *, clean: bool) -> TearDownStep:
        info = workflow.info()
        return TearDownStep(
            deployment=self.request.deployment,
            fork=fork,
            fleet_digest=located.fleet_digest,
            at=at,
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            who=self.request.requested_by,
            clean=clean,
        )

    # -- what it says of itself

    @property
    def _facts(self) -> DrillFacts:
        return self.drill_facts or DrillFacts(fork=self.fork)

    def _tell(self, **update: object) -> None:
        self.drill_facts = self._facts.model_copy(update=update)

    def _note(self, text: str) -> None:
        self._tell(notes=(*self._facts.notes, text))
