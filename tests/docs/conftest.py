"""A stage on which the pages are followed: the sandbox with the ledger's fleet under traffic, no job started yet.

It is taken down when they have been followed: the tests that come after want the machine for themselves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.stage import Stage
from tests.docs.pages import ROOT
from tests.kit.sandbox import free_base_port

ARTIFACTS = ("v1", "v2", "v2-crash-early")
RATE = 200
PROVE = "prove: {checkpoints: 3, max_restarts: 2, lag_bound: 50000, no_progress_s: 60, start_timeout_s: 240"
"""Wider in time than the sandbox's: what is tested is the page, on a machine that may be busy."""


async def _set_up(stage: Stage) -> None:
    await stage.set_up(ARTIFACTS, RATE)
    text = re.sub(r"prove: \{checkpoints: 3,.*?start_timeout_s: \d+", PROVE, stage.fleet_file.read_text())
    assert PROVE in text
    stage.fleet_file.write_text(text)
    await stage.must("fleet", "apply", str(stage.fleet_file), "--yes")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("docs") / "data"
    with free_base_port() as base:
        made = Stage(Sandbox(folder, base), ROOT, lambda line: print(line, flush=True))
        try:
            asyncio.run(_set_up(made))
            yield made
        finally:
            asyncio.run(made.sandbox.down(delete=True))
