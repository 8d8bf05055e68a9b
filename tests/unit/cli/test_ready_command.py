"""``tidegate ready``: text, JSON, Markdown and a page of the same review; exit codes for a pipeline."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest

from tests.kit.ready_world import SANDBOX, World, topic_at
from tests.unit.cli.test_points_command import OpenMemoryStore
from tests.unit.report.test_write_report import Page
from tidegate.cli import operations, output, ready, runbook
from tidegate.cli.main import run
from tidegate.errors import Unavailable
from tidegate.model.fleetfile import load_fleet
from tidegate.model.review import ReviewInput
from tidegate.registry import artifacts
from tidegate.temporal import connect


@pytest.fixture
def world(monkeypatch):
    world = asyncio.run(World.made())
    monkeypatch.setattr(artifacts, "open_access", lambda *_: OpenMemoryStore())
    monkeypatch.setattr(ready, "reach_of", lambda *_: world.reach())
    monkeypatch.setattr(ready, "read_fleet", lambda _: replace(load_fleet(SANDBOX), fleet=world.fleet))
    monkeypatch.setattr("tidegate.readiness.gather.utc_now", lambda: world.now)  # its points do not age meanwhile
    monkeypatch.setenv("TIDEGATE_WHO", "dora")
    return world


def told(capsys, *args):
    status = run(("ready", *args))
    out, err = capsys.readouterr()
    return status, out, err


def test_where_all_is_well_it_says_what_it_goes_by(world, capsys):
    status, out, _ = told(capsys, "ledger", "--fail-under", "100")
    assert status == 0
    first, second, *lines = out.splitlines()
    assert first == "ready      100 of 100 · 0 breaches"
    assert second.strip().startswith("ledger, east/cell-1, standby west, tier 1; asked in ")
    assert {line.split()[0] for line in lines} == {"well"}
    assert any("restorable in west" in line and "from e7-chk-12" in line for line in lines)


def test_a_finding_says_what_why_and_what_mends_it(world, capsys):
    world.workers["tidegate-region-west"] = 1
    topic_at(world.kafka["west"], "balances", retention_ms="3600000")
    status, out, _ = told(capsys, "ledger")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "ready      76 of 100 · 1 breach · 1 warning"
    at = next(n for n, line in enumerate(lines) if line.startswith("breach"))
    assert lines[at].endswith("ready/retention-short")
    assert lines[at + 1].startswith("  why      what the mirror or the job has not read by then is gone")
    assert lines[at + 2].startswith("  mend     kafka-configs.sh")
    assert next(line for line in lines if line.startswith("warning")).endswith("ready/one-worker")


def test_fail_under_is_for_a_pipeline(world, capsys):
    world.workers["tidegate-region-west"] = 1
    assert told(capsys, "--fail-under", "96")[0] == 0
    status, _, err = told(capsys, "--fail-under", "97")
    assert (status, "below 97: ledger" in err) == (7, True)
    status, out, _ = told(capsys, "--fail-under", "97", "-o", "json")
    answer = json.loads(out)
    assert (status, answer["ok"], answer["score"], answer["tiers"]) == (7, False, 96, {"1": 96})
    assert [one["id"] for one in answer["deployments"][0]["findings"]] == ["ready/one-worker"]
    assert told(capsys, "--fail-under", "101")[0] == 2


def test_the_outage_to_outlive_can_be_given(world, capsys):
    assert "ready/retention-short" not in told(capsys, "ledger", "--outage", "160h")[1]
    assert "ready/retention-short" in told(capsys, "ledger", "--outage", "200h")[1]


def test_a_deployment_that_is_not_there_is_a_mistake(world, capsys):
    status, _, err = told(capsys, "ledgr")
    assert (status, "did you mean ledger?" in err) == (2, True)


def test_of_several_the_same_fault_of_a_region_is_told_once(world, capsys):
    ledger = world.fleet.deployment("ledger")
    twin = ledger.model_copy(update={"tier": 0})
    world.fleet = world.fleet.model_copy(update={"deployments": {"ledger": ledger, "orders": twin}})
    world.workers["tidegate-region-west"] = 1
    status, out, _ = told(capsys)
    assert status == 0
    assert len([line for line in out.splitlines() if line.endswith("ready/one-worker")]) == 1
    assert "orders, ledger: one worker polls tidegate-region-west" in out
    first = out.splitlines()[0]
    assert re.search(r"tier 0: \d+, tier 1: 96", first)
    # Nothing is kept for orders: a tier 0 pays more for it.
    assert int(re.search(r"tier 0: (\d+)", first)[1]) < 96


def test_page_and_markdown_say_the_same_and_refer_to_nothing_outside(world, capsys, tmp_path):
    for days in (20, 12, 5):
        asyncio.run(world.report(f"failover-ledger-{days}", days_ago=days))
    topic_at(world.kafka["west"], "balances", retention_ms="3600000")
    page, text = tmp_path / "ready.html", tmp_path / "ready.md"
    assert told(capsys, "--html", str(page), "--md", str(text))[0] == 0
    html = page.read_text()
    closed = Page()
    closed.feed(html)
    assert closed.open == []
    for said in ("ready/retention-short", "kafka-configs.sh", "RTO in 4 operations", "objective 1 min 00 s", "<svg"):
        assert said in html, said
    assert not re.findall(r"(?:src|href)=\"(?!#)", html)
    assert "<script" not in html
    assert "**breach**" in text.read_text()
    assert "ready/retention-short" in text.read_text()
    status, _, err = told(capsys, "--html", str(tmp_path / "no" / "page.html"))
    assert (status, "cannot write it" in err) == (2, True)


def test_what_a_name_holds_is_never_markup(world, capsys, tmp_path):
    world.net["west"].down = True

    async def no(*_):
        raise Unavailable("<script>alert(1)</script> `x` | y")

    world.kafka["west"].ping = no
    page, text = tmp_path / "ready.html", tmp_path / "ready.md"
    told(capsys, "--html", str(page), "--md", str(text))
    assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;alert" in page.read_text()
    assert "\\<script>" in text.read_text()


def test_temporal_that_is_away_is_a_finding(world, capsys, monkeypatch):
    async def nobody(_):
        raise connect.TemporalUnreachable("cannot reach Temporal at 127.0.0.1:27000: connection refused")

    monkeypatch.setattr(type(world), "pollers", lambda self, queue: nobody(queue))
    status, out, _ = told(capsys, "ledger")
    assert status == 0
    assert "not known  Temporal: cannot reach Temporal at 127.0.0.1:27000" in out
    assert "so nobody can say that this is well: workers" in out


def test_a_worker_does_it_if_asked(world, capsys, monkeypatch):
    begun = []

    async def to_server():
        return object()

    async def start(_client, runbook_type, request, operation, _summary):
        begun.append((runbook_type, request))
        return operations.Started(operation, attached=False)

    async def said(begin):
        await begin()
        return 0

    monkeypatch.setattr(runbook, "connect", to_server)
    monkeypatch.setattr(operations, "start", start)
    monkeypatch.setattr(runbook, "begun", said)
    assert told(capsys, "ledger", "--record", "--no-follow", "--fail-under", "80", "--reason", "audit")[0] == 0
    assert begun == [
        ("ReviewReadiness", ReviewInput(deployment="ledger", requested_by="dora", reason="audit", fail_under=80))
    ]
    status, _, err = told(capsys, "--record")
    assert (status, "--record: of which deployment?" in err) == (2, True)
    status, out, _ = told(capsys, "ledger", "--print-command")
    assert status == 0
    assert out.startswith("temporal workflow start --type ReviewReadiness --task-queue tidegate-control ")


@pytest.fixture(autouse=True)
def _text_again():
    yield
    output.choose(output.Format.TEXT)
