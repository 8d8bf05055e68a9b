"""``tidegate lineage``: where topics are written, for a person and for a program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tidegate.cli import control, regions
from tidegate.cli import lineage as command
from tidegate.cli.main import run
from tidegate.lineage.announce import Told
from tidegate.lineage.model import Excluded
from tidegate.lineage.store import LineageStore

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
A, B = "failover-ledger-1/run-a", "failback-ledger-2/run-b"


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def store(monkeypatch):
    for name in ("S3", "BUCKET", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"TIDEGATE_CONTROL_{name}", raising=False)
    store = OpenMemoryStore()
    monkeypatch.setattr(control, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    return store


async def _there_and_back(store: MemoryStore) -> None:
    lineage = LineageStore(store, "tidegate")
    await lineage.begin("balances", "east", {0: 0}, epoch=1)
    await lineage.begin("payments", "east", {0: 1_000, 1: 0})
    await lineage.close("payments", A)
    gone = Excluded(region="east", first=1_500, last=1_509, why="superseded (X21)", by=A)
    await lineage.turn(
        "payments",
        A,
        "west",
        planned=False,
        ends={0: 1_500, 1: None},
        cuts={0: 480, 1: 0},
        excluded=[(0, gone)],
    )
    await lineage.open("payments", A)
    await lineage.close("payments", B)


def test_every_topic_is_listed_with_where_it_is_written(store, capsys):
    asyncio.run(_there_and_back(store))
    assert run(["lineage", "list"]) == 0
    head, balances, payments = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["TOPIC", "WRITTEN", "IN", "GATE"]
    assert balances.split()[:4] == ["balances", "east", "open", "0"]
    assert payments.split()[:4] == ["payments", "west", "closed", "1"]
    assert payments.rstrip().endswith(B)
    assert run(["lineage", "list", "-o", "json"]) == 0
    assert [one["topic"] for one in json.loads(capsys.readouterr().out)["topics"]] == ["balances", "payments"]


def test_a_topic_is_shown_with_its_segments(store, capsys):
    asyncio.run(_there_and_back(store))
    assert run(["lineage", "show", "payments"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == f"written in   west, gate closed, held by {B}, turn 1"
    assert "east -> west, unplanned" in out[2]
    rows = [line.split() for line in out[4:]]
    assert rows[0][:6] == ["0", "0", "east", "1,000", "1,500", "480"]
    assert " ".join(rows[0][6:]) == "1,500-1,509 superseded (X21)"
    assert rows[1] == ["0", "1", "west", "480", "goes", "on"]
    assert rows[2][:6] == ["1", "0", "east", "0", "unknown", "0"]
    assert run(["lineage", "show", "payments", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["partitions"]["0"]["segments"][0]["cut"] == 480


def test_a_topic_without_a_lineage_is_told_with_those_that_have_one(store, capsys):
    asyncio.run(_there_and_back(store))
    assert run(["lineage", "show", "orders"]) == 2
    said = capsys.readouterr()
    assert "topic orders has no lineage; known: balances, payments" in said.err + said.out


def test_topics_of_deployments_with_a_standby_are_begun_where_they_live(store, capsys, monkeypatch):
    kafka = FakeKafka()
    asyncio.run(_topics(kafka, "payments", "balances"))
    monkeypatch.setattr(regions, "open_kafka", lambda *_: kafka)
    for _ in range(2):
        assert run(["lineage", "begin"]) == 0
        assert sorted(capsys.readouterr().out.splitlines()) == [
            "balances is written in east, turn 0",
            "payments is written in east, turn 0",
        ]


async def _topics(kafka: FakeKafka, *names: str) -> None:
    for name in names:
        await kafka.create_topic(name, 2)


def test_receivers_are_told_again(store, capsys, monkeypatch, tmp_path):
    asyncio.run(_there_and_back(store))
    assert run(["lineage", "announce", "payments"]) == 2
    assert "no `announce:`" in capsys.readouterr().err
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET.read_text() + "\nannounce:\n  - {url: 'http://127.0.0.1:9/t', secret: {literal: dev}}\n")
    monkeypatch.setenv("TIDEGATE_FLEET", str(fleet))
    asked = []

    async def announce_all(receivers, lineage):
        asked.append((receivers[0].url, lineage.topic))
        return (Told(url=receivers[0].url, attempts=4, problem="ConnectError"),)

    monkeypatch.setattr(command, "announce_all", announce_all)
    assert run(["lineage", "announce", "payments"]) == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["http://127.0.0.1:9/t", "ConnectError", "4"]
    assert asked == [("http://127.0.0.1:9/t", "payments")]


@pytest.mark.parametrize("name", ["list", "show", "begin", "announce"])
def test_help_opens_with_an_example(name, capsys):
    assert run(["lineage", name, "--help"]) == 0
    assert f"Example:  tidegate lineage {name}" in capsys.readouterr().out
