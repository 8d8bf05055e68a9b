"""Failovers of a deployment on the tests' Temporal server: begun, refused, and where all of it stands at the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.kit.temporal_env import Run, begin, workers
from tests.kit.temporal_world import World
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput
from tidegate.model.recovery import FailoverFacts

LOOK = ["locate", "locate", "observe", "look_regions"]
TAKE = ["take", "observe", "look_regions", "prepare"]
LEAVE = ["ship_snapshot", "close_producers", "stop_deployment", "ship_snapshot", "cut_over"]
GO_ON = ["rebase_copy", "ensure_running", "open_producers", "prove", "mirror_back"]
MOVE_GROUPS = [*GO_ON[:2], "translate_groups", *GO_ON[2:]]
END = ["audit", "write_report", "release"]
LOST = {"flink": "no answer within 5 s", "kafka": "connection refused", "s3": "no answer within 5 s"}


@contextlib.asynccontextmanager
async def two_regions(client: Client) -> AsyncIterator[World]:
    """As the folder's fixture ``world``, with a worker in each of the two regions."""
    made = World()
    async with workers(client, made, regions=("east", "west")):
        yield made
        async for left in client.list_workflows("ExecutionStatus = 'Running'"):
            with contextlib.suppress(Exception):
                await client.get_workflow_handle(left.id).terminate("the test is over")


async def failover(client: Client, **fields: Any) -> Run:
    return await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, **{"requested_by": "ana", "bake_s": 5, **fields})


async def refusal(run: Run, control: str) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await run.update(control)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return f"{cause.message} {cause.details}"


def facts_of(world: World) -> FailoverFacts:
    found = world.reports[-1].failover
    assert found is not None
    return found


def lives(world: World, region: str) -> None:
    """The job runs there, its topics live there, nobody is kept from writing them, and nobody holds the deployment."""
    assert world.record.writer is not None
    assert (world.record.writer.region, world.job_state) == (region, "RUNNING")
    assert set(world.lives_in.values()) == {region}
    assert world.closed == set()
    assert world.record.holder is None
