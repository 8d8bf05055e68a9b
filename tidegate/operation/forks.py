"""The slots that drills hold: whoever needs them has them at once. A fork is a copy, and nothing is lost with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate import names
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import Unavailable
from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.fleet import Fleet
from tidegate.model.record import CancelIntent, DeploymentRecord, starts_of
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.registry.records import RecordStore


@dataclass(frozen=True)
class ForkJob:
    """A job of a fork that has not ended. ``slots``: those that it has by now, none while it waits for them itself;
    ``by``: the operation that holds the fork's record.
    """

    fork: str
    job_id: str
    slots: int
    by: str


def _jobs(record: DeploymentRecord) -> dict[str, int]:
    """The jobs that a record names, with the slots of each."""
    found = {start.job_id: start.parallelism for start in starts_of(record.intents)}
    if record.writer is not None:
        found[record.writer.job_id] = record.writer.parallelism
    return found


async def fork_records(control: ObjectStore, bucket: str, fleet: Fleet) -> dict[str, DeploymentRecord]:
    """The records of forks, by their names. What a drill calls its fork, and no deployment of the fleet file.

    Raises:
        Unavailable: the control bucket did not answer.

    """
    records = RecordStore(control, bucket)
    found: dict[str, DeploymentRecord] = {}
    for key in await control.list_names(S3Uri(bucket, names.RECORDS_PREFIX)):
        name = key.removesuffix(".json")
        if not names.is_fork(name) or name in fleet.deployments:
            continue
        stored = await records.read(name)
        holder = stored.record.holder if stored is not None else None
        if stored is not None and (holder is None or holder.runbook == DRILL_RECOVERY):
            found[name] = stored.record
    return found


def forks_of(records: Mapping[str, DeploymentRecord], fleet: Fleet, deployment: str) -> dict[str, DeploymentRecord]:
    """Those of one deployment; none, if another one's would be called alike. Pure."""
    found = {name: record for name, record in records.items() if names.is_drill_of(name, deployment)}
    others = [other for other in fleet.deployments if other != deployment]
    return {} if any(names.is_drill_of(name, other) for name in found for other in others) else found


def cell_of(record: DeploymentRecord) -> str | None:
    """Where a fork was started, ``region/cell``; None: it was not."""
    starts = starts_of(record.intents)
    at = record.writer or (starts[-1] if starts else None)
    return None if at is None else f"{at.region}/{at.cell}"


def slots_in(records: Mapping[str, DeploymentRecord], cell: str) -> int:
    """So many slots of a cell (``region/cell``) forks hold by their records: started there, and not stopped since."""
    found = 0
    for record in records.values():
        writer, pinned = record.writer, record.pinned
        stopped = writer is not None and pinned is not None and pinned.job_id == writer.job_id
        if writer is not None and not stopped and f"{writer.region}/{writer.cell}" == cell:
            found += writer.parallelism
    return found


async def forks_on(site: Site) -> tuple[ForkJob, ...]:
    """The jobs of forks that are on the Flink of this site now.

    Raises:
        Unavailable: the control bucket or Flink did not answer.

    """
    found: list[ForkJob] = []
    for name, record in (await fork_records(site.control, site.control_bucket, site.fleet)).items():
        for job_id, slots in _jobs(record).items():
            view = await site.driver.observe(job_id)
            if view.state is not None and not view.state.terminal:
                by = record.holder.operation if record.holder is not None else name
                found.append(ForkJob(name, job_id, slots if view.all_running else 0, by))
    return tuple(found)


def told(forks: Iterable[ForkJob], at: str) -> tuple[str, ...]:
    """What a plan says of slots that it counts as free and a drill still holds."""
    return tuple(
        f"{one.slots} slots in {at} are held by a drill ({one.by}); it gives way as soon as they are needed"
        for one in forks
        if one.slots
    )


async def make_way(run: Run) -> None:
    """Cancel the forks' jobs where this run needs slots. Nothing gives way to a drill, so a drill does not do it.

    A drill whose worker or whose Temporal is gone would never give way itself. What cannot be asked now is asked again:
    whoever calls waits for slots, and says so.
    """
    if run.tenure.claim.holder.runbook == DRILL_RECOVERY:
        return
    try:
        for one in await forks_on(run.site):
            run.say(gives_way=one.fork)
            await run.site.driver.cancel(one.job_id)
    except Unavailable as error:
        run.say(gives_way=f"not known: {error.message}")


async def was_cancelled(run: Run) -> bool:
    """Whether somebody else has cancelled the job of this fork: no failure of its own ends like that. ``run``: its own.

    Raises:
        Superseded, Unavailable.

    """
    record = await run.tenure.read()
    own = {one.job_id for one in record.intents if isinstance(one, CancelIntent)}
    job_id = next((job_id for job_id in reversed(_jobs(record)) if job_id not in own), None)
    return job_id is not None and await run.site.driver.state(job_id) in {JobState.CANCELLING, JobState.CANCELED}
