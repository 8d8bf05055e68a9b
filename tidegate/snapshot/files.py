"""The files of a snapshot, and whether each is there at the right size: *verified* (DESIGN.md)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tidegate.clients.objects import ObjectStore, S3Uri, Uri
from tidegate.errors import InvalidInput, SnapshotIncomplete, SnapshotUnsupported
from tidegate.snapshot.handles import FileHandle, InlineHandle, RelativeHandle, SegmentHandle
from tidegate.snapshot.metadata import Metadata, parse

METADATA_NAME: Final = "_metadata"
_NAMED_FILES: Final = 3


@dataclass(frozen=True, order=True)
class FileRef:
    """A file that a snapshot needs. ``size`` in bytes; None if only its being there can be checked.

    ``least_size``: bytes that it has at least, of a file whose segments are all that is known (file merging).
    """

    uri: S3Uri
    size: int | None
    least_size: int = 0

    def fits(self, found: int | None) -> bool:
        """Whether a file of that many bytes (None: there is none) is it."""
        return found is not None and self.size in (None, found) and found >= self.least_size


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as it was read. ``directory`` is what relative files are found in: that of ``metadata_uri``."""

    metadata_uri: S3Uri
    metadata: Metadata

    @property
    def directory(self) -> S3Uri:
        """Where it lies: the location that Flink takes as a savepoint path."""
        return self.metadata_uri.parent


@dataclass(frozen=True)
class Verified:
    """A snapshot all of whose files were there at the right size. ``files`` and ``bytes`` count ``_metadata`` too."""

    snapshot: Snapshot
    files: int
    bytes: int

    @property
    def metadata(self) -> Metadata:
        """What the snapshot is made of."""
        return self.snapshot.metadata


def metadata_uri(location: Uri) -> S3Uri:
    """The ``_metadata`` of a location: a snapshot's directory, or the file itself (``_metadata``, ``_metadata.x``)."""
    uri = S3Uri.parse(location)
    return uri if uri.name.startswith(METADATA_NAME) else uri.join(METADATA_NAME)


def file_uri(handle: FileHandle | RelativeHandle | SegmentHandle, base_uri: Uri) -> S3Uri:
    """Where a handle's file lies, for a ``_metadata`` in the directory ``base_uri``.

    Raises SnapshotUnsupported for a file that is not on S3.
    """
    if isinstance(handle, RelativeHandle):
        return S3Uri.parse(base_uri).join(handle.name)
    try:
        return S3Uri.parse(handle.path)
    except InvalidInput:
        raise SnapshotUnsupported(f"state lies at {handle.path!r}; Tidegate reads snapshots on S3 only") from None


def referenced_files(metadata: Metadata, base_uri: Uri) -> list[FileRef]:
    """The files that the state lies in, each once, by uri; inline state is none. ``base_uri``: the directory.

    Raises SnapshotUnsupported for a file that is not on S3.
    """
    sizes: dict[S3Uri, set[int | None]] = {}
    least: dict[S3Uri, int] = {}
    for handle in metadata.streams():
        if isinstance(handle, InlineHandle):
            continue
        uri = file_uri(handle, base_uri)
        if isinstance(handle, SegmentHandle):
            sizes.setdefault(uri, set())
            least[uri] = max(least.get(uri, 0), handle.start + handle.size)
        else:
            sizes.setdefault(uri, set()).add(handle.size)
    refs: list[FileRef] = []
    for uri in sorted(sizes):
        known = sorted(size for size in sizes[uri] if size is not None)
        # Two sizes for one file cannot both be right: both are kept, so that one of them is reported as wrong.
        at_least = least.get(uri, 0)
        refs += [FileRef(uri, size, at_least) for size in known] or [FileRef(uri, None, at_least)]
    return refs


async def read_snapshot(store: ObjectStore, location: Uri) -> Snapshot:
    """Read and parse the ``_metadata`` at a location (a directory, or the file).

    Raises SnapshotIncomplete (none there), SnapshotUnreadable, SnapshotUnsupported, and what the store raises.
    """
    uri = metadata_uri(location)
    found = await store.get_or_none(uri)
    if found is None:
        raise SnapshotIncomplete(
            f"there is no snapshot at {uri.parent}: it has no {uri.name}",
            hint="a directory without _metadata is a snapshot that Flink did not complete, or has deleted",
            details={"files": [str(uri)]},
        )
    return Snapshot(uri, parse(found.body))


async def verify(store: ObjectStore, location: Uri) -> Verified:
    """Read the snapshot at a location and see every file that it names at its size (I3).

    Lists the directories concerned: a call for a thousand files instead of one for each. Raises SnapshotIncomplete
    (``details['files']``: uri, expected size, found size of each missing or wrong one), SnapshotUnreadable,
    SnapshotUnsupported, and what the store raises.
    """
    # Its own directory holds files of it nearly always: both answers at once, since a switch waits for them.
    own = metadata_uri(location).parent
    snapshot, found = await asyncio.gather(read_snapshot(store, location), _sizes_below(store, own))
    refs = referenced_files(snapshot.metadata, snapshot.directory)
    for directory in sorted({ref.uri.parent for ref in refs} - {own}):
        found |= await _sizes_below(store, directory)
    wrong = [ref for ref in refs if not ref.fits(found.get(ref.uri))]
    if wrong:
        raise _incomplete(snapshot, refs, wrong, found)
    needed = {ref.uri for ref in refs}
    total = len(snapshot.metadata.data) + sum(found[uri] for uri in needed)
    return Verified(snapshot, files=len(needed) + 1, bytes=total)


async def _sizes_below(store: ObjectStore, directory: S3Uri) -> dict[S3Uri, int]:
    prefix = S3Uri(directory.bucket, f"{directory.key}/" if directory.key else "", directory.scheme)
    return {item.uri: item.size async for item in store.list(prefix)}


def _incomplete(
    snapshot: Snapshot, refs: list[FileRef], wrong: list[FileRef], found: dict[S3Uri, int]
) -> SnapshotIncomplete:
    def say(ref: FileRef) -> str:
        if ref.uri not in found:
            return f"{ref.uri} is missing"
        wanted = f"at least {ref.least_size:,}" if ref.size is None else f"{ref.size:,}"
        return f"{ref.uri} has {found[ref.uri]:,} bytes instead of {wanted}"

    more = f" and {len(wrong) - _NAMED_FILES} more" if len(wrong) > _NAMED_FILES else ""
    named = "; ".join(map(say, wrong[:_NAMED_FILES]))
    return SnapshotIncomplete(
        f"the snapshot at {snapshot.directory} is incomplete, {len(wrong)} of {len(refs)} files: {named}{more}",
        details={
            "files": [{"uri": str(ref.uri), "expected": ref.size, "found": found.get(ref.uri)} for ref in wrong],
        },
    )
