"""Compare-and-swap of a deployment's record (OWNERSHIP.md O1, O3).

The store below retries nothing by itself. A write whose answer was lost is decided by reading back: the ``write_id``
that stands there says whose it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Final

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.model.record import DeploymentRecord

CONTROL_WAIT_S: Final = 60.0
"""How long a write waits for the control bucket to come back (O18)."""
_PAUSE_S: Final = 0.1


class Conflict(Exception):
    """The record is not what the write was based on. ``current`` is what stands there; nothing was written."""

    def __init__(self, current: Stored) -> None:
        super().__init__("the record has changed")
        self.current = current


@dataclass(frozen=True)
class Stored:
    """A record as it stands in the bucket, with the ETag that a swap must name."""

    record: DeploymentRecord
    etag: str


def encode(record: DeploymentRecord) -> bytes:
    """The bytes of a record: the same for the same record, readable by a person."""
    return record.model_dump_json(indent=1).encode() + b"\n"


def write_id(operation: str, run_id: str, step: str, n: int, content: DeploymentRecord) -> str:
    """O3: of the operation, the step and the content, so that only the very same write is known as one's own."""
    bare = content.model_copy(update={"seq": 0, "write_id": ""})
    return names.derive_id(operation, run_id, step, n, hashlib.sha256(encode(bare)).hexdigest())


class RecordStore:
    """The records in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._store = store
        self.bucket = bucket
        self._control_wait_s = control_wait_s

    def _uri(self, deployment: str) -> S3Uri:
        return S3Uri(self.bucket, names.record_key(deployment))

    async def read(self, deployment: str) -> Stored | None:
        """The record now, or None if the deployment was never taken.

        Raises:
            Unavailable: the control bucket did not answer.

        """
        found = await self._store.get_or_none(self._uri(deployment))
        if found is None:
            return None
        return Stored(DeploymentRecord.model_validate_json(found.body), found.etag)

    async def read_or_create(self, deployment: str) -> Stored:
        """The record now; an IDLE one is created (create-only) if there is none."""
        deadline = time.monotonic() + self._control_wait_s
        while True:
            try:
                found = await self.read(deployment)
                if found is not None:
                    return found
                fresh = DeploymentRecord(deployment=deployment)
                return Stored(fresh, await self._store.create(self._uri(deployment), encode(fresh)))
            except PreconditionFailed:
                continue
            except Unavailable:
                await self._pause(deadline)

    async def swap(self, basis: Stored, desired: DeploymentRecord) -> Stored:
        """Replace ``basis`` by ``desired``, which has the next ``seq`` and a ``write_id`` of its own.

        Raises:
            Conflict: something else stands there, and it is not this write.
            Unavailable: the bucket did not answer for ``control_wait_s``; whether the write was done is not known.

        """
        if desired.seq != basis.record.seq + 1 or not desired.write_id:
            raise InvalidInput(
                f"a write of {desired.deployment} must follow seq {basis.record.seq} and have a write_id"
            )
        body = encode(desired)
        deadline = time.monotonic() + self._control_wait_s
        while True:
            try:
                etag = await self._store.replace(self._uri(desired.deployment), body, if_match=basis.etag)
                return Stored(desired, etag)
            except (PreconditionFailed, Unavailable) as error:
                current = await self._read_back(desired.deployment, deadline)
                if current.record.write_id == desired.write_id:
                    return current
                if current.etag != basis.etag:
                    raise Conflict(current) from error
                # Unchanged: the same bytes again under the same condition, so that a late first one can only win once.
                await self._pause(deadline)

    async def _read_back(self, deployment: str, deadline: float) -> Stored:
        while True:
            try:
                current = await self.read(deployment)
            except Unavailable:
                await self._pause(deadline)
                continue
            if current is None:
                raise InvalidInput(
                    f"{names.record_key(deployment)} is gone from the control bucket: records are never deleted"
                )
            return current

    async def _pause(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"the control bucket {self.bucket} did not answer for {self._control_wait_s:.0f} s",
                hint="is the control S3 up? (in the sandbox: tidegate sandbox status)",
            )
        await asyncio.sleep(_PAUSE_S)
