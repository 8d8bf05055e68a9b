"""Restores in the simulated region, as the workflow does them: look, price, plan, go on; and what befell the job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.kit.world import DEPLOYMENT, Op, World, ref
from tests.kit.world_job import PARTITIONS
from tidegate.model.appraisal import Appraisal, SnapshotPrice
from tidegate.model.inputs import RestoreInput
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Plan
from tidegate.model.steps import EnsureFact, RestoreFrom
from tidegate.operation.appraise import appraise
from tidegate.operation.restore import accepted, choose_price, plan_restore


def look(w: World, source: str = "newest") -> Appraisal:
    return w.go("look", lambda: appraise(w.site, w.records, source))


def seen_of(w: World, appraisal: Appraisal) -> Observation:
    record = w.record
    assert record.writer is not None
    job = w.flink.jobs.get(record.writer.job_id)
    return Observation(
        at=datetime.now(UTC),
        fleet_digest="f" * 64,
        deployment=DEPLOYMENT,
        region="east",
        cell="cell-1",
        tier=1,
        parallelism=2,
        approval_required=False,
        record=record.model_copy(update={"holder": None}),
        job=JobFacts(job_id=job.id, state=job.state.value) if job else None,
        artifacts=tuple(ArtifactFacts(ref=ref(name), size_bytes=1) for name in ("v1", "v2", "v2u")),
        appraisal=appraisal,
    )


def asked_for(**fields: Any) -> RestoreInput:
    return RestoreInput.model_validate({"deployment": DEPLOYMENT, **fields})


def planned(w: World, **fields: Any) -> Plan:
    asked = asked_for(**fields)
    return plan_restore(asked, seen_of(w, look(w, asked.source)))


def restore(w: World, op: Op, *, n: int = 1, **fields: Any) -> EnsureFact:
    """As the workflow: price, plan, refuse or go on; the deployment is held already."""
    asked = asked_for(**fields)
    seen = seen_of(w, look(w, asked.source))
    plan = plan_restore(asked, seen)
    chosen = choose_price(asked, seen)
    wish = RestoreFrom(
        until_epoch=seen.record.epoch,
        snapshot=plan.basis.snapshot,
        loss_accepted=accepted(asked.accept_loss, chosen),
        replay_accepted=accepted(asked.accept_replay, chosen),
    )
    return w.go("restore", lambda: op.ensure(plan.to_artifact.name, n, restore=wish))


def kill(w: World) -> None:
    """The job has failed for good, with whatever it was about to commit."""
    w.checkpoint_every = 0
    for job_id in w.live():
        w.flink.jobs[job_id].restarts = w.flink.restart_attempts
        w.flink.crash(job_id, "killed")


def lose(w: World) -> None:
    """JobManager and TaskManagers are gone: Flink does not know the job any more."""
    w.checkpoint_every = 0
    w.lose_jobmanager()
    w.jobs.lingering = []


def ran(w: World, checkpoints: int = 4) -> None:
    w.start("v1")
    w.checkpoint_every = 0
    for _ in range(checkpoints):
        w.checkpoint()


def newest_of(appraisal: Appraisal) -> SnapshotPrice:
    (found,) = [choice for choice in appraisal.choices if choice.newest]
    return found


def uncommitted(w: World) -> None:
    """A newest checkpoint that is complete, whose commit was not told to the sinks; then all is killed."""
    ran(w)
    w.jobs.withheld = 1
    w.checkpoint()
    kill(w)


def abort(w: World, subtasks: int = PARTITIONS) -> list[str]:
    """The transactions of so many subtasks of the newest checkpoint time out."""
    newest = newest_of(look(w)).checkpoint_id
    ids = [name for name in w.kafka._txns if name.endswith(f"-{newest}")][:subtasks]
    for name in ids:
        w.kafka._end(w.kafka._txns[name], commit=False)
    return ids
