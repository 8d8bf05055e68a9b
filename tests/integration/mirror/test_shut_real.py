"""X17 on real parts: Connect hangs, the mirror is shut out on Kafka, wakes up, and gets nothing in."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from sandbox.probes import kafka_config
from tests.integration.mirror.conftest import Regions
from tests.integration.mirror.test_mirror_real import event_id, everything, provenance, tidegate
from tests.kit.eventually import eventually
from tidegate.clients.connect import ConnectState
from tidegate.clients.kafka import Kafka
from tidegate.mirror.provenance import Provenance
from tidegate.mirror.status import wait_drained

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

LINK, CONNECT = "east-to-west", "west/connect"
RECORDS, A_TRANSACTION, PARTITIONS = 6_000, 50, 3


def feed(bootstrap: str) -> None:
    """Records in transactions over all partitions; each seventh is aborted."""
    producer = Producer({**kafka_config(bootstrap), "transactional.id": "feed", "linger.ms": 0})
    producer.init_transactions(120)
    for number, first in enumerate(range(0, RECORDS, A_TRANSACTION)):
        producer.begin_transaction()
        for event in range(first, first + A_TRANSACTION):
            producer.produce(
                "payments", value=f"{event}", partition=event % PARTITIONS, headers={"event-id": f"{event}"}
            )
        producer.flush(60)  # ended before it is sent, the broker may know of no transaction and refuse the end
        (producer.abort_transaction if number % 7 == 3 else producer.commit_transaction)(60)


async def test_x17_a_mirror_that_hangs_is_shut_out_and_comes_back_only_when_it_may(regions: Regions) -> None:
    east = regions.sandbox.endpoints.regions["east"].kafka
    async with regions.link(LINK) as link:
        assert isinstance(link.source_kafka, Kafka)
        await link.source_kafka.create_topic("payments", PARTITIONS)
        await link.source_kafka.create_topic("balances", 1)
        code, told = await asyncio.to_thread(tidegate, regions, "start", LINK, "--yes", "--timeout", "180")
        assert code == 0, told

        feeding = asyncio.create_task(asyncio.to_thread(feed, east))

        async def some_came() -> None:
            assert sum((await link.target_kafka.end_offsets(["payments"])).values()) > 300

        await eventually(some_came, within_s=240, every_s=0.05)
        regions.sandbox.pause(CONNECT)  # it keeps its connections, its tasks and what they have open
        code, told = await asyncio.to_thread(tidegate, regions, "stop", LINK, "--yes", "--timeout", "3")
        print(told)
        assert code == 0, told
        assert "shut-out   east-to-west: Connect does not answer; User:mirror is denied" in told
        assert "seen to refuse" in told
        assert await link.target_kafka.last_stable_offsets(["payments"]) == await link.target_kafka.end_offsets(
            ["payments"]
        ), "something is open still"
        final = await everything(link.target_kafka)

        regions.sandbox.resume(CONNECT)
        await feeding

        async def its_task_fails() -> None:
            status = await link.connect.status(link.connector)
            assert status is not None
            assert [task.state for task in status.tasks] == [ConnectState.FAILED]

        await eventually(its_task_fails, within_s=180, every_s=0.2)
        assert await everything(link.target_kafka) == final, "positions were final, and something came"

        code, told = await asyncio.to_thread(tidegate, regions, "start", LINK, "--yes")
        print(told)
        assert code == 4, told
        code, told = await asyncio.to_thread(
            tidegate, regions, "start", LINK, "--yes", "--lift-deny", "--timeout", "180"
        )
        print(told)
        assert code == 0, told
        await wait_drained(link, 300.0, no_progress_s=120.0)
        source, target = await everything(link.source_kafka), await everything(link.target_kafka)
        for tp, records in source.items():
            expected = [(Provenance("east", *tp, record.offset), event_id(record)) for record in records]
            assert [(provenance(record).origin, event_id(record)) for record in target[tp]] == expected, tp
        before, after = sum(map(len, final.values())), sum(map(len, target.values()))
        assert before < after
        print(f"{before:,} records were in when it was shut out, {after:,} at the end, each once")
