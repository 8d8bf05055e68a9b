"""TakeSnapshot: the job goes on in every outcome, and nothing stays open in the record."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.inputs import SnapshotInput
from tidegate.model.operation import Outcome


async def _take(client: Client, **fields: Any) -> Run:
    return await begin(client, "TakeSnapshot", SnapshotInput, **{"requested_by": "ana", **fields})


async def test_it_is_taken_and_reported(client: Client, world: World) -> None:
    result = await (await _take(client, format="canonical")).done()
    assert result.outcome is Outcome.DONE
    assert "e7-savepoint-1 is a recovery point: s3://east/savepoints/" in result.summary
    assert world.names() == ["locate", "observe", "take", "observe", "take_snapshot", "write_report", "release"]
    assert world.requests("take_snapshot")[0].canonical


async def test_one_that_fails_is_given_up_and_the_deployment_is_free(client: Client, world: World) -> None:
    world.will("take_snapshot", errors.SavepointFailed("no space"))
    result = await (await _take(client)).failed("Undone")
    assert (result.summary, result.why) == ("nothing was changed", "no space")
    assert [request.give_up for request in world.requests("take_snapshot")] == [False, True]
    assert world.record.holder is None


async def test_a_job_that_does_not_run_is_refused(client: Client, world: World) -> None:
    world.job_state = "FAILED"
    result = await (await _take(client)).failed("InvalidInput")
    assert "does not run, it is FAILED" in result.why
    assert "take" not in world.names()


async def test_dry_run(client: Client, world: World) -> None:
    assert (await (await _take(client, dry_run=True)).done()).outcome is Outcome.PLANNED
    assert world.names() == ["locate", "observe"]
