"""``tidegate drill region``, and the same by a schedule: the plan first, then each deployment's line, and a status."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from tests.kit.scheduled import asked
from tests.kit.temporal_env import workers
from tests.kit.temporal_world_drill import GOOD
from tests.kit.temporal_world_drills import DrillsWorld
from tests.kit.temporal_world_facts import AT
from tidegate import errors
from tidegate.cli import main
from tidegate.errors import InvalidInput
from tidegate.model.operation import Outcome
from tidegate.model.schedule import RunOutcome, ScheduledResult, SkipReason
from tidegate.names import CONTROL_QUEUE

REGION = ("drill", "region", "east")


class _Published:
    @property
    def fleet(self) -> _Published:
        return self

    def deployment(self, name: str) -> None:
        if name not in {"a", "b", "c"}:
            raise InvalidInput(f"no such deployment: {name}")

    def region(self, name: str) -> None:
        if name not in {"east", "west"}:
            raise InvalidInput(f"no such region: {name}")


class _Control:
    async def fleet(self) -> _Published:
        return _Published()


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    client: Client, server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DrillsWorld]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield _Control()

    monkeypatch.setattr("tidegate.cli.drill.open_control", opened)
    made = DrillsWorld({"a": (0, 1), "b": (1, 1), "c": (2, 2)})
    made.worlds["b"].proven_at = AT - timedelta(days=3)
    async with workers(client, made, regions=("east", "west")):  # type: ignore[arg-type]
        yield made
    assert not made.left


async def cli(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return main.run([*args])

    return await asyncio.to_thread(run), out.getvalue(), err.getvalue()


async def test_it_is_followed_to_its_end_with_a_line_for_each(world: DrillsWorld) -> None:
    code, out, err = await cli(*REGION, "--window", "20s", "--slots", "3", "--budget", "1h", "--yes")
    assert code == 0, err
    assert "done       3 of 3 deployments of east are proven restorable in west; RTO 20.0 s at worst" in out
    lines = [line for line in out.splitlines() if line.startswith(("  a ", "  b ", "  c "))]
    assert len(lines) == 3
    assert all(" done " in line and "0 missing, 0 extra, 0 differing" in line for line in lines)
    assert "report     reports/region-east/drill-region-east-" in out
    assert len(world.looks) == 1, "with --yes no plan is made beforehand"
    await cli(*REGION, "--window", "20s", "--slots", "3", "--budget", "1h", "--yes")
    assert len(world.looks) == 2, "the same command is another drill"


async def test_the_plan_is_shown_before_it_asks_and_a_dry_run_is_only_that(world: DrillsWorld) -> None:
    for args, code in ((("--window", "30s"), 4), (("--window", "30s", "--dry-run"), 0)):
        got, out, err = await cli(*REGION, *args)
        assert got == code, err
        assert "planned    3 of 3 deployments of east would be drilled, until about" in out
        assert "3 of 4 free slots may be used at once in west/cell-1 (1 in west/cell-1 for a must stay free)" in out
        assert "1. tier 0, never proven; begins after" in out
        assert "2. tier 1, last proven 3.0 days ago by drill-before; begins after" in out
        assert ("forks of these run in the standby; the live jobs are only read. Go on?" in err) == (code == 4)
    assert world.begun() == []
    assert world.reports == []


async def test_what_is_asked_for_arrives_there(world: DrillsWorld) -> None:
    options = ("--to", "west", "--deployment", "a", "--deployment", "b", "--tier", "0", "--tier", "1")
    code, out, err = await cli(*REGION, *options, "--dry-run")
    assert code == 0, err
    (look,) = world.looks
    assert (look.region, look.to, look.deployments, look.tiers) == ("east", "west", ("a", "b"), (0, 1))
    code, out, _ = await cli(*REGION, "--print-command", "--budget", "30m", "--slots", "2")
    assert code == 0
    assert out.startswith(
        "temporal workflow start --type DrillRegion --task-queue tidegate-control --workflow-id drill-region-east-"
    )
    assert '"slots":2,"budget_s":1800.0' in out


async def test_its_status_tells_a_failure_from_what_was_not_drilled_and_a_refusal(world: DrillsWorld) -> None:
    world.will("look_at_drill", "b", errors.Held("b is held by upgrade-b-1"))
    code, out, _ = await cli(*REGION, "--yes")
    assert code == 1
    assert "undone     b not drilled: b is held by upgrade-b-1" in out
    assert "next       tidegate drill region east --deployment b" in out
    world.worlds["c"].compared = GOOD.model_copy(update={"missing": 2})
    code, out, _ = await cli(*REGION, "--window", "10s", "--yes")
    assert code == 7
    assert "2 missing" in out
    assert "2 of 3 deployments of east are proven restorable in west, 1 FAILED" in out
    world.slots_free = 1
    code, out, _ = await cli(*REGION, "--window", "11s", "--yes")
    assert code == 4
    assert "nothing of east can be drilled now: a: no room" in out


async def test_bad_input_is_told_before_anything_is_started(world: DrillsWorld) -> None:
    for args, said in (
        (("drill", "region", "north", "--yes"), "no such region: north"),
        ((*REGION, "--to", "north", "--yes"), "no such region: north"),
        ((*REGION, "--deployment", "nobody", "--yes"), "no such deployment: nobody"),
        ((*REGION, "--budget", "soon"), "'soon' is not a duration"),
        ((*REGION, "--budget", "0s", "--yes"), "budget_s"),
        ((*REGION, "--window", "2h", "--yes"), "window_s"),
    ):
        code, _, err = await cli(*args)
        assert (code, said in err) == (2, True), err
    assert world.told == []


async def test_in_json_it_says_the_same(world: DrillsWorld) -> None:
    code, out, _ = await cli(*REGION, "--yes", "-o", "json")
    assert code == 0
    told = json.loads(out)
    assert [one["deployment"] for one in told["members"]] == ["a", "b", "c"]
    assert told["members"][0]["drill"]["rto_s"] == 20.0


async def test_by_a_schedule_it_is_an_operation_of_its_own_and_skipped_with_its_reason(
    client: Client, world: DrillsWorld
) -> None:
    request = asked("drill-east", runbook="DrillRegion", input={"region": "east", "window_s": 20.0})

    async def run(name: str) -> ScheduledResult:
        try:
            told = await client.execute_workflow("ScheduledRun", request, id=name, task_queue=CONTROL_QUEUE)
        except WorkflowFailureError as error:
            cause = error.cause
            told = cause.details[0] if isinstance(cause, ApplicationError) else cause
        return ScheduledResult.model_validate(told)

    done = await run("tidegate-drill-east-1")
    assert (done.outcome, done.operation_outcome) == (RunOutcome.DONE, Outcome.DONE)
    assert str(done.operation).startswith("drill-region-east-")
    assert world.reports[-1].requested_by == "schedule drill-east"
    world.incidents = ["inc-7"]
    assert (await run("tidegate-drill-east-2")).skip is SkipReason.INCIDENT_OPEN
    world.incidents = []
    world.will("look_at_drills", "", errors.Held("a failover is under way, and drills give way to it"))
    held = await run("tidegate-drill-east-3")
    assert (held.outcome, held.skip) == (RunOutcome.SKIPPED, SkipReason.HELD)
    world.will("look_at_drill", "c", errors.Refused("no room in west"))
    failed = await run("tidegate-drill-east-4")
    assert (failed.outcome, failed.operation_outcome) == (RunOutcome.FAILED, Outcome.UNDONE)
    assert "c not drilled: no room in west" in failed.why
