"""``tidegate registry``, on a store in memory: O4, O8, O9."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.report import samples
from tidegate.cli.main import run
from tidegate.clients.objects import S3Uri
from tidegate.errors import BasisChanged, InvalidInput, Refused, Superseded, Unavailable
from tidegate.model.record import (
    CancelIntent,
    DenyIntent,
    IntentState,
    Pinned,
    RecordState,
    SettleIntent,
    StartIntent,
    StopIntent,
)
from tidegate.registry import artifacts
from tidegate.registry.admin import release_by_person
from tidegate.registry.ownership import Claim, History, Tenure, take
from tidegate.registry.records import RecordStore, encode

KEY = S3Uri("tidegate", "own/ledger.json")
STOP = StopIntent(
    id="s",
    step="switch",
    n=1,
    job_id=samples.OLD_JOB,
    epoch=7,
    trigger_id="7c" * 16,
    directory="s3://east/savepoints/ledger/e00000007-7c",
    artifact=samples.V1,
    parallelism=2,
)
START = StartIntent(
    id="t",
    step="switch",
    n=1,
    job_id=samples.NEW_JOB,
    epoch=8,
    region="east",
    cell="cell-1",
    artifact=samples.V2,
    parallelism=2,
    after_stop="s",
)


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
    monkeypatch.delenv("TIDEGATE_FLEET", raising=False)
    monkeypatch.setenv("TIDEGATE_WHO", "dora")
    (tmp_path / "fleet.yaml").write_text(SMALL)
    return store


def held(**changes):
    return samples.record(state=RecordState.HELD, holder=samples.holder(), **changes)


def put(store, record):
    asyncio.run(store.put(KEY, encode(record)))


def now(store):
    return json.loads(store.objects[KEY].body)


def released(store, fence=12, why="its server is gone"):
    records, history = RecordStore(store, "tidegate", control_wait_s=0.3), History(store, "tidegate")
    return release_by_person(records, history, "ledger", who="dora", why=why, expected_fence=fence)


def test_show_tells_a_person_who_holds_what(capsys, store):
    pinned = Pinned(
        location=samples.SAVEPOINT,
        epoch=6,
        job_id="aa" * 16,
        artifact=samples.V1,
        parallelism=2,
        output_ends={},
        at=samples.at(-90_000),
    )
    put(store, held(intents=(STOP, START), denied_epochs=(3, 5), pinned=pinned, stale_state_of=samples.V2))
    assert run(["registry", "show", "ledger"]) == 0
    out = capsys.readouterr().out
    for said in (
        "HELD: an operation holds it",
        "upgrade-ledger-7c1f (UpgradeDeployment), claimed by ana, since 2026-03-01 02:59:02.120 UTC",
        "why: new balances",
        "v1 (sha256 111111111111), epoch 7, east/cell-1",
        "fence 12 · epoch 7 · write 31",
        "epochs 3, 5: their transactions are refused for good",
        "state that only v2",
        samples.SAVEPOINT,
        "stop (epoch 7): job 5b5b",
        "may have been stopped into s3://east/savepoints/ledger/e00000007-7c",
        "start (epoch 8): job 9a9a",
        "started from the savepoint of that stop",
        "--take-over --why TEXT",
    ):
        assert said in out, said
    assert run(["registry", "show", "ledger", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        encode(held(intents=(STOP, START), denied_epochs=(3, 5), pinned=pinned, stale_state_of=samples.V2))
    )


def test_show_has_words_for_every_kind_of_intent(capsys, store):
    begun = (
        CancelIntent(id="c", step="x", n=1, job_id=samples.NEW_JOB, epoch=8),
        DenyIntent(id="d", step="x", n=1, epoch=8, principal="ledger", prefixes=("tg.ledger.sink.e00000008.",)),
        SettleIntent(id="e", step="x", n=1, epoch=8, snapshot=samples.SAVEPOINT, replay_from={"balances/0": 3}),
        START.model_copy(update={"id": "f", "state": IntentState.VOID}),
    )
    put(store, held(intents=begun))
    assert run(["registry", "show", "ledger"]) == 0
    out = capsys.readouterr().out
    assert "cancel (epoch 8): job 9a9a" in out
    assert "ledger may be denied on Kafka for tg.ledger.sink.e00000008." in out
    assert "comes again, by manifest" in out
    assert "start (epoch 8)" not in out


def test_show_of_what_is_not_there(capsys, store):
    assert run(["registry", "show", "ledger"]) == 2
    assert "ledger has no record yet" in capsys.readouterr().err
    assert run(["registry", "show", "leger"]) == 2
    assert "ledger" in capsys.readouterr().err
    asyncio.run(store.put(KEY, b'{"version": 9}'))
    assert run(["registry", "show", "ledger"]) == 2
    assert "own/ledger.json: no record that this version can read" in capsys.readouterr().err


def test_release_asks_says_what_it_does_and_stands_in_the_history(capsys, store):
    put(store, held())
    command = ["registry", "release", "ledger", "--why", "its server is gone"]
    assert run([*command, "--dry-run"]) == 0
    assert "would release ledger from upgrade-ledger-7c1f (HELD, claimed by ana" in capsys.readouterr().out
    assert run(command) == 4
    assert "add --yes" in capsys.readouterr().err
    assert now(store)["fence"] == 12
    assert run([*command, "--yes"]) == 0
    assert "fence 12 -> 13" in capsys.readouterr().out
    assert (now(store)["state"], now(store)["holder"], now(store)["epoch"]) == ("IDLE", None, 7)
    assert run(["registry", "history", "ledger"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("13     released-by-person  ")
    assert " UTC  who dora, why its server is gone, holder upgrade-ledger-7c1f" in line
    assert run([*command, "--yes"]) == 4
    assert "nobody holds ledger" in capsys.readouterr().err


def test_o9_release_is_refused_while_intents_are_open_and_names_the_runbook(capsys, store):
    put(store, held(intents=(STOP, START)))
    before = now(store)
    assert run(["registry", "release", "ledger", "--why", "its server is gone", "--yes"]) == 4
    err = capsys.readouterr().err
    assert "begun and not known to have ended: stop of epoch 7, start of epoch 8" in err
    assert "tidegate upgrade ledger --to ARTIFACT --take-over --why" in err
    assert now(store) == before


def test_release_wants_a_reason(capsys, store):
    put(store, held())
    assert run(["registry", "release", "ledger", "--yes"]) == 2
    assert run(["registry", "release", "ledger", "--why", " ", "--yes"]) == 2
    assert now(store)["fence"] == 12


async def test_o8_the_old_holder_is_superseded_by_a_release(store):
    records = RecordStore(store, "tidegate", control_wait_s=0.3)
    mine = await take(records, "ledger", samples.holder(), expected_fence=0)
    await released(store, fence=1)
    with pytest.raises(Superseded):
        await mine.change("late", 1, lambda record: record.with_intents(START))
    with pytest.raises(Superseded):
        await Tenure(records, Claim("ledger", samples.holder(), 1)).release()
    other = await take(records, "ledger", samples.holder("upgrade-ledger-2222"), expected_fence=2)
    assert other.claim.fence == 3


async def test_an_intent_that_is_written_while_the_person_decides_stops_the_release(store):
    records = RecordStore(store, "tidegate", control_wait_s=0.3)
    mine = await take(records, "ledger", samples.holder(), expected_fence=0)
    raced = False

    async def holder_writes_first(op, _uri):
        nonlocal raced
        if op == "replace" and not raced:
            raced = True
            await mine.change("switch", 1, lambda record: record.with_intents(START))

    store.before = holder_writes_first
    with pytest.raises(Refused, match="start of epoch 8"):
        await released(store, fence=1)
    assert now(store)["holder"] is not None


async def test_a_release_whose_answer_was_lost_is_done_once(store):
    await store.put(KEY, encode(held()))

    async def lose(op, _uri):
        if op == "replace":
            store.after = MemoryStore().after
            raise Unavailable("reset")

    store.after = lose
    record = await released(store)
    assert (record.fence, record.seq) == (13, 32)
    assert await released(store) == record
    assert len(await History(store, "tidegate").keys("ledger")) == 1
    with pytest.raises(BasisChanged):
        await released(store, why="another reason")


async def test_a_release_of_another_fence_or_of_nothing_is_refused(store):
    with pytest.raises(InvalidInput, match="no operation ever took it"):
        await released(store)
    await store.put(KEY, encode(held(fence=14)))
    with pytest.raises(BasisChanged, match="fence 12 has become 14"):
        await released(store)
    await store.put(KEY, encode(samples.record()))
    with pytest.raises(Refused, match="nobody holds"):
        await released(store)
