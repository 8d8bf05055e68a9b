"""Compare-and-swap of one record in the control bucket (OWNERSHIP.md O1, O3), whatever the record is of.

The store below retries nothing by itself. A write whose answer was lost is decided by reading back: the ``write_id``
that stands there says whose it is.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import InvalidInput, Unavailable

CONTROL_WAIT_S: Final = 60.0
"""How long a write waits for the control bucket to come back (O18)."""
_PAUSE_S: Final = 0.1


class Swapped(Protocol):
    """A record that is replaced as a whole. ``seq`` rises by one a write; ``write_id`` says whose write it was (O3)."""

    @property
    def seq(self) -> int:
        """Number of the write."""

    @property
    def write_id(self) -> str:
        """Whose write it was."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """As pydantic's."""

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """As pydantic's."""


R = TypeVar("R", bound=Swapped)


@dataclass(frozen=True)
class Stood(Generic[R]):
    """A record as it stands in the bucket, with the ETag that a swap must name."""

    record: R
    etag: str


class SwapConflict(Exception):
    """The record is not what the write was based on. ``current`` is what stands there; nothing was written."""

    def __init__(self, current: Stood[Any]) -> None:
        super().__init__("the record has changed")
        self.current = current


def encode(record: Swapped) -> bytes:
    """The bytes of a record: the same for the same record, readable by a person."""
    return record.model_dump_json(indent=1).encode() + b"\n"


class SwapStore(Generic[R]):
    """Records of one kind in one bucket, each under a key."""

    def __init__(
        self, store: ObjectStore, bucket: str, kind: type[R], *, control_wait_s: float = CONTROL_WAIT_S
    ) -> None:
        self._store = store
        self.bucket = bucket
        self._kind = kind
        self._control_wait_s = control_wait_s

    async def read(self, key: str) -> Stood[R] | None:
        """The record now, or None if it was never written. Raises Unavailable."""
        found = await self._store.get_or_none(S3Uri(self.bucket, key))
        return None if found is None else Stood(self._kind.model_validate_json(found.body), found.etag)

    async def read_or_create(self, key: str, fresh: R) -> Stood[R]:
        """The record now; ``fresh`` is created (create-only) if there is none. Raises Unavailable after the wait."""
        deadline = time.monotonic() + self._control_wait_s
        while True:
            try:
                found = await self.read(key)
                if found is not None:
                    return found
                return Stood(fresh, await self._store.create(S3Uri(self.bucket, key), encode(fresh)))
            except PreconditionFailed:
                continue
            except Unavailable:
                await self._pause(deadline)

    async def swap(self, key: str, basis: Stood[R], desired: R) -> Stood[R]:
        """Replace ``basis`` by ``desired``, which has the next ``seq`` and a ``write_id`` of its own.

        Raises:
            SwapConflict: something else stands there, and it is not this write.
            Unavailable: the bucket did not answer for ``control_wait_s``; whether the write was done is not known.

        """
        if desired.seq != basis.record.seq + 1 or not desired.write_id:
            raise InvalidInput(f"a write of {key} must follow seq {basis.record.seq} and have a write_id")
        body = encode(desired)
        deadline = time.monotonic() + self._control_wait_s
        while True:
            try:
                etag = await self._store.replace(S3Uri(self.bucket, key), body, if_match=basis.etag)
                return Stood(desired, etag)
            except (PreconditionFailed, Unavailable) as error:
                current = await self._read_back(key, deadline)
                if current.record.write_id == desired.write_id:
                    return current
                if current.etag != basis.etag:
                    raise SwapConflict(current) from error
                # Unchanged: the same bytes again under the same condition, so that a late first one can only win once.
                await self._pause(deadline)

    async def _read_back(self, key: str, deadline: float) -> Stood[R]:
        while True:
            try:
                current = await self.read(key)
            except Unavailable:
                await self._pause(deadline)
                continue
            if current is None:
                raise InvalidInput(f"{key} is gone from the control bucket: records are never deleted")
            return current

    async def _pause(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"the control bucket {self.bucket} did not answer for {self._control_wait_s:.0f} s",
                hint="is the control S3 up? (in the sandbox: tidegate sandbox status)",
            )
        await asyncio.sleep(_PAUSE_S)
