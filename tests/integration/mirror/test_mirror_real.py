"""The mirror on real parts: exactly once over a killed worker, provenance, positions, drained, stopped, no loop.

In the order they stand: each goes on from where the one before it left the two regions.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time

import pytest
from confluent_kafka import Producer

from sandbox.probes import kafka_config
from tests.integration.mirror.conftest import SLOW_MS, Regions
from tests.kit.eventually import eventually
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.mirror.control import set_offsets, start, stop
from tidegate.mirror.positions import passed, passed_position, translate
from tidegate.mirror.provenance import Mirrored, Provenance, of_headers
from tidegate.mirror.status import drained, look, wait_drained
from tidegate.mirror.syncs import OffsetSyncs

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

PARTITIONS = 3
RECORDS = 10_000
A_TRANSACTION = 50


def tidegate(regions: Regions, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tidegate", "mirror", *arguments, "--fleet", str(regions.fleet_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def produce(bootstrap: str, transactional_id: str, first: int, end: int) -> None:
    """Records ``first`` to ``end`` in transactions over all partitions; each seventh is aborted and not repeated."""
    producer = Producer({**kafka_config(bootstrap), "transactional.id": transactional_id, "linger.ms": 0})
    producer.init_transactions(120)
    for number, at in enumerate(range(first, end, A_TRANSACTION)):
        producer.begin_transaction()
        for event in range(at, min(end, at + A_TRANSACTION)):
            producer.produce(
                "payments",
                value=f"{event}",
                key=f"k{event % 97}",
                partition=event % PARTITIONS,
                headers={"event-id": f"{event}"},
            )
        (producer.abort_transaction if number % 7 == 3 else producer.commit_transaction)(60)


async def everything(kafka: KafkaClient, topic: str = "payments") -> dict[TopicPartition, list[LogRecord]]:
    ends = await kafka.last_stable_offsets([topic])
    return {tp: [record async for record in kafka.records(tp, 0, end)] for tp, end in ends.items()}


def provenance(record: LogRecord) -> Mirrored:
    known = of_headers(record.headers)
    assert known is not None
    return known


def event_id(record: LogRecord) -> bytes | None:
    return dict(record.headers)["event-id"]


async def test_each_record_is_there_once_over_a_worker_that_is_killed_in_mid_stream(regions: Regions) -> None:
    east = regions.sandbox.endpoints.regions["east"].kafka
    async with regions.link("east-to-west") as link:
        assert isinstance(link.source_kafka, Kafka)
        await link.source_kafka.create_topic("payments", PARTITIONS)
        await link.source_kafka.create_topic("balances", 1)
        code, told = await asyncio.to_thread(tidegate, regions, "start", "east-to-west", "--yes", "--timeout", "180")
        assert code == 0, f"the link of the other way never ran, so it is in nobody's way: {told}"

        half = RECORDS // 2
        await asyncio.to_thread(produce, east, "feed-1", 0, half // 2)
        rest = asyncio.create_task(asyncio.to_thread(produce, east, "feed-2", half // 2, RECORDS))

        async def some_came() -> None:
            ends = await link.target_kafka.end_offsets(["payments"])
            assert sum(ends.values()) > half // 2

        await eventually(some_came, within_s=240, every_s=0.1)
        regions.sandbox.kill("west/connect")
        killed_at, stood = time.monotonic(), sum((await link.target_kafka.end_offsets(["payments"])).values())

        async def it_goes_on() -> None:
            assert sum((await link.target_kafka.last_stable_offsets(["payments"])).values()) > stood + 200

        await eventually(it_goes_on, within_s=SLOW_MS / 1000 - 30, every_s=0.1)
        print(f"went on {time.monotonic() - killed_at:.1f} s after the kill")
        await rest
        seen = await wait_drained(link, 300.0, no_progress_s=120.0)
        assert (seen.drained, seen.lag_records, seen.lag_s) == (True, 0, 0.0)
        assert {one.by for one in seen.partitions if one.topic == "payments"} == {"connector"}

        source, target = await everything(link.source_kafka), await everything(link.target_kafka)
        for tp, records in source.items():
            expected = [
                (Provenance("east", *tp, r.offset), r.key, r.value, dict(r.headers)["event-id"]) for r in records
            ]
            found = [(provenance(r).origin, r.key, r.value, dict(r.headers)["event-id"]) for r in target[tp]]
            assert found == expected, tp
            assert all(provenance(record).hop == provenance(record).origin for record in target[tp])
            assert [r.timestamp_ms for r in target[tp]] == [r.timestamp_ms for r in records]
        committed = sum(len(records) for records in source.values())
        assert RECORDS * 0.8 < committed < RECORDS * 0.9, "some were aborted, most were not"


async def test_x5_x20_positions_are_exact_and_the_floor_is_never_behind_them(regions: Regions) -> None:
    dice = random.Random(20)
    async with regions.link("east-to-west") as link:
        source, target = await everything(link.source_kafka), await everything(link.target_kafka)
        syncs = await OffsetSyncs.read(link)
        ends = await link.source_kafka.end_offsets(["payments"])
        floors = 0
        for tp, records in target.items():
            known = {provenance(record).hop.offset: record.offset for record in records}
            assert any(upstream != downstream for upstream, downstream in known.items())
            for position in [0, ends[tp], *(dice.randrange(ends[tp]) for _ in range(12))]:
                later = [upstream for upstream in known if upstream >= position]
                found = await translate(link, tp, position)
                assert found.offset == (known[min(later)] if later else max(known.values()) + 1)
                assert found.beyond == (not later)
                floor = syncs.floor(tp, position)
                if floor is not None:
                    floors += 1
                    assert floor.offset <= found.offset
                    assert known[floor.sync.upstream] == floor.sync.downstream
            assert (await passed(link, {tp: source[tp][-1].offset}))[tp]
            assert (await passed_position(link, {tp: ends[tp]}))[tp], "markers at the end do not count"
        assert floors > 10


async def test_x17_a_stop_is_read_back_and_outlives_the_worker(regions: Regions) -> None:
    code, told = await asyncio.to_thread(
        tidegate, regions, "stop", "east-to-west", "--yes", "-o", "json", "--timeout", "120"
    )
    assert code == 0, told
    answer = json.loads(told)
    assert (answer["outcome"], answer["connector"], answer["tasks"]) == ("stopped", "STOPPED", [])
    assert answer["record"]["mirror"] == "STOPPED"

    regions.sandbox.kill("west/connect")
    await regions.sandbox.wait_ready("west/connect", 240.0)
    await asyncio.to_thread(produce, regions.sandbox.endpoints.regions["east"].kafka, "feed-3", 20_000, 20_010)
    async with regions.link("east-to-west") as link:
        status = await link.connect.status(link.connector)
        assert status is not None
        assert status.stopped
        seen = await look(link)
        assert (seen.lag_records, seen.drained) == (10, False)
        assert seen.lag_s is not None
        assert seen.lag_s > 0
        end = (await link.source_kafka.end_offsets(["payments"]))[TopicPartition("payments", 0)]
        assert not (await passed_position(link, {TopicPartition("payments", 0): end}))[TopicPartition("payments", 0)]
        async with regions.held(link, "again") as tenure:
            await start(link, tenure, both_ways=True, deadline_s=180)
        await wait_drained(link, 120.0, no_progress_s=100.0)


async def test_x20_both_ways_at_once_do_not_loop_and_offsets_are_set_at_a_reversal(regions: Regions) -> None:
    west = regions.sandbox.endpoints.regions["west"].kafka
    async with regions.link("east-to-west") as there, regions.link("west-to-east") as back:
        before = await there.source_kafka.last_stable_offsets(["payments"])
        in_east = sum(map(len, (await everything(there.source_kafka)).values()))
        in_west = sum(map(len, (await everything(there.target_kafka)).values()))
        assert in_east == in_west
        async with regions.held(back, "back") as tenure:
            await start(back, tenure, both_ways=True, deadline_s=180)
        await asyncio.to_thread(produce, west, "native-1", 30_000, 30_030)

        async def they_came() -> None:
            assert sum(map(len, (await everything(there.source_kafka)).values())) == in_east + 30

        await eventually(they_came, within_s=180, every_s=0.3)
        await wait_drained(back, 120.0, no_progress_s=100.0)
        await wait_drained(there, 120.0, no_progress_s=100.0)
        for tp, records in (await everything(there.source_kafka)).items():
            came = [record for record in records if record.offset >= before[tp]]
            assert {provenance(record).origin.cluster for record in came} == {"west"}
        assert sum(map(len, (await everything(there.target_kafka)).values())) == in_west + 30, "nothing came back"

        async with regions.held(back, "shut") as tenure:
            await stop(back, tenure, deadline_s=120)
            await asyncio.to_thread(produce, west, "native-2", 40_000, 40_030)
            cut = {tp: end - 1 for tp, end in (await back.source_kafka.last_stable_offsets(["payments"])).items()}
            read_back = await set_offsets(back, tenure, cut)
            assert {tp: read_back[tp] for tp in cut} == cut
            await asyncio.to_thread(produce, west, "native-3", 50_000, 50_009)
            await start(back, tenure, both_ways=True, deadline_s=180)

        async def only_the_last() -> None:
            values = [int(r.value or b"") for rs in (await everything(there.source_kafka)).values() for r in rs]
            assert sorted(value for value in values if value >= 40_000) == list(range(50_000, 50_009))

        await eventually(only_the_last, within_s=120, every_s=0.3)
        assert await drained(back)
