"""``tidegate snapshot``, on a store in memory that stands for all regions and the control bucket."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import Program
from tests.kit.flink_fake_net import FlinkNet
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import JOB, Job
from tidegate.cli import regions, snapshot_diff, snapshot_sweep
from tidegate.cli.main import run
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.errors import SnapshotIncomplete, Unavailable
from tidegate.model.record import ArtifactRef, DeploymentRecord, Writer
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


def test_x28_show_names_keyed_states_and_timers(capsys, store):
    head = w.keyed_head(w.keyed_state("window-contents"), *w.timers("window-timers", "processing", "event"))
    asyncio.run(Job().checkpoint(store, 13, head=head))
    out = told(capsys, "snapshot", "show", "ledger/e7-chk-13")[1]
    assert "balance: window-contents\n" in out
    unset = "not known whether any is set"
    assert f"balance: timers of processing time: {unset}; event time: {unset}" in out
    (shown,) = answered(capsys, "snapshot", "show", "ledger/e7-chk-13")["keyed"].values()
    assert next(one["name"] for one in shown["states"]) == "window-contents"
    assert (shown["windows"], shown["timers"]) == (True, {"processing": None, "event": None, "raw": False})
    asyncio.run(Job().checkpoint(store, 14))  # what stands there names no states: said, and the rest is shown
    out = told(capsys, "snapshot", "show", "ledger/e7-chk-14")[1]
    assert "keyed states: balance: keyed state of operator 'balance' has serialization version" in out


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


def goes_while_it_is_read(store, *numbers):
    """Flink deletes each of these checkpoints just before its ``_metadata`` is read the second time.

    The first time is the list's.
    """
    reads = dict.fromkeys(numbers, 0)

    async def before(op, uri):
        for number in numbers:
            if op == "get_or_none" and uri.key.endswith(f"chk-{number}/_metadata"):
                reads[number] += 1
                if reads[number] == 2:
                    await store.delete(uri)

    store.before = before


@pytest.mark.parametrize("command", [("show",), ("verify",), ("diff", "--artifact", "v1")])
def test_the_newest_is_taken_and_said(capsys, flink, command):
    name, *more = command
    status, out, err = told(capsys, "snapshot", name, "ledger/newest", *more)
    assert status == 0, err
    assert "ledger/newest is ledger/e7-chk-12, in east" in err
    assert Job().location(12) in out


@pytest.mark.parametrize("command", [("show",), ("verify",), ("diff", "--artifact", "v1")])
def test_the_newest_that_goes_while_it_is_read_is_looked_for_again(capsys, flink, store, command):
    goes_while_it_is_read(store, 12)
    name, *more = command
    status, out, err = told(capsys, "snapshot", name, "ledger/newest", *more)
    assert status == 0, err
    assert "ledger/newest is ledger/e7-chk-11, in east" in err
    assert Job().location(11) in out
    goes_while_it_is_read(store, 11)
    assert told(capsys, "snapshot", name, "ledger/e7-chk-11", *more)[0] == 1, "one that was named is no other one"


def test_i6_the_newest_is_not_looked_for_for_ever(capsys, store):
    async def always(op, uri):
        if op == "get_or_none" and uri.key.endswith("/_metadata"):
            always.reads += 1
            if always.reads % 3 == 0:  # the list reads two
                raise SnapshotIncomplete(f"there is no snapshot at {uri.parent}")

    always.reads = 0
    store.before = always
    status, _, err = told(capsys, "snapshot", "verify", "ledger/newest")
    assert status == 1
    assert "(5 in a row have gone while they were read)" in err
    assert always.reads == 3 * regions.NEWEST_TRIES


def test_of_the_newest_what_is_not_whole_is_passed_over_and_named(capsys, store):
    asyncio.run(store.delete(Job().shared("b")))
    status, _, err = told(capsys, "snapshot", "verify", "ledger/newest")
    assert status == 0
    assert "is ledger/e7-chk-11, in east; not whole, and passed over: ledger/e7-chk-12" in err
    asyncio.run(store.delete(Job().shared("a")))
    status, _, err = told(capsys, "snapshot", "verify", "ledger/newest")
    assert status == 2
    assert "no snapshot of ledger in east or west is whole; there are 2 that are not" in err


def test_two_can_be_compared_with_the_newest(capsys):
    result = answered(capsys, "snapshot", "diff", "ledger/e7-chk-11", "ledger/newest")
    assert (result["from"], result["to"]) == (Job().location(11), Job().location(12))


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


@pytest.fixture
def flink(monkeypatch, tmp_path, store):
    """The home cell's Flink; v1 is uploaded, v2 is not. ``flink.vertices`` is the graph that a jar makes there."""
    flink = FakeFlink()
    flink.vertices = BALANCE
    flink.program = lambda *_: Program(vertices=flink.vertices)
    net = FlinkNet(flink)
    jar = tmp_path / "v1.jar"
    jar.write_bytes(b"PK v1")
    put = store.upload_file(jar, "s3://east/artifacts/ledger-v1.jar", {artifacts.SHA256: artifacts.sha256_of(jar)})
    asyncio.run(put)
    monkeypatch.setattr(snapshot_diff, "FlinkClient", lambda url, timeout_s: net.client())
    return flink


