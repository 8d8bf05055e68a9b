"""``_metadata`` with its files elsewhere: every name of a file replaced, all else kept to the byte."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.clients.objects import S3Uri, Uri
from tidegate.errors import InvalidInput, SnapshotUnsupported
from tidegate.snapshot.cursor import i64_bytes, utf_bytes
from tidegate.snapshot.edit import splice
from tidegate.snapshot.files import file_uri, referenced_files
from tidegate.snapshot.handles import FILE, FileHandle, InlineHandle, RelativeHandle
from tidegate.snapshot.metadata import Metadata, parse

_UNKNOWN_SIZE = -1


def with_files_at(metadata: Metadata, base_uri: Uri, places: Mapping[S3Uri, S3Uri]) -> bytes:
    """The bytes with each file named at its new place, by its whole path; the scheme stays that of the old name.

    ``base_uri`` is the directory that relative names are in now. Raises InvalidInput if a file has no new place,
    SnapshotUnsupported for a kind of handle whose file's name cannot be replaced.
    """
    replacements = []
    for handle in metadata.streams():
        if isinstance(handle, InlineHandle):
            continue
        if not isinstance(handle, FileHandle | RelativeHandle):
            raise SnapshotUnsupported(f"a {type(handle).__name__} cannot be moved to another place yet")
        old = file_uri(handle, base_uri)
        new = places.get(old)
        if new is None:
            raise InvalidInput(f"{old} has no new place")
        name = str(S3Uri(new.bucket, new.key, old.scheme))
        size = _UNKNOWN_SIZE if handle.size is None else handle.size
        replacements.append((handle.span, bytes([FILE]) + i64_bytes(size) + utf_bytes(name)))
    edited = splice(metadata.data, replacements)
    left = {ref.uri for ref in referenced_files(parse(edited), base_uri)} - set(places.values())
    if left:
        raise SnapshotUnsupported(f"{min(left)} would still be named at its old place: its kind is not moved yet")
    return edited
