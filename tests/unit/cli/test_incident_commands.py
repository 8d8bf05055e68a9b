"""``tidegate incident``: from open to the page, as a person types it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.report import samples
from tidegate import names
from tidegate.cli import ops
from tidegate.cli.main import run
from tidegate.errors import Unavailable
from tidegate.model.record import utc_now
from tidegate.registry import artifacts
from tidegate.report.write import write_report

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def store(monkeypatch):
    store = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    monkeypatch.setenv("TIDEGATE_WHO", "ana")

    async def none():
        return []

    monkeypatch.setattr(ops, "running_operations", none)
    return store


@pytest.fixture
def opened(store, capsys) -> str:
    assert (
        run(["incident", "open", "east does not answer", "--severity", "sev1", "--region", "east", "-o", "json"]) == 0
    )
    return json.loads(capsys.readouterr().out)["id"]


def test_from_open_to_the_page(store, opened, capsys, tmp_path):
    now = utc_now()
    request = samples.undone().model_copy(update={"started": now, "ended": now})
    assert run(["incident", "note", opened, "the provider has confirmed it"]) == 0
    assert run(["incident", "note", opened, "no payment for 2 min", "--impact"]) == 0
    assert run(["incident", "follow-up", opened, "alert on lag", "--owner", "bob", "--due", "2000-01-01"]) == 0
    asyncio.run(write_report(store, "tidegate", request))
    capsys.readouterr()
    assert run(["incident", "list"]) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    for word in (opened, "sev1", "open", "east", "1, 1 overdue"):
        assert word in line
    assert run(["incident", "show", opened]) == 0
    shown = capsys.readouterr().out
    for words in ("the provider has confirmed it", "no payment for 2 min", "upgrade-ledger-7c1f ends: undone"):
        assert words in shown
    assert run(["incident", "close", opened]) == 0
    assert f"s3://tidegate/incidents/pages/{opened}.html" in capsys.readouterr().out
    assert run(["incident", "list"]) == 0
    assert capsys.readouterr().out == "no incident is open\n"
    assert run(["incident", "follow-up", opened, "--done", "1"]) == 0
    assert run(["incident", "page", opened, "--to", str(tmp_path)]) == 0
    page = (tmp_path / f"incident-{opened}.html").read_text()
    assert "alert on lag" in page
    assert (tmp_path / f"incident-{opened}.md").exists()
    assert not [uri for uri in store.objects if uri.key.startswith(names.INCIDENTS_OPEN_PREFIX)]


def test_opened_again_it_says_that_it_is_open(opened, capsys):
    assert run(["incident", "open", "East does not answer"]) == 0
    told = capsys.readouterr()
    assert "it is open already" in told.err
    assert opened in told.out


def test_closed_again_it_stays_as_it_was(opened, capsys):
    assert run(["incident", "close", opened, "-o", "json"]) == 0
    first = json.loads(capsys.readouterr().out)["incident"]
    assert run(["incident", "close", opened, "--who", "eve", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["incident"] == first


def test_without_temporal_the_page_says_what_is_not_on_it(opened, capsys, monkeypatch):
    async def away():
        raise Unavailable("cannot reach Temporal")

    monkeypatch.setattr(ops, "running_operations", away)
    assert run(["incident", "show", opened]) == 0
    assert "not on this page: operations that have not ended: cannot reach Temporal" in capsys.readouterr().out
    assert run(["incident", "show", opened, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["unread"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["open", "x"], "TITLE"),
        (["open", "east is gone", "--severity", "high"], "expected one of: sev1, sev2, sev3, sev4"),
        (["open", "east is gone", "--region", "nowhere"], "no such region: nowhere"),
        (["open", "east is gone", "--deployment", "ledgr"], "did you mean ledger"),
        (["note", "OPEN", " "], "TEXT"),
        (["note", "OPEN", "x", "--well", "--badly"], "expected one of them"),
        (["note", "nothing", "x"], "no such incident: nothing"),
        (["follow-up", "OPEN", "x", "--owner", "bob"], "expected TEXT, --owner and --due"),
        (["follow-up", "OPEN", "x", "--owner", "bob", "--due", "soon"], "'soon' is no date"),
        (["follow-up", "OPEN", "--done", "4"], "has no follow-up 4"),
        (["follow-up", "OPEN", "x", "--done", "4"], "--done: goes alone"),
    ],
)
def test_what_cannot_be_done_as_written_is_said(opened, capsys, args, says):
    assert run(["incident", *(opened if arg == "OPEN" else arg for arg in args)]) == 2
    assert says in capsys.readouterr().err


def test_last_is_the_newest_that_is_open(opened, capsys):
    assert run(["incident", "note", "last", "seen"]) == 0
    assert run(["incident", "close", "last", "-o", "json"]) == 0
    capsys.readouterr()
    assert run(["incident", "note", "last", "it cost nothing", "--impact", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], len(told["notes"])) == (opened, 2)


def test_last_of_none_is_said(store, capsys):
    assert run(["incident", "show", "last"]) == 2
    assert "there is no incident yet" in capsys.readouterr().err
