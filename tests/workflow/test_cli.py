"""The commands that start, follow and control operations, on a real Temporal server with faked activities."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from tests.kit.eventually import eventually
from tests.kit.temporal_env import TEMPORAL
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import writer
from tidegate import errors
from tidegate.cli import control, main, operations
from tidegate.errors import InvalidInput
from tidegate.model.inputs import UpgradeInput
from tidegate.model.operation import Verdict
from tidegate.model.record import DeploymentRecord

EPOCHS = itertools.count(1_000)
"""Each test has an epoch of its own, and so operations of its own (O12)."""


class _Fleet:
    def deployment(self, _name: str) -> None:
        return None

    def artifact(self, deployment: str, name: str) -> None:
        if name not in {"v1", "v2"}:
            raise InvalidInput(f"deployments.{deployment}.artifacts: no artifact {name}; known: v1, v2")


class _Loaded:
    fleet = _Fleet()


class _Control:
    """The control bucket, with the world's record in it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def record(self, _deployment: str) -> DeploymentRecord:
        return self._world.record

    async def fleet(self) -> _Loaded:
        return _Loaded()


class Cli:
    """Runs command lines as a shell would; each gives exit code, stdout, stderr."""

    async def __call__(self, *args: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return main.run([*args])

        code = await asyncio.to_thread(run)
        return code, out.getvalue(), err.getvalue()


@pytest_asyncio.fixture(loop_scope="session")
async def cli(server: WorkflowEnvironment, world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cli]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")
    epoch = next(EPOCHS)
    world._change(epoch=epoch, writer=writer("v1", epoch))

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield _Control(world)

    monkeypatch.setattr("tidegate.cli.runbook.open_control", opened)
    monkeypatch.setattr("tidegate.cli.ops.open_control", opened)
    monkeypatch.setattr("tidegate.cli.restore.open_control", opened)
    yield Cli()


def _id(text: str) -> str:
    found = re.search(r"(upgrade|start)-ledger-[0-9a-f]{8}", text)
    assert found, text
    return found.group(0)


async def test_upgrade_prints_a_line_a_step_and_the_end(cli: Cli, world: World) -> None:
    world.verdict = Verdict(audited=True, input=184_233, output=184_233, gap_ms=2_080)
    code, out, err = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith(f"operation  {_id(out)}      deployment ledger  east/cell-1      requested by ana")
    assert any(line.startswith("plan       5 steps") for line in lines)
    steps = [line for line in lines if re.match(r"  \d ", line)]
    assert [line.split()[:2] for line in steps] == [
        ["1", "observe"], ["2", "stop"], ["3", "start"], ["4", "prove"], ["5", "conclude"],
    ]  # fmt: skip
    assert any(line.startswith("done       v2 runs since") for line in lines)
    assert "gap        2.08 s" in lines
    assert "verdict    lost 0 · duplicated 0 · wrong 0        input 184,233 · output 184,233" in lines


async def test_the_same_command_twice_is_one_operation_o12(cli: Cli, world: World) -> None:
    block = world.block("switch")
    args = ("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes", "--no-follow")
    _, first, _ = await cli(*args)
    await block.entered.wait()
    _, second, err = await cli(*args)
    assert _id(first) == _id(second)
    assert "attached" in err
    block.released.set()
    code, out, _ = await cli("ops", "watch", _id(first))
    assert code == 0
    assert "done" in out
    assert world.names().count("switch") == 1


async def test_undone_says_why_and_leaves_with_1(cli: Cli, world: World) -> None:
    log = ["java.lang.IllegalStateException: boom", "at Ledger.v2"]
    world.will("prove", errors.ProofFailed("3 restarts in 20 s (limit 2)", details={"first_error": "boom", "log": log}))
    code, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes")
    assert code == 1
    assert "undone     3 restarts in 20 s (limit 2)" in out
    assert "v1 runs again since" in out
    code, out, _ = await cli("ops", "logs", _id(out))
    assert code == 0
    assert "prove: 3 restarts in 20 s" in out
    assert "at Ledger.v2" in out


async def test_halted_leaves_with_3_and_the_commands_work(cli: Cli, world: World) -> None:
    world.will("switch", errors.MustHalt("Flink in east answers no request"))
    code, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes")
    assert code == 3
    assert "halted     safely, at stop" in out
    assert "why        Flink in east answers no request" in out
    command = next(line for line in out.splitlines() if line.startswith("go back"))
    code, out, _ = await cli(*shlex.split(command.removeprefix("go back").strip())[1:], "--why", "enough")
    assert code == 0
    code, out, _ = await cli("ops", "watch", _id(command))
    assert code == 1
    assert "enough" in out


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (errors.Held("ledger is held by other", hint="tidegate ops watch other"), 4, "refused    ledger is held by"),
        (errors.Superseded("fence 4 has become 5"), 6, "superseded fence 4 has become 5"),
    ],
    ids=["held", "superseded"],
)
async def test_refused_and_superseded_have_exit_codes(
    cli: Cli, world: World, error: Exception, code: int, word: str
) -> None:
    world.will("take", error)
    left, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--yes")
    assert left == code
    assert word in out


