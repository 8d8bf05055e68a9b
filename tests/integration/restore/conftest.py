"""State on real parts, in one sandbox: every case with TIDEGATE_MATRIX=1; else two cases, by a printed seed."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit import rotation
from tests.kit.stage import Scene
from tests.kit.staged import sandbox, stage

__all__ = ["sandbox", "stage"]

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("TIDEGATE_RESTORE_ROUNDS") or ("20" if rotation.EVERY_CASE else "2"))
"""How often everything is killed and restored."""
NOTES: list[str] = []
"""Lines that the end of the test run prints: what each case came to."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rotation.choose_cases(config, items, HERE, timeout_s=3_600, classes=2)  # all would take too long for every run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rotation.tell(terminalreporter, "state cases", NOTES)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """v1 runs, nobody holds it, all parts are up."""
    await stage.back_to("v1")
    began = time.monotonic()
    yield stage
    NOTES.append(f"{request.node.name}: {time.monotonic() - began:.0f} s")
