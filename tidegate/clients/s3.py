"""The object store over S3: get, put, and the two conditional writes that all of ownership rests on.

Nothing here retries (OWNERSHIP.md O3): a conditional write that is sent twice would be refused by its own first copy,
so who writes must read back and decide.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""
# ruff: noqa: D102 (ObjectStore says what the methods of S3Store do)

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.utils import parse_timestamp

from tidegate.clients.objects import Object, ObjectInfo, ObjectStore, PreconditionFailed, S3Uri, Transferred, Uri
from tidegate.clients.transfer import NoSuchKey, S3Transfers
from tidegate.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = [
    "Object",
    "ObjectInfo",
    "ObjectStore",
    "PreconditionFailed",
    "S3Store",
    "S3Uri",
    "Transferred",
    "Uri",
    "open_store",
]


T = TypeVar("T")

_CHUNK_BYTES: Final = 1 << 20
_THREADS: Final = 16


class S3Store(S3Transfers):
    """``TransferStore`` on any S3 server: path style, no retries, explicit time-outs. Close it to end its threads."""

    def __init__(self, client: S3Client, endpoint: str, timeout_s: float) -> None:
        self._client = client
        self._endpoint = endpoint
        self._deadline_s = 3 * timeout_s  # connect, answer and body may each take their time-out; then it is given up
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3")

    def __repr__(self) -> str:
        return f"S3Store({self._endpoint})"

    @property
    def endpoint(self) -> str:
        """Where it is, for messages."""
        return self._endpoint

    def close(self) -> None:
        """End the threads; calls that are under way go on to their time-outs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def get(self, uri: Uri) -> Object:
        found = await self.get_or_none(uri)
        if found is None:
            raise _absent(S3Uri.parse(uri), self._endpoint)
        return found

    async def get_or_none(self, uri: Uri) -> Object | None:
        at = S3Uri.parse(uri)

        def call() -> Object:
            answer = self._client.get_object(Bucket=at.bucket, Key=at.key)
            return Object(answer["Body"].read(), _etag(answer["ETag"]), answer["Metadata"], answer["LastModified"])

        try:
            return await self._run("read", at, call)
        except NoSuchKey:
            return None

    async def head(self, uri: Uri) -> ObjectInfo | None:
        at = S3Uri.parse(uri)

        def call() -> ObjectInfo:
            answer = self._client.head_object(Bucket=at.bucket, Key=at.key)
            etag = _etag(answer["ETag"])
            return ObjectInfo(at, answer["ContentLength"], etag, answer["LastModified"], answer["Metadata"])

        try:
            return await self._run("look at", at, call)
        except NoSuchKey:
            return None

    async def put(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        return await self._put(uri, body, metadata, {})

    async def create(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        return await self._put(uri, body, metadata, {"IfNoneMatch": "*"})

    async def replace(self, uri: Uri, body: bytes, if_match: str, metadata: Mapping[str, str] | None = None) -> str:
        return await self._put(uri, body, metadata, {"IfMatch": f'"{if_match}"'})

    async def _put(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None, condition: dict[str, str]) -> str:
        at = S3Uri.parse(uri)

        def call() -> str:
            request: dict[str, Any] = {"Metadata": dict(metadata or {}), **condition}
            return _etag(self._client.put_object(Bucket=at.bucket, Key=at.key, Body=body, **request)["ETag"])

        try:
            return await self._run("write", at, call)
        except NoSuchKey:
            raise PreconditionFailed(at) from None

    async def list(self, uri_prefix: Uri) -> AsyncIterator[ObjectInfo]:
        at = S3Uri.parse(uri_prefix)
        async for page in self._pages(at, delimiter=None):
            for item in page.get("Contents", []):
                found = S3Uri(at.bucket, item["Key"], at.scheme)
                yield ObjectInfo(found, item["Size"], _etag(item["ETag"]), item["LastModified"])

    async def list_names(self, directory: Uri) -> Sequence[str]:
        given = S3Uri.parse(directory)
        base = f"{given.key.rstrip('/')}/" if given.key else ""
        at = S3Uri(given.bucket, base, given.scheme)
        names: set[str] = set()
        async for page in self._pages(at, delimiter="/"):
            names.update(item["Prefix"][len(base) :] for item in page.get("CommonPrefixes", []))
            names.update(item["Key"][len(base) :] for item in page.get("Contents", []))
        return sorted(name for name in names if name)  # a "directory object" lists itself as an empty name

    async def _pages(self, at: S3Uri, delimiter: str | None) -> AsyncIterator[Any]:
        request: dict[str, Any] = {"Bucket": at.bucket, "Prefix": at.key}
        if delimiter is not None:
            request["Delimiter"] = delimiter
        while True:
            page = await self._run("list", at, partial(self._client.list_objects_v2, **request))
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    async def delete(self, uri: Uri) -> None:
        at = S3Uri.parse(uri)
        await self._run("delete", at, lambda: self._client.delete_object(Bucket=at.bucket, Key=at.key))

    async def download_to(self, uri: Uri, path: Path) -> Transferred:
        at = S3Uri.parse(uri)

        def call() -> Transferred:
            answer = self._client.get_object(Bucket=at.bucket, Key=at.key)
            digest, size = hashlib.sha256(), 0
            handle, partial_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as out:
                    while chunk := answer["Body"].read(_CHUNK_BYTES):
                        digest.update(chunk)
                        size += out.write(chunk)
                Path(partial_name).replace(path)
            except BaseException:
                Path(partial_name).unlink(missing_ok=True)
                raise
            return Transferred(digest.hexdigest(), size, _etag(answer["ETag"]))

        try:
            return await self._run("read", at, call, deadline=False)
        except NoSuchKey:
            raise _absent(at, self._endpoint) from None

    async def upload_file(
        self, path: Path, uri: Uri, metadata: Mapping[str, str] | None = None, *, create_only: bool = False
    ) -> Transferred:
        at = S3Uri.parse(uri)

        def call() -> Transferred:
            condition: dict[str, Any] = {"IfNoneMatch": "*"} if create_only else {}
            with path.open("rb") as file:
                body: Any = _DigestingReader(file)  # a file as far as botocore asks
                answer = self._client.put_object(
                    Bucket=at.bucket, Key=at.key, Body=body, Metadata=dict(metadata or {}), **condition
                )
            return Transferred(body.digest.hexdigest(), body.size, _etag(answer["ETag"]))

        return await self._run("write", at, call, deadline=False)

    async def _run(self, verb: str, at: S3Uri, call: Callable[[], T], *, deadline: bool = True) -> T:
        def guarded() -> T:
            with _translated(verb, at, self._endpoint):
                return call()

        try:
            async with asyncio.timeout(self._deadline_s if deadline else None):
                return await asyncio.get_running_loop().run_in_executor(self._pool, guarded)
        except TimeoutError:
            raise _unavailable(verb, at, self._endpoint, f"no answer within {self._deadline_s:g} s") from None


def open_store(
    endpoint: str, access_key: str, secret_key: str, region_name: str = "us-east-1", timeout_s: float = 5.0
) -> S3Store:
    """A store at ``endpoint`` (``http(s)://host:port``). ``timeout_s`` bounds connecting and each wait for bytes.

    A call as a whole is given up after three times that (transfers of files are not: only their silence is bounded).
    """
    host = urlsplit(endpoint).hostname
    if host is None:
        raise InvalidInput(f"{endpoint!r} is no S3 endpoint; expected http://host:port or https://host")
    config = Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        max_pool_connections=_THREADS,
        proxies={} if _is_loopback(host) else None,
    )
    # A session of its own: boto3's default one is shared and not thread-safe while a client is made.
    core = botocore.session.get_session()
    # botocore's own reading of a date takes most of the time of a long listing.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    client = boto3.session.Session(botocore_session=core).client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region_name,
        config=config,
    )
    return S3Store(client, endpoint, timeout_s)


