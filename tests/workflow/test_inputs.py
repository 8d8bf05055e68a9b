"""What a person can get wrong at the start of an operation: it fails with the field's name, and never hangs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.kit.temporal_env import Run, upgrade
from tests.kit.temporal_world import World
from tidegate.model.operation import Outcome, Phase
from tidegate.names import CONTROL_QUEUE


async def _start(client: Client, *args: Any) -> WorkflowHandle[Any, Any]:
    """As the plain ``temporal workflow start`` does: any JSON at all."""
    return await client.start_workflow(
        "UpgradeDeployment", args=list(args), id=f"op-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([{"deployment": "ledger"}], "to: Field required"),
        ([{"deployment": "ledger", "to": "v2", "bake": 3}], "bake: Extra inputs are not permitted"),
        ([{"deployment": "ledger", "to": "v2", "bake_s": "soon"}], "bake_s: "),
        (["ledger"], "UpgradeInput"),
    ],
)
async def test_bad_input_fails_with_the_field(client: Client, world: World, args: list[Any], words: str) -> None:
    handle = await _start(client, *args)
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "InvalidInput"
    assert words in cause.message
    assert world.calls == []


async def test_no_input_at_all_fails_too(client: Client, world: World) -> None:
    handle = await _start(client)
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "InvalidInput"


async def test_unknown_deployment_is_bad_input(client: Client, world: World) -> None:
    result = await (await upgrade(client, deployment="leger")).failed("InvalidInput")
    assert result.outcome is Outcome.REFUSED
    assert "leger is not in the fleet file" in result.why
    assert world.names() == ["locate"]


async def test_unknown_artifact_is_bad_input_and_reported(client: Client, world: World) -> None:
    result = await (await upgrade(client, to="v9")).failed("InvalidInput")
    assert "artifact v9" in result.why
    assert world.names() == ["locate", "observe", "write_report"]


@pytest.mark.parametrize("name", ["approve", "pause", "abort"])
async def test_a_bad_update_is_refused_and_the_run_lives_on(client: Client, world: World, name: str) -> None:
    run = await upgrade(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.handle.execute_update(name, {"who": "bob"})
    assert "by: Field required" in str(refused.value.cause)
    status = await run.status()
    assert status.phase is Phase.WAITING_FOR_APPROVAL
    assert not status.pause_requested


async def test_every_control_says_what_it_does(client: Client, world: World) -> None:
    run: Run = await upgrade(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    metadata = await run.handle.query("__temporal_workflow_metadata")
    text = str(metadata)
    for word in ("approve", "reject", "pause", "resume", "abort", "status", "waiting-for-approval"):
        assert word in text
    await run.update("reject")
    await run.failed("Refused")
