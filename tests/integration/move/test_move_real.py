"""A planned move of a job from east to west by commands alone: 0/0/0 over the union of both outputs (X18 to X20).

With positions by provenance, and, where the mirror has stripped it, with exactly the replays announced. Offsets differ
by transactions' markers, by transactions that were aborted, by a head that was deleted, and by compaction.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource
from confluent_kafka.admin import AlterConfigOpType as Operation

from sandbox.api import Sandbox
from sandbox.probes import kafka_config
from sandbox.stage import (
    DEPLOYMENT,
    INPUT_PARTITIONS,
    INPUT_TOPIC,
    OUTPUT_TOPIC,
    Finished,
    Stage,
    execute,
    kafka_properties,
)
from tests.kit.eventually import eventually
from tests.kit.sandbox import UP_S
from tests.kit.stage import ROOT, publish, stage_sandbox
from tidegate import names
from tidegate.clients.connect import ConnectClient, ConnectState
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.mirror.provenance import HOP, ORIGIN, of_headers
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import DeploymentRecord
from tidegate.registry.artifacts import open_access
from tidegate.registry.records import RecordStore
from tidegate.snapshot.files import read_snapshot, referenced_files
from tidegate.snapshot.place import short_id

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

RATE = 150
COMPACTED = 40
"""Records of each input partition that the cleaner takes out before the mirror comes: newer ones have their key."""
STRIPPING = {
    "transforms": "provenance,strip",
    "transforms.strip.type": "org.apache.kafka.connect.transforms.DropHeaders",
    "transforms.strip.headers": f"{ORIGIN},{HOP}",
}
"""What somebody has added to the mirror's configuration."""
COMPACTION: dict[str, str | None] = {
    "cleanup.policy": "compact", "segment.ms": "1", "min.cleanable.dirty.ratio": "0", "min.compaction.lag.ms": "0",
}  # fmt: skip
ABORTED = 10
"""Records at the head of each input partition that were aborted, and are deleted before the mirror comes to them."""
TRAFFIC_S = 12.0
LINK = "east-to-west"


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Both regions whole, with mirrors: the way back is asked whether it stands still."""
    with stage_sandbox(tmp_path_factory.mktemp("move") / "data") as made:
        asyncio.run(made.up(("east",), 2, print, UP_S, mirror=True))
        asyncio.run(made.up(("west",), 2, print, UP_S, mirror=True))
        yield made


def _told(done: Finished) -> str:
    return done.out + done.err


class Scene:
    """The stage of a move, and what the test asks of it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.stage = Stage(sandbox, ROOT, lambda line: print(line, flush=True))
        self.began = time.monotonic()

    @property
    def fleet(self) -> Fleet:
        return load_fleet(self.stage.fleet_file).fleet

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    async def run(self, *arguments: str, status: int = 0) -> Finished:
        """A command, as a person types it, and how it must end."""
        done = await self.stage.tidegate(*arguments, timeout_s=600.0)
        self.say(f"$ tidegate {' '.join(arguments)}  -> {done.status}\n{done.out[-1_500:]}{done.err[-1_500:]}")
        assert done.status == status, f"{done.out}\n{done.err}"
        return done

    async def set_up(self) -> None:
        await self.stage.set_up(("v1",), rate=0)
        await publish(self.stage)
        await self.stage.add_region_worker("west")

    async def record(self) -> DeploymentRecord:
        async with open_access(self.fleet.control.s3) as control:
            stored = await RecordStore(control, self.fleet.control.bucket).read(DEPLOYMENT)
        assert stored is not None
        return stored.record

    async def everything(self, region: str, topic: str) -> dict[TopicPartition, list[LogRecord]]:
        """All committed records of a topic."""
        kafka = self.stage.kafka(region)
        try:
            ends = await kafka.last_stable_offsets([topic])
            starts = await kafka.start_offsets([topic])
            return {tp: [one async for one in kafka.records(tp, starts[tp], end)] for tp, end in ends.items()}
        finally:
            await kafka.aclose()

    async def start_mirror(self) -> None:
        await self.run("mirror", "start", LINK, "--yes", "--timeout", "240")

    def abort_some(self, name: str) -> None:
        """A transaction over all input partitions that is aborted: offsets that the west will not have."""
        bootstrap = self.stage.sandbox.endpoints.regions["east"].kafka
        producer = Producer({**kafka_config(bootstrap), "transactional.id": name, "linger.ms": 0})
        producer.init_transactions(120)
        producer.begin_transaction()
        for number in range(ABORTED * INPUT_PARTITIONS):
            producer.produce(INPUT_TOPIC, value=b"never", partition=number % INPUT_PARTITIONS)
        producer.flush(60)
        producer.abort_transaction(60)

    def delete_the_head(self) -> None:
        """The first records of each input partition leave the log, as by retention."""
        admin = AdminClient(kafka_config(self.stage.sandbox.endpoints.regions["east"].kafka))
        heads = [Position(INPUT_TOPIC, number, ABORTED) for number in range(INPUT_PARTITIONS)]
        for future in admin.delete_records(heads).values():
            future.result(60)

    async def compact_some(self) -> None:
        """The input is a compacted topic for a while: of payments that were sent again and again the last one stays.

        So there are holes between records of which none was aborted. Accounts of traffic are in none of it.
        """
        bootstrap = self.stage.sandbox.endpoints.regions["east"].kafka
        admin = AdminClient(kafka_config(bootstrap))
        await asyncio.to_thread(_configure, admin, COMPACTION)
        producer = Producer({**kafka_config(bootstrap), "linger.ms": 0, "batch.num.messages": 1})
        now_ms = time.time_ns() // 1_000_000
        # Some are older than a segment lives, by their own time, so that the last ones begin a new segment: the cleaner
        # leaves the one alone that is written to.
        heads = (
            ("head", COMPACTED // 2, now_ms - 10_000),
            ("kept", COMPACTED // 2, now_ms - 10_000),
            ("last", 1, now_ms),
        )
        for head, times, sent_ms in heads:
            for number in range(INPUT_PARTITIONS * times):
                partition = number % INPUT_PARTITIONS
                account = f"{head}-{partition}"
                payment = f"{account}:1,{account},1,5"
                producer.produce(INPUT_TOPIC, payment, account, partition=partition, timestamp=sent_ms)
            await asyncio.to_thread(producer.flush, 60)
        kafka = self.stage.kafka("east")
        partitions = [TopicPartition(INPUT_TOPIC, number) for number in range(INPUT_PARTITIONS)]

        async def cleaned() -> None:
            ends = await kafka.last_stable_offsets([INPUT_TOPIC])
            for tp in partitions:
                left = [one.offset async for one in kafka.records(tp, ABORTED, ends[tp])]
                assert len(left) == len(heads), (tp, left)

        try:
            await eventually(cleaned, within_s=120.0, every_s=0.5)
        finally:
            await kafka.aclose()
        await asyncio.to_thread(_configure, admin, dict.fromkeys(COMPACTION))
        self.say("the head of the input is compacted")

    async def strip_provenance(self) -> None:
        """Somebody has made the mirror drop our headers: another transform stands after ours (Kafka's own)."""
        name = names.mirror_connector(LINK)
        async with self.connect() as connect:
            config = await connect.config(name)
            assert config is not None
            await connect.put_config(name, config | STRIPPING)

            async def stripping() -> None:
                status = await connect.status(name)
                assert status is not None
                assert status.tasks
                assert all(one.state is ConnectState.RUNNING for one in status.tasks)
                assert "strip" in (await connect.config(name) or {})["transforms"]

            await eventually(stripping, within_s=60.0, every_s=0.2)
            await connect.stop(name)
        self.say("the mirror strips what says where a record comes from; it is held back until the job has stopped")

    async def let_the_mirror_go(self) -> None:
        """Told so past us: a start of ours would put the configuration right."""
        async with self.connect() as connect:
            await connect.resume(names.mirror_connector(LINK))

    def connect(self) -> ConnectClient:
        """Of the link's cluster."""
        return ConnectClient(self.fleet.mirror(LINK).connect.rest)

    async def audit(self, region: str) -> dict[str, Any]:
        argv = [
            *("python", "-m", "ledger.auditor", "--bootstrap", self.stage.sandbox.endpoints.regions[region].kafka),
            *(
                "--input",
                INPUT_TOPIC,
                "--output",
                OUTPUT_TOPIC,
                "--until-caught-up",
                "--timeout-s",
                "200",
                "-o",
                "json",
            ),
            *kafka_properties("admin"),
        ]
        done = await execute(argv, self.stage.root, self.stage.environment, 300.0)
        assert done.status in {0, 7}, done.err[-1_000:]
        found: dict[str, Any] = json.loads(done.out)
        return found


def _configure(admin: AdminClient, settings: dict[str, str | None]) -> None:
    """Set the input topic's configuration; None: the broker's default again."""
    entries = [
        ConfigEntry(name, value or "", incremental_operation=Operation.DELETE if value is None else Operation.SET)
        for name, value in settings.items()
    ]
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, INPUT_TOPIC, incremental_configs=entries)]
    for future in admin.incremental_alter_configs(wanted).values():
        future.result(60)


