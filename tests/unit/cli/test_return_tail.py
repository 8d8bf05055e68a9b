"""``tidegate return tail``: what the last return of each region has held back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.cli.test_points_command import OpenMemoryStore
from tidegate.cli.main import run
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.failover.heldtail import HeldTail
from tidegate.registry import artifacts

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
WHY = "deployments.ledger.tail is hold"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> OpenMemoryStore:
    made = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: made)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    return made


def _hold(store: OpenMemoryStore, operation: str, *offsets: int) -> None:
    async def write() -> None:
        held = HeldTail(
            store, "tidegate", deployment="ledger", operation=operation, run_id="0123456789abcdef", region="east"
        )
        for offset in offsets:
            await held.add(TopicPartition("payments", 1), LogRecord(offset, 1_700_000_000_000, None, b"p1,5"), WHY)
        await held.close()

    asyncio.run(write())


def test_it_says_what_is_held_where_it_is_written_out_and_why(store, capsys):
    _hold(store, "return-ledger-1a", 6, 7, 9)
    assert run(["return", "tail", "ledger"]) == 0
    head, row, at = capsys.readouterr().out.splitlines()
    assert head.split() == ["REGION", "PARTITION", "OFFSETS", "HELD", "BY", "WHY"]
    assert row.split(maxsplit=7) == ["east", "payments/1", "6", "to", "9", "3", "return-ledger-1a", WHY]
    key = at.strip().removeprefix("s3://tidegate/")
    (body,) = [one.body for uri, one in store.objects.items() if uri.key == key]
    assert [json.loads(line)["offset"] for line in body.splitlines()] == [6, 7, 9]


def test_what_was_fed_since_is_held_no_more(store, capsys):
    _hold(store, "return-ledger-1a", 6)
    _hold(store, "return-ledger-2b")
    assert run(["return", "tail", "ledger"]) == 0
    assert capsys.readouterr().out == "nothing is held of ledger\n"


def test_as_json(store, capsys):
    _hold(store, "return-ledger-1a", 6)
    assert run(["return", "tail", "ledger", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (index,) = told["held"]
    (part,) = index["partitions"]
    assert (index["region"], part["count"], part["why"]) == ("east", 1, {WHY: 1})


def test_an_unknown_deployment_is_named(store, capsys):
    assert run(["return", "tail", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_a_policy_that_there_is_not_is_said(store, capsys):
    assert run(["return", "region", "east", "--tail", "drop", "--dry-run"]) == 2
    assert "--tail drop: expected feed or hold" in capsys.readouterr().err
