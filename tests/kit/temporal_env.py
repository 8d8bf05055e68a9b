"""The Temporal server of the tests: the dev server that is installed with us, and operations started on it."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.kit.eventually import eventually
from tests.kit.temporal_world import World
from tidegate.model.inputs import UpgradeInput
from tidegate.model.operation import OperationResult, OperationStatus, Phase
from tidegate.names import CONTROL_QUEUE
from tidegate.temporal import search_attributes
from tidegate.temporal.converter import data_converter
from workers import runner

TEMPORAL = Path(sys.executable).parent / "temporal"

START = timedelta(seconds=60)
"""So long a dev server may take to come up; the SDK's own 5 s are too few on a busy machine."""
BEFORE = ["locate", "observe", "take", "observe", "prepare"]
"""Activities of an upgrade up to its switch."""
AFTER = ["audit", "write_report", "release"]
"""And after its proof."""


@pytest.fixture(scope="session", autouse=True)
def prepared_once() -> Iterator[None]:
    """Each worker, and each replayer, imports every workflow into a sandbox as it starts, to see that it can be.

    Seen once in a session it is seen: most of what a worker's start costs. Import it into a folder's conftest.py.
    """
    seen: set[tuple[type, object]] = set()
    really = SandboxedWorkflowRunner.prepare_workflow

    def prepare(self: SandboxedWorkflowRunner, defn: Any) -> None:
        which = (defn.cls, self.restrictions.import_notification_policy)
        if which not in seen:
            really(self, defn)
            seen.add(which)

    with patch.object(SandboxedWorkflowRunner, "prepare_workflow", prepare):
        yield


async def start_server(*, time_skipping: bool) -> WorkflowEnvironment:
    """A dev server; with ``time_skipping`` the waits of its workflows take no time while nothing else runs."""
    options: dict[str, Any] = {
        "data_converter": data_converter,
        "search_attributes": search_attributes.ALL,
        "dev_server_existing_path": str(TEMPORAL),
        "dev_server_startup_timeout": START,
    }
    if time_skipping:
        skipping = ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]
        return await WorkflowEnvironment.start_time_skipping_v2(**options, dev_server_extra_args=skipping)
    return await WorkflowEnvironment.start_local(**options)


@contextlib.asynccontextmanager
async def workers(client: Client, world: World, regions: Sequence[str] = ("east",)) -> AsyncIterator[None]:
    """A control worker and one worker for each region, as in production, with the world's activities."""
    activities = world.activities()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(runner.control_worker(client, activities, strict_imports=True))
        for region in regions:
            await stack.enter_async_context(runner.region_worker(client, region, activities))
        yield


@dataclass
class Run:
    """An operation under test."""

    handle: WorkflowHandle[Any, Any]

    async def status(self) -> OperationStatus:
        status: OperationStatus = await self.handle.query("status", result_type=OperationStatus)
        return status

    async def phase(self, phase: Phase) -> OperationStatus:
        """Wait until it stands there."""

        async def there() -> OperationStatus:
            status = await self.status()
            assert status.phase is phase, (status.phase, status.why)
            return status

        return await eventually(there)

    async def update(self, name: str, **fields: Any) -> str:
        told: str = await self.handle.execute_update(name, {"by": "bob", **fields}, result_type=str)
        return told

    async def done(self) -> OperationResult:
        return OperationResult.model_validate(await self.handle.result())

    async def failed(self, type_: str) -> OperationResult:
        """Its result, once it has failed with this type (O11)."""
        with pytest.raises(WorkflowFailureError) as failure:
            await self.handle.result()
        cause = failure.value.cause
        assert isinstance(cause, ApplicationError), cause
        assert cause.type == type_, (cause.type, cause.message)
        assert cause.non_retryable
        return OperationResult.model_validate(cause.details[0])


async def begin(client: Client, runbook: str, model: type[BaseModel], **fields: Any) -> Run:
    """Start a runbook on the deployment ``ledger`` with these fields of its input, under an id of its own."""
    request = model.model_validate({"deployment": "ledger", **fields})
    handle = await client.start_workflow(runbook, request, id=f"op-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE)
    return Run(handle)


async def upgrade(client: Client, **fields: Any) -> Run:
    given = {"to": "v2", "requested_by": "ana", "bake_s": 30, **fields}
    return await begin(client, "UpgradeDeployment", UpgradeInput, **given)