async def _east_under_traffic(scene: Scene, *, stripped: bool = False) -> None:
    """The ledger runs in the east; what the mirror brings has other offsets in the west from the first record on.

    ``stripped``: the mirror drops the headers, and comes only once the job was stopped. It then brings many records in
    one transaction, and offset syncs are far between; else they lie where a producer's batches end, as the job's
    positions do.
    """
    await scene.set_up()
    if stripped:
        await scene.start_mirror()
        await scene.strip_provenance()
    await asyncio.to_thread(scene.abort_some, "head")
    await scene.compact_some()
    scene.stage.add_generator(RATE)
    await scene.run("start", DEPLOYMENT, "v1", "--from-empty", "--bake", "0s", "--yes")
    await asyncio.to_thread(scene.delete_the_head)
    if not stripped:
        await scene.start_mirror()
    for turn in range(3):
        await asyncio.sleep(TRAFFIC_S / 3)
        await asyncio.to_thread(scene.abort_some, f"midst-{turn}")


async def _stopped_and_drained(scene: Scene, *, stripped: bool = False) -> str:
    """Steps 1 to 4 of the page; the id of the savepoint. Producers write on for a while after the stop."""
    await scene.run("stop", DEPLOYMENT, "--yes")
    pinned = (await scene.record()).pinned
    assert pinned is not None
    assert pinned.committed
    await asyncio.sleep(2.0)
    await scene.stage.stop_generator()
    if stripped:
        await scene.let_the_mirror_go()
    await scene.run("mirror", "drain", LINK, "--timeout", "240", "--no-progress", "120")
    await scene.run("mirror", "stop", LINK, "--yes", "--timeout", "120")
    named = short_id(S3Uri.parse(pinned.location), pinned.epoch, None)
    await scene.run("snapshot", "ship", DEPLOYMENT, "--to", "west", "--snapshot", named)
    return named


