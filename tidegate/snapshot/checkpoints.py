"""The retained checkpoints of a job, as its checkpoint directory has them (REST forgets; the directory does not)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate.clients.objects import ObjectStore, S3Uri, Uri
from tidegate.errors import SnapshotError, SnapshotIncomplete, SnapshotUnreadable
from tidegate.snapshot.files import METADATA_NAME, Verified, verify

_CHECKPOINT: Final = re.compile(r"chk-(\d+)")


@dataclass(frozen=True)
class CheckpointRef:
    """A completed checkpoint: its number and its directory."""

    id: int
    location: S3Uri


@dataclass(frozen=True)
class NewestCheckpoint:
    """The newest checkpoint that was verified, and the newer ones that were not: never left out in silence (I3)."""

    ref: CheckpointRef
    verified: Verified
    skipped: tuple[tuple[CheckpointRef, SnapshotError], ...]


async def completed_checkpoints(store: ObjectStore, checkpoints_base: Uri, job_id: str) -> list[CheckpointRef]:
    """The completed checkpoints of a job, newest first: the ``chk-N`` below ``<base>/<job id>`` with a ``_metadata``.

    ``checkpoints_base`` is Flink's ``execution.checkpointing.dir``. Any at all means that the job has run (X9). Raises
    what the store raises.
    """
    job_dir = S3Uri.parse(checkpoints_base).join(job_id)
    found: list[CheckpointRef] = []
    async for item in store.list(job_dir.join("chk-")):
        match = _CHECKPOINT.fullmatch(item.uri.parent.name)
        if match and item.uri.name == METADATA_NAME and item.uri.parent.parent == job_dir:
            found.append(CheckpointRef(int(match.group(1)), item.uri.parent))
    return sorted(found, key=lambda ref: ref.id, reverse=True)


async def newest_verified(store: ObjectStore, checkpoints_base: Uri, job_id: str) -> NewestCheckpoint | None:
    """The newest completed checkpoint of a job whose files are all there; None if it has completed none.

    Newer ones that are incomplete or damaged are in ``skipped``. Raises the newest one's SnapshotError if none can be
    used (``details['skipped']`` counts them), and SnapshotUnsupported at once: an older one is of the same kind.
    """
    skipped: list[tuple[CheckpointRef, SnapshotError]] = []
    for ref in await completed_checkpoints(store, checkpoints_base, job_id):
        try:
            verified = await verify(store, ref.location)
        except (SnapshotIncomplete, SnapshotUnreadable) as error:
            skipped.append((ref, error))
        else:
            return NewestCheckpoint(ref, verified, tuple(skipped))
    if skipped:
        _, newest = skipped[0]
        newest.details["skipped"] = len(skipped)
        raise newest
    return None
