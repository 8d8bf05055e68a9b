"""``tidegate drill game-day``: it asks, follows, and leaves with a status that says how it ended."""

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
from tests.kit.temporal_world_facts import AT
from tests.kit.temporal_world_gameday import GameDayWorld
from tidegate import errors
from tidegate.cli import main
from tidegate.errors import InvalidInput
from tidegate.model.gameday import Rule, Trip


class _Published:
    deployments = ("a",)

    @property
    def fleet(self) -> _Published:
        return self

    def deployment(self, name: str) -> None:
        if name not in self.deployments:
            raise InvalidInput(f"no such deployment: {name}")


class _Control:
    def __init__(self, world: GameDayWorld) -> None:
        self._world = world

    async def fleet(self) -> _Published:
        return _Published()

    async def record(self, name: str) -> Any:
        return self._world.worlds[name].record


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    client: Client, server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GameDayWorld]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")
    made = GameDayWorld({"a": 0})

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield _Control(made)

    for module in ("drill", "failover"):
        monkeypatch.setattr(f"tidegate.cli.{module}.open_control", opened)
    async with workers(client, made, regions=("east", "west")):
        yield made


async def cli(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return main.run([*args])

    return await asyncio.to_thread(run), out.getvalue(), err.getvalue()


GAME = ("drill", "game-day", "east", "--to", "west", "--deployment", "a")


async def test_it_is_followed_there_and_back_and_what_it_watched_is_what_was_asked(world: GameDayWorld) -> None:
    code, out, err = await cli(
        *GAME, "--stay", "3s", "--bake", "1s", "--max-gap", "none", "--max-lag", "90s", "--max-lag-records", "70",
        "--max-restarts", "0", "--yes",
    )  # fmt: skip
    assert code == 0, err
    assert "done       a ran in west for 3 s and is back in east: gap 4.2 s there, gap 4.2 s back, 0/0/0" in out
    assert "verdict    lost 0 · duplicated 0 · wrong 0" in out
    assert "waits for failover-region-east-" in out + err
    rules = world.requests["watch_game_day"][-1].rules
    assert (rules.max_gap_s, rules.max_lag_s, rules.max_lag_records, rules.max_restarts) == (None, 90, 70, 0)


async def test_one_that_a_rule_has_stopped_leaves_with_1_and_one_that_is_refused_with_4(world: GameDayWorld) -> None:
    world.trip = Trip(rule=Rule.LAG, deployment="a", at=AT, what="a is 400.0 s behind its input (limit 300 s)")
    code, out, _ = await cli(*GAME, "--bake", "1s", "--yes")
    assert code == 1
    assert "undone     rule lag: a is 400.0 s behind its input (limit 300 s)" in out
    assert "game day stopped: rule lag; back as it was: 0/0/0" in out
    world.will("look_at_game_day", "", errors.Refused("an incident is open: fire"))
    assert (await cli(*GAME, "--bake", "2s", "--yes"))[0] == 4


async def test_it_asks_and_a_dry_run_does_not(world: GameDayWorld) -> None:
    code, _, err = await cli(*GAME)
    assert code == 4
    assert "game day, for real: a shall go from east to west, stay there for 15m, and come back" in err
    assert world.told == []
    code, out, _ = await cli(*GAME, "--dry-run")
    assert code == 0
    assert "would move a from east to west, leave them there for 900 s under watch, and bring them back" in out
    code, out, _ = await cli(*GAME, "--print-command", "--stay", "5m")
    assert code == 0
    assert out.startswith(
        "temporal workflow start --type GameDay --task-queue tidegate-control --workflow-id game-day-region-east-"
    )
    assert '"stay_s":300.0' in out
    assert "unattended" not in out


async def test_bad_input_is_told_before_anything_is_started(world: GameDayWorld) -> None:
    for args, said in (
        (("drill", "game-day", "east", "--to", "west", "--yes"), "--deployment"),
        (("drill", "game-day", "east", "--to", "west", "--deployment", "x", "--yes"), "no such deployment: x"),
        ((*GAME, "--stay", "2d", "--yes"), "'2d' is not a duration"),
        ((*GAME, "--stay", "48h", "--yes"), "stay_s"),
        ((*GAME, "--max-gap", "never", "--yes"), "'never' is not a duration"),
    ):
        code, _, err = await cli(*args)
        assert (code, said in err) == (2, True), err
    assert world.told == []


async def test_in_json_it_says_the_same(world: GameDayWorld) -> None:
    code, out, _ = await cli(*GAME, "--stay", "1s", "--bake", "1s", "--yes", "-o", "json")
    assert code == 0
    told = json.loads(out)
    assert told["outcome"] == "done"
    assert [one["deployment"] for one in told["members"]] == ["a"]
    assert (told["verdict"]["lost"], told["verdict"]["gap_ms"]) == (0, 4_200.0)
