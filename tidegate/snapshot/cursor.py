"""Reads what Java's ``DataOutputStream`` wrote: big-endian, no padding, no lengths to skip by.

Nothing that the bytes say is believed before it fits into what is left of them: a damaged count ends in
SnapshotUnreadable, never in a large allocation.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from tidegate.errors import SnapshotUnreadable

_I16: Final = struct.Struct(">h")
_U16: Final = struct.Struct(">H")
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")


class Span(NamedTuple):
    """Bytes ``start`` (included) to ``end`` (not) of the file."""

    start: int
    end: int

    def of(self, data: bytes) -> bytes:
        """Its bytes."""
        return data[self.start : self.end]


NOWHERE: Final = Span(-1, -1)
"""The span of what was not read from a file."""


class Underflow(Exception):
    """A window of a file ended within what was being read: the file goes on."""


class Cursor:
    """A position in bytes. Each read says what it expects, for the message; offsets count from the start of the file.

    ``data`` may be a window of a longer file: ``origin`` is then the offset of its first byte and ``total`` the length
    of the file in bytes. Every method raises SnapshotUnreadable if the bytes end or cannot be what is expected, and
    Underflow if only the window ends. ``of`` names the bytes. Inline state is copied, or with ``share`` a view.
    """

    __slots__ = ("data", "depth", "end", "of", "origin", "place", "position", "total", "view")

    def __init__(
        self,
        data: bytes,
        position: int = 0,
        end: int | None = None,
        of: str = "_metadata",
        origin: int = 0,
        total: int | None = None,
        share: bool = False,
    ) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        self.of = of
        self.origin = origin
        self.total = origin + self.end if total is None else total
        self.view = memoryview(data) if share else None
        self.place: tuple[str, int | None] | None = None
        """Of which operator, and which of its subtasks, one reads: said in errors."""
        self.depth = 0

    @property
    def remaining(self) -> int:
        """How many bytes are left, of the window."""
        return self.end - self.position

    @property
    def offset(self) -> int:
        """Where in the file it stands."""
        return self.origin + self.position

    def error(self, problem: str, expected: str, at: int | None = None) -> SnapshotUnreadable:
        """The error to raise for what stands at position ``at`` of the window (default: here)."""
        offset = self.origin + (self.position if at is None else at)
        if self.place is not None:
            operator, subtask = self.place
            expected = f"{expected} of {operator}" + ("" if subtask is None else f", subtask {subtask}")
        return SnapshotUnreadable(f"{self.of} is damaged: {problem}", offset=offset, expected=expected)

    def short(self, count: int, expected: str, at: int | None = None) -> Exception:
        """What to raise where ``count`` bytes are not there: an Underflow if the file has them."""
        position = self.position if at is None else at
        if count >= 0 and self.origin + position + count <= self.total:
            return Underflow()
        left = max(self.total - self.origin - position, 0)
        return self.error(f"{count:,} bytes needed, {left:,} left", expected, at)

    def raw(self, count: int, expected: str) -> bytes:
        """The next ``count`` bytes."""
        start = self.skip(count, expected)
        return self.data[start : self.position]

    def content(self, expected: str) -> bytes | memoryview:
        """An i32 length and that many bytes: a view of the file if it is shared."""
        count = self.count(f"bytes of {expected}", 1)
        start = self.skip(count, expected)
        return (self.data if self.view is None else self.view)[start : self.position]

    def skip(self, count: int, expected: str) -> int:
        """Go on by ``count`` bytes; returns the position of the first."""
        start = self.position
        if count < 0 or start + count > self.end:
            raise self.short(count, expected)
        self.position = start + count
        return start

    def u8(self, expected: str) -> int:
        """A byte, 0 to 255."""
        position = self.position
        if position >= self.end:
            raise self.short(1, expected)
        self.position = position + 1
        return self.data[position]

    def boolean(self, expected: str) -> bool:
        """A byte that is 0 or 1."""
        value = self.u8(expected)
        if value > 1:
            raise self.error(f"{value} is neither 0 nor 1", expected, self.position - 1)
        return value == 1

    def i16(self, expected: str) -> int:
        """A signed short."""
        return int(_I16.unpack_from(self.data, self.skip(2, expected))[0])

    def i32(self, expected: str) -> int:
        """A signed int."""
        return int(_I32.unpack_from(self.data, self.skip(4, expected))[0])

    def i64(self, expected: str) -> int:
        """A signed long."""
        return int(_I64.unpack_from(self.data, self.skip(8, expected))[0])

    def i64s(self, expected: str) -> tuple[int, ...]:
        """A count and that many longs."""
        count = self.count(expected, 8)
        start = self.skip(8 * count, expected)
        return struct.unpack_from(f">{count}q", self.data, start)

    def count(self, expected: str, item_bytes: int) -> int:
        """An i32 count of items of at least ``item_bytes`` each: not negative, and they fit in what the file has."""
        at = self.position
        count = self.i32(f"the number of {expected}")
        left = self.total - self.origin - self.position
        if not 0 <= count * item_bytes <= left:
            raise self.error(f"{count:,} does not fit in {left:,} bytes", f"the number of {expected}", at)
        return count

    def blob(self, expected: str) -> bytes:
        """An i32 length and that many bytes."""
        return self.raw(self.count(f"bytes of {expected}", 1), expected)

    def inner(self, expected: str) -> Cursor:
        """An i32 length and a cursor over just that many bytes; this one goes on behind them."""
        length = self.count(f"bytes of {expected}", 1)
        start = self.skip(length, expected)
        found = Cursor(self.data, start, self.position, self.of, self.origin)
        found.place = self.place
        return found

    def finish(self, expected: str) -> None:
        """Nothing may be left."""
        if self.remaining:
            raise self.error(f"{self.remaining:,} bytes too many", f"the end of {expected}")

    def utf(self, expected: str) -> str:
        """A string as ``DataOutput.writeUTF`` writes it (modified UTF-8)."""
        at = self.position
        data, start = self.data, at + 2
        if start > self.end:
            raise self.short(2, expected)
        end = start + (data[at] << 8 | data[at + 1])
        if end > self.end:
            raise self.short(end - at, expected)
        self.position = end
        encoded = data[start:end]
        if encoded.isascii() and 0 not in encoded:
            return encoded.decode("ascii")
        try:
            text = _modified_utf8(encoded)
        except UnicodeError:
            text = None
        # What writeUTF would have written otherwise is refused: it could not be written again as it was.
        if text is None or utf_bytes(text)[2:] != encoded:
            raise self.error("the text is no modified UTF-8", expected, at)
        return text


def _modified_utf8(encoded: bytes) -> str:
    # U+0000 stands as C0 80, and what is beyond U+FFFF as two surrogates of three bytes each.
    units = encoded.replace(b"\xc0\x80", b"\x00").decode("utf-8", "surrogatepass")
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def utf_bytes(text: str) -> bytes:
    """``DataOutput.writeUTF`` of a text. Raises ValueError beyond 65,535 bytes."""
    if text.isascii() and "\0" not in text:
        plain = text.encode("ascii")
        if len(plain) <= 0xFFFF:
            return _U16.pack(len(plain)) + plain
    encoded = bytearray()
    for (unit,) in struct.iter_unpack(">H", text.encode("utf-16-be", "surrogatepass")):
        encoded += b"\xc0\x80" if unit == 0 else chr(unit).encode("utf-8", "surrogatepass")
    if len(encoded) > 0xFFFF:
        raise ValueError(f"{len(encoded):,} bytes of text; writeUTF takes 65,535")
    return _U16.pack(len(encoded)) + bytes(encoded)


def i32_bytes(value: int) -> bytes:
    """``DataOutput.writeInt``."""
    return _I32.pack(value)


def i64_bytes(value: int) -> bytes:
    """``DataOutput.writeLong``."""
    return _I64.pack(value)