def _timestamp(value: str) -> datetime:
    """A date as a listing has it (ISO 8601, UTC), read fast; any other form as botocore reads it."""
    if str(value).endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    found: datetime = parse_timestamp(value)
    return found


class _DigestingReader:
    """A file whose sha256 is taken as it is read. botocore may read it twice (checksum, then body): the last counts."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, amount: int = -1) -> bytes:
        chunk = self._file.read(amount)
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = self._file.seek(offset, whence)
        if position == 0:
            self.digest, self.size = hashlib.sha256(), 0
        return position

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def _translated(verb: str, at: S3Uri, endpoint: str) -> Iterator[None]:
    """Turn botocore's errors into ours."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(verb, at, endpoint, error) from error
    except (HTTPClientError, BotoConnectionError, IncompleteReadError) as error:
        raise _unavailable(verb, at, endpoint, str(error)) from error
    except BotoCoreError as error:
        raise InvalidInput(f"cannot {verb} {at} at {endpoint}: {error}") from error


def _of_answer(verb: str, at: S3Uri, endpoint: str, error: ClientError) -> Exception:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    said = f"{status} {code}".strip()
    if code == "NoSuchBucket":
        return InvalidInput(
            f"cannot {verb} {at}: there is no bucket {at.bucket!r} at {endpoint}",
            hint="check the bucket's name and that the endpoint is the one of this region",
        )
    if status in (409, 412):
        return PreconditionFailed(at)
    if status == 404:
        return NoSuchKey()
    if status in (401, 403):
        return InvalidInput(
            f"cannot {verb} {at}: {endpoint} refused these credentials ({said})",
            hint="check the access key, the secret key and what they may do with this bucket",
        )
    if status in (0, 408, 429) or status >= 500 or code in ("RequestTimeout", "SlowDown"):
        return _unavailable(verb, at, endpoint, f"it answered {said}")
    return InvalidInput(f"cannot {verb} {at}: {endpoint} answered {said}: {error}")


def _unavailable(verb: str, at: S3Uri, endpoint: str, reason: str) -> Unavailable:
    return Unavailable(f"cannot {verb} {at} at {endpoint}: {reason}", details={"endpoint": endpoint, "uri": str(at)})


def _absent(at: S3Uri, endpoint: str) -> InvalidInput:
    return InvalidInput(f"there is no object {at} at {endpoint}", details={"uri": str(at)})


def _etag(text: str) -> str:
    return text.strip('"')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
