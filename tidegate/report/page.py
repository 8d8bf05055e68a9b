"""What a report says, before it is Markdown or HTML: blocks that both print, so that they cannot differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """One value. ``code``: to be copied as it stands (ids, hashes, locations). ``tone`` marks what must be seen."""

    text: str
    code: bool = False
    tone: Literal["", "good", "warn", "bad"] = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head. ``lead``: a sentence before it. Without a head: facts, a label and its value a row."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]
    head: tuple[str, ...] = ()
    lead: str = ""


@dataclass(frozen=True)
class Command:
    """A command to copy, and when to."""

    when: str
    line: str


@dataclass(frozen=True)
class Page:
    """A report: the first line, what stands out, and the blocks, in the order in which they are printed."""

    headline: str
    tone: Literal["good", "warn", "bad"]
    subtitle: str
    summary: str
    why: str
    alerts: tuple[Cell, ...]
    gap_note: str
    """What the timeline's shade is."""
    top: tuple[Table, ...]
    """Before the timeline: the verdict."""
    blocks: tuple[Table, ...]
    commands: tuple[Command, ...]
    evidence: Table
    clock_note: str = "Times count from the operation's start."
    """What the timeline's times count from."""
