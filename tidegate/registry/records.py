"""The records of deployments in the control bucket (OWNERSHIP.md O1, O3), by compare-and-swap (``registry.swap``)."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from tidegate import names
from tidegate.clients.objects import ObjectStore
from tidegate.model.record import DeploymentRecord
from tidegate.registry.swap import CONTROL_WAIT_S, Stood, SwapConflict, SwapStore, encode

__all__ = ["CONTROL_WAIT_S", "Conflict", "RecordStore", "Stored", "encode", "write_id"]

Stored: TypeAlias = Stood[DeploymentRecord]
Conflict = SwapConflict


def write_id(operation: str, run_id: str, step: str, n: int, content: DeploymentRecord, *, attempt: int = 1) -> str:
    """O3: of the operation, the step and the content, so that only the very same write is known as one's own.

    ``attempt`` tells twins apart, which may write the same within the same millisecond (O16).
    """
    bare = content.model_copy(update={"seq": 0, "write_id": ""})
    return names.derive_id(operation, run_id, step, n, attempt, hashlib.sha256(encode(bare)).hexdigest())


class RecordStore:
    """The records in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._records = SwapStore(store, bucket, DeploymentRecord, control_wait_s=control_wait_s)
        self.bucket = bucket

    async def read(self, deployment: str) -> Stored | None:
        """The record now, or None if the deployment was never taken.

        Raises:
            Unavailable: the control bucket did not answer.

        """
        return await self._records.read(names.record_key(deployment))

    async def read_or_create(self, deployment: str) -> Stored:
        """The record now; an IDLE one is created (create-only) if there is none."""
        return await self._records.read_or_create(names.record_key(deployment), DeploymentRecord(deployment=deployment))

    async def swap(self, basis: Stored, desired: DeploymentRecord) -> Stored:
        """Replace ``basis`` by ``desired``, which has the next ``seq`` and a ``write_id`` of its own.

        Raises:
            Conflict: something else stands there, and it is not this write.
            Unavailable: the bucket did not answer for ``control_wait_s``; whether the write was done is not known.

        """
        return await self._records.swap(names.record_key(desired.deployment), basis, desired)
