"""StartDeployment: there is no way back from a first start, so what is not healthy stands halted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from tests.kit.temporal_env import Run
from tests.kit.temporal_world import World, artifact
from tidegate import errors
from tidegate.model.operation import Outcome, Phase, StartInput
from tidegate.names import CONTROL_QUEUE


async def _start(client: Client, **fields: Any) -> Run:
    request = StartInput.model_validate(
        {"deployment": "ledger", "artifact": "v1", "bake_s": 5, "from_empty": True, **fields}
    )
    handle = await client.start_workflow(
        "StartDeployment", request, id=f"op-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
    )
    return Run(handle)


@pytest.fixture
def stopped(world: World) -> World:
    """A deployment that has never run."""
    world._change(writer=None, epoch=0)
    world.job_state = None
    return world


async def test_starts_proves_and_reports(client: Client, stopped: World) -> None:
    result = await (await _start(client)).done()
    assert result.outcome is Outcome.DONE
    assert stopped.names() == [
        "locate", "observe", "take", "observe", "prepare", "ensure_running", "prove",
        "audit", "write_report", "release",
    ]  # fmt: skip
    (ensure,) = stopped.requests("ensure_running")
    assert (ensure.from_empty, ensure.snapshot, ensure.artifact) == (True, None, artifact("v1"))


async def test_what_cannot_be_started_does_not_run_as_before(client: Client, stopped: World) -> None:
    stopped.will("ensure_running", errors.StartRejected("no such class"))
    result = await (await _start(client)).failed("Undone")
    assert result.summary == "it does not run, as before"
    assert stopped.record.holder is None


async def test_what_is_not_healthy_halts_and_cannot_be_aborted(client: Client, stopped: World) -> None:
    stopped.will("prove", errors.ProofFailed("3 restarts"))
    run = await _start(client)
    status = await run.phase(Phase.HALTED)
    assert status.next_commands == (f"tidegate ops resume {run.handle.id}",)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("abort")
    assert "did not run before" in str(refused.value.cause)
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE


async def test_dry_run(client: Client, stopped: World) -> None:
    assert (await (await _start(client, dry_run=True)).done()).outcome is Outcome.PLANNED
    assert stopped.names() == ["locate", "observe"]
