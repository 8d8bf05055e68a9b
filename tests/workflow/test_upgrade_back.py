"""UpgradeDeployment on a real Temporal server with faked activities: going back, halting, superseded."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import AFTER, BEFORE, upgrade
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tidegate import errors
from tidegate.model.operation import Outcome, Phase, StepState
from tidegate.model.record import RecordState

# -- going back


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("switch", errors.SavepointFailed("no savepoint: expired", details={"job_state": "RUNNING"})),
        ("switch", errors.StartRejected("no such class")),
        ("prove", errors.ProofFailed("3 restarts in 20 s (limit 2)")),
        ("prove", errors.NoProgress("no checkpoint in 10 s")),
        ("prove", ApplicationError("what is this", type="Strange", non_retryable=True)),
    ],
    ids=lambda value: getattr(value, "type", value),
)
async def test_failure_goes_back_to_the_old_artifact_proven(
    client: Client, world: World, where: str, error: Exception
) -> None:
    world.will(where, error)
    result = await (await upgrade(client)).failed("Undone")
    assert result.outcome is Outcome.UNDONE
    assert str(error.args[0]) in result.why
    begun = ["switch"] if where == "switch" else ["switch", "prove"]
    assert world.names() == [*BEFORE, *begun, "ensure_running", "prove", *AFTER]
    (ensure,) = world.requests("ensure_running")
    assert ensure.artifact == artifact("v1")
    assert set(ensure.readable_from) == {artifact("v1").sha256, artifact("v2").sha256}
    assert world.requests("prove")[-1].bake_s == 20
    assert world.record.writer is not None
    assert world.record.writer.artifact == artifact("v1")
    assert world.record.holder is None
    untouched = where == "switch"
    assert ("untouched" in result.summary) is untouched
    states = {row.name: row.state for row in world.reports[0].steps}
    assert states["start v1"] is StepState.OK


async def test_a_start_that_failed_is_not_shown_as_a_failed_stop(client: Client, world: World) -> None:
    stop = {
        "job_id": "a" * 32,
        "epoch": 7,
        "location": "s3://east/savepoints/ledger/savepoint-1",
        "files": 3,
        "size_bytes": 2048,
        "asked_at": "2026-11-22T20:00:00Z",
        "completed_at": "2026-11-22T20:00:01Z",
    }
    world.will("switch", errors.StartRejected("restarted 3 times before all of its tasks ran", details={"stop": stop}))
    await (await upgrade(client)).failed("Undone")
    rows = {row.name: row for row in world.reports[0].steps}
    assert rows["stop"].state is StepState.OK
    assert "savepoint-1 (3 files, 2 KiB)" in rows["stop"].fact
    assert rows["start v2"].state is StepState.FAILED
    assert rows["start v2"].fact == "restarted 3 times before all of its tasks ran"


async def test_only_declared_readers_take_the_new_state_x27(client: Client, world: World) -> None:
    world.readable_by = {}
    world.will("prove", errors.ProofFailed("sick"))
    await (await upgrade(client, on_unreadable_state="halt")).failed("Undone")
    (ensure,) = world.requests("ensure_running")
    assert ensure.readable_from == (artifact("v1").sha256,)
    assert ensure.on_unreadable_state == "halt"


async def test_lost_job_is_started_again_with_a_new_n(client: Client, world: World) -> None:
    world.will("prove", errors.JobLost("forgotten"))
    result = await (await upgrade(client)).done()
    assert result.outcome is Outcome.DONE
    assert world.names()[5:9] == ["switch", "prove", "ensure_running", "prove"]
    (ensure,) = world.requests("ensure_running")
    assert ensure.artifact == artifact("v2")
    assert ensure.n > world.requests("switch")[0].n


async def test_job_lost_again_and_again_goes_back(client: Client, world: World) -> None:
    world.will("prove", *[errors.JobLost("forgotten")] * 4)
    await (await upgrade(client)).failed("Undone")
    wanted = [request.artifact.name for request in world.requests("ensure_running")]
    assert wanted == ["v2", "v2", "v2", "v1"]


async def test_failure_before_the_switch_changes_nothing(client: Client, world: World) -> None:
    world.will("prepare", errors.OperationFailed("no slots"))
    result = await (await upgrade(client)).failed("Undone")
    assert result.summary == "nothing was changed"
    assert world.names() == [*BEFORE, "write_report", "release"]


# -- halting


async def test_must_halt_then_resume_goes_on_forward(client: Client, world: World) -> None:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    run = await upgrade(client)
    status = await run.phase(Phase.HALTED)
    assert "Flink in east answers no request" in status.why
    assert status.next_commands == (
        f"tidegate ops resume {run.handle.id}",
        f"tidegate ops abort {run.handle.id}",
    )
    await eventually(lambda: _is(world, RecordState.HALTED))
    assert (await run.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    assert world.names()[5:] == ["switch", "halt", "unhalt", "ensure_running", "prove", *AFTER]
    assert world.requests("ensure_running")[0].artifact == artifact("v2")


async def _is(world: World, state: RecordState) -> None:
    assert world.record.state is state


async def test_must_halt_then_abort_goes_back(client: Client, world: World) -> None:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    run = await upgrade(client)
    await run.phase(Phase.HALTED)
    await run.update("abort", why="enough")
    result = await run.failed("Undone")
    assert "enough" in result.why
    assert [request.artifact.name for request in world.requests("ensure_running")] == ["v1"]


async def test_a_deadline_passed_halts_and_says_the_last_reason(client: Client, world: World) -> None:
    world.switch_timeout_s = 3.0
    world.always["switch"] = errors.Unavailable("connection refused")
    run = await upgrade(client)
    status = await run.phase(Phase.HALTED)
    assert "switch did not" in status.why
    assert "connection refused" in status.why
    assert len(world.requests("switch")) > 1
    assert {request.n for request in world.requests("switch")} == {1}
    del world.always["switch"]
    await run.update("resume")
    await run.done()


async def test_failed_undo_halts_and_resume_tries_it_again(client: Client, world: World) -> None:
    world.will("prove", errors.ProofFailed("sick"))
    world.will("ensure_running", errors.StartRejected("no slots for v1"))
    run = await upgrade(client)
    status = await run.phase(Phase.HALTED)
    assert "no slots for v1" in status.why
    await run.update("resume")
    result = await run.failed("Undone")
    assert "sick" in result.why
    assert [request.artifact.name for request in world.requests("ensure_running")] == ["v1", "v1"]


async def test_halt_survives_a_control_bucket_that_is_away(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.kit.HALT_S", 0.5)
    world.will("switch", errors.MustHalt("stuck"))
    world.always["halt"] = errors.Unavailable("control bucket away")
    run = await upgrade(client)

    async def marked() -> None:
        assert "could not be marked" in (await run.status()).why

    await eventually(marked)
    await run.update("resume")
    await run.done()


async def test_no_end_without_report_and_release_i8(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.concluding.CONCLUDE_S", 0.5)
    world.always["write_report"] = errors.Unavailable("control bucket away")
    run = await upgrade(client)
    status = await run.phase(Phase.HALTED)
    assert "control bucket away" in status.why
    assert status.next_commands == (f"tidegate ops resume {run.handle.id}",)
    with pytest.raises(WorkflowUpdateFailedError):
        await run.update("abort")
    del world.always["write_report"]
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    assert world.record.holder is None


# -- superseded


@pytest.mark.parametrize("where", ["prepare", "switch", "prove", "ensure_running", "halt", "unhalt", "release"])
async def test_superseded_anywhere_does_nothing_more_but_report_o8(client: Client, world: World, where: str) -> None:
    lost = errors.Superseded("fence 4 has become 5, held by other")
    if where == "ensure_running":
        world.will("prove", errors.ProofFailed("sick"))
    if where in {"halt", "unhalt"}:
        world.will("switch", errors.MustHalt("stuck"))
    world.will(where, lost)
    run = await upgrade(client)
    if where == "unhalt":
        await run.phase(Phase.HALTED)
        await run.update("resume")
    result = await run.failed("Superseded")
    assert result.outcome is Outcome.SUPERSEDED
    after = world.names()[world.names().index(where) + 1 :]
    assert after == ["write_report"]
    assert world.reports[-1].outcome is Outcome.SUPERSEDED
