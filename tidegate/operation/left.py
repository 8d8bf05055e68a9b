"""What a job has left behind: its retained checkpoints, and the savepoints of stops of its epoch.

Flink forgets, and deletes the checkpoints of a job that FINISHES; the directories tell. Both kinds are numbered by one
counter of the job, so the highest number is the last thing that it did.
"""

from __future__ import annotations

from functools import partial

from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.checkpoints import CheckpointRef, completed_checkpoints
from tidegate.snapshot.files import METADATA_NAME, read_snapshot

LOOK_TIMEOUT_S = 60.0


def savepoints_of(run: Run, epoch: int) -> str:
    """What the directories of all stops of an epoch begin with: one a trigger."""
    return names.savepoint_dir(run.site.savepoints, run.site.deployment, epoch, "")


async def snapshots_of(run: Run, job_id: str, epoch: int) -> list[CheckpointRef]:
    """The completed checkpoints of a job and the savepoints of its epoch's stops, newest first."""
    deadline = Deadline(f"the snapshots of job {job_id}", LOOK_TIMEOUT_S)
    site = run.site
    checkpoints = await patiently(
        deadline, run, lambda: completed_checkpoints(site.snapshots, site.checkpoints, job_id)
    )
    return _sorted(checkpoints + await savepoints_below(run, savepoints_of(run, epoch)))


async def savepoints_below(run: Run, prefix: str) -> list[CheckpointRef]:
    """The completed savepoints whose location begins with ``prefix``, newest first."""
    deadline = Deadline(f"the savepoints in {prefix}", LOOK_TIMEOUT_S)
    store = run.site.snapshots

    async def listed() -> list[S3Uri]:
        # Flink writes <target>/savepoint-<job>-<random>/_metadata, _metadata last.
        return [info.uri.parent async for info in store.list(prefix) if info.uri.name == METADATA_NAME]

    found = []
    for location in await patiently(deadline, run, listed):
        snapshot = await patiently(deadline, run, partial(read_snapshot, store, location))
        found.append(CheckpointRef(snapshot.metadata.checkpoint_id, location))
    return _sorted(found)


def _sorted(refs: list[CheckpointRef]) -> list[CheckpointRef]:
    return sorted(refs, key=lambda ref: ref.id, reverse=True)
