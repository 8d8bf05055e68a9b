"""The world of a drill: the fork is what this keeps; the live deployment's record must not be touched by any step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT, POINT, artifact
from tidegate.errors import Superseded
from tidegate.model.drill import (
    DrillCaughtUp,
    DrillCopied,
    DrillLook,
    DrillSeen,
    DrillStarted,
    DrillStartStep,
    DrillStep,
    DrillWatched,
    DrillWatchStep,
    TearDownStep,
)
from tidegate.model.drilled import DrillCompared, TornDown
from tidegate.model.record import Holder
from tidegate.model.steps import Held, TakeInput
from tidegate.names import is_drill_of

GOOD = DrillCompared(
    compared=10_000,
    missing=0,
    extra=0,
    differing=0,
    undetermined=0,
    replayed=10_000,
    until="e7-chk-40",
    by="record id",
)


class DrillWorld(World):
    """``things``: what of the fork is there, by what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.things: set[str] = set()
        self.took_s = 20.0
        self.rpo_s: float | None = 0.4
        self.compared = GOOD
        self.left: tuple[str, ...] = ()
        """Forks of earlier drills, which hold all slots until they are torn down."""

    def _must_hold(self, step: DrillStep) -> None:
        assert is_drill_of(step.held.deployment, "ledger")
        if "record" not in self.things:
            raise Superseded(f"{step.held.deployment} was torn down")

    def _take(self, request: TakeInput) -> Held:
        assert request.deployment != "ledger", "a drill takes nothing of the live deployment"
        holder = Holder(
            operation=request.operation, run_id=request.run_id, runbook=request.runbook, cluster_id="c",
            namespace="default", who=request.who, why=request.why, since=AT,
        )  # fmt: skip
        self.things.add("record")
        return Held(deployment=request.deployment, holder=holder, fence=1)

    def _look_at_drill(self, request: DrillLook) -> DrillSeen:
        return DrillSeen(
            at=f"{request.standby}/cell-1", point=POINT.id, snapshot=POINT.snapshot, taken_at=AT, age_s=1.5,
            rpo_s=self.rpo_s, job_id=f"{7:032x}", epoch=7, artifact=artifact("v1"), parallelism=2,
            slots_free=self.slots_free, slots_total=8, rto_objective_s=60, rpo_objective_s=5, left=self.left,
        )  # fmt: skip

    def _copy_for_drill(self, request: DrillStep) -> DrillCopied:
        self._must_hold(request)
        self.things |= {"topics", "copy", "pin"}
        return DrillCopied(location="s3://west/savepoints/x/copy-1", positions=4, dropped=2)

    def _start_drill(self, request: DrillStartStep) -> DrillStarted:
        self._must_hold(request)
        self.things.add("job")
        return DrillStarted(job_id="f" * 32, epoch=1, running_at=request.began + timedelta(seconds=self.took_s - 1))

    def _catch_up_drill(self, request: DrillWatchStep) -> DrillCaughtUp:
        self._must_hold(request)
        return DrillCaughtUp(
            took_s=3.0, first_output_at=request.began + timedelta(seconds=self.took_s), checkpoint="s3://x", operators=4
        )

    def _watch_drill(self, request: DrillWatchStep) -> DrillWatched:
        self._must_hold(request)
        return DrillWatched(watched_s=request.seconds, checkpoints=9, restarts=0, under_traffic=True)

    def _compare_drill(self, request: DrillStep) -> DrillCompared:
        self._must_hold(request)
        self.things.add("savepoint")
        return self.compared

    def _tear_down_drill(self, request: TearDownStep) -> TornDown:
        if request.fork in self.left:
            self.left, self.slots_free = (), 8
            return TornDown(jobs=1)
        gone = TornDown(jobs="job" in self.things, topics="topics" in self.things, pins="pin" in self.things)
        self.things.clear()
        return gone

    def steps(self) -> list[Any]:
        """What was called, without what begins and ends each."""
        return self.names("locate", "look_at_drill", "write_report")
