"""The jobs of a deployment that run in a region that was left: those of its record, and those that nobody wrote down.

A job may have come back by itself under an id that no record names. Whose it is, its own snapshots say: the
transactional prefix in the state of their Kafka writers names deployment and epoch (X13). One that has none yet was
restored from a snapshot that does, or that lies with the deployment's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from tidegate.clients.objects import ObjectInfo, S3Uri
from tidegate.failover.sides import Sides
from tidegate.model.record import DeploymentRecord, StartIntent, StopIntent
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.catalog import owner_of
from tidegate.snapshot.files import METADATA_NAME, metadata_uri
from tidegate.snapshot.place import Place, location_of
from tidegate.snapshot.reads import SnapshotReads

ASK_S: Final = 60.0


@dataclass(frozen=True)
class OldJobs:
    """By job id, the epoch of each of the deployment's that runs there. ``unknown``: nothing says whose these are."""

    epochs: dict[str, int]
    unknown: tuple[str, ...]


async def old_jobs(sides: Sides, record: DeploymentRecord, last: int) -> OldJobs:
    """Every job that runs in the region that was left and is the deployment's, of epochs up to ``last``.

    Raises Unavailable if Flink or S3 there does not answer in time.
    """
    home = sides.home
    written = _written(record, sides.away.site.region)
    deadline = Deadline(f"Flink in {home.site.region}", ASK_S)
    running = await patiently(deadline, home, home.site.driver.list_jobs)
    found: dict[str, int] = {}
    unknown: list[str] = []
    reads = SnapshotReads(home.site.snapshots)
    for job_id in sorted(one for one, state in running.items() if not state.terminal):
        if job_id in written:
            epoch: int | None = written[job_id]
        else:
            whose = await _owner(home, reads, job_id, set(written), last)
            if whose is None:
                unknown.append(job_id)
                continue
            epoch = whose[1] if whose[0] == sides.deployment else None
        if epoch is not None and epoch <= last:
            found[job_id] = epoch
    return OldJobs(found, tuple(unknown))


def _written(record: DeploymentRecord, away: str) -> dict[str, int]:
    """The jobs that the record names, with their epochs, but those of the region where the deployment lives now."""
    found = {one.job_id: one.epoch for one in (record.base, record.pinned) if one is not None and one.job_id}
    for intent in record.intents:
        if isinstance(intent, StopIntent) or (isinstance(intent, StartIntent) and intent.region != away):
            found[intent.job_id] = intent.epoch
    if record.writer is not None:
        found.pop(record.writer.job_id, None)
    return found


async def _owner(home: Run, reads: SnapshotReads, job_id: str, written: set[str], last: int) -> tuple[str, int] | None:
    """Deployment and epoch of a running job; None: nothing says it."""
    site = home.site
    deadline = Deadline(f"whose job {job_id} is", ASK_S)
    base = S3Uri.parse(site.checkpoints).join(job_id)

    async def completed() -> list[ObjectInfo]:
        return [item async for item in site.snapshots.list(base.join("chk-")) if item.uri.name == METADATA_NAME]

    own = await patiently(deadline, home, completed)
    whose = await patiently(deadline, home, partial(owner_of, reads, own))
    if whose is not None:
        return whose
    view = await patiently(deadline, home, partial(site.driver.observe, job_id))
    if view.restored_from is None:
        return None
    at = location_of(view.restored_from)
    head = await patiently(deadline, home, partial(site.snapshots.head, metadata_uri(at)))
    whose = await patiently(deadline, home, partial(owner_of, reads, [head])) if head is not None else None
    if whose is not None:
        return whose
    place = Place(site.deployment, site.region, site.savepoints, site.checkpoints)
    checkpoints = [S3Uri.parse(site.checkpoints).join(one) for one in written]
    lies_with = [place.savepoint_home, *checkpoints]
    if any(at.bucket == one.bucket and at.key.startswith(f"{one.key}/") for one in lies_with):
        return site.deployment, last  # of an epoch that is dead in any case
    return None
