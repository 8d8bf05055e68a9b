"""``tidegate snapshot``, on a store in memory that stands for all regions and the control bucket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import JOB, Job
from tidegate.cli import regions
from tidegate.cli.main import run
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.errors import Unavailable
from tidegate.registry import artifacts

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


class FakeKafka:
    """The broker's word, and nothing else."""

    def __init__(self) -> None:
        self.said = TxnState.COMPLETE_COMMIT
        self.away = False

    async def describe_transactions(self, ids):
        if self.away:
            raise Unavailable("127.0.0.1:27100 does not answer")
        return {one: TransactionState(one, self.said, 1000 + int(one.rpartition("-")[2]), 1) for one in ids}

    async def aclose(self):
        pass


@pytest.fixture(autouse=True)
def kafka(monkeypatch):
    fake = FakeKafka()
    monkeypatch.setattr(regions, "open_kafka", lambda *_: fake)
    return fake


@pytest.fixture(autouse=True)
def store(monkeypatch):
    store = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    monkeypatch.setenv("TIDEGATE_WHO", "dora")

    async def fill():
        await Job().checkpoint(store, 11, {"a": 100})
        await Job().checkpoint(store, 12, {"a": 100, "b": 2048}, positions={("payments", 0): 1234})

    asyncio.run(fill())
    return store


def told(capsys, *args):
    status = run(args)
    out, err = capsys.readouterr()
    return status, out, err


def answered(capsys, *args):
    status, out, err = told(capsys, *args, "-o", "json")
    assert status == 0, err
    return json.loads(out)


def test_the_list_has_a_line_for_each_newest_first(capsys):
    status, out, _ = told(capsys, "snapshot", "list", "ledger")
    assert status == 0
    head, *lines = out.splitlines()
    assert head.split() == ["ID", "KIND", "AGE", "EPOCH", "JOB", "SIZE", "FILES", "VERIFIED", "KEPT"]
    assert [line.split()[0] for line in lines] == ["ledger/e7-chk-12", "ledger/e7-chk-11"]
    assert JOB[:8] in lines[0]
    rows = answered(capsys, "snapshot", "list", "ledger")["snapshots"]
    assert [(row["id"], row["verified"], row["files"]) for row in rows] == [
        ("ledger/e7-chk-12", True, 4), ("ledger/e7-chk-11", True, 3),
    ]  # fmt: skip
    assert answered(capsys, "snapshot", "list", "ledger", "--region", "west")["snapshots"] == []


def test_what_is_not_whole_says_so_in_the_list_and_fails_to_verify_by_name(capsys, store):
    asyncio.run(store.delete(Job().shared("b")))
    assert "NO: " in told(capsys, "snapshot", "list", "ledger")[1]
    status, _, err = told(capsys, "snapshot", "verify", "ledger/e7-chk-12")
    assert status == 1
    assert f"{Job().shared('b')}: missing; expected 2048 bytes" in err
    assert told(capsys, "snapshot", "verify", Job().location(11))[0] == 0


def test_verify_says_how_much_it_saw(capsys):
    seen = answered(capsys, "snapshot", "verify", "ledger/e7-chk-12")
    assert (seen["verified"], seen["files"], seen["checkpoint_id"]) == (True, 4, 12)


def test_show_has_operators_positions_and_the_brokers_word(capsys, kafka):
    status, out, _ = told(capsys, "snapshot", "show", "ledger/e7-chk-12")
    assert status == 0
    assert "payments-source: payments-0 next 1,234" in out
    assert "balance: " in out
    assert "tg.ledger.balances-sink.e00000007.-0-12: committed; Kafka says CompleteCommit" in out
    kafka.said = TxnState.COMPLETE_ABORT
    out = told(capsys, "snapshot", "show", "ledger/e7-chk-12")[1]
    assert "1 of 1 are LOST" in out
    shown = answered(capsys, "snapshot", "show", "ledger/e7-chk-12")
    assert (shown["transactions"][0]["word"], shown["transactions"][0]["lost"]) == ("aborted", True)
    assert shown["positions"] == {"payments-source": {"payments/0": 1234}}


def test_show_does_without_kafka_and_says_so(capsys, kafka):
    kafka.away = True
    status, out, _ = told(capsys, "snapshot", "show", Job().location(12))
    assert status == 0
    assert "Kafka in east cannot be asked" in out


def test_diff_of_two(capsys):
    result = answered(capsys, "snapshot", "diff", "ledger/e7-chk-11", "ledger/e7-chk-12")
    assert result["same_shape"] is True
    changed = {one["operator"]: one["facts"] for one in result["operators"] if one["change"] == "changed"}
    assert changed["balance"] == ["keyed bytes 140 -> 2,188"]
    assert "the same operators" in told(capsys, "snapshot", "diff", "ledger/e7-chk-11", "ledger/e7-chk-12")[1]


def test_a_pin_shows_and_goes(capsys):
    assert told(capsys, "snapshot", "pin", "ledger/e7-chk-11", "--why", "before the migration")[0] == 0
    assert "pinned by dora: before the migration" in told(capsys, "snapshot", "list", "ledger")[1]
    assert "pinned by dora" in told(capsys, "snapshot", "show", Job().location(11))[1]
    assert told(capsys, "snapshot", "unpin", Job().location(11))[0] == 0
    assert "pinned by" not in told(capsys, "snapshot", "list", "ledger")[1]
    assert "nothing was done" in told(capsys, "snapshot", "unpin", "ledger/e7-chk-11")[1]
    assert told(capsys, "snapshot", "pin", "ledger/e7-chk-11", "--why", "")[0] == 2


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("ledger/e7-chk-99", "there are ledger/e7-chk-12, ledger/e7-chk-11"),
        ("ledgr/e7-chk-12", "no such deployment"),
        ("e7-chk-12", "expected DEPLOYMENT/ID or s3://"),
        ("s3://nowhere/x", "cannot tell which region's S3"),
    ],
)
def test_a_mistake_says_what_there_is(capsys, named, words):
    status, _, err = told(capsys, "snapshot", "show", named)
    assert status == 2
    assert words in err
