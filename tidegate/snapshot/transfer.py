"""One file from one store to another: once, whole or not at all, gone on with where it was left.

A file that is at its target stands there under a name made of what it is, so its being there at its size is enough. Its
sha256 stands in its user metadata if it went in one piece; else beside it, written before the pieces are put together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clients.objects import ObjectInfo, PreconditionFailed, S3Uri
from tidegate.clients.transfer import TransferStore, UploadedPart
from tidegate.errors import SnapshotIncomplete, Unavailable
from tidegate.snapshot.pace import MAX_PARTS, Pace, Progress, Throttle

SHA256 = "sha256"
"""Key of the user metadata (``x-amz-meta-sha256``)."""


def sum_uri(target: S3Uri) -> S3Uri:
    """Where the sha256 of a file stands that went in parts."""
    return S3Uri(target.bucket, f"{target.key}.sha256", target.scheme)


@dataclass
class Mover:
    """Moves files from ``source`` to ``target``; all of them share the pace. ``beat`` is called as bytes have gone."""

    source: TransferStore
    target: TransferStore
    pace: Pace
    beat: Callable[[], None]
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.pace.parallel)
        self._throttle = Throttle(self.pace.bytes_per_s)

    async def move(self, found: ObjectInfo, to: S3Uri) -> str:
        """Copy a file as the source's listing had it; its sha256, 64 hex digits.

        Raises SnapshotIncomplete if it is gone from the source, or is another one by now (X6); Unavailable.
        """
        if found.size <= self.pace.part_bytes:
            return await self._in_one(found, to)
        return await self._in_parts(found, to)

    async def known_sum(self, to: S3Uri) -> str | None:
        """The sha256 of a file that is at its target; None if nothing tells it. Raises Unavailable."""
        async with self._gate:
            head = await self.target.head(to)
            if head is not None and SHA256 in head.metadata:
                return head.metadata[SHA256]
            beside = await self.target.get_or_none(sum_uri(to))
        return beside.body.decode("ascii", "replace").strip() if beside is not None else None

    async def _in_one(self, found: ObjectInfo, to: S3Uri) -> str:
        async with self._gate:
            body = await self._read(found, 0, found.size)
            digest = hashlib.sha256(body).hexdigest()
            await self._throttle.take(len(body))
            await self.target.put(to, body, {SHA256: digest})
            self._sent(len(body))
        return digest

    async def _in_parts(self, found: ObjectInfo, to: S3Uri) -> str:
        part_bytes = max(self.pace.part_bytes, -(-found.size // MAX_PARTS))
        while True:
            upload_id, there = await self._resumable(to)
            digest = hashlib.sha256()
            sending: list[asyncio.Task[UploadedPart | None]] = []
            try:
                for number, first in enumerate(range(0, found.size, part_bytes), start=1):
                    await self._gate.acquire()
                    handed_over = False
                    try:
                        # Read in order, since the digest is of the whole; sent side by side.
                        body = await self._read(found, first, min(part_bytes, found.size - first))
                        digest.update(body)
                        known = there.get(number)
                        same = known is not None and known.etag == _md5(body)
                        sending.append(
                            asyncio.create_task(self._send(to, upload_id, number, body, known if same else None))
                        )
                        handed_over = True
                        for task in sending:
                            if task.done():
                                task.result()  # one that failed ends it now, not after all the others
                    finally:
                        if not handed_over:
                            self._gate.release()
                parts = [part for part in await asyncio.gather(*sending) if part is not None]
            finally:
                for task in sending:
                    task.cancel()
                await asyncio.gather(*sending, return_exceptions=True)
            if len(parts) == len(sending):
                await self.target.put(sum_uri(to), digest.hexdigest().encode())
                if await self.target.complete_upload(to, upload_id, parts):
                    return digest.hexdigest()
            # The upload is over: a twin has completed it (O16), or somebody gave it up. The object tells.
            head = await self.target.head(to)
            if head is not None and head.size == found.size:
                return digest.hexdigest()

    async def _resumable(self, to: S3Uri) -> tuple[str, dict[int, UploadedPart]]:
        """The upload that has the most parts already, or a new one."""
        best: tuple[str, dict[int, UploadedPart]] | None = None
        for upload_id in await self.target.uploads(to):
            parts = {part.number: part for part in await self.target.uploaded_parts(to, upload_id)}
            if best is None or len(parts) > len(best[1]):
                best = upload_id, parts
        return best or (await self.target.start_upload(to), {})

    async def _send(
        self, to: S3Uri, upload_id: str, number: int, body: bytes, known: UploadedPart | None
    ) -> UploadedPart | None:
        """Send one part, unless the very same bytes are there. Releases the gate that was taken for it."""
        try:
            if known is not None:
                self._passed(len(body))
                return known
            await self._throttle.take(len(body))
            sent = await self.target.upload_part(to, upload_id, number, body)
            self._sent(len(body))
            return sent
        finally:
            self._gate.release()

    async def _read(self, found: ObjectInfo, first: int, length: int) -> bytes:
        try:
            body = await self.source.get_range(found.uri, first, length, found.etag)
        except PreconditionFailed:
            body = None
        if body is None:
            raise SnapshotIncomplete(
                f"{found.uri} has gone while it was copied",
                details={"files": [{"uri": str(found.uri), "expected": found.size, "found": None}]},
            )
        if len(body) != length:
            raise Unavailable(f"{found.uri}: {len(body):,} of {length:,} bytes came from offset {first:,}")
        return body

    def _sent(self, n_bytes: int) -> None:
        self.progress.sent += n_bytes
        self._passed(n_bytes)

    def _passed(self, n_bytes: int) -> None:
        self.progress.bytes += n_bytes
        self.beat()


def _md5(body: bytes) -> str:
    """What S3 gives as the etag of a part. Where it is another token, the part is sent again."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