async def _written_on(scene: Scene) -> None:
    """Producers have written to every input partition since now: there is more than the savepoint has read."""
    kafka = scene.stage.kafka("east")
    try:
        before = await kafka.end_offsets([INPUT_TOPIC])

        async def more() -> None:
            now = await kafka.end_offsets([INPUT_TOPIC])
            assert all(now[tp] > end for tp, end in before.items())
            assert sum(now.values()) - sum(before.values()) >= RATE

        await eventually(more, within_s=60.0, every_s=0.1)
    finally:
        await kafka.aclose()


async def _offsets_differ(scene: Scene) -> None:
    """Each mirrored record by its place at home: its offset is another one, and not always by as much."""
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        for tp, records in (await scene.everything("west", topic)).items():
            found = [of_headers(one.headers) for one in records]
            moved = {one.origin.offset - record.offset for one, record in zip(found, records, strict=True) if one}
            assert len(moved) > 1, (tp, moved)
            scene.say(f"{tp}: {len(records):,} records, east's offsets are ahead by {min(moved)} to {max(moved)}")


async def _no_provenance(scene: Scene) -> None:
    """All that there is in the west has come without our headers."""
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        for tp, records in (await scene.everything("west", topic)).items():
            assert records, tp
            assert not any(of_headers(one.headers) for one in records), tp


async def _union(scene: Scene) -> None:
    """What east has committed is in west's log, each record once, and stands before what west has written itself."""
    east, west = await scene.everything("east", OUTPUT_TOPIC), await scene.everything("west", OUTPUT_TOPIC)
    for tp, records in east.items():
        found = [of_headers(one.headers) for one in west[tp]]
        mirrored = [one.origin.offset for one in found if one is not None]
        assert mirrored == [one.offset for one in records], tp
        assert None in found, "the west has written too"
        assert None not in found[: len(mirrored)], "no native record before the last mirrored one (X18)"


