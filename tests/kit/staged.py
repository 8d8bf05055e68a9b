"""Fixtures: one sandbox and one stage for a session.

In a conftest.py:  ``from tests.kit.staged import sandbox, stage``  and a fixture of one's own that readies the scene.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from sandbox.api import Sandbox
from tests.kit.stage import Scene, open_scene, stage_sandbox

__all__ = ["sandbox", "stage"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("stage") / "data") as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(sandbox: Sandbox) -> AsyncIterator[Scene]:
    async with open_scene(sandbox) as scene:
        yield scene
