"""FailoverRegion: what is shared is done once; a deployment that fails does not stop the others."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.docs.pages import table_under
from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, workers
from tests.kit.temporal_world_facts import Block
from tests.kit.temporal_world_region import MemberWorld, RegionWorld
from tidegate import errors
from tidegate.model.failover import Answers
from tidegate.model.groups import GroupFact, GroupLook
from tidegate.model.operation import Outcome, Phase, StepState
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput, Other
from tidegate.names import CONTROL_QUEUE

BOTH = ("east", "west")


@contextlib.asynccontextmanager
async def region(client: Client, world: RegionWorld, **fields: Any) -> AsyncIterator[Run]:
    """Its failover to the west, on workers of this world; what is left running at the end is terminated."""
    request = FailoverRegionInput.model_validate(
        {"region": "east", "to": "west", "requested_by": "ana", "bake_s": 1, **fields}
    )
    async with workers(client, world, BOTH):
        handle = await client.start_workflow(
            FAILOVER_REGION, request, id=f"failover-region-east-{uuid.uuid4().hex[:8]}", task_queue=CONTROL_QUEUE
        )
        try:
            yield Run(handle)
        finally:
            async for left in client.list_workflows("ExecutionStatus = 'Running'"):
                with contextlib.suppress(RPCError):
                    await client.get_workflow_handle(left.id).terminate("the test is over")


async def test_x18_what_is_shared_is_done_once_and_between_all_stops_and_all_starts(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    async with region(client, world) as run:
        result = await run.done()
    assert result.outcome is Outcome.DONE
    assert result.summary == "2 of 2 deployments of east run in west"
    assert [(one.deployment, one.outcome, one.verdict and one.verdict.gap_ms) for one in result.members] == [
        ("a", Outcome.DONE, 4_200.0),
        ("b", Outcome.DONE, 4_200.0),
    ]
    acts = [
        name if not who else f"{name} {who}"
        for name, who in world.order(
            "close_group", "stop_deployment", "cut_group", "ensure_running", "open_group", "mirror_group"
        )
    ]
    assert acts[0] == "close_group"
    assert set(acts[1:3]) == {"stop_deployment a", "stop_deployment b"}
    assert acts[3:] == [
        "cut_group",
        "ensure_running a",
        "open_group",
        "ensure_running b",
        "open_group",
        "mirror_group",
    ]
    assert [one.open for one in world.requests["open_group"]] == [("in-a", "out-a"), ("in-b", "out-b")]
    assert world.requests["cut_group"][0].ends == {"in-a/0": 40}
    assert {world.region_now for world in world.worlds.values()} == {"west"}
    assert "close_producers" not in {name for name, _ in world.told}
    assert all(world.record.holder is None for world in world.worlds.values())


async def test_x25_each_member_moves_its_own_groups_before_its_topics_open(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.worlds["a"].groups = (GroupLook(group="shop", topics=("out-a",), partitions=2),)
    world.worlds["a"].moved = (GroupFact(group="shop", left=("somebody is in it in west",)),)
    async with region(client, world) as run:
        result = await run.done()
    assert result.outcome is Outcome.DONE
    told = world.order("ensure_running", "translate_groups", "open_group")
    assert told == [
        ("ensure_running", "a"),
        ("translate_groups", "a"),
        ("open_group", ""),
        ("ensure_running", "b"),
        ("open_group", ""),
    ]
    assert [one.summary.endswith("NOT MOVED: consumer group shop") for one in result.members] == [True, False]


async def test_its_report_names_each_deployment_with_gap_verdict_and_rto(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    async with region(client, world) as run:
        result = await run.done()
        status = await run.status()
    report = next(one for one in world.requests["write_report"] if one.runbook == FAILOVER_REGION)
    assert report.deployment == "region-east"
    rows = {row.name: row for row in report.steps}
    assert rows["a"].state is StepState.OK
    assert "gap 4.20 s" in rows["a"].fact
    assert "0/0/0" in rows["b"].fact
    assert "RTO" in rows["b"].fact
    assert result.report
    assert status.region == "west"


async def test_the_page_names_the_steps_that_a_person_sees(client: Client) -> None:
    """The way there, for which another makes way, and the way back, with which that one comes back."""
    world = RegionWorld({"a": 0}, families=(("a",),))
    world.slots, world.free = [0, 8], {"east/cell-1": 0, "west/cell-1": 0}
    world.others = (Other(deployment="b", tier=3, parallelism=1),)
    world.worlds["b"] = MemberWorld("b", 3, region="west")
    page = [row[0] for row in table_under("runbooks/failover-region.md", "## What it does")]
    for way, missing in (
        ({"room": "shed", "deployments": ("a",)}, "restore"),
        ({"region": "west", "to": "east"}, "stop"),
    ):
        async with region(client, world, **way) as run:
            assert (await run.done()).outcome is Outcome.DONE
            status = await run.status()
        shown = [row.name.split()[0] for row in status.steps if row.name != "a"]
        assert shown == [step for step in page if step != missing]
        world.free["west/cell-1"] = 1


async def test_dry_run_says_what_would_go_and_begins_nothing(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.slots = [1]
    async with region(client, world, dry_run=True, unplanned=True) as run:
        result = await run.done()
    assert result.outcome is Outcome.PLANNED
    assert result.summary == "1 of 2 deployments go to west at once: 2 slots are needed, 1 are free"
    assert [one.summary for one in result.members] == [
        "tier 0, east/cell-1 -> west/cell-1 with 1 slots, goes at once",
        "tier 1, east/cell-1 -> west/cell-1 with 1 slots, waits for slots",
    ]
    assert {name for name, _ in world.told} == {"look_group"}


async def test_x18_one_that_cannot_stop_has_all_of_its_family_go_back(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.will("stop_deployment", "b", errors.SavepointFailed("no space"))
    async with region(client, world) as run:
        result = await run.failed("Undone")
    assert [one.outcome for one in result.members] == [Outcome.UNDONE, Outcome.UNDONE]
    assert "no space" in result.members[0].why
    assert "cut_group" not in {name for name, _ in world.told}
    acts = world.order("reopen_group", "ensure_running")
    assert acts[0] == ("reopen_group", "")
    assert {who for name, who in acts if name == "ensure_running"} == {"a", "b"}
    assert {one.region_now for one in world.worlds.values()} == {"east"}
    assert result.next_commands == ("tidegate failover region east --to west",), "nothing is there to come back"


async def test_o4_one_that_is_refused_before_anything_changed_has_nothing_closed(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.will("take", "b", errors.Held("b is held by upgrade-b-1"))
    async with region(client, world) as run:
        result = await run.failed("Refused")
    assert {one.deployment: one.outcome for one in result.members} == {"a": Outcome.UNDONE, "b": Outcome.REFUSED}
    assert "b is held by upgrade-b-1" in result.members[0].why
    names = {name for name, _ in world.told}
    assert not names & {"close_group", "reopen_group", "stop_deployment"}


async def test_one_family_that_goes_back_does_not_stop_another(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 0}, families=(("a",), ("b",)))
    world.will("stop_deployment", "b", errors.SavepointFailed("no space"))
    async with region(client, world) as run:
        result = await run.failed("Undone")
    assert {one.deployment: one.outcome for one in result.members} == {"a": Outcome.DONE, "b": Outcome.UNDONE}
    assert (world.worlds["a"].region_now, world.worlds["b"].region_now) == ("west", "east")
    assert result.summary == "1 of 2 deployments of east run in west"
    assert result.next_commands == (
        "tidegate failover region east --to west",
        "tidegate failover region west --to east",
    )


async def test_x24_one_that_cannot_start_there_stands_halted_and_the_others_go_on(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.will("ensure_running", "a", errors.MustHalt("the state cannot be read"))
    async with region(client, world) as run:

        async def halted() -> str:
            status = await run.status()
            assert "a stands halted: the state cannot be read" in status.waiting_for
            return status.waiting_for

        await eventually(halted)

        async def b_is_done() -> None:
            assert ("release", "b") in world.told

        await eventually(b_is_done)
        (child,) = world.requests["halt"]
        await client.get_workflow_handle(child.held.holder.operation).execute_update("resume", {"by": "bob"})
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]


async def test_x24_abort_before_the_turn_goes_back_and_after_it_is_too_late(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    block = Block()
    world.will("cut_group", "", block)
    async with region(client, world) as run:
        await block.entered.wait()
        await run.update("abort", why="not now")
        result = await run.failed("Undone")
    assert "not now" in result.members[0].why
    assert ("reopen_group", "") in world.told
    assert {one.region_now for one in world.worlds.values()} == {"east"}


async def test_what_it_cannot_do_after_the_turn_it_does_when_a_person_resumes_it(client: Client) -> None:
    world = RegionWorld({"a": 0})
    world.will("mirror_group", "", errors.Held("the link is held by ana"))
    async with region(client, world) as run:
        status = await run.phase(Phase.HALTED)
        assert "the link is held by ana" in status.waiting_for
        assert [command.split()[2] for command in status.next_commands] == ["resume"]
        await run.update("resume")
        assert (await run.done()).outcome is Outcome.DONE


async def test_a_way_back_that_is_stuck_names_the_way_on_without_the_region_that_is_left(client: Client) -> None:
    world = RegionWorld({"a": 0})
    world.will("cut_group", "", errors.Refused("no"))
    world.will("reopen_group", "", errors.Held("the link is held by ana"))
    async with region(client, world) as run:
        status = await run.phase(Phase.HALTED)
        assert [command.split()[2] for command in status.next_commands] == ["resume", "escalate"]
        await run.update("resume")
        await run.failed("Undone")


async def test_x15_unplanned_the_links_are_shut_first_and_each_output_turns_by_its_own_record(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.home = Answers(region="east", flink="no answer", kafka="no answer", s3="no answer")
    async with region(client, world, unplanned=True) as run:
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    acts = world.order("close_group", "cut_group", "shut_home", "ensure_running")
    assert acts[:3] == [("close_group", ""), ("cut_group", ""), ("shut_home", "a")]
    assert [who for name, who in acts if name == "ensure_running"] == ["a", "b"]
    assert acts.index(("shut_home", "b")) < acts.index(("ensure_running", "b"))
    assert [one.open for one in world.requests["open_group"]] == [("in-b",), ("in-a", "out-a"), ("out-b",)]
    cuts = [(one.inputs, one.outputs_of, one.shut) for one in world.requests["cut_group"]]
    shut = {"east-to-west": "STOPPED"}
    assert cuts == [(True, (), None), (False, ("a",), shut), (False, ("b",), shut)]


async def test_planned_is_refused_while_the_region_does_not_answer(client: Client) -> None:
    world = RegionWorld({"a": 0})
    world.home = Answers(region="east", kafka="no answer within 5 s")
    async with region(client, world) as run:
        result = await run.failed("Refused")
    assert "Kafka in east: no answer within 5 s" in result.why
    assert "--unplanned" in result.why


async def test_what_does_not_fit_waits_for_slots_and_goes_then(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1}, families=(("a",), ("b",)))
    world.slots = [1, 0]
    async with region(client, world, room_wait_s=0) as run:
        result = await run.failed("Undone")
    assert [(one.deployment, one.outcome) for one in result.members] == [("a", Outcome.DONE), ("b", Outcome.UNDONE)]
    assert result.members[1].summary == "it has not moved"
    assert result.members[1].why == "no slots in west for it"
    world = RegionWorld({"a": 0, "b": 1}, families=(("a",), ("b",)))
    world.slots = [1, 8]
    async with region(client, world) as run:
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]


async def test_lower_runs_them_smaller(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.slots = [2]
    async with region(client, world, room="lower") as run:
        await run.done()
    assert [one.parallelism for one in world.requests["ensure_running"]] == [1, 1]


async def test_x18_unplanned_what_waits_for_slots_keeps_no_producer_and_its_output_is_given_back(
    client: Client,
) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.home = Answers(region="east", flink="no answer", kafka="no answer", s3="no answer")
    world.slots = [1, 0]
    async with region(client, world, unplanned=True, room_wait_s=0) as run:
        result = await run.failed("Undone")
    assert [(one.deployment, one.outcome) for one in result.members] == [("a", Outcome.DONE), ("b", Outcome.UNDONE)]
    assert [one.open for one in world.requests["open_group"]] == [("in-b",), ("in-a", "out-a")]
    assert [one.topics.turn for one in world.requests["reopen_group"]] == [("out-b",)]
    assert not world.requests["mirror_group"]
    assert "waits: west-to-east: out-b lives in east still" in result.why
    assert result.next_commands == (
        "tidegate failover region east --to west --unplanned",
        "tidegate return region east",
    )


async def test_o8_superseded_after_the_turn_nobody_waits_for_it(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.will("open_group", "", errors.Superseded("topic in-a is being turned by another"))
    async with region(client, world) as run:
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    assert "topic in-a is being turned by another" in result.why


async def test_x15_one_without_a_recovery_point_stands_halted_and_the_next_tier_goes_on(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    world.will("shut_home", "a", errors.Refused("no recovery point of a in west can be gone on from"))
    async with region(client, world, unplanned=True) as run:

        async def b_is_done() -> None:
            assert ("release", "b") in world.told

        await eventually(b_is_done)
        assert not any("out-a" in one.open for one in world.requests["open_group"])
        (child,) = world.requests["halt"]
        await client.get_workflow_handle(child.held.holder.operation).execute_update("resume", {"by": "bob"})
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    assert "out-a" in world.requests["open_group"][-1].open


async def test_x24_escalated_all_of_a_family_go_on_unplanned(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 1})
    block = Block()
    world.will("stop_deployment", "a", block)
    async with region(client, world) as run:
        await block.entered.wait()
        await run.update("escalate", why="east has just gone")
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    first, *outputs = world.requests["cut_group"]
    assert (first.unplanned, first.inputs, first.outputs_of, first.answers) == (True, True, (), None)
    assert [one.outputs_of for one in outputs] == [("a",), ("b",)]
    assert {who for name, who in world.told if name == "shut_home"} == {"a", "b"}
    assert "reopen_group" not in {name for name, _ in world.told}


@pytest.mark.parametrize("step", ["locate", "observe", "look_regions", "take", "prepare"])
async def test_x24_escalated_while_a_member_is_made_ready_it_goes_on_unplanned_too(client: Client, step: str) -> None:
    """Whatever it was at: a region that has just gone answers slowly, and that is when people escalate."""
    world = RegionWorld({"a": 0, "b": 1})
    block = Block()
    world.will(step, "a", block)
    async with region(client, world) as run:
        await block.entered.wait()
        await run.update("escalate", why="east has just gone")

        async def both_have_heard() -> None:
            told = [event async for event in run.handle.fetch_history_events()]
            assert sum(one.HasField("external_workflow_execution_signaled_event_attributes") for one in told) == 2

        await eventually(both_have_heard)
        block.released.set()
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    assert {who for name, who in world.told if name == "shut_home"} == {"a", "b"}
    assert not {"reopen_group", "stop_deployment"} & {name for name, _ in world.told}
    assert {one.region_now for one in world.worlds.values()} == {"west"}


@pytest.mark.parametrize("heard", [False, True], ids=["before it heard", "as it heard"])
async def test_x24_one_that_was_refused_when_it_was_escalated_is_begun_again(client: Client, heard: bool) -> None:
    """Made ready as planned, it is refused by a region that answers no more, while the others are closed and shut."""
    world = RegionWorld({"a": 0, "b": 1})
    looks, closes = Block(), Block()

    async def refused() -> None:
        await looks()
        raise errors.Refused("east does not answer as a planned failover needs it to")

    world.will("look_regions", "b", refused)
    world.will("close_group", "", closes)
    async with region(client, world, at_once=1) as run:
        await looks.entered.wait()
        await run.update("escalate", why="east has just gone")
        await closes.entered.wait()

        async def b_was_refused() -> None:
            rows = [one for one in (await run.status()).steps if one.name == "b"]
            assert rows[0].state is StepState.FAILED, rows

        if heard:
            closes.released.set()

            async def both_have_heard() -> None:
                told = [event async for event in run.handle.fetch_history_events()]
                assert sum(one.HasField("external_workflow_execution_signaled_event_attributes") for one in told) == 2

            await eventually(both_have_heard)
        looks.released.set()
        await eventually(b_was_refused)
        closes.released.set()
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    assert {who for name, who in world.told if name == "shut_home"} == {"a", "b"}
    assert {one.region_now for one in world.worlds.values()} == {"west"}


async def test_x24_escalated_while_the_way_back_is_barred(client: Client) -> None:
    world = RegionWorld({"a": 0})
    world.will("cut_group", "", errors.NoProgress("the mirror does not bring the rest"))
    world.will("reopen_group", "", errors.Refused("Kafka in east does not answer"))
    async with region(client, world) as run:
        status = await run.phase(Phase.HALTED)
        assert "Kafka in east does not answer" in status.why
        await run.update("escalate", why="east has gone")
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE]
    assert ("shut_home", "a") in world.told


async def test_x24_a_deadline_escalates(client: Client) -> None:
    """Whatever its member is at when it comes: on a busy machine it is not made ready yet."""
    world = RegionWorld({"a": 0})
    block = Block()
    world.will("stop_deployment", "a", block)
    async with region(client, world, escalate_after_s=0.5) as run:
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE]
    assert ("shut_home", "a") in world.told
