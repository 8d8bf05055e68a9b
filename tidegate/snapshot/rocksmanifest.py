"""Which column families of a RocksDB have files, read from its MANIFEST: whether a state has ever been written to.

Flink keeps each state in a column family of its name, and a snapshot holds no memory tables: what has no file is empty.

Source: RocksDB's db/log_format.h, db/log_reader.cc (blocks and records), db/version_edit.h, db/version_edit.cc (tags).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from tidegate.errors import SnapshotUnreadable, SnapshotUnsupported

_BLOCK_BYTES: Final = 32_768
_HEADER: Final = struct.Struct("<IHB")
_RECYCLABLE_HEADER_BYTES: Final = 11
_ZERO, _FULL, _FIRST, _MIDDLE, _LAST = range(5)
_RECYCLABLE: Final = 4
"""What is added to a record's type in a log file that is used again."""

_VARINTS: Final = {2, 3, 4, 9, 10, 203, 300}
_TEXTS: Final = {1}
_COMPACT_CURSOR, _DELETED_FILE, _NEW_FILE, _NEW_FILE_2, _NEW_FILE_3, _NEW_FILE_4 = 5, 6, 7, 100, 102, 103
_FAMILY, _FAMILY_ADD, _FAMILY_DROP = 200, 201, 202
_IGNORABLE: Final = 1 << 13
"""A tag with this bit has a length: who does not know it goes on behind it."""
_END_OF_FILE_FIELDS: Final = 1


class _Edit:
    """Reads one version edit."""

    def __init__(self, data: bytes, of: str) -> None:
        self._data, self._at, self._of = data, 0, of

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def varint(self) -> int:
        value = shift = 0
        while self._at < len(self._data) and shift < 70:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise SnapshotUnreadable(f"{self._of} is damaged: an edit ends early", offset=self._at, expected="a number")

    def text(self) -> bytes:
        length, start = self.varint(), self._at
        if start + length > len(self._data):
            problem = f"{self._of} is damaged: {length:,} bytes needed, {len(self._data) - start:,} left"
            raise SnapshotUnreadable(problem, offset=start, expected="a text in an edit")
        self._at = start + length
        return self._data[start : self._at]


def files_by_family(data: bytes, of: str) -> dict[str, int]:
    """How many files each column family has once all edits have been applied. ``of`` names the bytes in errors.

    Raises SnapshotUnreadable (damaged: with offset) or SnapshotUnsupported (an edit of a kind that is not read).
    """
    names: dict[int, str] = {0: "default"}
    files: dict[int, set[int]] = {0: set()}
    for edit in _records(data, of):
        _apply(_Edit(edit, of), names, files, of)
    return {names[family]: len(files[family]) for family in names}


def _apply(edit: _Edit, names: dict[int, str], files: dict[int, set[int]], of: str) -> None:
    family, added, deleted = 0, set[int](), set[int]()
    name: str | None = None
    dropped = False
    while edit.more:
        tag = edit.varint()
        if tag == _FAMILY:
            family = edit.varint()
        elif tag == _FAMILY_ADD:
            name = edit.text().decode("utf-8", "surrogateescape")
        elif tag == _FAMILY_DROP:
            dropped = True
        elif tag == _DELETED_FILE:
            edit.varint()
            deleted.add(edit.varint())
        elif tag in (_NEW_FILE, _NEW_FILE_2, _NEW_FILE_3, _NEW_FILE_4):
            added.add(_new_file(edit, tag))
        elif tag == _COMPACT_CURSOR:
            edit.varint()
            edit.text()
        elif tag in _VARINTS:
            edit.varint()
        elif tag in _TEXTS or tag & _IGNORABLE:
            edit.text()
        else:
            raise SnapshotUnsupported(f"{of}: an edit has tag {tag}, which is not read")
    if name is not None:
        names[family], files[family] = name, set()
    if dropped:
        names.pop(family, None)
        files.pop(family, None)
        return
    if added or deleted:
        if family not in files:
            raise SnapshotUnreadable(f"{of} is damaged", offset=0, expected=f"column family {family}")
        files[family] = (files[family] - deleted) | added


def _new_file(edit: _Edit, tag: int) -> int:
    edit.varint()  # its level
    number = edit.varint()
    if tag == _NEW_FILE_3:
        edit.varint()  # the path that it lies in
    edit.varint()  # its size
    edit.text()
    edit.text()  # its smallest and largest key
    if tag != _NEW_FILE:
        edit.varint()
        edit.varint()  # its smallest and largest sequence number
    if tag == _NEW_FILE_4:
        while edit.varint() != _END_OF_FILE_FIELDS:
            edit.text()
    return number


def _records(data: bytes, of: str) -> Iterator[bytes]:
    """The records of a log, put together of their fragments. Checksums are not looked at: S3 keeps its own."""
    at, parts = 0, list[bytes]()
    while len(data) - at >= _HEADER.size:
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEADER.size:
            at += left
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        if kind == _ZERO and not length:
            at += left  # a block that was only reserved
            continue
        start = at + (_HEADER.size if kind <= _RECYCLABLE else _RECYCLABLE_HEADER_BYTES)
        kind = kind if kind <= _RECYCLABLE else kind - _RECYCLABLE
        if not _FULL <= kind <= _LAST or start + length > min(len(data), at + left):
            raise SnapshotUnreadable(f"{of} is damaged: a record of kind {kind}", offset=at, expected="a whole record")
        if (kind in (_FULL, _FIRST)) is bool(parts):
            raise SnapshotUnreadable(f"{of} is damaged: a fragment of kind {kind}", offset=at, expected="the next one")
        parts.append(data[start : start + length])
        at = start + length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
    if parts:
        raise SnapshotUnreadable(f"{of} is damaged: it ends within a record", offset=at, expected="its last fragment")
