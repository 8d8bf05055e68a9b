"""UpgradeDeployment on a real Temporal server with faked activities: the straight path, approval, the take, the end."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from tests.kit.temporal_env import AFTER, BEFORE, upgrade, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tidegate import errors
from tidegate.model.operation import Outcome, Phase, StepState, Verdict
from tidegate.model.record import CancelIntent, RecordState

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


async def test_a_job_that_is_lost_before_its_audit_is_to_be_restored(client: Client, world: World) -> None:
    world.will("audit", errors.JobLost("job a was lost after it had been proven"))
    result = await (await upgrade(client)).failed("BadVerdict")
    assert "was lost after it had been proven" in result.why
    assert result.next_commands == ("tidegate restore ledger",)


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
