"""``tidegate snapshot rebase`` on two regions in memory: what is shown, refused, written and never written."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tests.kit.mirror_world import MirrorWorld
from tests.kit.snapshots import EAST, WEST, Job
from tests.unit.cli.test_snapshot_commands import FLEET, OpenMemoryStore
from tests.unit.mirror.test_carry import with_syncs
from tests.unit.mirror.test_positions import P0, noisy, started, truth
from tidegate.cli import regions
from tidegate.cli.main import run
from tidegate.clients.objects import S3Uri
from tidegate.mirror import rebasing
from tidegate.registry import artifacts
from tidegate.snapshot.catalog import catalog
from tidegate.snapshot.files import read_snapshot, verify
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.rebased import REBASED_NAME
from tidegate.snapshot.ship import ship
from tidegate.snapshot.sinks import committables, writer_states

NAMED = "ledger/e7-chk-12"


class Scene:
    def __init__(self, store: OpenMemoryStore, world: MirrorWorld, capsys: pytest.CaptureFixture[str]):
        self.store, self.world, self.capsys = store, world, capsys
        self.position, self.known = 0, dict[int, int]()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = run(["snapshot", "rebase", *arguments])
        told = self.capsys.readouterr()
        return status, told.out, told.err

    def answer(self, *arguments: str) -> dict[str, object]:
        status, out, err = self(*arguments, "-o", "json")
        assert status == 0, err
        return json.loads(out)

    async def fill(self) -> None:
        await noisy(self.world, 11)
        link = await started(self.world)
        await self.world.connect["west"].mirror(link)
        self.known = await truth(self.world, P0)
        self.position = sorted(self.known)[60]
        # What the snapshot lists was committed after it.
        producer = self.world.kafka["east"].producer("tg.ledger.balances-sink.e00000007.-0-12")
        await producer.init()
        await producer.write("balances", 0, [b"x"])
        listed = producer.pre_commit()
        await producer.commit()
        await Job().checkpoint(
            self.store, 12, {"a": 100}, positions={("payments", 0): self.position}, producer_id=listed.producer_id
        )

    async def ship(self) -> None:
        (entry,) = (await catalog(self.store, EAST)).entries
        await ship(self.store, self.store, entry, WEST, Pace())

    def bodies(self) -> dict[S3Uri, bytes]:
        return {uri: item.body for uri, item in self.store.objects.items()}


@pytest.fixture
def scene(monkeypatch, capsys) -> Scene:
    world, store = asyncio.run(MirrorWorld.made()), OpenMemoryStore()
    by_bootstrap = {"127.0.0.1:27100": world.kafka["east"], "127.0.0.1:27200": world.kafka["west"]}

    @asynccontextmanager
    async def link(_fleet, name, **_timeouts):
        source, _, target = name.partition("-to-")
        yield world.link(source, target)

    monkeypatch.setattr(rebasing, "open_link", link)
    monkeypatch.setattr(regions, "open_kafka", lambda access, *_: by_bootstrap[access.bootstrap])
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    made = Scene(store, world, capsys)
    asyncio.run(made.fill())
    return made


def test_it_must_be_shipped_first_and_the_command_for_that_is_told(scene):
    for named in (NAMED, Job().location(12)):
        status, _, err = scene(named, "--to", "west", "--dry-run")
        assert status == 4
        assert "tidegate snapshot ship ledger --to west --snapshot e7-chk-12" in err


def test_a_move_by_provenance_is_shown_written_once_and_found_done(scene):
    asyncio.run(scene.ship())
    before = scene.bodies()
    status, out, _ = scene(NAMED, "--to", "west", "--dry-run")
    assert status == 0
    there = scene.known[scene.position]
    assert f"payments-source: payments-0 {scene.position:,} -> {there:,}, exact" in out
    assert "balances-sink: transactions to be committed, 1 subtasks" in out
    assert "tg.ledger.balances-sink.e00000007.-0-12: committed" in out
    assert "none: every position is exact" in out
    assert "WARNING" not in out
    assert scene.bodies() == before

    status, _, err = scene(NAMED, "--to", "west")
    assert status == 4
    assert "add --yes" in err
    assert scene.bodies() == before

    made = scene.answer(NAMED, "--to", "west", "--yes")
    assert made["outcome"] == "rebased"
    assert made["location"].startswith("s3://west/savepoints/ledger/copy-")
    after = scene.bodies()
    new = sorted(set(after) - set(before))
    assert [uri.name for uri in new if uri.bucket == "west"] == ["_metadata", REBASED_NAME]
    (pinned,) = [json.loads(after[uri]) for uri in new if uri.bucket != "west"]
    assert pinned["location"] == made["source"], "no sweep may take what the copy names"
    assert pinned["why"].endswith(made["location"])
    assert {uri: body for uri, body in after.items() if uri in before} == before, "nothing else was written"

    copy = asyncio.run(verify(scene.store, made["location"])).snapshot
    assert asyncio.run(kafka_positions(scene.store, copy)) == {"payments-source": {("payments", 0): there}}
    assert asyncio.run(committables(scene.store, copy)) == []
    assert [one.prefix for one in asyncio.run(writer_states(scene.store, copy))] == [Job().prefix]

    again = scene.answer(NAMED, "--to", "west")
    assert (again["outcome"], again["location"]) == ("done already", made["location"])
    assert scene.bodies() == after


def test_i4_metadata_comes_last(scene):
    asyncio.run(scene.ship())
    order: list[str] = []

    async def note(op: str, uri: S3Uri) -> None:
        if op == "create":
            order.append(uri.name)

    scene.store.before = note
    assert scene(NAMED, "--to", "west", "--yes")[0] == 0
    assert order[-2:] == [REBASED_NAME, "_metadata"]
    assert len(order) == 3, "the pin of the original comes before them"


def test_a_floor_with_replays_is_refused_until_the_number_is_named(scene):
    asyncio.run(scene.ship())
    synced = sorted(scene.known)[55]
    asyncio.run(with_syncs(scene.world, scene.known, [synced]))
    replays = sum(synced < upstream < scene.position for upstream in scene.known)
    assert replays > 1
    status, out, err = scene(NAMED, "--to", "west", "--by-floor", "--yes")
    assert status == 4
    assert f"replays {replays}" in out
    assert f"--accept-replay {replays}" in err
    status, _, err = scene(NAMED, "--to", "west", "--by-floor", "--yes", "--accept-replay", "1")
    assert (status, "not 1 as accepted" in err) == (4, True)
    assert scene(NAMED, "--to", "west", "--yes", "--accept-replay", "3")[0] == 4, "by provenance nothing comes again"
    assert not [uri for uri in scene.bodies() if "/copy-" in uri.key]
    made = scene.answer(NAMED, "--to", "west", "--by-floor", "--yes", "--accept-replay", str(replays))
    assert (made["replays"], made["counted"]) == (replays, True)


def test_x12_a_fork_in_its_own_region_keeps_positions_and_nothing_of_the_live_sink(scene):
    status, _, err = scene(NAMED, "--to", "east", "--yes")
    assert (status, "--as NAME" in err) == (2, True)
    for bad in ("ledger", "No Name"):
        assert scene(NAMED, "--to", "east", "--as", bad, "--yes")[0] == 2
    status, out, _ = scene(NAMED, "--to", "east", "--as", "ledger-drill", "--yes")
    assert status == 0
    assert "balances-sink: the writers' state, 1 subtasks" in out
    assert "ledger-drill, a fork, in east" in out
    assert "Flink removes this checkpoint" in out
    (at,) = [uri.parent for uri in scene.bodies() if "/copy-" in uri.key and uri.name == "_metadata"]
    assert str(at).startswith("s3://east/savepoints/ledger-drill/copy-")
    copy = asyncio.run(verify(scene.store, at)).snapshot
    assert asyncio.run(kafka_positions(scene.store, copy)) == {"payments-source": {("payments", 0): scene.position}}
    assert asyncio.run(committables(scene.store, copy)) == []
    assert asyncio.run(writer_states(scene.store, copy)) == []
    record = json.loads(scene.bodies()[at.join(REBASED_NAME)])
    assert (record["fork"], record["source"]) == (True, Job().location(12))


def test_what_is_not_committed_at_home_is_said_to_be_missing(scene):
    asyncio.run(scene.ship())
    scene.world.kafka["east"].forget("tg.ledger.balances-sink.e00000007.-0-12")
    assert "1 of 1 are not seen committed in east" in scene(NAMED, "--to", "west", "--dry-run")[1]
    scene.world.kafka["east"].down = True
    assert "Kafka in east cannot be asked" in scene(NAMED, "--to", "west", "--dry-run")[1]


def test_an_operator_is_cut_by_name_and_a_cut_source_needs_no_position(scene):
    asyncio.run(scene.ship())
    west = scene.world.kafka["west"]
    west.delete_before(P0, asyncio.run(west.end_offsets(["payments"]))[P0])
    status, _, err = scene(NAMED, "--to", "west", "--yes")
    assert (status, "payments-0" in err) == (4, True)
    made = scene.answer(NAMED, "--to", "west", "--cut", "payments-source", "--yes")
    assert made["dropped"]["operators"][0]["operator"] == "operator 'payments-source'"
    assert made["positions"] == []
    copy = asyncio.run(read_snapshot(scene.store, made["location"]))
    assert [one.uid for one in copy.metadata.operators] == [
        "balance", "balances-sink", "Sink Committer: balances-sink",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "north"), "no such region: north"),
        (("--to", "west", "--topic", "payments"), "expected OLD=NEW"),
        (("--to", "west", "--topic", "orders=x"), "no position of the snapshot is of that topic; it has payments"),
        (("--to", "west", "--topic", "payments=balances"), "brings payments under its own name"),
        (("--to", "west", "--cut", "nobody"), "has no operator nobody; it has"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_field_and_what_there_is(scene, arguments, words):
    asyncio.run(scene.ship())
    status, _, err = scene(NAMED, *arguments, "--yes")
    assert status == 2
    assert words in err
