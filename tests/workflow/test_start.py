"""StartDeployment: the way back of a first start is that nothing runs, as before."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World, artifact
from tidegate import errors
from tidegate.model.operation import Outcome, Phase, StartInput


async def _start(client: Client, **fields: Any) -> Run:
    return await begin(
        client, "StartDeployment", StartInput, **{"artifact": "v1", "bake_s": 5, "from_empty": True, **fields}
    )


@pytest.fixture
def stopped(world: World) -> World:
    """A deployment that has never run."""
    world._change(writer=None, epoch=0)
    world.job_state = None
    return world


async def test_starts_proves_and_reports(client: Client, stopped: World) -> None:
    result = await (await _start(client)).done()
    assert result.outcome is Outcome.DONE
    assert stopped.names() == [
        "locate", "observe", "take", "observe", "prepare", "ensure_running", "prove",
        "audit", "write_report", "release",
    ]  # fmt: skip
    (ensure,) = stopped.requests("ensure_running")
    assert (ensure.from_empty, ensure.snapshot, ensure.artifact) == (True, None, artifact("v1"))


async def test_what_cannot_be_started_does_not_run_as_before(client: Client, stopped: World) -> None:
    stopped.will("ensure_running", errors.StartRejected("no such class"))
    result = await (await _start(client)).failed("Undone")
    assert result.summary == "ledger does not run, as before"
    assert stopped.record.holder is None


async def test_what_is_not_healthy_is_stopped_again(client: Client, stopped: World) -> None:
    stopped.will("prove", errors.ProofFailed("3 restarts"))
    result = await (await _start(client)).failed("Undone")
    assert (result.summary, result.why) == ("ledger does not run, as before", "3 restarts")
    assert stopped.names()[-3:] == ["ensure_stopped", "write_report", "release"]
    assert stopped.job_state == "CANCELED"
    assert stopped.record.holder is None


async def test_a_stop_that_cannot_be_done_halts_until_it_can(client: Client, stopped: World) -> None:
    stopped.will("prove", errors.ProofFailed("3 restarts"))
    stopped.will("ensure_stopped", errors.MustHalt("a transaction was aborted"))
    run = await _start(client)
    status = await run.phase(Phase.HALTED)
    assert status.next_commands == (f"tidegate ops resume {run.handle.id}",)
    await run.update("resume")
    assert (await run.failed("Undone")).summary == "ledger does not run, as before"


async def test_abort_of_a_halted_start_stops_it(client: Client, stopped: World) -> None:
    stopped.will("ensure_running", errors.MustHalt("there is no snapshot that it can read"))
    run = await _start(client)
    await run.phase(Phase.HALTED)
    await run.update("abort")
    assert (await run.failed("Undone")).summary == "ledger does not run, as before"


async def test_dry_run(client: Client, stopped: World) -> None:
    assert (await (await _start(client, dry_run=True)).done()).outcome is Outcome.PLANNED
    assert stopped.names() == ["locate", "observe"]
