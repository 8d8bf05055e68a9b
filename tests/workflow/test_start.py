"""StartDeployment: the way back of a first start is that nothing runs, as before."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact
from tidegate import errors
from tidegate.model.inputs import StartInput
from tidegate.model.operation import Outcome, Phase


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


async def test_x12_a_fork_starts_from_a_copy_that_is_made_for_it(client: Client, stopped: World) -> None:
    run = await _start(client, from_empty=False, fork_of="payments-job", snapshot="e7-savepoint-1")
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert stopped.names()[4:7] == ["prepare", "make_fork", "ensure_running"]
    (made,), (ensure,) = stopped.requests("make_fork"), stopped.requests("ensure_running")
    assert (made.of, made.snapshot, made.held.deployment) == ("payments-job", "e7-savepoint-1", "ledger")
    assert (ensure.snapshot, ensure.from_empty) == ("s3://east/savepoints/fork/copy-1", False)
    assert [row.name for row in (await run.status()).steps][3:6] == ["fork", "start v1", "prove"]


async def test_x12_a_fork_that_cannot_be_made_is_refused_and_nothing_is_started(client: Client, stopped: World) -> None:
    stopped.will("make_fork", errors.Refused("payments-job has no whole snapshot in east that lasts"))
    result = await (await _start(client, from_empty=False, fork_of="payments-job")).failed("Refused")
    assert "that lasts" in result.why
    assert "ensure_running" not in stopped.names()
    assert stopped.record.holder is None


async def test_a_fork_has_no_empty_state(client: Client, stopped: World) -> None:
    result = await (await _start(client, fork_of="payments-job")).failed("InvalidInput")
    assert "fork_of: cannot be combined with from_empty" in result.why
