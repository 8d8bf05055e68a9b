"""A region's failover is lost in the middle: one command brings every deployment of it to its end, once."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, workers
from tests.kit.temporal_world_facts import Block
from tests.kit.temporal_world_lost import LostWorld
from tidegate import errors
from tidegate.lineage.model import Gate
from tidegate.model.mirror import LinkState
from tidegate.model.operation import Outcome, Phase
from tidegate.model.record import Holder, RecordState
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput
from tidegate.names import CONTROL_QUEUE

LOST = {"take_over": {"why": "its Temporal was restored without it"}}
COMMAND = "tidegate failover region east --to west --take-over --why TEXT"
PLANNED = [
    ("close_group", "", 0),
    ("stop_deployment", "b", 0),
    ("cut_group", "", 0),
    ("rebase_copy", "a", 0),
    ("ensure_running", "a", 0),
    ("open_group", "", 0),
    ("rebase_copy", "b", 0),
    ("ensure_running", "b", 0),
    ("open_group", "", 1),
    ("mirror_group", "", 0),
]
UNPLANNED = [
    ("close_group", "", 0),
    ("cut_group", "", 0),
    ("shut_home", "a", 0),
    ("cut_group", "", 1),
    ("ensure_running", "a", 0),
    ("open_group", "", 1),
    ("ensure_running", "b", 0),
    ("open_group", "", 2),
    ("mirror_group", "", 0),
]


async def begin(client: Client, **fields: Any) -> Run:
    request = FailoverRegionInput.model_validate(
        {"region": "east", "to": "west", "requested_by": "ana", "bake_s": 1, **fields}
    )
    operation = f"failover-region-east-{uuid.uuid4().hex[:8]}"
    return Run(await client.start_workflow(FAILOVER_REGION, request, id=operation, task_queue=CONTROL_QUEUE))


async def ended(run: Run) -> None:
    """Until it is no more, as a person sees it who looks."""

    async def closed() -> None:
        assert (await run.handle.describe()).status is not WorkflowExecutionStatus.RUNNING

    await eventually(closed)


@contextlib.asynccontextmanager
async def on(client: Client, world: LostWorld) -> AsyncIterator[None]:
    """On workers of this world; what is left running at the end is terminated."""
    async with workers(client, world, ("east", "west")):
        try:
            yield
        finally:  # what a test that failed has left would be played on the next one's world
            async for left in client.list_workflows("ExecutionStatus = 'Running'"):
                with contextlib.suppress(RPCError):
                    await client.get_workflow_handle(left.id).terminate("the test is over")


@pytest.mark.parametrize("orphans", [True, False], ids=["orphans", "all"])
@pytest.mark.parametrize(("step", "deployment", "nth"), PLANNED, ids=str)
async def test_o6_planned_lost_behind_any_step_every_deployment_is_brought_to_its_end(
    client: Client, step: str, deployment: str, nth: int, orphans: bool
) -> None:
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies(step, deployment, after=True, orphans=orphans, nth=nth)
    async with on(client, world):
        await ended(await begin(client))
        await world.quiet()
        result = await (await begin(client, **LOST)).done()
        for asked in world.requests["take"]:  # none of the lost one's members waits for its word for ever
            await ended(Run(client.get_workflow_handle(asked.operation)))
    assert {one.deployment: one.outcome for one in result.members} == dict.fromkeys("ab", Outcome.DONE)
    await world.assert_all_moved()


@pytest.mark.parametrize(("step", "deployment", "nth"), UNPLANNED, ids=str)
async def test_o6_unplanned_lost_behind_any_step_every_deployment_is_brought_to_its_end(
    client: Client, step: str, deployment: str, nth: int
) -> None:
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies(step, deployment, after=True, orphans=True, nth=nth)
    async with on(client, world):
        await ended(await begin(client, unplanned=True))
        await world.quiet()
        result = await (await begin(client, unplanned=True, **LOST)).done()
    assert {one.deployment: one.outcome for one in result.members} == dict.fromkeys("ab", Outcome.DONE)
    await world.assert_all_moved()


@pytest.mark.parametrize("step", ["close_group", "cut_group", "open_group", "mirror_group"])
async def test_o6_the_one_that_took_over_is_lost_itself_and_the_next_ends_it(client: Client, step: str) -> None:
    """And the third time nothing is left to do: each is shown as done."""
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies("ensure_running", "a", after=True, orphans=True)
    async with on(client, world):
        await ended(await begin(client))
        world.dies(step, "", after=True, orphans=False)
        await ended(await begin(client, **LOST))
        await world.quiet()
        assert (await (await begin(client, **LOST)).done()).outcome is Outcome.DONE
        await world.assert_all_moved()
        began = len(world.requests["take"])
        again = await (await begin(client, **LOST)).done()
    assert [one.summary for one in again.members] == [
        "is done already, and left alone: it lives in west/cell-1, and its topics are open there" for _ in "ab"
    ]
    assert len(world.requests["take"]) == began
    await world.assert_all_moved()


async def test_x18_an_input_that_all_share_is_opened_once_and_stays_open_while_the_rest_is_ended(
    client: Client,
) -> None:
    """The first of them is done and takes payments; the others turn with it, and are never in its way."""
    world = LostWorld(client, {"a": 0, "b": 1, "c": 2}, shared="payments")
    world.dies("ensure_running", "b", after=True, orphans=False)
    async with on(client, world):
        await ended(await begin(client))
        await world.quiet()
        plan = await (await begin(client, dry_run=True, **LOST)).done()
        result = await (await begin(client, **LOST)).done()
    told = {one.deployment: one.summary for one in plan.members}
    assert told["a"].startswith(("is done already", "tier 0, behind its turn"))
    assert told["b"].startswith("tier 1, behind its turn: failover-region-east-")
    assert told["c"].startswith("taken over from failover-")
    assert [one.outcome for one in result.members] == [Outcome.DONE] * 3
    await world.assert_all_moved()


async def test_o6_without_a_persons_word_it_is_refused_and_the_one_command_is_named(client: Client) -> None:
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies("ensure_running", "a", after=True, orphans=True)
    async with on(client, world):
        first = await begin(client)
        await ended(first)
        await world.quiet()
        called = len(world.told)
        for dry_run in (True, False):
            result = await (await begin(client, dry_run=dry_run)).failed("Refused")
            assert f"topics of a were turned by {first.handle.id}, and not opened in west" in result.why
            assert "b is held by failover-b-" in result.why
            assert COMMAND in result.why
        # The lost one's members find out by themselves that nobody goes on with it, and stand halted.
        assert {name for name, _ in world.told[called:]} - {"halt"} == {"look_group"}


@pytest.mark.parametrize("take_over", [None, LOST["take_over"]])
async def test_o4_while_it_still_runs_it_is_named_and_nothing_is_taken_from_it(client: Client, take_over: Any) -> None:
    world = LostWorld(client, {"a": 0, "b": 1})
    block = Block()
    world.will("ensure_running", "a", block)
    async with on(client, world):
        first = await begin(client)
        await block.entered.wait()
        second = await begin(client, take_over=take_over)
        refused = await second.failed("Refused" if take_over is None else "Held")
        if take_over is None:
            assert all(f"{one.deployment} is held by failover-" in one.why for one in refused.members)
        else:
            assert "still runs" in refused.why
            assert f"tidegate ops watch {first.handle.id}" in refused.why
        block.released.set()
        assert (await first.done()).outcome is Outcome.DONE
    await world.assert_all_moved()


@pytest.mark.parametrize("halted", [True, False])
async def test_o4_a_member_that_another_operation_holds_is_named_unless_it_waits_for_a_person(
    client: Client, halted: bool
) -> None:
    """One that stands halted waits for just this word."""
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies("ensure_running", "a", after=True, orphans=False)
    async with on(client, world):
        await ended(await begin(client))
        await world.quiet()
        stands = await client.start_workflow(
            "UpgradeDeployment", {"deployment": "b", "to": "v2"}, id=f"upgrade-b-{uuid.uuid4().hex[:8]}",
            task_queue="nobody",
        )  # fmt: skip
        run_id = stands.first_execution_run_id
        assert run_id is not None
        b = world.members["b"]
        assert b.record.holder is not None
        holder: Holder = b.record.holder.model_copy(
            update={"operation": stands.id, "run_id": run_id, "runbook": "UpgradeDeployment"}
        )
        b._change(holder=holder, state=RecordState.HALTED if halted else RecordState.HELD, fence=b.record.fence + 1)
        run = await begin(client, **LOST)
        if halted:
            assert (await run.done()).outcome is Outcome.DONE
            await world.assert_all_moved()
            return
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        assert f"b is held by {stands.id}, and still runs" in (await run.status()).why
        assert f"tidegate ops abort {stands.id}" in (await run.status()).why


async def test_x24_one_that_is_ended_as_planned_and_cannot_leave_waits_for_a_person_and_the_others_go_on(
    client: Client,
) -> None:
    """What it shares the link with has moved for good: it has no way back, and is not put back."""
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies("ensure_running", "a", after=True, orphans=False)
    async with on(client, world):
        await ended(await begin(client))
        await world.quiet()
        world.will("stop_deployment", "b", errors.SavepointFailed("no space"))
        run = await begin(client, **LOST)

        async def waits() -> None:
            told = (await run.status()).waiting_for
            assert "b cannot go on as planned, and has no way back (X24): no space" in told
            assert f"tidegate ops escalate {run.handle.id}" in told

        await eventually(waits)
        assert "in-a" in world.opened
        await run.update("escalate", why="east is going")
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE] * 2
    assert ("shut_home", "b") in world.told
    assert "reopen_group" not in {name for name, _ in world.told}
    await world.assert_all_moved()


async def test_x24_what_was_turned_unplanned_is_not_gone_on_with_as_planned(client: Client) -> None:
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies("cut_group", "", after=True, orphans=False)
    async with on(client, world):
        await ended(await begin(client, unplanned=True))
        result = await (await begin(client, **LOST)).failed("Refused")
        assert "in-a, in-b turned unplanned" in result.why
        assert "tidegate failover region east --to west --unplanned --take-over --why TEXT" in result.why


async def test_x24_one_behind_its_turn_is_never_turned_back_where_it_fails(client: Client) -> None:
    world = LostWorld(client, {"a": 0})
    world.dies("ensure_running", "a", after=True, orphans=False)
    async with on(client, world):
        await ended(await begin(client))
        world.will("ensure_running", "a", errors.StartRejected("no slot"))
        run = await begin(client, **LOST)

        async def halted() -> str:
            assert "a stands halted" in (await run.status()).waiting_for
            assert world.requests["halt"]
            return str(world.requests["halt"][-1].held.holder.operation)

        operation = await eventually(halted)
        child = Run(client.get_workflow_handle(operation))
        assert (await child.status()).phase is Phase.HALTED
        await child.update("resume")
        assert (await run.done()).outcome is Outcome.DONE
    assert "reopen_group" not in {name for name, _ in world.told}
    await world.assert_all_moved()


@pytest.mark.parametrize("how", ["refused", "aborted"])
@pytest.mark.parametrize("step", ["close_group", "stop_deployment"])
async def test_x24_one_that_goes_back_before_it_has_closed_opens_what_the_lost_one_had_closed(
    client: Client, step: str, how: str
) -> None:
    """Else nobody could write them, and no operation would be there that says so."""
    world = LostWorld(client, {"a": 0, "b": 1})
    world.dies(step, "b" if step == "stop_deployment" else "", after=True, orphans=True)
    async with on(client, world):
        await ended(await begin(client))
        await world.quiet()
        assert await gates(world) == {Gate.CLOSED}
        looks = Block()
        world.will("prepare", "b", errors.Refused("no jar") if how == "refused" else looks)
        run = await begin(client, **LOST)
        if how == "aborted":
            await looks.entered.wait()
            await run.update("abort")
            looks.released.set()
        result = await run.failed("Undone")
        for asked in world.requests["take"]:
            await ended(Run(client.get_workflow_handle(asked.operation)))
    assert {one.outcome for one in result.members} <= {Outcome.UNDONE, Outcome.REFUSED}
    assert await gates(world) == {Gate.OPEN}
    assert {one.region_now for one in world.members.values()} == {"east"}
    assert {one.record.holder for one in world.members.values()} == {None}
    assert world.members["b"].started == (["east"] if step == "stop_deployment" else [])
    link = await world.links.read("east-to-west")
    assert link is None or (link.mirror is not LinkState.STOPPED and link.holder is None)


async def gates(world: LostWorld) -> set[Gate]:
    """Of all topics."""
    topics = {topic for one in world.members.values() for topic in one.topics}
    return {known.gate for topic in topics if (known := await world.lineage.read(topic)) is not None}
