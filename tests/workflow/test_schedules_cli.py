"""``tidegate schedules`` on a real Temporal: plan, apply, list, pause, resume, and nothing deleted by surprise."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec
from temporalio.testing import WorkflowEnvironment

from tests.docs.pages import ROOT
from tests.kit.eventually import eventually
from tests.kit.objects import MemoryStore
from tests.kit.scheduled import delete_schedules
from tidegate.cli import main
from tidegate.model.schedule import RunOutcome, ScheduledResult, SkipReason
from tidegate.schedules.store import ScheduleStore

ONE = """version: 1
schedules:
  nightly:
    runbook: SweepSnapshots
    input: {deployment: ledger}
    cron: "30 2 * * *"
    time_zone: Europe/Berlin
    max_age_days: 8
"""
TWO = ONE + ONE.partition("schedules:\n")[2].replace("nightly", "noon").replace("30 2", "0 12")


@pytest.fixture
def bucket() -> MemoryStore:
    return MemoryStore()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _set_up(
    server: WorkflowEnvironment, bucket: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.client.service_client.config.target_host)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")
    monkeypatch.setenv("TIDEGATE_FLEET", str(ROOT / "runbooks/fleet-sandbox.yaml"))

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None) -> AsyncIterator[Any]:
        yield SimpleNamespace(store=bucket, bucket="tidegate")

    monkeypatch.setattr("tidegate.cli.schedules.open_control", opened)
    yield
    await delete_schedules(server.client)


async def _cli(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return main.run(["schedules", *args])

    code = await asyncio.to_thread(run)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _write(tmp_path / "schedules.yaml", TWO)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def test_plan_apply_and_again_nothing_changes(file: Path) -> None:
    code, out, err = await _cli("plan", "--file", str(file), "--fail-on-change")
    assert code == 1, err
    assert "+ nightly  is created" in out
    assert "does not exist in Europe/Berlin: it does not fire at that time" in out
    assert "plan       2 to create, 0 to change, 0 as in the file, 0 named no more" in out
    code, out, err = await _cli("apply", "--file", str(file), "--dry-run")
    assert (code, "applied" in out) == (0, False), err
    code, _, err = await _cli("apply", "--file", str(file), "-o", "json")
    assert (code, "not confirmed" in err) == (4, True)
    code, out, err = await _cli("apply", "--file", str(file), "--yes")
    assert code == 0, err
    assert "applied    2 of 2 changed" in out
    for args in (("plan", "--fail-on-change"), ("apply", "--yes")):
        code, out, err = await _cli(*args, "--file", str(file))
        assert (code, "0 to create, 0 to change, 2 as in the file" in out) == (0, True), err
    assert "applied    nothing to change" in out


async def test_nothing_is_deleted_by_surprise_and_a_strangers_never(file: Path, client: Client) -> None:
    action = ScheduleActionStartWorkflow("X", id="x", task_queue="q")
    await client.create_schedule("another-team", Schedule(action=action, spec=ScheduleSpec()))
    assert (await _cli("apply", "--file", str(file), "--yes"))[0] == 0
    _write(file, ONE)

    async def told() -> None:  # the server's own list is a moment behind
        code, out, err = await _cli("apply", "--file", str(file), "--yes")
        assert code == 0, err
        assert "? noon  is named by the file no more" in out
        assert "applied    nothing to change" in out

    await eventually(told, within_s=30.0)
    code, out, err = await _cli("apply", "--file", str(file), "--prune", "--yes", "-o", "json")
    assert (code, json.loads(out)["done"]) == (0, ["noon"]), err

    async def left() -> None:
        assert {one.id async for one in await client.list_schedules()} == {"tidegate-nightly", "another-team"}

    await eventually(left, within_s=30.0)


async def test_the_list_says_when_next_what_became_of_the_last_and_what_is_late(
    file: Path, bucket: MemoryStore
) -> None:
    _write(file, ONE)
    assert (await _cli("apply", "--file", str(file), "--yes"))[0] == 0
    now = datetime.now(UTC)
    done = ScheduledResult(
        schedule="nightly", runbook="SweepSnapshots", run="r1", due=now - timedelta(days=9),
        ended=now - timedelta(days=9), outcome=RunOutcome.DONE,
    )  # fmt: skip
    store = ScheduleStore(bucket, "tidegate")
    await store.note(done)
    skipped = {"run": "r2", "ended": now, "outcome": RunOutcome.SKIPPED, "skip": SkipReason.FREEZE, "why": "frozen"}
    await store.note(done.model_copy(update=skipped))

    async def listed() -> str:
        code, out, err = await _cli("list", "--fail-on-breach")
        assert (code, "nightly" in out) == (1, True), err
        return out

    out = await eventually(listed, within_s=30.0)
    assert "skipped (freeze): frozen" in out
    assert "breach     nightly: last done 9.0 days ago; at most 8 are promised" in out
    (told,) = json.loads((await _cli("list", "-o", "json"))[1])
    utc, local = (datetime.fromisoformat(told["next"][0][key]) for key in ("utc", "local"))
    assert utc == local
    assert (local.hour, local.minute, told["time_zone"]) == (2, 30, "Europe/Berlin")
    assert [breach["kind"] for breach in told["breaches"]] == ["old"]

    assert (await _cli("pause", "nightly", "--why", "audit week"))[0] == 0
    assert "paused     nightly: paused by ana: audit week" in (await _cli("list"))[1]
    assert (await _cli("apply", "--file", str(file), "--yes"))[0] == 0
    assert "paused by ana: audit week" in (await _cli("list"))[1]  # an apply resumes nothing
    assert (await _cli("resume", "nightly"))[0] == 0
    (told,) = json.loads((await _cli("list", "-o", "json"))[1])
    assert (told["paused"], told["note"]) == (False, "resumed by ana")


async def test_bad_input_is_told_with_its_place_and_an_unknown_name_too(file: Path) -> None:
    _write(file, ONE.replace("SweepSnapshots", "Sweep"))
    code, _, err = await _cli("plan", "--file", str(file))
    assert code == 2
    assert "schedules.yaml:4:14  schedules.nightly.runbook: no such runbook: Sweep" in err
    code, _, err = await _cli("pause", "nobody", "--why", "x")
    assert (code, "no such schedule: nobody" in err) == (2, True)
