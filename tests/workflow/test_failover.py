"""FailoverDeployment, planned: what goes over with it, and what is refused before anything is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_failover import (
    END,
    GO_ON,
    LEAVE,
    LOOK,
    LOST,
    MOVE_GROUPS,
    TAKE,
    facts_of,
    failover,
    lives,
    two_regions,
)
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT
from tidegate import errors
from tidegate.model.groups import GroupFact, GroupLook
from tidegate.model.operation import Outcome, StepState
from tidegate.model.recovery import Strength
from tidegate.model.steps import RestoreFrom

SHOP = GroupLook(group="shop", topics=("balances",), partitions=2)


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    async with two_regions(client) as made:
        yield made


# -- planned


async def test_planned_it_goes_on_in_the_other_region_with_its_topics_and_their_writers(
    client: Client, world: World
) -> None:
    result = await (await failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary.startswith("v1 runs in west/cell-1 since")
    assert world.names() == [*LOOK, *TAKE, *LEAVE, *GO_ON, *END]
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    lives(world, "west")


async def test_each_step_is_done_beside_the_region_that_it_touches(client: Client, world: World) -> None:
    await (await failover(client)).done()
    queues = {name: queue.rpartition("-")[2] for name, queue, _ in world.calls}
    west = (
        "observe",
        "look_regions",
        "prepare",
        "cut_over",
        "rebase_copy",
        "ensure_running",
        "open_producers",
        "prove",
    )
    assert {queues[name] for name in west} == {"west"}
    assert {queues[name] for name in ("ship_snapshot", "stop_deployment")} == {"east"}
    assert [request.at for request in world.requests("stop_deployment")] == ["east/cell-1"]
    for name in ("cut_over", "rebase_copy", "ensure_running", "open_producers", "prove", "audit"):
        assert {request.at for request in world.requests(name)} == {"west/cell-1"}, name


async def test_x20_it_starts_from_the_copy_of_what_the_stop_left(client: Client, world: World) -> None:
    await (await failover(client)).done()
    ahead, of_the_stop = (request.snapshot for request in world.requests("ship_snapshot"))
    assert ahead is None, "the newest checkpoint, while it runs"
    assert of_the_stop == "s3://east/savepoints/ledger/e00000007-x/savepoint-1"
    (rebase,) = world.requests("rebase_copy")
    assert rebase.snapshot.startswith("s3://west/savepoints/ledger/from-east/")
    (start,) = world.requests("ensure_running")
    copy = f"s3://west/savepoints/ledger/copy-{rebase.snapshot.rpartition('/')[2]}"
    assert start.restore == RestoreFrom(until_epoch=7, snapshot=copy)


async def test_x18_where_the_producers_stopped_is_where_the_old_region_ends(client: Client, world: World) -> None:
    await (await failover(client)).done()
    (cut,) = world.requests("cut_over")
    assert cut.ends == {"payments/0": 100}
    order = world.names()
    assert order.index("close_producers") < order.index("stop_deployment") < order.index("cut_over")
    assert order.index("ensure_running") < order.index("open_producers") < order.index("mirror_back")


async def test_the_report_says_how_it_went(client: Client, world: World) -> None:
    await (await failover(client, detected_at=(AT + timedelta(seconds=5)).isoformat())).done()
    facts = facts_of(world)
    assert (facts.source, facts.target, facts.planned, facts.strength) == ("east", "west", True, Strength.STOPPED)
    assert facts.input_until == AT + timedelta(seconds=1)
    assert facts.rto_detected_s == 15.0
    assert facts.rpo_s is None, "planned: nothing is lost"
    assert facts.lineage_turn == 1


async def test_back_home_it_is_the_same_runbook_the_other_way(client: Client, world: World) -> None:
    await (await failover(client)).done()
    world.calls.clear()
    result = await (await failover(client)).done()
    assert result.summary.startswith("v1 runs in east/cell-1 since")
    (cut,) = world.requests("cut_over")
    assert (cut.home, cut.at, cut.topics.links) == ("west/cell-1", "east/cell-1", ("west-to-east",))
    lives(world, "east")


async def test_a_dry_run_changes_nothing_and_shows_where_there_is_no_way_back(client: Client, world: World) -> None:
    plan = (await (await failover(client, dry_run=True)).done()).plan
    assert plan is not None
    assert [step.name for step in plan.steps] == [
        "observe", "ship", "close", "stop", "cut", "start v1", "open", "prove", "mirror", "conclude",
    ]  # fmt: skip
    assert [step.name for step in plan.steps if step.no_return] == ["open", "prove", "mirror", "conclude"]
    assert world.names() == LOOK


async def test_what_is_sent_ahead_is_only_time(client: Client, world: World) -> None:
    world.will("ship_snapshot", errors.SnapshotIncomplete("two checkpoints vanished"))
    run = await failover(client)
    assert (await run.done()).outcome is Outcome.DONE
    (row,) = [row for row in (await run.status()).steps if row.name == "ship"]
    assert (row.state, row.fact) == (StepState.OK, "nothing sent ahead: two checkpoints vanished")


async def test_links_that_wait_for_the_other_region_are_told(client: Client, world: World) -> None:
    world.waiting = ("west-to-east: Connect in east does not answer",)
    result = await (await failover(client)).done()
    assert result.next_commands == ("tidegate return region east",)


async def test_output_that_was_not_there_at_the_opening_is_looked_for_again_at_the_end(
    client: Client, world: World
) -> None:
    first, world.first_output_at = world.first_output_at, None
    block = world.block("mirror_back")
    run = await failover(client)
    await block.entered.wait()
    world.first_output_at = first
    block.released.set()
    await run.done()
    assert len(world.requests("open_producers")) == 2
    assert facts_of(world).rto_s is not None


# -- consumer groups (X25)


async def test_x25_consumer_groups_are_moved_before_anybody_writes_there(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    run = await failover(client)
    result = await run.done()
    assert world.names() == [*LOOK, *TAKE, *LEAVE, *MOVE_GROUPS, *END]
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    (moved,) = facts_of(world).groups
    assert (moved.group, moved.put, moved.left) == ("shop", 2, ())
    (row,) = (step for step in world.reports[-1].steps if step.name == "groups")
    assert (row.state, row.fact) == (StepState.OK, "shop: goes on where it stood (2 partitions); nothing comes again")
    assert {queue.rpartition("-")[2] for name, queue, _ in world.calls if name == "translate_groups"} == {"west"}


async def test_x25_the_plan_says_how_each_group_would_go_on(client: Client, world: World) -> None:
    busy = SHOP.model_copy(update={"live": True})
    world.groups = (busy,)
    result = await (await failover(client, dry_run=True)).done()
    assert result.plan is not None
    (step,) = (step for step in result.plan.steps if step.name == "groups")
    assert "consumer groups go on in west where they stood: shop: 2 partitions of balances, exactly" in step.what
    assert any("SOMEBODY IS IN IT THERE" in note for note in result.plan.notes)
    assert "translate_groups" not in world.names()


async def test_x25_a_group_that_is_left_stops_nothing_and_the_command_that_moves_it_is_named(
    client: Client, world: World
) -> None:
    world.groups = (SHOP,)
    world.moved = (GroupFact(group="shop", left=("somebody is in it in west",)),)
    result = await (await failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary.endswith("; NOT MOVED: consumer group shop")
    assert result.next_commands == (
        "tidegate groups translate ledger",
        "tidegate failover deployment ledger --to east",
    )
    assert "LEFT AS IT WAS: somebody is in it in west" in facts_of(world).groups[0].text
    lives(world, "west")


async def test_x25_a_step_that_fails_stops_nothing(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    world.will("translate_groups", errors.InvalidInput("no such topic"))
    result = await (await failover(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.next_commands[0] == "tidegate groups translate ledger"
    assert facts_of(world).groups[0].left == ("no such topic",)
    (row,) = (step for step in world.reports[-1].steps if step.name == "groups")
    assert (row.state, row.fact) == (StepState.FAILED, "no group was moved: no such topic")
    lives(world, "west")


async def test_x25_unplanned_and_escalated_groups_are_moved_too(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    block = world.block("close_producers")
    run = await failover(client)
    await block.entered.wait()
    world.silent = LOST
    await run.update("escalate", why="east burns")
    block.released.set()
    await run.done()
    assert world.names()[-len([*MOVE_GROUPS, *END]) :] == [*MOVE_GROUPS, *END]
    assert [request.unplanned for request in world.requests("translate_groups")] == [True]
    assert [row.name for row in world.reports[-1].steps if row.name in {"groups", "open"}] == ["groups", "open"]


async def test_o8_x25_who_lost_the_fence_at_the_groups_does_nothing_more(client: Client, world: World) -> None:
    world.groups = (SHOP,)
    world.will("translate_groups", errors.Superseded("fence 4 has become 5"))
    await (await failover(client)).failed("Superseded")
    assert world.names()[-2:] == ["translate_groups", "write_report"]


# -- what cannot be done


async def test_without_room_there_it_is_refused_before_anything_is_changed(client: Client, world: World) -> None:
    world.slots_free = 1
    result = await (await failover(client)).failed("Refused")
    assert "ledger needs 2 slots in west, and 1 of 8 are free" in result.why
    assert "--parallelism 1" in result.why
    assert world.names() == [*LOOK, "write_report"]


async def test_smaller_it_fits(client: Client, world: World) -> None:
    world.slots_free = 1
    await (await failover(client, parallelism=1)).done()
    assert [request.parallelism for request in world.requests("ensure_running")] == [1]


async def test_planned_with_a_silent_home_names_the_unplanned_way(client: Client, world: World) -> None:
    world.silent = LOST
    result = await (await failover(client)).failed("Refused")
    assert "tidegate failover deployment ledger --unplanned" in result.why
    assert "take" not in world.names()


async def test_where_it_lives_already_it_is_refused(client: Client, world: World) -> None:
    result = await (await failover(client, to="east")).failed("InvalidInput")
    assert "ledger lives in east; name another region" in result.why


async def test_without_a_standby_the_region_must_be_named(client: Client, world: World) -> None:
    world.standby = None
    result = await (await failover(client)).failed("InvalidInput")
    assert "no standby region" in result.why
