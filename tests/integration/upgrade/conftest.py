"""The matrix of upgrades: every case with TIDEGATE_MATRIX=1; else one case of each class, by a printed seed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit import rotation
from tests.kit.stage import Scene
from tests.kit.staged import sandbox, stage

__all__ = ["sandbox", "stage"]

HERE = Path(__file__).parent
READER_BLOCKED_S = float(os.environ.get("TIDEGATE_TEST_READER_S", "15"))
"""Longest wait of a reader where nothing is killed; a dead epoch's open transaction would block for 600 s."""
NOTES: list[str] = []
"""Lines that the end of the test run prints: what each case came to."""
MESSAGES: list[str] = []
"""What a person gets for bad input, for the documentation."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rotation.choose_cases(config, items, HERE, timeout_s=1_200)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rotation.tell(terminalreporter, "upgrade cases", NOTES)
    if MESSAGES:
        path = Path(terminalreporter.config.rootpath) / "build" / "input-messages.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(MESSAGES))
        terminalreporter.section(f"what a person gets for bad input ({path})")
        terminalreporter.line("\n".join(MESSAGES))


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """v1 runs, nobody holds it, all parts are up. Readers are watched while the case runs."""
    await stage.back_to("v1")
    stage.readers.begin()
    yield stage
    NOTES.append(f"{request.node.name}: readers waited {stage.readers.longest_s:.1f} s at most")