async def test_bad_verdict_leaves_with_7_and_says_how_to_go_back(cli: Cli, world: World) -> None:
    world.verdict = Verdict(audited=True, wrong=3)
    code, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes")
    assert code == 7
    assert "wrong 3" in out
    assert "go back    tidegate upgrade ledger --to v1" in out


async def test_dry_run_prints_the_plan_and_needs_no_yes(cli: Cli, world: World) -> None:
    for _ in range(2):
        code, out, err = await cli("upgrade", "ledger", "--to", "v2", "--dry-run")
        assert code == 0, err
        assert "nothing was changed" in out
        assert "undo:" in out
    assert "take" not in world.names()


async def test_bad_input_is_refused_before_anything_starts(cli: Cli, world: World) -> None:
    for args, words in (
        (["upgrade", "ledger", "--to", "v9", "--yes"], "no artifact v9"),
        (["upgrade", "ledger", "--to", "v2", "--bake", "soon"], "--bake: 'soon' is not a duration"),
        (["upgrade", "ledger", "--to", "v2", "--take-over"], "--take-over: needs --why"),
        (["ops", "show", "nothing-here"], "no such operation: nothing-here"),
    ):
        code, _, err = await cli(*args)
        assert code == 2, (args, err)
        assert words in err
    code, _, err = await cli("upgrade", "ledger", "--to", "v2")
    assert code == 4
    assert "--yes" in err
    assert world.calls == []


async def test_approve_by_command(cli: Cli, world: World) -> None:
    _, out, _ = await cli(
        "upgrade", "ledger", "--to", "v2", "--bake", "1s", "--require-approval", "--yes", "--no-follow"
    )
    operation = _id(out)

    async def waiting() -> str:
        _, shown, _ = await cli("ops", "show", operation)
        assert "waiting-for-approval" in shown
        return shown

    shown = await eventually(waiting)
    command = next(line for line in shown.splitlines() if "ops approve" in line).removeprefix("next").strip()
    code, out, err = await cli(*shlex.split(command.replace("YOU", "bob"))[1:])
    assert code == 0, err
    assert "claimed by bob" in out
    code, _, _ = await cli("ops", "watch", operation)
    assert code == 0
    code, _, err = await cli("ops", "abort", operation)
    assert code == 4
    assert "has ended" in err


async def test_show_and_list_as_json(cli: Cli, world: World) -> None:
    block = world.block("switch")
    _, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--yes", "--no-follow", "-o", "json")
    operation = json.loads(out)["operation"]
    await block.entered.wait()
    _, out, _ = await cli("ops", "show", operation, "-o", "json")
    shown = json.loads(out)
    assert shown["status"]["activity"]["name"] == "switch"
    assert shown["record"]["holder"]["operation"] == operation
    assert any(line.startswith("switch, started") for line in shown["pending"])

    async def listed() -> None:
        _, out, _ = await cli("ops", "list", "--running", "-o", "json")
        assert operation in [row["operation"] for row in json.loads(out)]

    await eventually(listed)
    block.released.set()
    await cli("ops", "watch", operation)


