"""StopDeployment: stopped and left so, or it runs as before."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.inputs import StopInput
from tidegate.model.operation import Outcome, Phase


async def _stop(client: Client, **fields: Any) -> Run:
    return await begin(client, "StopDeployment", StopInput, **{"requested_by": "ana", **fields})


async def test_it_is_stopped_and_reported(client: Client, world: World) -> None:
    result = await (await _stop(client)).done()
    assert result.outcome is Outcome.DONE
    assert result.summary == "ledger is stopped, its state is in s3://east/savepoints/ledger/e00000007-x/savepoint-1"
    assert world.names() == ["locate", "observe", "take", "observe", "stop_deployment", "write_report", "release"]
    assert world.job_state == "FINISHED"


async def test_i7_one_that_fails_goes_back_and_what_ran_runs_on(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.SavepointFailed("no space"))
    result = await (await _stop(client)).failed("Undone")
    assert result.summary == "v1 runs on, untouched, epoch 7"
    assert result.why == "no space"
    assert world.names()[4:] == ["stop_deployment", "ensure_running", "prove", "audit", "write_report", "release"]


async def test_halted_it_is_stopped_when_a_person_resumes_it(client: Client, world: World) -> None:
    world.will("stop_deployment", errors.NoProgress("the savepoint did not come"))
    run = await _stop(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    assert (await run.done()).outcome is Outcome.DONE
    first, second = world.requests("stop_deployment")
    assert first.n != second.n


async def test_aborted_while_it_stops_what_ran_runs_again(client: Client, world: World) -> None:
    block = world.block("stop_deployment")
    run = await _stop(client)
    await block.entered.wait()
    await run.update("abort", why="not now")
    result = await run.failed("Undone")
    assert "v1 runs" in result.summary
    assert "not now" in result.why
    assert "ensure_running" in world.names()


async def test_a_job_that_does_not_run_is_refused(client: Client, world: World) -> None:
    world.job_state = "FAILED"
    result = await (await _stop(client)).failed("InvalidInput")
    assert "does not run, it is FAILED: there is no job to stop" in result.why
    assert "take" not in world.names()


async def test_dry_run(client: Client, world: World) -> None:
    assert (await (await _stop(client, dry_run=True)).done()).outcome is Outcome.PLANNED
    assert world.names() == ["locate", "observe"]