async def _go_on_in_the_west(scene: Scene, copy: str, status: int) -> None:
    """Steps 6 and 7: the job in the west, and then the producers."""
    await scene.run("restore", DEPLOYMENT, "--region", "west", "--from", copy, "--dry-run")
    await scene.run("restore", DEPLOYMENT, "--region", "west", "--from", copy, "--bake", "5s", "--yes", status=status)
    record = await scene.record()
    assert record.writer is not None
    assert (record.writer.region, record.writer.started_from) == ("west", copy)
    assert record.pinned == record.base
    scene.stage.add_generator(RATE, region="west")
    await asyncio.sleep(TRAFFIC_S / 2)
    await scene.stage.sandbox.remove_process("west/generator")


async def test_x20_a_planned_move_by_the_command_line_is_exact_over_the_union(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await _east_under_traffic(scene)
    refused = await scene.run("restore", DEPLOYMENT, "--region", "west", "--from", "s3://west/x", "--yes", status=4)
    assert "was not seen to end with a savepoint" in _told(refused)
    named = await _stopped_and_drained(scene)
    await _offsets_differ(scene)

    shipped = json.loads((await scene.run("snapshot", "list", DEPLOYMENT, "--region", "west", "-o", "json")).out)
    original = next(one["location"] for one in shipped["snapshots"] if one["id"] == f"{DEPLOYMENT}/{named}")
    refused = await scene.run("restore", DEPLOYMENT, "--region", "west", "--from", original, "--yes", status=4)
    assert "it is no copy that was rebased for west" in _told(refused)

    made = json.loads(
        (await scene.run("snapshot", "rebase", f"{DEPLOYMENT}/{named}", "--to", "west", "--yes", "-o", "json")).out
    )
    assert made["replays"] == 0
    assert made["positions"]
    differ = [one for one in made["positions"] if one["offset"] != one["new_offset"]]
    assert len(differ) >= len(made["positions"]) - 1, made["positions"]  # one may happen to be the same
    copy = made["location"]

    # A file of it is gone: refused by its name.
    async with open_access(scene.fleet.region("west").s3) as west:
        snapshot = await read_snapshot(west, copy)
        files = referenced_files(snapshot.metadata, snapshot.directory)
        if files:
            kept = await west.get(files[0].uri)
            await west.delete(files[0].uri)
            gone = await scene.run("restore", DEPLOYMENT, "--region", "west", "--from", copy, "--yes", status=4)
            assert str(files[0].uri) in _told(gone)
            await west.put(files[0].uri, kept.body)

    await _go_on_in_the_west(scene, copy, status=0)
    verdict = await scene.audit("west")
    scene.say(f"the union: {verdict['verdict']}, input {verdict['input']:,}, output {verdict['output']:,}")
    assert (verdict["verdict"], verdict["unexpected"], verdict["input"]) == ("0/0/0", 0, verdict["output"])
    await _union(scene)
    # From now on every command finds it where it runs.
    planned = await scene.run("stop", DEPLOYMENT, "--dry-run")
    assert "west/cell-1" in planned.out
    refused = await scene.run("restore", DEPLOYMENT, "--region", "east", "--from", copy, "--yes", status=4)
    assert "was not seen to end with a savepoint" in _told(refused)


async def test_x20_without_provenance_as_many_come_again_as_were_announced(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await _east_under_traffic(scene, stripped=True)
    named = await _stopped_and_drained(scene, stripped=True)
    await _no_provenance(scene)
    wanted = ("snapshot", "rebase", f"{DEPLOYMENT}/{named}", "--to", "west")
    announced = json.loads((await scene.run(*wanted, "--dry-run", "-o", "json")).out)["replays"]
    assert announced > 0
    refused = await scene.run(*wanted, "--yes", status=4)
    assert f"{announced:,} input records a second time" in _told(refused)
    made = json.loads((await scene.run(*wanted, "--accept-replay", str(announced), "--yes", "-o", "json")).out)
    await _go_on_in_the_west(scene, made["location"], status=7)
    verdict = await scene.audit("west")  # which waits until all of it has been read
    scene.say(f"the auditor: {verdict['verdict']}, {verdict['duplicated']:,} twice")
    assert verdict["lost"] == 0
    written = Counter(
        (one.value or b"").split(b",", 1)[0]
        for records in (await scene.everything("west", OUTPUT_TOPIC)).values()
        for one in records
    )
    paid = {
        (one.value or b"").split(b",", 1)[0]
        for records in (await scene.everything("west", INPUT_TOPIC)).values()
        for one in records
    }
    again = sum(times - 1 for times in written.values())
    scene.say(f"announced {announced:,}, came again {again:,}, {len(paid):,} payments")
    assert set(written) == paid, "nothing is lost"
    assert max(written.values()) == 2
    assert again == announced
