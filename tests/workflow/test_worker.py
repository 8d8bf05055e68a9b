"""The worker process itself: waits for Temporal, works, survives its restart, stops in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.kit.eventually import eventually
from tests.kit.temporal_env import START, TEMPORAL, upgrade
from tidegate.temporal import search_attributes
from tidegate.temporal.converter import data_converter


class Worker:
    """A worker process and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said += line.decode()

    async def says(self, words: str) -> None:
        async def said() -> None:
            assert words in self.said, self.said

        await eventually(said, within_s=40)


@pytest_asyncio.fixture(loop_scope="session")
async def worker(unused_tcp_port_factory: object, tmp_path: Path) -> AsyncIterator[tuple[Worker, int]]:
    port = unused_tcp_port_factory()  # type: ignore[operator]
    env = {
        **os.environ,
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "TIDEGATE_CONTROL_S3": "http://127.0.0.1:1",
        "TIDEGATE_CONTROL_BUCKET": "control",
        "TIDEGATE_CONTROL_ACCESS_KEY": "a",
        "TIDEGATE_CONTROL_SECRET_KEY": "b",
        "TIDEGATE_CACHE": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "tidegate"), "worker", "run", "--role", "control",
        env=env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield Worker(process), port
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _server(port: int, database: Path) -> WorkflowEnvironment:
    return await WorkflowEnvironment.start_local(
        ip="127.0.0.1",
        port=port,
        data_converter=data_converter,
        dev_server_existing_path=str(TEMPORAL),
        dev_server_database_filename=str(database),
        dev_server_startup_timeout=START,
    )


async def test_waits_for_temporal_registers_attributes_works_and_stops(
    worker: tuple[Worker, int], tmp_path: Path
) -> None:
    process, port = worker
    await process.says("waiting for it")
    async with await _server(port, tmp_path / "t.db") as env:
        await process.says("polls tidegate-control")
        assert "registered search attributes" in process.said
        for key in search_attributes.ALL:
            assert key.name in process.said
        # The control bucket behind it is a closed port: the operation must say so, and have changed nothing.
        run = await upgrade(env.client)

        async def told() -> None:
            seen = await run.handle.describe()
            failures = [one.last_failure.message for one in seen.raw_description.pending_activities]
            assert any("127.0.0.1:1" in message for message in failures), failures

        await eventually(told, within_s=40)
        await run.update("abort")
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.process.wait(), 30) == 0
        assert "stopping" in process.said
