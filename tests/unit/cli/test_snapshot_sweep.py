"""``tidegate snapshot sweep``: shown first, asked for, and only what was shown can go."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.kit.snapshots import Job
from tests.unit.cli.test_snapshot_commands import OpenMemoryStore
from tidegate.cli import operations, runbook, snapshot_sweep
from tidegate.cli.main import run
from tidegate.clients.objects import Object, S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.sweep import SweepInput
from tidegate.registry import artifacts

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    store = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    monkeypatch.setenv("TIDEGATE_WHO", "dora")

    async def none_runs(_):
        return set()

    monkeypatch.setattr(snapshot_sweep, "running_jobs", none_runs)

    async def fill():
        for number in range(1, 8):
            await Job().checkpoint(store, number, {f"s{number}": 1000, "s": 50})

    asyncio.run(fill())
    for uri, item in store.objects.items():
        store.objects[uri] = Object(item.body, item.etag, item.metadata, item.last_modified - timedelta(days=8))
    return store


@pytest.fixture
def begun(monkeypatch):
    """The requests that are started, instead of starting them."""
    requests: list[SweepInput] = []

    async def connect():
        return object()

    async def start(_client, runbook_type, request, operation, _summary):
        assert runbook_type == "SweepSnapshots"
        requests.append(request)
        return operations.Started(operation, attached=False)

    async def said(begin):
        await begin()
        return 0

    monkeypatch.setattr(runbook, "connect", connect)
    monkeypatch.setattr(operations, "start", start)
    monkeypatch.setattr(runbook, "begun", said)
    return requests


def told(capsys, *args):
    status = run(("snapshot", "sweep", "ledger", *args))
    out, err = capsys.readouterr()
    return status, out, err


def test_a_dry_run_shows_what_goes_and_why_the_others_stay(capsys, store, begun):
    before = dict(store.objects)
    status, out, _ = told(capsys, "--dry-run")
    assert status == 0
    head, *lines, total = out.splitlines()
    assert head.split() == ["ID", "AGE", "FREES", "WHY"]
    assert [line.split()[0] for line in lines] == [f"ledger/e7-chk-{n}" for n in range(7, 0, -1)]
    assert all("no 5 newer ones are whole" in line for line in lines[:5])
    assert ["goes" in line for line in lines] == [False] * 5 + [True] * 2
    assert total.startswith("would go   2 snapshots, 6 files, ")
    assert (store.objects, begun) == (before, [])


def test_in_json_with_bytes(capsys, store):
    status, out, _ = told(capsys, "--dry-run", "--keep", "6", "-o", "json")
    answer = json.loads(out)
    assert status == 0
    (one,) = answer["going"]
    metadata = len(store.objects[S3Uri.parse(f"{Job().location(1)}/_metadata")].body)
    assert (one["id"], one["files"], one["bytes"]) == ("ledger/e7-chk-1", 3, metadata + 1000 + 40)
    assert answer["bytes"] == one["bytes"]
    assert len(answer["staying"]) == 6


def test_it_asks_and_without_a_yes_nothing_is_started(capsys, begun):
    status, out, err = told(capsys)
    assert status == 4
    assert "would go   2 snapshots" in out
    assert "2 snapshots, 6 files" in err
    assert "go, for good. Go on?" in err
    assert begun == []


def test_with_a_yes_it_starts_what_was_shown(capsys, begun):
    moment = datetime.now(UTC)
    assert told(capsys, "--yes", "--no-follow", "--keep", "3", "--older-than", "12h", "--region", "west")[0] == 0
    (request,) = begun
    assert (request.deployment, request.region, request.keep, request.older_than_s) == ("ledger", "west", 3, 43_200)
    assert request.as_of is not None
    assert abs(request.as_of - moment) < timedelta(minutes=1)
    assert (request.requested_by, request.dry_run) == ("dora", False)


def test_the_plain_command_is_printed_and_nothing_is_looked_at(capsys, store, begun):
    store.calls.clear()
    status, out, _ = told(capsys, "--print-command")
    assert status == 0
    assert "temporal workflow start --type SweepSnapshots" in out
    assert (store.calls, begun) == ([], [])


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604_800), ("0.5d", 43_200), ("12h", 43_200), ("30m", 1_800), ("0s", 0)]
)
def test_ages_are_read(text, seconds):
    assert snapshot_sweep.age_s(text) == seconds


@pytest.mark.parametrize("text", ["d", "a week", "-1d", "7d2h", ""])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(InvalidInput, match="--older-than"):
        snapshot_sweep.age_s(text)


def test_none_to_keep_is_refused(capsys):
    assert told(capsys, "--keep", "0", "--dry-run")[0] == 2


def test_an_empty_region_says_so(capsys, monkeypatch):
    monkeypatch.setattr(artifacts, "open_access", lambda *_: OpenMemoryStore())
    status, out, _ = told(capsys, "--dry-run", "--region", "west")
    assert (status, out.splitlines()[0]) == (0, "no snapshot in west")
