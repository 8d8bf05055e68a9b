"""Restores on real parts: one stage for all cases of this folder; what each came to is printed at the end."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.api import Sandbox
from tests.kit.stage import Scene, open_scene, stage_sandbox

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("TIDEGATE_RESTORE_ROUNDS") or ("20" if os.environ.get("TIDEGATE_MATRIX") == "1" else "2"))
"""How often everything is killed and restored."""
NOTES: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.sandbox)
        item.add_marker(pytest.mark.timeout(3_600))
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if NOTES:
        terminalreporter.section("restores")
        for line in NOTES:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("stage") / "data") as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(sandbox: Sandbox) -> AsyncIterator[Scene]:
    async with open_scene(sandbox) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene) -> AsyncIterator[Scene]:
    """v1 runs, nobody holds it, all parts are up."""
    await stage.back_to("v1")
    yield stage
