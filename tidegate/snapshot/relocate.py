"""``_metadata`` with its files elsewhere: every name of a file replaced, all else kept to the byte."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.clients.objects import S3Uri, Uri
from tidegate.errors import InvalidInput
from tidegate.snapshot.cursor import Span
from tidegate.snapshot.edit import splice
from tidegate.snapshot.encode import write_stream
from tidegate.snapshot.files import file_uri, referenced_files
from tidegate.snapshot.handles import FileHandle, InlineHandle, SegmentHandle
from tidegate.snapshot.metadata import Metadata, parse


def with_files_at(metadata: Metadata, base_uri: Uri, places: Mapping[S3Uri, S3Uri]) -> bytes:
    """The bytes with each file named at its new place, by its whole path; the scheme stays that of the old name.

    ``base_uri`` is the directory that relative names are in now. The directories that file merging names beside its
    segments stay as they are: no state is read by them. Raises InvalidInput if a file has no new place.
    """
    replacements: list[tuple[Span, bytes]] = []
    for handle in metadata.streams():
        if isinstance(handle, InlineHandle):
            continue
        old = file_uri(handle, base_uri)
        new = places.get(old)
        if new is None:
            raise InvalidInput(f"{old} has no new place")
        name = str(S3Uri(new.bucket, new.key, old.scheme))
        moved = handle._replace(path=name) if isinstance(handle, SegmentHandle) else FileHandle(name, handle.size)
        pieces: list[bytes | memoryview] = []
        write_stream(pieces, moved)
        replacements.append((handle.span, b"".join(pieces)))
    edited = splice(metadata.data, replacements)
    left = {ref.uri for ref in referenced_files(parse(edited), base_uri)} - set(places.values())
    if left:
        raise InvalidInput(f"{min(left)} would still be named at its old place")
    return edited
