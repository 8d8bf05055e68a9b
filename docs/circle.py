"""The whole circle of disaster recovery as one picture: what is done every day, and what when a region is left. Pure.

The same on every machine, so that a test can compare it with the committed file. It has its own paper, light or dark as
the reader's screen asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 980, 560
CENTER_X, CENTER_Y = 490.0, 289.0
RADIUS_X, RADIUS_Y = 348.0, 218.0
CARD_W, CARD_H = 246.0, 92.0
GAP = 7.0
"""Between a card and the tip of an arrow."""
FIRST: Final = -math.pi / 2
"""The first station stands on top; the others follow clockwise."""


@dataclass(frozen=True)
class Station:
    """One part of the circle. ``daily``: it runs by itself or by a schedule; else a person begins it."""

    name: str
    lines: tuple[str, str]
    command: str
    daily: bool


STATIONS: Final = (
    Station("ship", ("every snapshot crosses to the", "standby, file by file, verified"), "snapshot ship", True),
    Station("points", ("what a start there can begin", "from, proven, and how old"), "points", True),
    Station("drill", ("a fork starts in the standby, is", "compared, and leaves nothing"), "drill recovery", True),
    Station(
        "failover", ("planned, or the region is lost:", "one writer, no guess, a verdict"), "failover region", False
    ),
    Station("return", ("the lost region comes back in", "quarantine; its tail is fed"), "return region", False),
    Station("failback", ("home again, as planned:", "nothing lost, nothing twice"), "failover deployment", False),
    Station("review", ("what stands against the next", "one, with what mends it"), "ready", True),
)


def circle() -> str:
    """The picture, as SVG."""
    return "\n".join([*_head(), *_arrows(), *_middle(), *(line for n in range(len(STATIONS)) for line in _card(n))]) + (
        "\n</svg>\n"
    )


def _head() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-labelledby="t d">'
    )
    yield '<title id="t">The whole circle</title>'
    told = "; ".join(f"{one.name}: {' '.join(one.lines)}" for one in STATIONS)
    yield f'<desc id="d">{escape(told)}; and again.</desc>'
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0L10 5L0 10z"/></marker></defs>'
    )
    yield f'<rect class="paper" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="14"/>'


_STYLE: Final = (
    ":root{--paper:#ffffff;--edge:#d5dae0;--ink:#1b1f24;--soft:#59636e;--card:#f5f7f9;--day:#2f6fb0;--need:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--paper:#14171b;--edge:#323941;--ink:#e6e9ed;--soft:#9aa4af;"
    "--card:#1c2127;--day:#6aa9e8;--need:#ff8f85}}"
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:var(--ink)}"
    ".paper{fill:var(--paper);stroke:var(--edge)}.card{fill:var(--card);stroke:var(--edge)}"
    ".day{fill:var(--day)}.need{fill:var(--need)}.name{font-size:17px;font-weight:700}"
    ".line{font-size:12.5px}.soft{font-size:12.5px;fill:var(--soft)}.big{font-size:18px;font-weight:700}"
    ".cmd{font-size:12px;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;"
    "fill:var(--soft)}.way{fill:none;stroke:var(--soft);stroke-width:2}.tip{fill:var(--soft)}"
)


def angle(number: float) -> float:
    """Where a station stands, in radians."""
    return FIRST + 2 * math.pi * number / len(STATIONS)


def center(number: float) -> tuple[float, float]:
    """The middle of its card."""
    return CENTER_X + RADIUS_X * math.cos(angle(number)), CENTER_Y + RADIUS_Y * math.sin(angle(number))


def _arrows() -> Iterator[str]:
    for number in range(len(STATIONS)):
        begins, ends = ends_of(number)
        (x1, y1), (x2, y2) = center(begins), center(ends)
        yield (
            f'<path class="way" marker-end="url(#tip)" d="M{x1:.1f} {y1:.1f}A{RADIUS_X:g} {RADIUS_Y:g} 0 0 1 '
            f'{x2:.1f} {y2:.1f}"/>'
        )


def ends_of(number: int) -> tuple[float, float]:
    """Where the arrow from a station to the next one begins and ends: the part of the way that no card covers."""
    steps = [number + step / 400 for step in range(401)]
    free = [at for at in steps if not covered(at, number) and not covered(at, number + 1)]
    return free[0], free[-1]


def covered(at: float, number: int) -> bool:
    """Whether a place on the way lies on a card, or too near to it."""
    (x, y), (of_x, of_y) = center(at), center(number)
    return abs(x - of_x) < CARD_W / 2 + GAP and abs(y - of_y) < CARD_H / 2 + GAP


def _card(number: int) -> Iterator[str]:
    station = STATIONS[number]
    x, y = (part - size / 2 for part, size in zip(center(number), (CARD_W, CARD_H), strict=True))
    yield f'<g transform="translate({x:.1f} {y:.1f})">'
    yield f'<rect class="card" width="{CARD_W:g}" height="{CARD_H:g}" rx="9"/>'
    yield f'<rect class="{_kind(station)}" width="6" height="{CARD_H - 18:g}" x="9" y="9" rx="3"/>'
    yield f'<text class="name" x="25" y="25">{number + 1} {escape(station.name)}</text>'
    for row, line in enumerate(station.lines):
        yield f'<text class="line" x="25" y="{44 + 16 * row}">{escape(line)}</text>'
    yield f'<text class="cmd" x="25" y="{80:g}">tidegate {escape(station.command)}</text>'
    yield "</g>"


def _kind(station: Station) -> str:
    return "day" if station.daily else "need"


def _middle() -> Iterator[str]:
    x = CENTER_X
    yield f'<text class="big" x="{x:g}" y="{CENTER_Y - 34:g}" text-anchor="middle">Every end is proven</text>'
    for row, line in enumerate(("done, undone or superseded, with a report;", "the reports are chained by hash")):
        yield f'<text class="soft" x="{x:g}" y="{CENTER_Y - 12 + 18 * row:g}" text-anchor="middle">{line}</text>'
    for row, (kind, line) in enumerate((("day", "by itself and by schedule"), ("need", "when a region is left"))):
        y = CENTER_Y + 38 + 20 * row
        yield f'<rect class="{kind}" x="{x - 86:g}" y="{y - 10:g}" width="14" height="6" rx="3"/>'
        yield f'<text class="soft" x="{x - 64:g}" y="{y - 3:g}">{line}</text>'
