"""An object store in memory that answers as S3 does, with places where a test can delay or break a call."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tidegate.clients.s3 import Object, ObjectInfo, PreconditionFailed, S3Uri, Transferred, Uri
from tidegate.clients.transfer import OpenUpload, UploadedPart
from tidegate.errors import InvalidInput

Hook = Callable[[str, S3Uri], Awaitable[None]]


async def _nothing(op: str, uri: S3Uri) -> None:
    pass


class MemoryStore:
    """``ObjectStore`` in memory. An etag is the body's MD5, as S3's is: the same bytes again give the same etag.

    ``before(op, uri)`` runs before a call is applied, ``after(op, uri)`` when it has been: raise Unavailable in the one
    for a call that never arrived, in the other for an answer that was lost; wait in either to hold it. ``op`` is the
    method's name. ``calls`` has every (op, uri) that arrived.
    """

    def __init__(
        self,
        *buckets: str,
        before: Hook = _nothing,
        after: Hook = _nothing,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.before = before
        self.after = after
        self.now = now
        self.buckets = set(buckets)  # none given: every bucket is there
        self.objects: dict[S3Uri, Object] = {}
        self.calls: list[tuple[str, S3Uri]] = []
        self.open_uploads: dict[str, tuple[S3Uri, dict[int, bytes], Mapping[str, str]]] = {}
        self.touched: dict[str, datetime] = {}
        self._upload_ids = itertools.count(1)

    async def _enter(self, op: str, uri: Uri) -> S3Uri:
        at = S3Uri.parse(uri)
        await self.before(op, at)
        if self.buckets and at.bucket not in self.buckets:
            raise InvalidInput(f"cannot {op} {at}: there is no bucket {at.bucket!r} at memory")
        self.calls.append((op, at))
        return at

    def _store(self, at: S3Uri, body: bytes, metadata: Mapping[str, str] | None) -> str:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        lowered = {key.lower(): value for key, value in (metadata or {}).items()}
        self.objects[at] = Object(bytes(body), etag, lowered, self.now())
        return etag

    async def get(self, uri: Uri) -> Object:
        found = await self._get("get", uri)
        if found is None:
            raise InvalidInput(f"there is no object {uri} at memory")
        return found

    async def get_or_none(self, uri: Uri) -> Object | None:
        return await self._get("get_or_none", uri)

    async def _get(self, op: str, uri: Uri) -> Object | None:
        at = await self._enter(op, uri)
        found = self.objects.get(at)
        await self.after(op, at)
        return found

    async def head(self, uri: Uri) -> ObjectInfo | None:
        at = await self._enter("head", uri)
        found = self.objects.get(at)
        await self.after("head", at)
        if found is None:
            return None
        return ObjectInfo(at, len(found.body), found.etag, found.last_modified, found.metadata)

    async def put(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        at = await self._enter("put", uri)
        etag = self._store(at, body, metadata)
        await self.after("put", at)
        return etag

    async def create(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        at = await self._enter("create", uri)
        if at in self.objects:
            raise PreconditionFailed(at)
        etag = self._store(at, body, metadata)
        await self.after("create", at)
        return etag

    async def replace(self, uri: Uri, body: bytes, if_match: str, metadata: Mapping[str, str] | None = None) -> str:
        at = await self._enter("replace", uri)
        found = self.objects.get(at)
        if found is None or found.etag != if_match:
            raise PreconditionFailed(at)
        etag = self._store(at, body, metadata)
        await self.after("replace", at)
        return etag

    async def list(self, uri_prefix: Uri) -> AsyncIterator[ObjectInfo]:
        at = await self._enter("list", uri_prefix)
        found = sorted(uri for uri in self.objects if uri.bucket == at.bucket and uri.key.startswith(at.key))
        await self.after("list", at)
        for uri in found:
            item = self.objects.get(uri)
            if item is not None:
                found_uri = S3Uri(uri.bucket, uri.key, at.scheme)
                yield ObjectInfo(found_uri, len(item.body), item.etag, item.last_modified)

    async def list_names(self, directory: Uri) -> builtins.list[str]:
        at = await self._enter("list_names", directory)
        base = f"{at.key.rstrip('/')}/" if at.key else ""
        names = set()
        for uri in self.objects:
            if uri.bucket == at.bucket and uri.key.startswith(base) and uri.key != base:
                head, slash, _ = uri.key[len(base) :].partition("/")
                names.add(head + slash)
        await self.after("list_names", at)
        return sorted(names)

    async def delete(self, uri: Uri) -> None:
        at = await self._enter("delete", uri)
        self.objects.pop(at, None)
        await self.after("delete", at)

    async def download_to(self, uri: Uri, path: Path) -> Transferred:
        at = await self._enter("download_to", uri)
        found = self.objects.get(at)
        if found is None:
            raise InvalidInput(f"there is no object {at} at memory")
        await asyncio.to_thread(path.write_bytes, found.body)
        await self.after("download_to", at)
        return Transferred(hashlib.sha256(found.body).hexdigest(), len(found.body), found.etag)

    async def upload_file(
        self, path: Path, uri: Uri, metadata: Mapping[str, str] | None = None, *, create_only: bool = False
    ) -> Transferred:
        at = await self._enter("upload_file", uri)
        body = await asyncio.to_thread(path.read_bytes)
        if create_only and at in self.objects:
            raise PreconditionFailed(at)
        etag = self._store(at, body, metadata)
        await self.after("upload_file", at)
        return Transferred(hashlib.sha256(body).hexdigest(), len(body), etag)

    # TransferStore

    async def get_range(self, uri: Uri, first: int, length: int, if_match: str | None = None) -> bytes | None:
        at = await self._enter("get_range", uri)
        found = self.objects.get(at)
        if found is not None and if_match is not None and found.etag != if_match:
            raise PreconditionFailed(at)
        await self.after("get_range", at)
        return None if found is None else found.body[first : first + length]

    async def start_upload(self, uri: Uri, metadata: Mapping[str, str] | None = None) -> str:
        at = await self._enter("start_upload", uri)
        upload_id = f"upload-{next(self._upload_ids):04}"
        self.open_uploads[upload_id] = (at, {}, dict(metadata or {}))
        self.touched[upload_id] = self.now()
        await self.after("start_upload", at)
        return upload_id

    async def uploads(self, uri: Uri) -> builtins.list[str]:
        at = await self._enter("uploads", uri)
        found = sorted(name for name, (to, _, _) in self.open_uploads.items() if to == at)
        await self.after("uploads", at)
        return found

    async def uploads_below(self, uri_prefix: Uri) -> builtins.list[OpenUpload]:
        at = await self._enter("uploads_below", uri_prefix)
        found = [
            OpenUpload(to, name, self.touched.get(name))
            for name, (to, _, _) in self.open_uploads.items()
            if to.bucket == at.bucket and to.key.startswith(at.key)
        ]
        await self.after("uploads_below", at)
        return sorted(found, key=lambda one: (one.uri, one.upload_id))

    async def uploaded_parts(self, uri: Uri, upload_id: str) -> builtins.list[UploadedPart]:
        at = await self._enter("uploaded_parts", uri)
        _, parts, _ = self.open_uploads.get(upload_id, (at, {}, {}))
        await self.after("uploaded_parts", at)
        return [UploadedPart(number, len(body), _md5(body)) for number, body in sorted(parts.items())]

    async def upload_part(self, uri: Uri, upload_id: str, number: int, body: bytes) -> UploadedPart | None:
        at = await self._enter("upload_part", uri)
        if upload_id not in self.open_uploads:
            return None
        self.open_uploads[upload_id][1][number] = bytes(body)
        self.touched[upload_id] = self.now()
        await self.after("upload_part", at)
        return UploadedPart(number, len(body), _md5(body))

    async def complete_upload(self, uri: Uri, upload_id: str, parts: Sequence[UploadedPart]) -> bool:
        at = await self._enter("complete_upload", uri)
        if upload_id not in self.open_uploads:
            return False
        _, there, metadata = self.open_uploads[upload_id]
        if any(_md5(there.get(one.number, b"")) != one.etag for one in parts):
            raise InvalidInput(f"cannot complete the upload of {at}: 400 InvalidPart")
        del self.open_uploads[upload_id]
        self._store(at, b"".join(there[one.number] for one in sorted(parts)), metadata)
        await self.after("complete_upload", at)
        return True

    async def abort_upload(self, uri: Uri, upload_id: str) -> None:
        at = await self._enter("abort_upload", uri)
        self.open_uploads.pop(upload_id, None)
        await self.after("abort_upload", at)


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
