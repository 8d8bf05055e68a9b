"""Reads what Java's ``DataOutputStream`` wrote: big-endian, no padding, no lengths to skip by.

Nothing that the bytes say is believed before it fits into what is left of them: a damaged count ends in
SnapshotUnreadable, never in a large allocation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from tidegate.errors import SnapshotUnreadable

_I16: Final = struct.Struct(">h")
_U16: Final = struct.Struct(">H")
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` (included) to ``end`` (not) of the file."""

    start: int
    end: int

    def of(self, data: bytes) -> bytes:
        """Its bytes."""
        return data[self.start : self.end]


class Cursor:
    """A position in bytes. Each read says what it expects, for the message; offsets count from the start of ``data``.

    Every method raises SnapshotUnreadable if the bytes end or cannot be what is expected. ``of`` names the bytes.
    """

    def __init__(self, data: bytes, position: int = 0, end: int | None = None, of: str = "_metadata") -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        self._of = of

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self.end - self.position

    def error(self, problem: str, expected: str, at: int | None = None) -> SnapshotUnreadable:
        """The error to raise for what stands ``at`` an offset (default: here)."""
        offset = self.position if at is None else at
        return SnapshotUnreadable(f"{self._of} is damaged: {problem}", offset=offset, expected=expected)

    def raw(self, count: int, expected: str) -> bytes:
        """The next ``count`` bytes."""
        start = self._skip(count, expected)
        return bytes(self.data[start : self.position])

    def _skip(self, count: int, expected: str) -> int:
        if count < 0 or count > self.remaining:
            raise self.error(f"{count:,} bytes needed, {max(self.remaining, 0):,} left", expected)
        start = self.position
        self.position += count
        return start

    def u8(self, expected: str) -> int:
        """A byte, 0 to 255."""
        return self.data[self._skip(1, expected)]

    def boolean(self, expected: str) -> bool:
        """A byte that is 0 or 1."""
        value = self.u8(expected)
        if value > 1:
            raise self.error(f"{value} is neither 0 nor 1", expected, self.position - 1)
        return value == 1

    def i16(self, expected: str) -> int:
        """A signed short."""
        return int(_I16.unpack_from(self.data, self._skip(2, expected))[0])

    def i32(self, expected: str) -> int:
        """A signed int."""
        return int(_I32.unpack_from(self.data, self._skip(4, expected))[0])

    def i64(self, expected: str) -> int:
        """A signed long."""
        return int(_I64.unpack_from(self.data, self._skip(8, expected))[0])

    def i64s(self, expected: str) -> tuple[int, ...]:
        """A count and that many longs."""
        count = self.count(expected, 8)
        start = self._skip(8 * count, expected)
        return struct.unpack_from(f">{count}q", self.data, start)

    def count(self, expected: str, item_bytes: int) -> int:
        """An i32 count of items of at least ``item_bytes`` each: not negative, and they fit in what is left."""
        at = self.position
        count = self.i32(f"the number of {expected}")
        if not 0 <= count * item_bytes <= self.remaining:
            raise self.error(f"{count:,} does not fit in {self.remaining:,} bytes", f"the number of {expected}", at)
        return count

    def blob(self, expected: str) -> bytes:
        """An i32 length and that many bytes."""
        return self.raw(self.count(f"bytes of {expected}", 1), expected)

    def inner(self, expected: str) -> Cursor:
        """An i32 length and a cursor over just that many bytes; this one goes on behind them."""
        length = self.count(f"bytes of {expected}", 1)
        start = self._skip(length, expected)
        return Cursor(self.data, start, self.position, self._of)

    def finish(self, expected: str) -> None:
        """Nothing may be left."""
        if self.remaining:
            raise self.error(f"{self.remaining:,} bytes too many", f"the end of {expected}")

    def utf(self, expected: str) -> str:
        """A string as ``DataOutput.writeUTF`` writes it (modified UTF-8)."""
        at = self.position
        length = _U16.unpack_from(self.data, self._skip(2, expected))[0]
        encoded = self.raw(length, expected)
        try:
            # U+0000 stands as C0 80, and what is beyond U+FFFF as two surrogates of three bytes each.
            units = encoded.replace(b"\xc0\x80", b"\x00").decode("utf-8", "surrogatepass")
            return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
        except UnicodeError:
            raise self.error("the text is no modified UTF-8", expected, at) from None


def utf_bytes(text: str) -> bytes:
    """``DataOutput.writeUTF`` of a text. Raises ValueError beyond 65,535 bytes."""
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
