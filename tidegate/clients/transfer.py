"""What moving big files between stores needs beside ``ObjectStore``: parts of an object, and uploads in parts.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. Each PUT and each part carries a CRC32
that the server checks (botocore's default), so that what it acknowledges is what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tidegate.clients.objects import ObjectStore, S3Uri, Uri

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

T = TypeVar("T")


class NoSuchKey(Exception):
    """404 for a key or an upload, not for a bucket."""


@dataclass(frozen=True, order=True)
class UploadedPart:
    """A part of an upload that the server has. ``number`` counts from 1; ``etag`` is an opaque token."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True)
class OpenUpload:
    """An upload in parts that was begun and is neither completed nor given up.

    ``touched_at``: when its newest part came, or when it was begun; None where the store tells neither.
    """

    uri: S3Uri
    upload_id: str
    touched_at: datetime | None


class TransferStore(ObjectStore, Protocol):
    """An object store from and to which files are moved. Errors are those of ``ObjectStore``."""

    async def start_upload(self, uri: Uri, metadata: Mapping[str, str] | None = None) -> str:
        """Begin an upload in parts; its id. Nothing is at ``uri`` until it is completed."""
        ...

    async def uploads(self, uri: Uri) -> Sequence[str]:
        """The ids of the uploads to exactly this key that were begun and are neither completed nor given up."""
        ...

    async def uploads_below(self, uri_prefix: Uri) -> Sequence[OpenUpload]:
        """Every open upload to a key that begins with the prefix (as text), by key."""
        ...

    async def uploaded_parts(self, uri: Uri, upload_id: str) -> Sequence[UploadedPart]:
        """The parts that the server has, by number; none for an upload that is over."""
        ...

    async def upload_part(self, uri: Uri, upload_id: str, number: int, body: bytes) -> UploadedPart | None:
        """Send a part; sent again it replaces the first. None: the upload is over (completed or given up)."""
        ...

    async def complete_upload(self, uri: Uri, upload_id: str, parts: Sequence[UploadedPart]) -> bool:
        """Make the object of these parts, at once. False: the upload is over, look whether the object is there."""
        ...

    async def abort_upload(self, uri: Uri, upload_id: str) -> None:
        """Give an upload up and free its parts; one that is over is fine."""
        ...


class S3Transfers:
    """The methods of ``TransferStore`` over S3; mixed into the store, whose client and threads they use."""

    if TYPE_CHECKING:
        _client: S3Client

        async def _run(self, verb: str, at: S3Uri, call: Callable[[], T], *, deadline: bool = True) -> T:
            """Run a call on the store's threads, its errors translated."""
            ...

    async def get_range(self, uri: Uri, first: int, length: int, if_match: str | None = None) -> bytes | None:
        """See TransferStore."""
        at = S3Uri.parse(uri)
        if length == 0:
            return b""
        condition: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match else {}

        def call() -> bytes:
            span = f"bytes={first}-{first + length - 1}"
            answer = self._client.get_object(Bucket=at.bucket, Key=at.key, Range=span, **condition)
            return answer["Body"].read()

        try:
            return await self._run("read", at, call, deadline=False)
        except NoSuchKey:
            return None

    async def start_upload(self, uri: Uri, metadata: Mapping[str, str] | None = None) -> str:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        def call() -> str:
            answer = self._client.create_multipart_upload(Bucket=at.bucket, Key=at.key, Metadata=dict(metadata or {}))
            return answer["UploadId"]

        return await self._run("begin an upload of", at, call)

    async def uploads(self, uri: Uri) -> Sequence[str]:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        found = await self._run("list uploads of", at, lambda: self._uploads(at))
        return sorted(one["UploadId"] for one in found if one["Key"] == at.key)

    async def uploads_below(self, uri_prefix: Uri) -> Sequence[OpenUpload]:
        """See TransferStore."""
        at = S3Uri.parse(uri_prefix)

        def touched(key: str, upload_id: str) -> datetime | None:
            request: dict[str, Any] = {"Bucket": at.bucket, "Key": key, "UploadId": upload_id}
            times: list[datetime] = []
            while True:
                page = self._client.list_parts(**request)
                times += [one["LastModified"] for one in page.get("Parts", []) if "LastModified" in one]
                if not page.get("IsTruncated"):
                    return max(times, default=None)
                request["PartNumberMarker"] = page["NextPartNumberMarker"]

        def call() -> list[OpenUpload]:
            found = []
            for one in self._uploads(at):
                if not one["Key"].startswith(at.key):
                    continue  # a store that does not look at the prefix
                try:
                    newest = touched(one["Key"], one["UploadId"])
                except self._client.exceptions.NoSuchUpload:
                    continue
                begun: datetime | None = one.get("Initiated")  # SeaweedFS sends none
                times = [at for at in (begun, newest) if at is not None]
                found.append(
                    OpenUpload(S3Uri(at.bucket, one["Key"], at.scheme), one["UploadId"], max(times, default=None))
                )
            return sorted(found, key=lambda one: (one.uri, one.upload_id))

        return await self._run("list uploads below", at, call, deadline=False)

    def _uploads(self, at: S3Uri) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        request: dict[str, Any] = {"Bucket": at.bucket, "Prefix": at.key}
        while True:
            page = self._client.list_multipart_uploads(**request)
            found += [dict(one) for one in page.get("Uploads", [])]
            if not page.get("IsTruncated"):
                return found
            request |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def uploaded_parts(self, uri: Uri, upload_id: str) -> Sequence[UploadedPart]:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        def call() -> list[UploadedPart]:
            found: list[UploadedPart] = []
            request: dict[str, Any] = {"Bucket": at.bucket, "Key": at.key, "UploadId": upload_id}
            while True:
                page = self._client.list_parts(**request)
                found += [
                    UploadedPart(one["PartNumber"], one["Size"], one["ETag"].strip('"'))
                    for one in page.get("Parts", [])
                ]
                if not page.get("IsTruncated"):
                    return sorted(found)
                request["PartNumberMarker"] = page["NextPartNumberMarker"]

        try:
            return await self._run("list the parts of", at, call)
        except NoSuchKey:
            return []

    async def upload_part(self, uri: Uri, upload_id: str, number: int, body: bytes) -> UploadedPart | None:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        def call() -> UploadedPart:
            answer = self._client.upload_part(
                Bucket=at.bucket, Key=at.key, UploadId=upload_id, PartNumber=number, Body=body
            )
            return UploadedPart(number, len(body), answer["ETag"].strip('"'))

        try:
            return await self._run(f"send part {number} of", at, call, deadline=False)
        except NoSuchKey:
            return None

    async def complete_upload(self, uri: Uri, upload_id: str, parts: Sequence[UploadedPart]) -> bool:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        def call() -> bool:
            self._client.complete_multipart_upload(
                Bucket=at.bucket,
                Key=at.key,
                UploadId=upload_id,
                MultipartUpload={
                    "Parts": [{"PartNumber": one.number, "ETag": f'"{one.etag}"'} for one in sorted(parts)]
                },
            )
            return True

        try:
            return await self._run("complete the upload of", at, call, deadline=False)
        except NoSuchKey:
            return False

    async def abort_upload(self, uri: Uri, upload_id: str) -> None:
        """See TransferStore."""
        at = S3Uri.parse(uri)

        def call() -> None:
            self._client.abort_multipart_upload(Bucket=at.bucket, Key=at.key, UploadId=upload_id)

        try:
            await self._run("give up the upload of", at, call)
        except NoSuchKey:
            return
