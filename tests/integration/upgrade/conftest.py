"""The matrix: every case with TIDEGATE_MATRIX=1; else one case of each class, chosen by a seed that is printed."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.api import Sandbox
from tests.kit.stage import Scene, open_scene, stage_sandbox

HERE = Path(__file__).parent
READER_BLOCKED_S = float(os.environ.get("TIDEGATE_TEST_READER_S", "15"))
"""Longest wait of a reader where nothing is killed; a dead epoch's open transaction would block for 600 s."""
SEED = int(os.environ.get("TIDEGATE_SEED") or f"{datetime.now(UTC):%Y%m%d}")
EVERY_CASE = os.environ.get("TIDEGATE_MATRIX") == "1"
NOTES: list[str] = []
"""Lines that the end of the test run prints: what each case came to."""
MESSAGES: list[str] = []
"""What a person gets for bad input, for the documentation."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.sandbox)
        item.add_marker(pytest.mark.timeout(1_200))
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    cases = [item for item in ours if item.get_closest_marker("matrix")]
    if EVERY_CASE or not cases:
        return
    chance = random.Random(SEED)
    chosen = {chance.choice(list(group)) for _, group in groupby(cases, lambda item: item.path)}
    left_out = [item for item in cases if item not in chosen]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter
    if NOTES:
        write.section("upgrade cases")
        which = "every case" if EVERY_CASE else f"one case of each class, seed {SEED} (again: TIDEGATE_SEED={SEED})"
        write.line(which)
        for line in NOTES:
            write.line(line)
    if MESSAGES:
        path = Path(terminalreporter.config.rootpath) / "build" / "input-messages.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(MESSAGES))
        write.section(f"what a person gets for bad input ({path})")
        write.line("\n".join(MESSAGES))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("stage") / "data") as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(sandbox: Sandbox) -> AsyncIterator[Scene]:
    async with open_scene(sandbox) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """v1 runs, nobody holds it, all parts are up. Readers are watched while the case runs."""
    await stage.back_to("v1")
    stage.readers.begin()
    yield stage
    NOTES.append(f"{request.node.name}: readers waited {stage.readers.longest_s:.1f} s at most")
