"""The project's pages as the tests see them: fenced blocks, links, tables, and what is expected of a block.

A block that a test runs has ``test`` in its info string::

    ```sh test            exit status 0
    ```sh test exit=1     exit status 1
    ```sh test wait=OPERATION:PHASE    begins when the operation stands there

The ``text`` block that follows it, if any, shows what it prints: each line of it must come, in this order, once what
differs from run to run (numbers, ids, times) is left out. A line of ``…`` alone stands for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "ledger/README.md",
    "runbooks/drill-recovery.md",
    "runbooks/drill-region.md",
    "runbooks/failover-deployment.md",
    "runbooks/failback.md",
    "runbooks/game-day.md",
    "runbooks/return-region.md",
    "runbooks/break-glass.md",
    "runbooks/failover-region.md",
    "runbooks/incident.md",
    "runbooks/restore-deployment.md",
    "runbooks/keep-recovery-points.md",
    "runbooks/ship-snapshots.md",
    "runbooks/schedules.md",
    "runbooks/start-deployment.md",
    "runbooks/sweep-snapshots.md",
    "runbooks/review-readiness.md",
    "runbooks/move-deployment.md",
    "runbooks/stop-deployment.md",
    "runbooks/take-snapshot.md",
    "runbooks/upgrade-deployment.md",
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
_VARIABLE = re.compile(
    r"[0-9a-f]{12,}|\b[0-9a-f]{8}…|-[0-9a-f]{8}\b|savepoint-[0-9a-f]{6}-"  # ids
    r"|\d+(?:[.,]\d+)+|\b[0-9a-f]*\d[0-9a-f]*\b|\d+|\b[KM]iB\b"  # numbers, shortened hashes, sizes
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the one that follows it."""

    page: str
    line: int
    info: str
    body: str
    shown: str = ""

    @property
    def is_test(self) -> bool:
        return "test" in self.info.split()[1:]

    @property
    def exit(self) -> int:
        found = re.search(r"\bexit=(\d+)", self.info)
        return int(found.group(1)) if found else 0

    @property
    def wait(self) -> tuple[str, str] | None:
        """Operation and phase."""
        found = re.search(r"\bwait=([^\s:]+):(\S+)", self.info)
        return (found.group(1), found.group(2)) if found else None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page in their order; each knows the ``text`` block that follows it directly."""
    text = text_of(page)
    found = list(_FENCE.finditer(text))
    result = []
    for at, match in enumerate(found):
        after = found[at + 1] if at + 1 < len(found) else None
        follows = after is not None and not text[match.end() : after.start()].strip() and after["info"] == "text"
        line = text.count("\n", 0, match.start()) + 1
        shown = after["body"] if after is not None and follows else ""
        result.append(Block(page, line, match["info"].strip(), match["body"], shown))
    return result


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def links(page: str) -> list[str]:
    return _LINK.findall(prose(page))


def table_under(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cells stripped of blanks and backquotes; without its head."""
    _, found, rest = text_of(page).partition(f"\n{heading}\n")
    if not found:
        raise AssertionError(f"{page} has no heading {heading!r}")
    rows: list[list[str]] = []
    for line in rest.splitlines():
        if line.startswith("#") or (rows and not line.startswith("|")):
            break
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip().replace("`", "").replace("\\|", "|") for cell in cells])
    return rows[2:]


def front_matter(page: str) -> dict[str, str]:
    """The ``name: value`` lines between the two ``---`` at the top of a page."""
    _, head, _ = text_of(page).split("---\n", 2)
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}


def without_what_varies(line: str) -> str:
    """A line of output as it is in every run: ids, numbers, times and sizes left out, blanks squeezed."""
    return re.sub(r"\s+", " ", _VARIABLE.sub("#", line)).strip()


def missing_lines(shown: str, printed: str) -> Iterator[str]:
    """The lines of ``shown`` that do not come in ``printed``, in order."""
    left = iter([without_what_varies(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        wanted = without_what_varies(line)
        if wanted in {"", "…"}:
            continue
        if wanted not in left:
            yield line
            return
