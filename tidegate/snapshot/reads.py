"""Snapshots of one store, each ``_metadata`` read and parsed once: for who looks at the same ones again and again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tidegate.clients.objects import ObjectStore, S3Uri, Uri
from tidegate.snapshot.files import Snapshot, metadata_uri, read_snapshot
from tidegate.snapshot.shipped import Shipped, read_shipped
from tidegate.snapshot.sinks import WriterState, writer_states

MOST_BYTES: Final = 32 << 20
"""So many bytes of ``_metadata`` are held (parsed, they take a few times as much); what is larger is read each time."""


@dataclass
class _Held:
    etag: str
    snapshot: Snapshot
    writers: list[WriterState] | None = None
    shipped: Shipped | None = None


class SnapshotReads:
    """What was read stands as long as its etag does; what was asked for least lately goes first."""

    def __init__(self, store: ObjectStore, most_bytes: int = MOST_BYTES) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._held: OrderedDict[S3Uri, _Held] = OrderedDict()
        self._bytes = 0

    async def read(self, location: Uri, etag: str) -> Snapshot:
        """The snapshot whose ``_metadata`` a listing has just shown with this etag. Raises as ``read_snapshot``."""
        return (await self._read(location, etag)).snapshot

    async def last(self, location: Uri) -> Snapshot:
        """The snapshot as it was read last; read now if it is not held. Raises as ``read_snapshot``."""
        held = self._held.get(metadata_uri(location))
        return held.snapshot if held is not None else await read_snapshot(self._store, location)

    async def writers(self, location: Uri, etag: str) -> list[WriterState]:
        """The state of its sinks' writers. Raises as ``writer_states``."""
        held = await self._read(location, etag)
        if held.writers is None:
            held.writers = await writer_states(self._store, held.snapshot)
        return held.writers

    async def shipped(self, location: Uri, etag: str) -> Shipped | None:
        """What stands beside a copy (``read_shipped``); it was written before its ``_metadata``, and never again."""
        held = self._held.get(metadata_uri(location))
        if held is not None and held.etag == etag and held.shipped is not None:
            return held.shipped
        found = await read_shipped(self._store, location)
        if held is not None and held.etag == etag:
            held.shipped = found
        return found

    async def _read(self, location: Uri, etag: str) -> _Held:
        uri = metadata_uri(location)
        held = self._held.get(uri)
        if held is not None and held.etag == etag:
            self._held.move_to_end(uri)
            return held
        self._drop(uri)
        held = _Held(etag, await read_snapshot(self._store, location))
        size = len(held.snapshot.metadata.data)
        if size <= self._most_bytes:
            self._drop(uri)  # a twin may have read it meanwhile
            self._held[uri] = held
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._held)))
        return held

    def _drop(self, uri: S3Uri) -> None:
        held = self._held.pop(uri, None)
        if held is not None:
            self._bytes -= len(held.snapshot.metadata.data)
