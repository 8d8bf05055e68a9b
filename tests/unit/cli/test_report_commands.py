"""``tidegate report``, on a store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.report import samples, samples_failover
from tidegate.cli import report
from tidegate.cli.main import run
from tidegate.clients.objects import S3Uri
from tidegate.registry import artifacts
from tidegate.report.write import write_report


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    store = OpenMemoryStore("tidegate")
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.chdir(tmp_path)
    for name in ("TIDEGATE_FLEET", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "fleet.yaml").write_text(SMALL)
    return store


def write(store, *requests):
    for request in requests:
        asyncio.run(write_report(store, "tidegate", request))


def test_the_list_says_how_each_ended(capsys, store):
    assert run(["report", "list"]) == 0
    assert capsys.readouterr().out == "no reports in s3://tidegate/reports/\n"
    write(store, samples.done(), samples.halted_then_undone(operation="upgrade-ledger-aa01"))
    asyncio.run(store.put(S3Uri("tidegate", "reports/ledger/broken/r1.json"), b"{}"))
    assert run(["report", "list", "ledger"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ENDED", "DEPLOYMENT", "OPERATION", "OUTCOME", "VERDICT", "GAP"]
    assert "unreadable" in lines[1]
    assert lines[2].split("  ")[-1] == "not audited"
    assert "2026-03-01 03:15:14.120 UTC" in lines[3]
    assert lines[3].split()[-5:] == ["upgrade-ledger-7c1f", "done", "0/0/0", "2.08", "s"]
    assert run(["report", "list", "--limit", "1", "-o", "json"]) == 0
    assert [one["key"] for one in json.loads(capsys.readouterr().out)] == ["reports/ledger/broken/r1.json"]


def test_the_list_has_the_recovery_time_where_there_was_a_failover(capsys, store):
    write(store, samples.done(), samples_failover.planned())
    assert run(["report", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["GAP", "RTO"]
    assert [line.split()[-2:] for line in lines[1:] if "failover-ledger" in line] == [["14.1", "s"]]
    assert [line.split()[-2:] for line in lines[1:] if "upgrade-ledger" in line] == [["2.08", "s"]]
    assert run(["report", "list", "-o", "json"]) == 0
    told = {one["operation"]: one["failover"] for one in json.loads(capsys.readouterr().out)}
    assert told["upgrade-ledger-7c1f"] is None
    assert told["failover-ledger-7c1f"]["rto_s"] == 14.14


def test_show_prints_it_for_a_person_and_the_stored_bytes_for_a_check(capsys, store):
    write(store, samples.undone())
    assert run(["report", "show", "upgrade-ledger-7c1f"]) == 0
    text = capsys.readouterr().out
    stored = store.objects[S3Uri("tidegate", "reports/ledger/upgrade-ledger-7c1f/0199-run.md")].body.decode()
    assert text == stored
    assert run(["report", "show", "upgrade-ledger-7c1f", "-o", "json"]) == 0
    digest = hashlib.sha256(capsys.readouterr().out.encode()).hexdigest()
    assert digest in text
    assert run(["report", "show", "upgrade-ledger-7c1"]) == 2
    assert "no report of an operation upgrade-ledger-7c1" in capsys.readouterr().err


@pytest.mark.parametrize("display", [True, False])
def test_open_fetches_the_page_and_opens_it_only_where_it_can_be_seen(capsys, store, monkeypatch, display):
    write(store, samples.done(operation="by hand/../x"))
    opened: list[str] = []
    monkeypatch.setattr(report.webbrowser, "open", lambda url: not opened.append(url))
    if display:
        monkeypatch.setenv("DISPLAY", ":0")
    assert run(["report", "open", "by hand/../x"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.read_text().startswith("<!doctype html>")
    assert path.parent == Path.cwd() / "cache" / "tidegate" / "reports"
    assert opened == ([path.as_uri()] if display else [])
