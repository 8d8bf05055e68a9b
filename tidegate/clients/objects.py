"""Objects by ``s3://bucket/key``: what a store is to Tidegate, whatever stands behind it.

Whoever calls learns one of three things: it is done; it is *not* done (``PreconditionFailed``, ``InvalidInput``); or it
is not known (``Unavailable``).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from tidegate.errors import InvalidInput, TidegateError

_URI: Final = re.compile(r"(s3|s3a|s3p)://([^/]+)(?:/(.*))?", re.DOTALL)


class PreconditionFailed(TidegateError):
    """A conditional write was refused: nothing was written. Carries the uri, no more; read back to learn why."""

    def __init__(self, uri: S3Uri) -> None:
        super().__init__(f"{uri}: the object is not as the condition of the write says; nothing was written")
        self.uri = uri


@dataclass(frozen=True, order=True)
class S3Uri:
    """A bucket and a key. The scheme (s3, s3a, s3p: Flink's names for its file systems) is kept but not compared."""

    bucket: str
    key: str
    scheme: str = field(default="s3", compare=False)

    @classmethod
    def parse(cls, text: str | S3Uri) -> S3Uri:
        """Read ``s3://bucket/key`` (also s3a, s3p). Raises InvalidInput for anything else."""
        if isinstance(text, S3Uri):
            return text
        match = _URI.fullmatch(text)
        if match is None:
            raise InvalidInput(f"{text!r} is no S3 location; expected s3://bucket/key (s3a:// and s3p:// are read too)")
        return cls(bucket=match.group(2), key=match.group(3) or "", scheme=match.group(1))

    def join(self, *parts: str) -> S3Uri:
        """The location below this one: slashes between the parts are put right (``a//b`` is another key to some)."""
        pieces = [self.key.rstrip("/"), *(part.strip("/") for part in parts)]
        return S3Uri(self.bucket, "/".join(piece for piece in pieces if piece), self.scheme)

    @property
    def parent(self) -> S3Uri:
        """The directory that it lies in."""
        return S3Uri(self.bucket, self.key.rstrip("/").rpartition("/")[0], self.scheme)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


Uri = str | S3Uri


@dataclass(frozen=True)
class ObjectInfo:
    """What a HEAD or a listing says. A listing has no user metadata. ``etag`` is an opaque token without quotes."""

    uri: S3Uri
    size: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Object:
    """An object as it was read: the body belongs to the etag."""

    body: bytes
    etag: str
    metadata: Mapping[str, str]
    last_modified: datetime


@dataclass(frozen=True)
class Transferred:
    """A file that went up or came down: the digest (64 hex digits) is of the very bytes that went."""

    sha256: str
    size: int
    etag: str


class ObjectStore(Protocol):
    """An S3 store as Tidegate uses it.

    Every method raises Unavailable (time-out, connection, 5xx: for a write the outcome is open) and InvalidInput (no
    such bucket, access denied: not done).
    """

    async def get(self, uri: Uri) -> Object:
        """The object. Raises InvalidInput if there is none."""
        ...

    async def get_or_none(self, uri: Uri) -> Object | None:
        """The object, or None if there is none."""
        ...

    async def get_range(self, uri: Uri, first: int, length: int, if_match: str | None = None) -> bytes | None:
        """``length`` bytes from offset ``first``; None if there is no object.

        Raises PreconditionFailed if ``if_match`` is given and the object has another etag by now.
        """
        ...

    async def head(self, uri: Uri) -> ObjectInfo | None:
        """What is known of the object without its body, or None if there is none."""
        ...

    async def put(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        """Write whatever stands there; returns the etag."""
        ...

    async def create(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        """Write only if nothing is there (``If-None-Match: *``); returns the etag. Raises PreconditionFailed."""
        ...

    async def replace(self, uri: Uri, body: bytes, if_match: str, metadata: Mapping[str, str] | None = None) -> str:
        """Write only over the version with this etag (``If-Match``); returns the new etag. Raises PreconditionFailed.

        412, 409 and the 404 of an absent key are all PreconditionFailed: stores differ in which they send.
        """
        ...

    def list(self, uri_prefix: Uri) -> AsyncIterator[ObjectInfo]:
        """Every object whose key begins with the prefix (as text: end a directory with a slash), by key."""
        ...

    async def list_names(self, directory: Uri) -> Sequence[str]:
        """The names right below a directory, sorted: subdirectories end with a slash, objects do not."""
        ...

    async def delete(self, uri: Uri) -> None:
        """Remove it; not there is fine."""
        ...

    async def download_to(self, uri: Uri, path: Path) -> Transferred:
        """Stream to a file, which appears whole or not at all. Raises InvalidInput if there is no object."""
        ...

    async def upload_file(
        self, path: Path, uri: Uri, metadata: Mapping[str, str] | None = None, *, create_only: bool = False
    ) -> Transferred:
        """Stream a file up. With ``create_only`` raises PreconditionFailed if an object is there."""
        ...
