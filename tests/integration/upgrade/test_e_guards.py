"""E: what is refused, what is the same, and what a person asks for in the middle."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.stage import DEPLOYMENT
from tests.integration.upgrade.conftest import MESSAGES, NOTES
from tests.kit import faults
from tests.kit.stage import Scene, summary
from tidegate.cli import operations
from tidegate.errors import Refused
from tidegate.model.inputs import ApproveInput, RejectInput
from tidegate.model.operation import Outcome, Phase

pytestmark = pytest.mark.matrix


async def test_a_second_upgrade_is_refused_and_names_the_holder(scene: Scene):
    first = await scene.upgrade("v2", bake_s=30.0)  # it is to hold the deployment for as long as a command takes
    await faults.STOP.wait(scene, first)
    second = await scene.tidegate("upgrade", DEPLOYMENT, "--to", "v2-crash-late", "--bake", "1s", "--yes")
    assert second.status == 4, second.out + second.err
    said = second.out + second.err
    assert first.id in said
    assert "since" in said
    assert f"tidegate ops watch {first.id}" in said
    MESSAGES.append(f"$ tidegate upgrade ledger --to v2-crash-late      (another upgrade runs)\n{said}")
    result = await first.result()
    assert result.outcome is Outcome.DONE, summary(result)
    await scene.check()


async def test_the_same_start_twice_is_one_operation(scene: Scene):
    fence = (await scene.record()).fence
    command = ("upgrade", DEPLOYMENT, "--to", "v2", "--bake", "30s", "--yes")
    one, two = await asyncio.gather(scene.tidegate(*command), scene.tidegate(*command))
    assert (one.status, two.status) == (0, 0), one.out + one.err + two.out + two.err
    ids = {done.out.split()[1] for done in (one, two)}
    assert len(ids) == 1, ids
    record = await scene.record()
    assert record.fence == fence + 1, "it was taken once"
    await scene.check()


async def test_a_pause_asked_for_in_the_switch_acts_after_it(scene: Scene):
    operation = await scene.upgrade("v2")
    await faults.STOP.wait(scene, operation)
    await operation.control("pause", "look first")

    async def paused() -> bool:
        return await operation.phase() is Phase.PAUSED

    await scene.until(paused, "the pause", 300.0)
    record, status = await scene.record(), await operation.status()
    assert record.writer is not None
    assert record.writer.artifact.name == "v2", "the switch was finished first"
    assert not record.open_intents()
    assert status.next_commands == (f"tidegate ops resume {operation.id}", f"tidegate ops abort {operation.id}")
    await operation.control("resume")
    result = await operation.result()
    assert result.outcome is Outcome.DONE, summary(result)
    await scene.check()


async def test_an_abort_asked_for_in_the_switch_goes_back_after_it(scene: Scene):
    operation = await scene.upgrade("v2", bake_s=600.0)
    await faults.STOP.wait(scene, operation)
    await operation.control("abort", "wrong day")
    result = await operation.result()
    NOTES.append(f"abort in the switch: {summary(result)}")
    assert result.outcome is Outcome.UNDONE, summary(result)
    assert "aborted by test: wrong day" in result.why
    record = await scene.record()
    assert record.writer is not None
    assert record.writer.artifact.name == "v1"
    await scene.check()


async def test_only_the_plan_that_was_shown_can_be_approved(scene: Scene):
    operation = await scene.upgrade("v2", require_approval=True)

    async def waits() -> bool:
        return await operation.phase() is Phase.WAITING_FOR_APPROVAL

    await scene.until(waits, "the approval to be asked for")
    assert (await scene.record()).holder is None, "nothing is held while an approval is waited for"
    with pytest.raises(Refused, match="is not the plan that waits"):
        await operations.update(operation.handle, "approve", ApproveInput(by="ana", plan_hash="0" * 12))
    plan = (await operation.status()).plan
    assert plan is not None
    with pytest.raises(Refused, match="cannot approve"):
        await operations.update(operation.handle, "approve", ApproveInput(by="test", plan_hash=plan.hash))
    await operations.update(operation.handle, "approve", ApproveInput(by="ana", plan_hash=plan.hash[:12]))
    result = await operation.result()
    assert result.outcome is Outcome.DONE, summary(result)
    await scene.check()


async def test_a_rejected_plan_changes_nothing(scene: Scene):
    before = await scene.record()
    operation = await scene.upgrade("v2", require_approval=True)

    async def waits() -> bool:
        return await operation.phase() is Phase.WAITING_FOR_APPROVAL

    await scene.until(waits, "the approval to be asked for")
    await operations.update(operation.handle, "reject", RejectInput(by="ana", comment="not today"))
    result = await operation.result()
    assert result.outcome is Outcome.REFUSED, summary(result)
    assert "not today" in result.why
    assert await scene.record() == before
