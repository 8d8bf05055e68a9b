"""The pictures: the circle is what its script draws, its commands exist, and the pages' screenshots are small."""

from __future__ import annotations

import struct
import zlib
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs import png
from docs.circle import CARD_H, CARD_W, HEIGHT, STATIONS, WIDTH, center, circle, ends_of
from docs.draw import CIRCLE, PICTURES, browser, shoot
from docs.pages import Shot
from tests.docs.test_commands import _problem, _words

MOST_BYTES = 150_000
FITS = 33
"""Characters of a line in a card; in DejaVu Sans, the widest that a browser falls back to, one has some 6.5 pixels."""
SVG = "{http://www.w3.org/2000/svg}"


def test_the_committed_circle_is_what_the_script_draws():
    assert CIRCLE.read_text() == circle(), "make it again:  .venv/bin/python -m docs.draw"


def test_its_commands_exist_and_its_words_fit():
    for station in STATIONS:
        assert _problem(_words(station.command)) is None, station
        assert max(map(len, station.lines)) <= FITS, station
        assert len(f"tidegate {station.command}") < FITS, station


def test_nothing_lies_on_anything_else_and_each_arrow_has_a_way():
    places = [center(number) for number in range(len(STATIONS))]
    for (x1, y1), (x2, y2) in combinations(places, 2):
        assert abs(x1 - x2) > CARD_W or abs(y1 - y2) > CARD_H
    for x, y in places:
        assert CARD_W / 2 < x < WIDTH - CARD_W / 2
        assert CARD_H / 2 < y < HEIGHT - CARD_H / 2
    for number in range(len(STATIONS)):
        begins, ends = ends_of(number)
        assert 0.1 < ends - begins < 1


def test_it_needs_nothing_from_outside_and_says_in_words_what_it_shows():
    root = ET.fromstring(circle())
    assert root.findtext(f"{SVG}title") == "The whole circle"
    told = root.findtext(f"{SVG}desc") or ""
    assert all(station.name in told for station in STATIONS)
    assert "prefers-color-scheme:dark" in circle()
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
        "svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text", "g",
    }  # fmt: skip
    assert "http" not in circle().replace('xmlns="http://www.w3.org/2000/svg"', "")


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.png")), ids=lambda path: path.stem)
def test_a_screenshot_is_small_and_has_a_palette(path: Path):
    data = path.read_bytes()
    width, _, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert data.startswith(png.SIGNATURE)
    assert (len(data) <= MOST_BYTES, width, depth, kind) == (True, 1_000, 8, 3)


# -- making one small


def _png(rows: list[tuple[int, list[tuple[int, ...]]]], kind: int) -> bytes:
    """Filtered by hand: each row with its filter, by the definition of the specification."""
    step = len(rows[0][1][0])
    lines, above = b"", bytes(len(rows[0][1]) * step)
    for number, pixels in rows:
        plain = bytes(part for pixel in pixels for part in pixel)
        coded = bytearray()
        for at, value in enumerate(plain):
            left = plain[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            up = above[at]
            near = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            coded.append((value - (0, left, up, (left + up) // 2, near)[number]) & 0xFF)
        lines += bytes([number]) + bytes(coded)
        above = plain
    head = struct.pack(">IIBBBBB", len(rows[0][1]), len(rows), 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return png.SIGNATURE + b"".join(png._chunk(name, body) for name, body in parts)


PIXELS = [[(row * 40 + 9 * at, 255 - row * 7, at * 30) for at in range(7)] for row in range(5)]


def _shown(data: bytes) -> list[list[tuple[int, ...]]]:
    """The pixels of a PNG with a palette."""
    parts = dict(png._chunks(data))
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    lines, palette = zlib.decompress(parts[b"IDAT"]), parts[b"PLTE"]
    assert len(lines) == height * (width + 1)
    rows = [lines[number * (width + 1) + 1 : (number + 1) * (width + 1)] for number in range(height)]
    return [[tuple(palette[3 * at : 3 * at + 3]) for at in row] for row in rows]


@pytest.mark.parametrize("alpha", [(), (255,)])
def test_all_filters_are_read_and_few_colours_stay_as_they_are(alpha: tuple[int, ...]):
    rows = [(number, [(*pixel, *alpha) for pixel in row]) for number, row in enumerate(PIXELS)]
    image = png.read(_png(rows, 6 if alpha else 2))
    assert (image.width, image.height) == (7, 5)
    assert _shown(png.write(image)) == PIXELS


def test_of_too_many_colours_a_rare_one_that_stands_out_stays():
    greys = [[(at, at, at) for at in range(256)] * 3, [(at, at, min(255, at + 1)) for at in range(256)] * 3]
    greys[1][5] = (255, 0, 0)
    shown = _shown(png.write(png.read(_png([(0, row) for row in greys], 2))))
    assert shown[1][5] == (255, 0, 0)
    assert (
        max(abs(a - b) for was, now in zip(greys[0], shown[0], strict=True) for a, b in zip(was, now, strict=True)) < 4
    )


def test_what_is_no_such_png_is_refused():
    with pytest.raises(ValueError, match="not a PNG"):
        png.read(b"GIF89a")
    with pytest.raises(ValueError, match="type 3"):
        png.read(png.write(png.read(_png([(0, PIXELS[0])], 2))))


@pytest.mark.skipif(browser() is None, reason="no Chromium on the PATH: pages cannot be shown here")
def test_a_page_is_shown_at_its_size():
    chromium = browser()
    assert chromium is not None
    data = shoot(chromium, Shot("<body style='margin:0;background:#2f6fb0'>", 600, 200))
    shown = _shown(data)
    assert (len(shown[0]), len(shown)) == (600, 200)
    assert shown[100][300] == (0x2F, 0x6F, 0xB0)
