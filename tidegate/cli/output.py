"""What a person (or a program, with ``-o json``) sees: one line a thing, units, UTC; plain text when not a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from rich.console import Console
from rich.text import Text

from tidegate.errors import TidegateError


class Format(StrEnum):
    """How answers are printed."""

    TEXT = "text"
    JSON = "json"


class _Chosen:
    """The format of this command; the option's callback sets it, so that errors are printed in it too."""

    format: Format = Format.TEXT


def choose(chosen: Format) -> Format:
    """Callback of ``-o``: remember the format for the errors of this command."""
    _Chosen.format = chosen
    return chosen


def as_json() -> bool:
    """Whether the command was asked for JSON."""
    return _Chosen.format is Format.JSON


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr as they are now: colours on a terminal only, lines as long as they are."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line (or several) to stdout, as it stands: no markup is read in it."""
    console().print(Text(text, style=style or ""))


def note(text: str) -> None:
    """Print to stderr what is no answer: a warning, progress. Nothing with ``-o json``."""
    if not as_json():
        console(stderr=True).print(Text(text))


def answer(data: object) -> None:
    """Print the answer of a command as JSON (``-o json``): one document, keys as in the models."""
    sys.stdout.write(json.dumps(data, indent=2, default=str, ensure_ascii=False) + "\n")


def columns(rows: Sequence[Sequence[str]], *, head: Sequence[str] | None = None, indent: str = "") -> str:
    """Rows as aligned text, two spaces between columns; ``head`` is a first row. Ends without a line end."""
    table = [list(head), *map(list, rows)] if head is not None else [list(row) for row in rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))] if table else []
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def print_error(error: TidegateError) -> None:
    """Print an error to stderr: ``error: …`` and what to do about it below; or as JSON. No stack."""
    if as_json():
        body = {"type": error.type, "message": error.message, "hint": error.hint, "details": error.details}
        sys.stderr.write(json.dumps({"error": body}, indent=2, default=str, ensure_ascii=False) + "\n")
        return
    out = console(stderr=True)
    first, *more = error.message.split("\n")
    out.print(Text.assemble(("error: ", "bold red"), first))
    for line in (*more, *(error.hint or "").split("\n")):
        if line:
            out.print(Text(f"       {line}"))


def count(number: float) -> str:
    """``184,233``."""
    return f"{number:,.0f}"


def size(n_bytes: int) -> str:
    """``812 B``, ``41 KiB``, ``12.3 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes} B"
    value = n_bytes / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1023.5:
            return f"{value:.1f} {unit}" if value < 99.95 and unit != "KiB" else f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def duration(seconds: float) -> str:
    """``0.4 s``, ``2.08 s``, ``41 s``, ``3 min 05 s``, ``2 h 03 min``."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 9.995:
        return f"{seconds:.2f} s".replace("0 s", " s") if round(seconds, 2) != round(seconds) else f"{seconds:.0f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def utc(moment: datetime) -> str:
    """``2026-03-01 03:14:22.870 UTC``. A time without a zone is refused (ValueError)."""
    if moment.tzinfo is None:
        msg = "a time without a zone cannot be shown"
        raise ValueError(msg)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.astimezone(UTC).microsecond // 1000:03d} UTC"