async def test_the_printed_plain_command_starts_the_very_same_operation(cli: Cli, world: World, client: Client) -> None:
    code, out, _ = await cli("upgrade", "ledger", "--to", "v2", "--bake", "1s", "--print-command")
    assert code == 0
    assert world.calls == []
    argv = shlex.split(out)
    argv[0] = str(TEMPORAL)
    address = client.service_client.config.target_host
    done = await asyncio.to_thread(
        subprocess.run, [*argv, "--address", address], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    code, out, _ = await cli("ops", "watch", _id(out))
    assert code == 0


async def test_x12_restore_as_a_fork_starts_the_fork_as_what_the_live_one_runs(cli: Cli, world: World) -> None:
    code, out, _ = await cli("restore", "ledger", "--as", "ledger-fork", "--from", "e7-savepoint-1", "--print-command")
    assert code == 0
    argv = shlex.split(out)
    assert argv[argv.index("--type") + 1] == "StartDeployment"
    asked = json.loads(argv[argv.index("--input") + 1])
    wanted = {"deployment": "ledger-fork", "fork_of": "ledger", "artifact": "v1", "snapshot": "e7-savepoint-1"}
    assert asked | wanted == asked
    code, _, err = await cli("restore", "ledger", "--as", "ledger-fork", "--region", "west")
    assert (code, "--as: goes with --from and --artifact only" in err) == (2, True)
    assert world.calls == []


async def test_no_follow_says_so_if_no_worker_answers(
    server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world._change(epoch=next(EPOCHS))
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setattr(operations, "ANSWER_S", 1.0)

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield _Control(world)

    monkeypatch.setattr("tidegate.cli.runbook.open_control", opened)
    monkeypatch.setattr("tidegate.cli.ops.open_control", opened)
    cli = Cli()
    code, out, err = await cli("upgrade", "ledger", "--to", "v2", "--reason", "alone", "--yes", "--no-follow")
    assert code == 5
    assert "no worker answers on tidegate-control" in err
    assert "tidegate worker run --role control" in err
    operation = _id(out)
    code, out, err = await cli("ops", "show", operation)
    assert code == 0
    assert "steps      not known: no worker answers on tidegate-control" in out
    await server.client.get_workflow_handle(operation).terminate("the test is over")


async def test_temporal_away_is_exit_code_5(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    code, _, err = await cli("ops", "list")
    assert code == 5
    assert "cannot reach Temporal at 127.0.0.1:1" in err


def test_ids_follow_the_request_and_the_epoch_o12() -> None:
    request = UpgradeInput(deployment="ledger", to="v2", requested_by="ana")
    same = UpgradeInput(deployment="ledger", to="v2", requested_by="bob", reason="other words")
    other = UpgradeInput(deployment="ledger", to="v2", bake_s=5)
    assert operations.operation_id("upgrade", request, 7) == operations.operation_id("upgrade", same, 7)
    assert operations.operation_id("upgrade", request, 7) != operations.operation_id("upgrade", request, 8)
    assert operations.operation_id("upgrade", request, 7) != operations.operation_id("upgrade", other, 7)


def test_the_control_bucket_that_is_away_is_exit_code_5() -> None:
    assert control.ControlUnreachable("x").exit_code == 5


async def test_a_review_by_a_worker_leaves_a_report_and_7_if_it_is_too_low(cli: Cli, world: World) -> None:
    code, out, err = await cli("ready", "ledger", "--record", "--reason", "weekly")
    assert code == 0, err
    assert "done       76 of 100 · 1 breach · 1 warning" in out
    assert re.search(r"report     \S+      tidegate report open review-ledger-[0-9a-f]{8}", out)
    code, out, _ = await cli("ready", "ledger", "--record", "--fail-under", "90")
    assert code == 7
    assert "done, BUT  the score is below 90: ready/no-room" in out
    assert "go back" not in out
    assert [report.reason for report in world.reports] == ["weekly", ""]
