"""ReturnRegion: a region that was given up is quarantined, its tail set apart, mirrored to; the job goes on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from temporalio.client import Client

from tests.kit.temporal_env import Run, begin, workers
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.operation import Outcome, Phase
from tidegate.model.returning import RETURN_REGION, ReturnInput

LOOK = ["locate", "observe", "locate", "look_regions"]


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[World]:
    """The job runs in the west since the east was given up."""
    made = World()
    assert made.record.writer is not None
    moved = made.record.writer.model_copy(update={"region": "west"})
    made.record = made.record.model_copy(update={"writer": moved})
    async with workers(client, made, regions=("east", "west")):
        yield made
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(Exception):
                await client.get_workflow_handle(left.id).terminate("the test is over")


async def _return(client: Client, **fields: Any) -> Run:
    return await begin(client, RETURN_REGION, ReturnInput, **{"requested_by": "ana", "region": "east", **fields})


async def test_x23_quarantine_comes_before_anything_is_trusted(client: Client, world: World) -> None:
    result = await (await _return(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary == "east is a standby of ledger again"
    assert result.next_commands == ("tidegate failover deployment ledger --to east",)
    order = world.names()
    assert order[: len(LOOK)] == LOOK
    acts = [name for name in order if name in {"quarantine", "set_apart", "mirror_back", "audit", "release"}]
    assert acts == ["quarantine", "set_apart", "mirror_back", "audit", "release"]
    (asked,) = world.requests("quarantine")
    assert (asked.home, asked.at, asked.topics.links) == ("east/cell-1", "west/cell-1", ("east-to-west",))
    assert world.job_state == "RUNNING"


async def test_x23_a_link_that_others_share_waits_until_they_are_in_quarantine_too(
    client: Client, world: World
) -> None:
    world.waiting = ("west-to-east: ledger-2 could not be shut out in east, and may commit there",)
    world.at_large = ("ledger-2",)
    result = await (await _return(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary == "ledger is in quarantine in east; it is mirrored to once ledger-2 is, too"
    assert result.next_commands == ("tidegate return region east --deployment ledger-2",)


async def test_a_dry_run_changes_nothing(client: Client, world: World) -> None:
    assert (await (await _return(client, dry_run=True)).done()).outcome is Outcome.PLANNED
    assert world.names() == LOOK


async def test_a_region_that_does_not_answer_yet_is_refused(client: Client, world: World) -> None:
    world.silent = {"kafka": "connection refused"}
    result = await (await _return(client)).failed("Refused")
    assert "Kafka in east: connection refused" in result.why
    assert "take" not in world.names()


async def test_x23_a_region_that_was_left_as_planned_is_refused_with_the_way_back(client: Client, world: World) -> None:
    world.left_planned = "failover-ledger-1a"
    result = await (await _return(client)).failed("Refused")
    assert "ledger left east as planned (failover-ledger-1a): nothing was given up there" in result.why
    assert "tidegate failover deployment ledger --to east" in " ".join((result.why, *result.next_commands))
    assert "take" not in world.names()


async def test_x23_what_a_person_says_of_the_tail_comes_to_its_step(client: Client, world: World) -> None:
    run = await _return(client, tail="feed")
    result = await run.done()
    assert result.outcome is Outcome.DONE
    (asked,) = world.requests("set_apart")
    assert asked.tail == "feed"
    (fact,) = [row.fact for row in (await run.status()).steps if row.name == "tail"]
    assert "3 outputs: committed there after the cut 2, superseded before it 1" in fact
    assert result.plan is not None
    assert "feed, as was asked, what east took" in next(one.what for one in result.plan.steps if one.name == "tail")


async def test_the_region_where_it_lives_has_not_been_left(client: Client, world: World) -> None:
    result = await (await _return(client, region="west")).failed("InvalidInput")
    assert "it did not leave it" in result.why


async def test_what_fails_stands_halted_and_goes_on_where_it_stands(client: Client, world: World) -> None:
    world.will("set_apart", errors.Unavailable("Kafka in east went away"))
    world.will("set_apart", errors.MustHalt("Kafka in east is away"))
    run = await _return(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    assert world.names().count("quarantine") == 1
