"""What a world answers to runbooks that hold no deployment: ship, sweep, keep, review, schedules, notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kit.temporal_world_facts import (
    AT,
    SAVEPOINT,
)
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.model.review import BreachFact, BreachNote, DeploymentReview, ReviewStep
from tidegate.model.schedule import NoteFact, RunNote, WeighFact, WeighInput
from tidegate.model.ship import ShipFact, ShipPlan, ShipStep
from tidegate.model.steps import (
    ForkFact,
    ForkInput,
)
from tidegate.model.sweep import SweepFact, SweepPlan, SweepStep
from tidegate.schedules.decide import by_calendar, by_world


class UnheldActs:
    """Part of ``World``, whose switches these follow."""

    swept: int

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What only the whole has."""

    def _look_at_snapshot(self, request: ShipStep) -> ShipPlan:
        return ShipPlan(
            id=request.snapshot or "e7-chk-12",
            location="s3://east/checkpoints/5bfb/chk-12",
            taken_at=AT,
            files=10,
            bytes=5_000_000,
            new_files=3,
            new_bytes=2_000_000,
        )

    def _make_fork(self, request: ForkInput) -> ForkFact:
        self._check(request.held)
        return ForkFact(source=SAVEPOINT, location="s3://east/savepoints/fork/copy-1", dropped=4)

    def _ship_snapshot(self, request: ShipStep) -> ShipFact:
        name = request.snapshot or "e7-chk-12"
        self.shipped.append(name)
        return ShipFact(
            id=name,
            source="s3://east/checkpoints/5bfb/chk-12",
            target=f"s3://{request.to}/savepoints/ledger/from-east/{name}-1a2b3c4d",
            taken_at=AT,
            shipped_at=AT,
            files=10,
            bytes=5_000_000,
            sent_files=3,
            sent_bytes=2_000_000,
        )

    def _look_at_sweep(self, request: SweepStep) -> SweepPlan:
        return SweepPlan(
            going=3, staying=7, files=20, bytes=2_000_000, leftovers=1, uploads=1, first=("e6-chk-1", "e6-chk-2")
        )

    def _note_breaches(self, request: BreachNote) -> BreachFact:
        self.breaches.append(request)
        return BreachFact()

    def _review_readiness(self, request: ReviewStep) -> DeploymentReview:
        found: DeploymentReview = self.found.model_copy(update={"deployment": request.deployment})
        return found

    def _sweep_snapshots(self, request: SweepStep) -> SweepFact:
        self.swept += 1
        return SweepFact(
            snapshots=2, files=15, bytes=1_500_000, leftovers=1, uploads=1, kept=("e6-chk-2: pinned by ana: x",)
        )

    # -- the good things of a failover

    def _keep_points(self, request: KeepStep) -> KeepFact:
        return KeepFact(cycles=3, shipped=1, sent_bytes=1_000, newest=f"{request.deployment}-12")

    def _weigh_schedule(self, request: WeighInput) -> WeighFact:
        entry = request.request.entry
        return WeighFact(skip=by_calendar(entry, request.at) or by_world(entry, self.incidents, [self.record]))

    def _note_run(self, request: RunNote) -> NoteFact:
        self.noted.append(request)
        return NoteFact()

    def _notify(self, request: NotifyInput) -> NotifyFact:
        self.notices.append(request.notice)
        return NotifyFact(notice=request.notice)
