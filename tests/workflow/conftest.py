from __future__ import annotations

import contextlib
import gc
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from tests.kit.temporal_env import prepared_once, start_server, workers
from tests.kit.temporal_world import World

__all__ = ["prepared_once"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One server for all tests of this folder, hence one event loop."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            # A workflow whose input does not fit never runs; the SDK leaves its coroutine unawaited.
            item.add_marker(pytest.mark.filterwarnings("ignore:coroutine '_WorkflowInstanceImpl:RuntimeWarning"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with await start_server(time_skipping=False) as env:
        yield env


@pytest.fixture
def client(server: WorkflowEnvironment) -> Client:
    return server.client


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """A world whose workers run. What a test leaves running is terminated, so that the next one's workers are alone."""
    made = World()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(workers(client, made))
        yield made
        gc.collect()  # what is ignored above shall not show up in the tests of another folder
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(left.id).terminate("the test is over")
