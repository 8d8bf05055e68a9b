"""A screenshot made small: its colours put into a palette of 256, and written again. No library is needed for it.

Source: the PNG specification, third edition: 5 (chunks), 9 (filters), 11 (critical chunks).
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
COLOURS: Final = 256
_RGB, _PALETTE, _RGBA = 2, 3, 6


@dataclass(frozen=True)
class Image:
    """A picture of 8 bits a channel. ``rows``: of each row red, green, blue of each pixel."""

    width: int
    height: int
    rows: tuple[bytes, ...]


def read(data: bytes) -> Image:
    """A PNG as Chromium writes it. Raises ValueError for one of another kind."""
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    chunks = list(_chunks(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    if depth != 8 or kind not in {_RGB, _RGBA} or interlaced:
        raise ValueError(f"expected 8 bits of RGB or RGBA, not interlaced; found depth {depth}, type {kind}")
    step = 3 if kind == _RGB else 4
    raw = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    rows: list[bytes] = []
    before = bytes(width * step)
    for number in range(height):
        begins = number * (width * step + 1)
        before = _unfiltered(raw[begins], bytearray(raw[begins + 1 : begins + 1 + width * step]), before, step)
        rows.append(before if step == 3 else _opaque(before))
    return Image(width, height, tuple(rows))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def _unfiltered(kind: int, row: bytearray, above: bytes, step: int) -> bytes:
    if kind == 0:
        return bytes(row)
    for at in range(len(row)):
        left = row[at - step] if at >= step else 0
        up = above[at]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            guess = _paeth(left, up, above[at - step] if at >= step else 0)
        row[at] = (row[at] + guess) & 0xFF
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    near = left + up - corner
    by_left, by_up, by_corner = abs(near - left), abs(near - up), abs(near - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner


def _opaque(row: bytes) -> bytes:
    """Without alpha: a screenshot of a page with a background has none."""
    found = bytearray(len(row) // 4 * 3)
    for channel in range(3):
        found[channel::3] = row[channel::4]
    return bytes(found)


def write(image: Image) -> bytes:
    """As a PNG with a palette: exact with up to 256 colours, else with the nearest of those in the palette."""
    used: Counter[bytes] = Counter()
    for row in image.rows:
        used.update(_pixels(row))
    palette = _palette(used)
    number = {colour: at for at, colour in enumerate(palette)}
    nearest = {
        colour: number[colour] if colour in number else min(number.values(), key=partial(_far, palette, colour))
        for colour in used
    }
    lines = b"".join(b"\0" + bytes(nearest[colour] for colour in _pixels(row)) for row in image.rows)
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, _PALETTE, 0, 0, 0)
    return SIGNATURE + b"".join(
        _chunk(name, body)
        for name, body in (
            (b"IHDR", head), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""),
        )
    )  # fmt: skip


def _palette(used: Counter[bytes]) -> list[bytes]:
    """The most used ones, and then whatever is farthest from all that is in: a rare red is seen, a rare grey is not."""
    common = [colour for colour, _ in used.most_common()]
    if len(common) <= COLOURS:
        return sorted(common)
    palette, left = common[: COLOURS // 2], common[COLOURS // 2 :]
    far = {colour: min(_distance(colour, one) for one in palette) for colour in left}
    while len(palette) < COLOURS:
        chosen = max(far, key=far.__getitem__)
        palette.append(chosen)
        del far[chosen]
        far = {colour: min(was, _distance(colour, chosen)) for colour, was in far.items()}
    return sorted(palette)


def _far(palette: Sequence[bytes], colour: bytes, at: int) -> int:
    return _distance(palette[at], colour)


def _pixels(row: bytes) -> Iterator[bytes]:
    return (row[at : at + 3] for at in range(0, len(row), 3))


def _distance(one: bytes, other: bytes) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
