"""Feeding a topic on a real broker: an attempt that comes later fences the one before and ends what it had begun."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException

from sandbox.kafka import allow_everyone
from tests.integration.clients.test_kafka_real import Broker, RealWriter, broker, kafka, name
from tests.kit.kafka_fake_logs import Fenced
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_feed import open_feed
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import Unavailable

pytestmark = pytest.mark.sandbox
__all__ = ["broker", "kafka", "name"]


class TestFeed:
    """What a returned region never brought over is fed by a producer that fences who fed it before (X23)."""

    async def _feed(self, kafka: Kafka, broker: Broker, topic: str, values: list[bytes]) -> None:
        """As a step does it: what stands there is not written again."""
        async with open_feed(broker.bootstrap, broker.security("admin"), kafka, f"feed-{topic}") as feed:
            there = {record.value for record in await self._there(kafka, topic)}
            records = [LogRecord(n, 1_600_000_000_000 + n, b"k", value) for n, value in enumerate(values)]
            await feed.write(topic, 0, [one for one in records if one.value not in there])

    async def _there(self, kafka: Kafka, topic: str) -> list[LogRecord]:
        end = (await kafka.wait_stable([topic], 15))[TopicPartition(topic, 0)]
        return [record async for record in kafka.records(TopicPartition(topic, 0), 0, end)]

    async def _late(self, dead: RealWriter, topic: str) -> None:
        await dead.write(topic, 0, ["late"])
        await dead.commit()

    @pytest.fixture
    async def topic(self, kafka: Kafka, broker: Broker, name: str) -> str:
        await kafka.create_topic(name, 1)
        await allow_everyone(broker.bootstrap, [name])
        return name

    async def test_x23_what_is_fed_keeps_its_time(self, kafka: Kafka, broker: Broker, topic: str):
        await self._feed(kafka, broker, topic, [b"a", b"b"])
        await self._feed(kafka, broker, topic, [b"a", b"b", b"c"])
        told = [(one.value, one.timestamp_ms) for one in await self._there(kafka, topic)]
        assert told == [(value, 1_600_000_000_000 + n) for n, value in enumerate([b"a", b"b", b"c"])]

    async def test_x23_what_a_dead_attempt_had_begun_is_committed_and_it_is_fenced(
        self, kafka: Kafka, broker: Broker, topic: str
    ):
        dead = RealWriter(broker, f"feed-{topic}")
        await dead.init()
        await dead.begin()
        await dead.write(topic, 0, ["a", "b"])
        await self._feed(kafka, broker, topic, [b"a", b"b", b"c"])
        assert [one.value for one in await self._there(kafka, topic)] == [b"a", b"b", b"c"]
        with pytest.raises((Fenced, KafkaException, SystemError)) as late:
            await self._late(dead, topic)
        if isinstance(late.value, SystemError):  # what the client makes of a fatal error with records in hand
            assert isinstance(late.value.__cause__, KafkaException)
        batches = await kafka.batch_headers(TopicPartition(topic, 0), 0, 100)
        assert sum(batch.records for batch in batches if not batch.is_control) == 3

    async def test_i5_an_attempt_that_was_overtaken_is_told_so(self, kafka: Kafka, broker: Broker, topic: str):
        async with open_feed(broker.bootstrap, broker.security("admin"), kafka, f"feed-{topic}") as slow:
            await self._feed(kafka, broker, topic, [b"a"])
            with pytest.raises(Unavailable, match="another attempt feeds it now"):
                await slow.write(topic, 0, [LogRecord(0, 1, None, b"late")])
        assert [one.value for one in await self._there(kafka, topic)] == [b"a"]

    async def test_more_than_the_producers_queue_holds(self, kafka: Kafka, broker: Broker, topic: str):
        async with open_feed(broker.bootstrap, broker.security("admin"), kafka, f"feed-{topic}") as feed:
            records = [LogRecord(n, 1_600_000_000_000, None, b"%d" % n) for n in range(120_000)]
            await feed.write(topic, 0, records)
        assert [one.value for one in await self._there(kafka, topic)] == [one.value for one in records]
