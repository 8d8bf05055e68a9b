"""Cases on real parts by turns: every one with TIDEGATE_MATRIX=1; else one of a class, by a seed that is printed.

A class is a file; its cases are those marked ``matrix``. A conftest.py calls these from pytest's hooks.
"""

from __future__ import annotations

import inspect
import os
import random
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pytest

SEED = int(os.environ.get("TIDEGATE_SEED") or f"{datetime.now(UTC):%Y%m%d}")
EVERY_CASE = os.environ.get("TIDEGATE_MATRIX") == "1"


def choose_cases(
    config: pytest.Config, items: list[pytest.Item], here: Path, timeout_s: int, *, classes: int | None = None
) -> None:
    """Mark what stands below ``here`` as on real parts, in one event loop, and leave out what has no turn.

    ``classes``: how many classes have a turn in a run; None: all.
    """
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.sandbox)
        item.add_marker(pytest.mark.timeout(timeout_s))
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    cases = [item for item in ours if item.get_closest_marker("matrix")]
    if EVERY_CASE or not cases:
        return
    chance = random.Random(SEED)
    turns = [chance.choice(list(group)) for _, group in groupby(cases, lambda item: item.path)]
    chosen = set(turns if classes is None else chance.sample(turns, classes))
    left_out = [item for item in cases if item not in chosen]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def tell(reporter: pytest.TerminalReporter, title: str, notes: list[str]) -> None:
    """What each case came to, at the end of the run."""
    if not notes:
        return
    reporter.section(title)
    reporter.line("every case" if EVERY_CASE else f"one case of a class, seed {SEED} (again: TIDEGATE_SEED={SEED})")
    for line in notes:
        reporter.line(line)
