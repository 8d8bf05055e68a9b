"""``tidegate break-glass``: real servers, real take and release on one record, all other activities faked."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from tests.docs.pages import ROOT
from tests.kit.eventually import eventually
from tests.kit.shared_record import Shared, SharedWorld
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import as_json
from tests.kit.temporal_world_facts import Block
from tidegate.cli import main, operations
from tidegate.cli.control import ControlBucket
from tidegate.errors import MustHalt, OperationFailed, Refused
from tidegate.model.failover import FailoverInput
from tidegate.model.inputs import ControlInput, UpgradeInput
from tidegate.model.operation import Outcome
from tidegate.model.record import RecordState, utc_now
from tidegate.names import region_queue
from tidegate.temporal.connect import TemporalUnreachable
from workers import alone, runner
from workers.kept import Asked
from workers.private_server import PrivateServer

REGIONS = ("east", "west")
WHY = ("--why", "Temporal is gone")


@pytest_asyncio.fixture(loop_scope="session")
async def shared() -> Shared:
    made = Shared()
    await made.set_up()
    return made


@pytest.fixture
def world(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedWorld:
    """What the workers of break-glass see."""
    made = SharedWorld(shared, tmp_path / "cache")
    monkeypatch.setattr(alone, "all_activities", lambda _sites, client: made.activities_of(client))
    return made


class Glass:
    """Runs ``tidegate break-glass`` as a shell would, with no Temporal where one should be."""

    def __init__(self, state: Path) -> None:
        self.state = state

    async def __call__(self, *args: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return main.run(["break-glass", "failover", *args])

        code = await asyncio.to_thread(run)
        print(out.getvalue(), err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def folders(self) -> list[Path]:
        """The folders of operations that did not end."""
        return _folders(self.state)


def _folders(state: Path) -> list[Path]:
    return sorted((state / "tidegate").glob("*")) if state.exists() else []


@pytest.fixture
def glass(shared: Shared, world: SharedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Glass:
    assert world  # its workers' activities are in place
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{probe.getsockname()[1]}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TIDEGATE_WHO", "ana")

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None, _timeout_s: float) -> AsyncIterator[ControlBucket]:
        yield shared.control

    monkeypatch.setattr("workers.break_glass.open_control", opened)
    monkeypatch.setattr(main, "known_commands", lambda: {"break-glass": "workers.break_glass:app"})
    return Glass(tmp_path / "state")


async def test_o22_the_same_workflow_runs_without_temporal_and_leaves_nothing_but_its_report(
    glass: Glass, world: SharedWorld, shared: Shared
) -> None:
    code, out, err = await glass("ledger", "--unplanned", *WHY, "--bake", "1s", "--yes")
    assert code == 0, err
    assert re.search(r"operation  break-glass-ledger-[0-9a-f]{8} ", out)
    assert "done       v1 runs in west/cell-1 since" in out
    assert "its database is in" in err
    record = await shared.record()
    assert (record.state, record.holder, record.fence) == (RecordState.IDLE, None, 4)
    assert record.writer is not None
    assert record.writer.region == "west"
    (report,) = world.reports
    assert report.outcome is Outcome.DONE
    assert report.take_over is not None
    assert report.take_over.why == "Temporal is gone"
    assert report.reason == "break-glass, without Temporal: Temporal is gone"
    assert report.requested_by == "ana"
    assert glass.folders() == []
    # No step has waited for a region whose workers are lost.
    queues = {name: queue for name, queue, _ in world.calls}
    assert queues["shut_home"] == queues["rebase_copy"] == region_queue("west")


async def test_o4_it_takes_over_from_who_holds_it_in_the_lost_temporal(
    glass: Glass, world: SharedWorld, shared: Shared, server: WorkflowEnvironment, tmp_path: Path
) -> None:
    """Not asked whether that one's run is closed: its cluster is not there."""
    before = SharedWorld(shared, tmp_path / "cache")
    async with _workers(server.client, before):
        block = before.block("stop_deployment")
        held = await begin(server.client, "FailoverDeployment", FailoverInput, requested_by="bob", to="west")
        await _until(before, "stop_deployment")
        code, _, err = await glass("ledger", "--unplanned", *WHY, "--bake", "1s", "--yes")
        assert code == 0, err
        block.released.set()
        await held.failed("Superseded")
    assert (await shared.record()).fence == 5
    assert world.reports[0].outcome is Outcome.DONE