BALANCE = (
    (w.id_of("payments-source"), "payments-source name<br/>"),
    (w.id_of("balance"), "balance name<br/>+- balances-sink name<br/>   +- Sink Committer: balances-sink name<br/>"),
)


def test_x27_diff_against_an_artifact_says_that_all_is_there(capsys, flink):
    result = answered(capsys, "snapshot", "diff", "ledger/e7-chk-12", "--artifact", "v1")
    assert (result["starts"], result["cell"], result["artifact"]["name"]) == (True, "east/cell-1", "v1")
    assert {one["operator"]: one["fate"] for one in result["operators"]} == dict.fromkeys(
        ("payments-source", "balance", "balances-sink", "Sink Committer: balances-sink"), "kept"
    )
    status, out, _ = told(capsys, "snapshot", "diff", Job().location(12), "--artifact", "v1")
    assert status == 0
    assert "balances-sink (" in out
    assert "chained, by its name" in out
    assert "every operator with state in the snapshot is in the graph" in out
    assert flink.jobs == {}


def test_x27_diff_against_an_artifact_names_what_it_drops_and_what_begins_empty(capsys, flink):
    flink.vertices = (BALANCE[0], (w.id_of("balance-2"), BALANCE[1][1].replace("balance name", "balance 2")))
    status, out, _ = told(capsys, "snapshot", "diff", "ledger/e7-chk-12", "--artifact", "v1")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "balance (2 KiB): its state would be dropped" in lines["dropped"]
    assert "balance 2: would start empty" in lines["empty"]
    assert "Flink refuses this start, because of balance" in lines["so"]


def test_x27_diff_against_an_artifact_names_state_that_stood_still(capsys, flink, store):
    v2 = ArtifactRef(name="v2", sha256="2" * 64, uri="s3://east/artifacts/ledger-v2.jar")
    writer = Writer(
        region="east", cell="cell-1", job_id=JOB, epoch=7, artifact=v2, parallelism=2, started_from=None,
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    old = v2.model_copy(update={"name": "v0", "sha256": "0" * 64})
    record = DeploymentRecord(deployment="ledger", epoch=7, writer=writer, stale_state_of=old)
    asyncio.run(store.put("s3://tidegate/own/ledger.json", record.model_dump_json().encode()))
    out = told(capsys, "snapshot", "diff", "ledger/e7-chk-12", "--artifact", "v1")[1]
    assert "state that only v0 has has stood still; v1 would, if it knows it, take it up" in out
    assert "stale_state: keep" in out
    result = answered(capsys, "snapshot", "diff", "ledger/e7-chk-12", "--artifact", "v1")
    assert result["stale"]["of"]["name"] == "v0"
    assert result["notes"] == []


def test_diff_takes_a_second_snapshot_or_an_artifact(capsys, flink):
    for given in ((), ("ledger/e7-chk-11", "--artifact", "v1")):
        status, _, err = told(capsys, "snapshot", "diff", "ledger/e7-chk-12", *given)
        assert status == 2
        assert "one of the two" in err
    status, _, err = told(capsys, "snapshot", "diff", "ledger/e7-chk-12", "--artifact", "v2")
    assert status == 2
    assert "tidegate artifact put ledger v2" in err


@pytest.fixture
def moved(store):
    """It goes on in the west since, from a copy; two checkpoints there."""
    west = Job(epoch=8, job_id="8" * 32, base="s3://west/checkpoints")
    v1 = ArtifactRef(name="v1", sha256="1" * 64, uri="s3://east/artifacts/ledger-v1.jar")
    writer = Writer(
        region="west", cell="cell-1", job_id=west.job_id, epoch=8, artifact=v1, parallelism=2, started_from=None,
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    record = DeploymentRecord(deployment="ledger", epoch=8, writer=writer)

    async def go():
        for number in (1, 2):
            await west.checkpoint(store, number, {"a": 100})
        await store.put("s3://tidegate/own/ledger.json", record.model_dump_json().encode())

    asyncio.run(go())


def test_after_a_move_its_snapshots_are_those_where_it_lives(capsys, moved):
    result = answered(capsys, "snapshot", "list", "ledger")
    assert result["region"] == "west"
    assert [one["id"] for one in result["snapshots"]] == ["ledger/e8-chk-2", "ledger/e8-chk-1"]
    assert answered(capsys, "snapshot", "verify", "ledger/e8-chk-2")["region"] == "west"
    assert answered(capsys, "snapshot", "verify", "ledger/e7-chk-12")["region"] == "east", "the one that it has left"
    assert answered(capsys, "snapshot", "list", "ledger", "--region", "east")["region"] == "east"
    assert told(capsys, "snapshot", "diff", "ledger/e8-chk-1", "ledger/e8-chk-2")[0] == 0


def test_x27_after_a_move_diff_asks_the_flink_where_it_lives(capsys, moved, flink):
    result = answered(capsys, "snapshot", "diff", "ledger/e8-chk-2", "--artifact", "v1")
    assert (result["starts"], result["cell"]) == (True, "west/cell-1")


def test_after_a_move_a_sweep_looks_where_it_lives(capsys, moved, monkeypatch):
    async def none_runs(_):
        return set()

    monkeypatch.setattr(snapshot_sweep, "running_jobs", none_runs)
    assert answered(capsys, "snapshot", "sweep", "ledger", "--dry-run")["region"] == "west"
