"""A page as Markdown: the same blocks as the HTML, for a terminal, a ticket, a chat."""

from __future__ import annotations

import re

from tidegate.report.page import Cell, Page, Table
from tidegate.report.timeline import Picture

_SPECIAL = re.compile(r"([|<`*\[])")


def markdown(page: Page, pictures: tuple[Picture, ...]) -> str:
    """The whole report. Values are escaped: nothing in them is read as markup."""
    parts = [f"# {_text(page.headline)}", _text(page.subtitle), f"**{_text(page.summary)}**"]
    if page.why:
        parts.append(f"Why: {_text(page.why)}")
    parts += [f"> **{_text(alert.text)}**" for alert in page.alerts]
    parts += [_table(table) for table in page.top]
    if pictures:
        parts.append("## Timeline")
        parts += [_text(picture.description) for picture in pictures]
    parts += [_table(table) for table in page.blocks]
    parts.append("## Commands")
    parts.append("\n".join(f"- {_text(command.when)}: {_code(command.line)}" for command in page.commands))
    parts.append(_table(page.evidence))
    return "\n\n".join(parts) + "\n"


def table_text(table: Table) -> str:
    """One table under its heading; values are escaped."""
    return _table(table)


def _table(table: Table) -> str:
    parts = [f"## {table.title}"]
    if table.lead:
        parts.append(_text(table.lead))
    if table.rows:
        width = len(table.rows[0])
        head = table.head or ("what", "value")[:width]
        lines = [f"| {' | '.join(head)} |", f"|{' --- |' * width}"]
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(cell: Cell) -> str:
    if cell.code and cell.text:
        return _code(cell.text).replace("|", "\\|")
    text = _text(cell.text)
    return f"**{text}**" if text and cell.tone in {"bad", "warn"} else text


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A code span: fenced by more backticks than stand in the text."""
    flat = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall(r"`+", flat)), default=0) + 1)
    space = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{space}{flat}{space}{fence}"