async def test_a_temporal_that_answers_is_used_unless_a_person_knows_better_and_a_dry_run_changes_nothing(
    glass: Glass, shared: Shared, server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await shared.record()
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    asked = ("ledger", "--unplanned", "--to", "west", *WHY, "--bake", "5s", "--dry-run")
    code, out, err = await glass(*asked)
    assert (code, out) == (4, "")
    assert "tidegate failover deployment ledger --to west --unplanned --dry-run --bake 5s" in err
    assert glass.folders() == []
    code, out, err = await glass(*asked, "--even-though-temporal-answers")
    assert code == 0, err
    assert "nothing was changed" in out
    assert await shared.record() == before
    assert glass.folders() == []


async def test_what_is_refused_leaves_no_folder(glass: Glass, world: SharedWorld) -> None:
    world.points = ()
    code, out, err = await glass("ledger", "--unplanned", *WHY, "--yes")
    assert code == 4, err
    assert "no recovery point" in out
    assert glass.folders() == []


async def test_halted_it_keeps_its_folder_and_the_command_that_is_printed_goes_on(
    glass: Glass, world: SharedWorld, shared: Shared
) -> None:
    world.will("shut_home", MustHalt("nobody knows what runs in the east"), MustHalt("still nobody knows"))
    code, out, err = await glass("ledger", "--unplanned", *WHY, "--bake", "1s", "--yes")
    assert code == 3, err
    (folder,) = glass.folders()
    assert f"go on      tidegate break-glass failover ledger --keep-server {folder}" in out
    assert "tidegate ops" not in out
    assert f"kept       {folder}" in err
    record = await shared.record()
    assert (record.state, record.fence) == (RecordState.HALTED, 4)
    code, out, err = await glass("ledger", "--keep-server", str(folder))
    assert code == 3, err
    assert "still nobody knows" in out
    assert glass.folders() == [folder]
    code, out, err = await glass("ledger", "--keep-server", str(folder))
    assert code == 0, err
    assert "goes on with break-glass-ledger-" in err
    assert (await shared.record()).fence == 4
    assert world.names().count("take") == 1
    assert glass.folders() == []


async def test_halted_it_is_sent_back_by_abort(glass: Glass, world: SharedWorld, shared: Shared) -> None:
    world.will("cut_over", MustHalt("nobody knows what the mirror does"))
    code, out, err = await glass("ledger", *WHY, "--bake", "1s", "--yes", "-o", "json")
    assert code == 3, err
    (folder,) = glass.folders()
    again = f"tidegate break-glass failover ledger --keep-server {folder}"
    assert json.loads(out)["next_commands"] == [
        again,
        f"{again} --abort",
        "tidegate break-glass failover ledger --unplanned --why TEXT",
    ]
    code, out, err = await glass("ledger", "--keep-server", str(folder), "--abort")
    assert code == 1, err
    assert "undone" in out
    record = await shared.record()
    assert record.writer is not None
    assert (record.writer.region, record.holder) == ("east", None)
    assert glass.folders() == []


async def test_halted_on_the_planned_way_it_goes_on_unplanned(glass: Glass, world: SharedWorld, shared: Shared) -> None:
    world.will("stop_deployment", MustHalt("Flink in the east says nothing"))
    code, _, err = await glass("ledger", *WHY, "--bake", "1s", "--yes")
    assert code == 3, err
    (folder,) = glass.folders()
    code, out, err = await glass("ledger", "--keep-server", str(folder), "--unplanned")
    assert code == 0, err
    assert "shut_home" in world.names()
    assert "v1 runs in west/cell-1" in out


async def test_interrupted_it_stands_still_and_goes_on_where_it_stood(
    world: SharedWorld, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE", timedelta(seconds=0.2))
    folder, stop = tmp_path / "kept", asyncio.Event()
    request = FailoverInput.model_validate(
        {"deployment": "ledger", "unplanned": True, "bake_s": 1, "take_over": {"why": "Temporal is gone"}}
    )
    asked = Asked(operation="break-glass-ledger-x", request=request, began=utc_now())
    asked.write(folder)
    word = (alone.Word.RESUME, ControlInput(by="ana"))

    async def run() -> int:
        return await alone.operate(folder, asked, shared.control, REGIONS, tmp_path / "cache", word, stop)

    block = world.block("rebase_copy")
    running = asyncio.create_task(run())
    await _enters(block, running)
    stop.set()
    assert await running == 130
    assert Asked.read(folder) == asked
    stop.clear()
    assert await run() == 0
    # An attempt may be made again by the server (a heartbeat that came late); the operation asks for each step once.
    asked_of = {name: {as_json(request) for request in world.requests(name)} for name in set(world.names())}
    assert [len(asked_of[name]) for name in ("take", "rebase_copy", "shut_home")] == [1, 1, 1]
    assert world.names().count("rebase_copy") > 1
    assert not folder.exists()


async def test_a_server_that_ends_is_said_and_the_operation_goes_on_in_another(
    world: SharedWorld, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE", timedelta(seconds=0.2))
    folder = tmp_path / "kept"
    request = FailoverInput.model_validate({"deployment": "ledger", "unplanned": True, "bake_s": 1})
    asked = Asked(operation="break-glass-ledger-y", request=request, began=utc_now())
    asked.write(folder)
    word = (alone.Word.RESUME, ControlInput(by="ana"))

    async def run() -> int:
        never = asyncio.Event()
        return await alone.operate(folder, asked, shared.control, REGIONS, tmp_path / "cache", word, never)

    block = world.block("rebase_copy")
    running = asyncio.create_task(run())
    await _enters(block, running)
    psutil.Process(json.loads((folder / "server.json").read_text())["pid"]).kill()
    with pytest.raises(OperationFailed, match="private Temporal server ended with status -9"):
        await running
    assert await run() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_leaves_it_as_it_is_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.glass_process", "ledger", "--unplanned", *WHY, "--yes"),
        cwd=ROOT,
        env={**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:1", "XDG_STATE_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while (await process.stdout.readline()).strip() != b"BLOCKED":
        assert process.returncode is None
    (folder,) = _folders(tmp_path)
    left = psutil.Process(json.loads((folder / "server.json").read_text())["pid"])
    process.send_signal(number)
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == 130, err
    assert "is left as it is" in out
    assert f"go on       tidegate break-glass failover ledger --keep-server {folder}" in out
    assert not left.is_running()
    assert Asked.read(folder) is not None
    assert (folder / "temporal.db").exists()


async def test_a_server_whose_owner_was_killed_gives_its_database_to_the_next(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.glass_process", "ledger", "--unplanned", *WHY, "--yes"),
        *("--keep-server", str(tmp_path / "kept")),
        cwd=ROOT,
        env={**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert owner.stdout is not None
    while (await owner.stdout.readline()).strip() != b"BLOCKED":
        assert owner.returncode is None
    with pytest.raises(Refused, match="used by another process"):
        await PrivateServer(tmp_path / "kept").__aenter__()
    left = psutil.Process(json.loads((tmp_path / "kept" / "server.json").read_text())["pid"])
    owner.kill()
    await owner.communicate()
    assert left.is_running()
    async with PrivateServer(tmp_path / "kept") as server:
        assert not left.is_running()
        asked = Asked.read(tmp_path / "kept")
        assert asked is not None
        handle = (await server.client()).get_workflow_handle(asked.operation)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def _enters(block: Block, running: asyncio.Task[int]) -> None:
    """It comes to the call that is blocked; if it ends before, that is what is told."""
    entered = asyncio.ensure_future(block.entered.wait())
    await asyncio.wait([entered, running], return_when=asyncio.FIRST_COMPLETED)
    if not entered.done():
        entered.cancel()
        pytest.fail(f"it ended before: {await running}")


@pytest.mark.parametrize("lost", [1, 2])
async def test_o12_a_server_that_answers_late_is_asked_again_and_the_operation_begun_once(
    lost: int, server: WorkflowEnvironment, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was told did arrive; the answer came too late."""
    before = SharedWorld(shared, tmp_path / "cache")
    name = f"break-glass-ledger-late-{lost}"
    request = FailoverInput.model_validate({"deployment": "ledger", "unplanned": True, "bake_s": 1})
    really, asked = operations.start, 0

    async def late(*args: Any) -> operations.Started:
        nonlocal asked
        asked += 1
        begun = await really(*args)
        if asked <= lost:
            raise TemporalUnreachable("Temporal does not answer within 5 s")
        return begun

    monkeypatch.setattr(operations, "start", late)
    word = (alone.Word.RESUME, ControlInput(by="ana"))
    kept = Asked(operation=name, request=request, began=utc_now())
    private = PrivateServer(tmp_path / "kept")
    async with _workers(server.client, before):
        assert await alone._follow(server.client, private, kept, word) == 0
    assert asked == lost + 1
    assert len({request.run_id for request in before.requests("take")}) == 1


# -- the operation in the lost server


@contextlib.asynccontextmanager
async def _workers(client: Client, world: SharedWorld) -> AsyncIterator[None]:
    activities = world.activities_of(client)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(runner.control_worker(client, activities))
        for region in REGIONS:
            await stack.enter_async_context(runner.region_worker(client, region, activities))
        yield


async def _until(world: SharedWorld, name: str) -> None:
    async def called() -> None:
        assert name in world.names()

    await eventually(called)


@pytest.mark.parametrize(
    ("runbook", "frozen_in"), [("UpgradeDeployment", "switch"), ("FailoverDeployment", "close_producers")]
)
async def test_o22_an_operation_that_the_lost_server_brings_back_is_superseded_and_does_nothing_more(
    runbook: str,
    frozen_in: str,
    glass: Glass,
    world: SharedWorld,
    shared: Shared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "GRACE", timedelta(seconds=0.1))
    old = SharedWorld(shared, tmp_path / "cache")
    block = old.block(frozen_in)
    model = {"UpgradeDeployment": UpgradeInput, "FailoverDeployment": FailoverInput}[runbook]
    async with PrivateServer(tmp_path / "lost") as lost:
        client = await lost.client()
        async with _workers(client, old):
            held: Run = await begin(
                client, runbook, model, requested_by="bob", to="v2" if model is UpgradeInput else "west"
            )
            await block.entered.wait()
        # Nobody works for it any more; it holds the deployment, and has told nobody what it was about to do.
    holder = (await shared.record()).holder
    assert holder is not None
    assert holder.operation == held.handle.id
    before = len(old.calls)

    code, _, err = await glass("ledger", "--unplanned", *WHY, "--bake", "1s", "--yes")
    assert code == 0, err
    done = await shared.record()

    # The lost server is back with its database, and so are its workers.
    async with PrivateServer(tmp_path / "lost") as back:
        client = await back.client()
        again = Run(client.get_workflow_handle(held.handle.id))
        async with _workers(client, old):
            result = await again.failed("Superseded")
    assert result.outcome is Outcome.SUPERSEDED
    assert "break-glass-ledger-" not in result.why or "fence" in result.why
    # It tried what it had begun, was refused by the fence, wrote its report, and that was all.
    assert {name for name, _, _ in old.calls[before:]} == {frozen_in, "write_report"}
    assert await shared.record() == done
