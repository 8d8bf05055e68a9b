"""``tidegate report``, on a store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
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


def verified(capsys, *args):
    status = run(["report", "verify", *args])
    return status, capsys.readouterr()


def spoil(store, key, body=None):
    if body is None:
        del store.objects[S3Uri("tidegate", key)]
    else:
        asyncio.run(store.put(S3Uri("tidegate", key), body))


def test_i8_verify_says_that_all_is_whole_and_which_head_to_write_down(capsys, store):
    assert verified(capsys)[1].out == "no reports in s3://tidegate/reports/\n"
    write(store, samples.done(), samples.undone(operation="upgrade-ledger-aa01"), samples.done(deployment="billing"))
    status, told = verified(capsys)
    assert status == 0
    lines = told.out.splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "REPORTS", "BEFORE", "LINKS", "CHAIN", "HEAD"]
    assert lines[1].split()[:5] == ["billing", "1", "0", "2", "whole"]
    assert lines[2].split()[:5] == ["ledger", "2", "0", "3", "whole"]
    head = lines[2].split()[5]
    assert "tidegate report verify billing --head" in told.err
    write(store, samples.done(operation="upgrade-ledger-aa02"))
    status, told = verified(capsys, "ledger", "--head", head)
    assert status == 0
    assert f"head       {head} is link 3 of ledger, 1 links since" in told.out
    status, told = verified(capsys, "ledger", "-o", "json", "--head", head[:16])
    answer = json.loads(told.out)
    assert answer["whole"] is True
    assert answer["heads"] == [{"head": head[:16], "deployment": "ledger", "link": 3}]
    assert answer["deployments"][0]["head_number"] == 4
    assert status == 0


def test_i8_one_altered_one_deleted_one_inserted_verify_names_each_and_exits_as_a_bad_verdict(capsys, store):
    for name in ("a1", "a2", "a3"):
        write(store, samples.done(operation=name))
    body = bytearray(store.objects[S3Uri("tidegate", "reports/ledger/a1/0199-run.html")].body)
    body[100] ^= 1
    spoil(store, "reports/ledger/a1/0199-run.html", bytes(body))
    spoil(store, "reports/ledger/a3/0199-run.json")
    spoil(store, "reports/ledger/a9/0199-run.json", b"{}")
    status, told = verified(capsys, "ledger")
    assert status == 7
    assert told.out.splitlines()[1].split()[:5] == ["ledger", "3", "0", "4", "3"]
    named = {tuple(line.split()) for line in told.out.splitlines() if " s3://" in line}
    assert named == {
        ("altered", "s3://tidegate/reports/ledger/a1/0199-run.html"),
        ("missing", "s3://tidegate/reports/ledger/a3/0199-run.json"),
        ("inserted", "s3://tidegate/reports/ledger/a9/0199-run.json"),
    }
    status, told = verified(capsys, "-o", "json")
    assert status == 7
    faults = json.loads(told.out)["deployments"][0]["faults"]
    assert {(fault["kind"], fault["object"]) for fault in faults} == named


def test_i8_what_lies_beside_the_folders_of_the_deployments_is_named(capsys, store):
    write(store, samples.done())
    spoil(store, "reports/forged.json", b"{}")
    status, told = verified(capsys)
    assert status == 7
    assert "inserted   s3://tidegate/reports/forged.json" in told.out
    status, told = verified(capsys, "-o", "json")
    assert [fault["object"] for fault in json.loads(told.out)["strays"]] == ["s3://tidegate/reports/forged.json"]
    assert verified(capsys, "ledger")[0] == 0, "of ledger nothing is wrong"


def test_i8_a_head_that_no_chain_has_is_a_chain_that_was_written_anew(capsys, store):
    write(store, samples.done())
    status, told = verified(capsys, "ledger", "--head", "ab" * 32)
    assert status == 7
    assert f"rewritten  {'ab' * 32}" in told.out
    assert verified(capsys, "ledger", "--head", "nonsense")[0] == 2
    status, told = verified(capsys, "ledgr")
    assert status == 2
    assert "no report and no chain of ledgr" in told.err


def test_reports_of_before_the_chain_are_told_and_no_fault(capsys, store):
    spoil(store, "reports/ledger/old/0199-run.json", b"{}")
    status, told = verified(capsys)
    assert status == 0
    assert told.out.splitlines()[1].split()[:5] == ["ledger", "0", "0", "0", "none"]
    assert "no chain yet: 1 reports of before" in told.err
    write(store, samples.done())
    status, told = verified(capsys)
    assert status == 0
    assert told.out.splitlines()[1].split()[:5] == ["ledger", "1", "1", "2", "whole"]


def test_trend_tells_each_measure_by_week_and_writes_the_page(capsys, store, tmp_path):
    now = datetime.now(UTC)
    moved = samples_failover.unplanned(ended=now, deployment="ledger")
    write(store, samples.done(ended=now), moved, samples.done(operation="long ago", ended=now - timedelta(weeks=99)))
    spoil(store, "reports/ledger/broken/r1.json", b"{}")
    page = tmp_path / "trend.html"
    assert run(["report", "trend", "ledger", "--weeks", "3", "--html", str(page)]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    year, week, _ = now.isocalendar()
    assert f"to {year}-W{week:02d}" in lines[0]
    assert [line.split()[:2] for line in lines[1:4]] == [["RTO", "··█"], ["RPO", "··█"], ["GAP", "··█"]]
    assert lines[1].endswith("worst 1 min 11 s in " + f"{year}-W{week:02d}; no objective")
    assert lines[5].split()[1:4] == ["2", "of", "2"]
    assert "not counted: s3://tidegate/reports/ledger/broken/r1.json" in told.err
    assert page.read_text().startswith("<!doctype html>")
    assert run(["report", "trend", "--weeks", "1", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)["trends"][0]
    assert answer["weeks"][0]["gap"] == {"n": 1, "median_s": 2.083, "worst_s": 2.083}
    assert run(["report", "trend", "ledgr"]) == 2
    assert run(["report", "trend", "ledger", "--html", str(tmp_path / "no" / "x.html")]) == 2
