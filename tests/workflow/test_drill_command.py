"""``tidegate drill recovery``: it asks, follows, shows what came of it, and leaves with a status that says so."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from tests.kit.temporal_env import workers
from tests.kit.temporal_world_drill import GOOD, DrillWorld
from tidegate import errors
from tidegate.cli import main
from tidegate.errors import InvalidInput


class _Published:
    @property
    def fleet(self) -> _Published:
        return self

    def deployment(self, name: str) -> None:
        if name != "ledger":
            raise InvalidInput(f"no such deployment: {name}")


class _Control:
    async def fleet(self) -> _Published:
        return _Published()


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    client: Client, server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DrillWorld]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield _Control()

    monkeypatch.setattr("tidegate.cli.drill.open_control", opened)
    made = DrillWorld()
    async with workers(client, made, regions=("east", "west")):
        yield made


async def cli(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return main.run([*args])

    return await asyncio.to_thread(run), out.getvalue(), err.getvalue()


DRILL = ("drill", "recovery", "ledger")


async def test_it_is_followed_to_its_end(world: DrillWorld) -> None:
    code, out, err = await cli(*DRILL, "--window", "30s", "--yes")
    assert code == 0, err
    assert "done       ledger can be restored in west/cell-1: RTO 20.0 s (objective 60 s)" in out
    assert "10,000 records compared by record id: 0 missing, 0 extra, 0 differing" in out
    (watch,) = world.requests("watch_drill")
    assert watch.seconds == 30
    again, _, _ = await cli(*DRILL, "--window", "30s", "--yes")
    assert again == 0
    assert len(world.requests("watch_drill")) == 2, "the same command is another drill"


async def test_a_failed_drill_leaves_with_7_and_one_that_is_refused_with_4(world: DrillWorld) -> None:
    world.compared = GOOD.model_copy(update={"missing": 2})
    code, out, err = await cli(*DRILL, "--yes")
    assert code == 7
    assert "2 missing" in out + err
    assert "nothing of it is left" in out + err
    world.will("look_at_drill", errors.Refused("no room in west/cell-1"))
    assert (await cli(*DRILL, "--from", "e7-chk-9", "--yes"))[0] == 4


async def test_it_asks_and_a_dry_run_does_not(world: DrillWorld) -> None:
    code, _, err = await cli(*DRILL)
    assert code == 4
    assert "a fork of it runs in its standby for a while; the live job is only read" in err
    assert world.calls == []
    code, out, _ = await cli(*DRILL, "--dry-run")
    assert code == 0
    assert "would restore ledger from e7-chk-12" in out
    code, out, _ = await cli(*DRILL, "--print-command", "--window", "5m")
    assert code == 0
    assert out.startswith(
        "temporal workflow start --type DrillRecovery --task-queue tidegate-control --workflow-id drill-"
    )
    assert '"window_s":300.0' in out


async def test_bad_input_is_told_before_anything_is_started(world: DrillWorld) -> None:
    for args, said in (
        ((*DRILL, "--clean", "x", "--from", "y"), "--clean: starts nothing"),
        ((*DRILL, "--window", "2h", "--yes"), "window_s"),
        (("drill", "recovery", "other", "--yes"), "no such deployment: other"),
        ((*DRILL, "--window", "soon"), "'soon' is not a duration"),
    ):
        code, _, err = await cli(*args)
        assert (code, said in err) == (2, True), err
    assert world.calls == []


async def test_in_json_it_says_the_same(world: DrillWorld) -> None:
    code, out, _ = await cli(*DRILL, "--yes", "-o", "json")
    assert code == 0
    told = json.loads(out)
    assert "can be restored in west/cell-1" in json.dumps(told)
