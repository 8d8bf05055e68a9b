"""UpgradeDeployment, branch by branch, on a real Temporal server with faked activities."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import upgrade, workers
from tests.kit.temporal_world import World, artifact
from tidegate import errors
from tidegate.model.operation import Outcome, Phase, StepState, Verdict
from tidegate.model.record import CancelIntent, RecordState

BEFORE = ["locate", "observe", "take", "observe", "prepare"]
AFTER = ["audit", "write_report", "release"]


# -- the straight path


async def test_straight_path_ends_done_with_report_and_release(client: Client, world: World) -> None:
    run = await upgrade(client)
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert "v2 runs since" in result.summary
    assert "epoch 8" in result.summary
    assert world.names() == [*BEFORE, "switch", "prove", *AFTER]
    assert world.record.state is RecordState.IDLE
    assert world.reports[0].outcome is Outcome.DONE
    assert result.report == world.reports[0].operation.join(("reports/ledger/", ".json"))


async def test_status_and_details_show_numbered_steps_with_facts_o19(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    status = await run.status()
    assert status.activity is not None
    assert (status.activity.name, status.activity.queue) == ("switch", "tidegate-region-east")
    assert (status.activity.deadline - status.activity.since).total_seconds() == 600
    block.released.set()
    await run.done()
    status = await run.status()
    shown = [(row.number, row.name, row.state) for row in status.steps]
    assert [row[:2] for row in shown] == [
        (1, "observe"), (0, "take"), (0, "prepare"), (2, "stop"), (3, "start v2"), (4, "prove"), (5, "conclude"),
    ]  # fmt: skip
    assert {row[2] for row in shown} == {StepState.OK}
    assert all(row.fact for row in status.steps)
    assert status.phase is Phase.DONE


async def test_search_attributes_tell_where_it_stands(client: Client, world: World) -> None:
    run = await upgrade(client)
    await run.done()
    description = await run.handle.describe()
    values = {pair.key.name: pair.value for pair in description.typed_search_attributes}
    assert values == values | {
        "TidegateRunbook": "UpgradeDeployment",
        "TidegateDeployment": "ledger",
        "TidegateRegion": "east",
        "TidegateCell": "cell-1",
        "TidegatePhase": "done",
    }


async def test_dry_run_returns_the_plan_and_changes_nothing(client: Client, world: World) -> None:
    before = world.record
    result = await (await upgrade(client, dry_run=True)).done()
    assert result.outcome is Outcome.PLANNED
    assert result.plan is not None
    assert result.plan.to_artifact == artifact("v2")
    assert world.names() == ["locate", "observe"]
    assert world.record == before


async def test_region_steps_fall_back_to_the_control_queue_with_the_same_n_o17(client: Client) -> None:
    world = World()
    async with workers(client, world, regions=()):
        run = await upgrade(client)
        assert (await run.done()).outcome is Outcome.DONE
    assert {queue for _, queue, _ in world.calls} == {"tidegate-control"}
    assert [request.n for request in world.requests("switch")] == [1]


# -- approval


async def test_approval_is_for_the_hash_and_not_by_the_requester(client: Client, world: World) -> None:
    run = await upgrade(client, require_approval=True)
    status = await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert status.plan is not None
    plan_hash = status.plan.hash
    for fields, words in (
        ({"plan_hash": "0" * 12}, "is not the plan that waits"),
        ({"plan_hash": plan_hash, "by": "ana"}, "cannot approve it"),
    ):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await run.update("approve", **fields)
        assert words in str(refused.value.cause)
    first = await run.update("approve", plan_hash=plan_hash[:8])
    assert await run.update("approve", plan_hash=plan_hash[:8]) == first
    result = await run.done()
    assert result.outcome is Outcome.DONE
    approval = world.reports[0].approval
    assert approval is not None
    assert (approval.by, approval.plan_hash) == ("bob", plan_hash)


async def test_reject_ends_refused_and_untouched(client: Client, world: World) -> None:
    run = await upgrade(client, require_approval=True)
    await run.phase(Phase.WAITING_FOR_APPROVAL)
    await run.update("reject", comment="not on a Friday")
    result = await run.failed("Refused")
    assert result.outcome is Outcome.REFUSED
    assert "not on a Friday" in result.why
    assert "take" not in world.names()


async def test_nobody_approves_in_time(client: Client, world: World) -> None:
    result = await (await upgrade(client, require_approval=True, approval_timeout_s=0.3)).failed("Refused")
    assert "nobody approved" in result.why
    assert "take" not in world.names()


async def test_tier_asks_for_approval_and_break_glass_goes_without(client: Client, world: World) -> None:
    world.approval_required = True
    await (await upgrade(client, break_glass="burning")).done()
    assert world.reports[0].break_glass == "burning"
    assert [row.fact for row in world.reports[0].steps if row.name == "approve"] == ["break-glass: burning"]


async def test_approve_without_a_wait_is_refused(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("approve", plan_hash="0" * 8)
    assert "no approval is waited for" in str(refused.value.cause)
    block.released.set()
    await run.done()


# -- take


async def test_held_by_another_is_refused_and_reported(client: Client, world: World) -> None:
    world.will("take", errors.Held("ledger is held by upgrade-ledger-1", hint="tidegate ops watch upgrade-ledger-1"))
    result = await (await upgrade(client)).failed("Held")
    assert result.outcome is Outcome.REFUSED
    assert "tidegate ops watch upgrade-ledger-1" in result.why
    assert world.names() == ["locate", "observe", "take", "write_report"]


async def test_basis_changed_before_the_take_is_planned_anew_without_approval_o4(client: Client, world: World) -> None:
    world.will("take", errors.BasisChanged("fence 3 has become 4"))
    assert (await (await upgrade(client)).done()).outcome is Outcome.DONE
    assert world.names()[:6] == ["locate", "observe", "take", "observe", "take", "observe"]


async def test_basis_changed_after_an_approval_is_refused_and_released_o4(client: Client, world: World) -> None:
    run = await upgrade(client, require_approval=True)
    status = await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert status.plan is not None
    world._change(epoch=9)
    await run.update("approve", plan_hash=status.plan.hash)
    result = await run.failed("BasisChanged")
    assert result.outcome is Outcome.REFUSED
    assert world.names()[-2:] == ["write_report", "release"]
    assert world.record.holder is None
    assert "switch" not in world.names()


async def test_take_over_with_open_intents_lets_ensure_running_resolve_them(client: Client, world: World) -> None:
    world.supersede()
    world._change(intents=(CancelIntent(id="c", step="switch", n=1, job_id="0" * 32, epoch=7),))
    run = await upgrade(client, take_over={"why": "the other one is stuck"})
    assert (await run.done()).outcome is Outcome.DONE
    assert "switch" not in world.names()
    (ensure,) = world.requests("ensure_running")
    assert ensure.artifact == artifact("v2")
    assert artifact("v1").sha256 in ensure.readable_from


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


# -- pause and abort


async def test_pause_in_the_switch_holds_before_the_proof_and_resume_goes_on(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    assert "safe point" in await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    assert "prove" not in world.names()
    await run.update("resume")
    assert await run.update("resume") == "goes on"
    assert (await run.done()).outcome is Outcome.DONE


async def test_resume_of_what_runs_is_refused(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await upgrade(client)
    await block.entered.wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("resume")
    assert "nothing to resume" in str(refused.value.cause)
    block.released.set()
    await run.done()


async def test_abort_before_the_switch_changes_nothing(client: Client, world: World) -> None:
    block = world.block("prepare")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("abort", why="wrong deployment")
    result = await run.failed("Undone")
    assert result.summary == "nothing was changed"
    assert "aborted by bob: wrong deployment" in result.why
    assert world.names() == [*BEFORE, "write_report", "release"]


async def test_abort_in_the_switch_stops_it_and_goes_back(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("abort")
    await run.failed("Undone")
    assert world.names() == [*BEFORE, "switch", "ensure_running", "prove", *AFTER]


async def test_abort_that_the_switch_defers_goes_back_after_it_o16(client: Client, world: World) -> None:
    entered = asyncio.Event()

    async def finish_then_obey() -> None:
        entered.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        world._start(artifact("v2"))
        raise asyncio.CancelledError

    world.will("switch", finish_then_obey)
    run = await upgrade(client)
    await entered.wait()
    await run.update("abort")
    result = await run.failed("Undone")
    assert "v1 runs again" in result.summary
    assert world.record.writer is not None
    assert world.record.writer.artifact == artifact("v1")


async def test_abort_while_the_switch_ends_all_the_same_goes_back(client: Client, world: World) -> None:
    block = world.block("switch")
    run = await upgrade(client)
    await block.entered.wait()
    await run.update("pause")
    block.released.set()
    await run.phase(Phase.PAUSED)
    await run.update("abort")
    await run.failed("Undone")
    assert [request.artifact.name for request in world.requests("ensure_running")] == ["v1"]


@pytest.mark.parametrize("where", ["observe", "prove"])
async def test_workflow_cancel_means_abort_o11(client: Client, world: World, where: str) -> None:
    block = world.block(where)
    run = await upgrade(client)
    await block.entered.wait()
    await run.handle.cancel(reason="typo")
    result = await run.failed("Undone")
    assert "typo" in result.why
    assert world.record.holder is None
    assert world.reports[0].outcome is Outcome.UNDONE


async def test_abort_after_the_proof_is_too_late(client: Client, world: World) -> None:
    block = world.block("audit")
    run = await upgrade(client)
    await block.entered.wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("abort")
    assert "too late" in str(refused.value.cause)
    block.released.set()
    await run.done()


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


# -- verdict


async def test_bad_verdict_fails_leaves_the_new_job_and_says_how_to_go_back(client: Client, world: World) -> None:
    world.verdict = Verdict(audited=True, wrong=3)
    result = await (await upgrade(client)).failed("BadVerdict")
    assert result.outcome is Outcome.BAD_VERDICT
    assert result.next_commands == ("tidegate upgrade ledger --to v1",)
    assert world.record.writer is not None
    assert world.record.writer.artifact == artifact("v2")
    assert world.record.holder is None


async def test_a_verdict_that_cannot_be_had_is_never_green_i8(client: Client, world: World) -> None:
    world.will("audit", errors.OperationFailed("the audit command left with 3"))
    result = await (await upgrade(client)).failed("BadVerdict")
    assert "the audit command left with 3" in result.why


# -- a worker that dies


async def test_a_worker_that_stops_in_the_switch_hands_it_to_the_next(client: Client) -> None:
    world = World()
    block = world.block("switch")
    async with workers(client, world):
        run = await upgrade(client)
        await block.entered.wait()
        block.released.set()
    async with workers(client, world):
        assert (await run.done()).outcome is Outcome.DONE
