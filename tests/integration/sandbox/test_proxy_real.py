"""The fault proxy before real parts: a commit that reaches Kafka after its client is gone, a late call to Flink."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.api import Sandbox
from sandbox.layout import HOST
from sandbox.probes import kafka_config
from sandbox.proxy import FaultProxy, HttpMatch, KafkaMatch

pytestmark = pytest.mark.sandbox

END_TXN = 26


def committed_values(bootstrap: str, topic: str) -> list[bytes]:
    """What a reader of committed records sees, waiting for the first of them."""
    consumer = Consumer({**kafka_config(bootstrap), "group.id": "reader", "isolation.level": "read_committed"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(20)
        return [] if message is None or message.error() else [message.value() or b""]
    finally:
        consumer.close()


async def test_a_held_commit_reaches_the_broker_after_its_client_has_given_up(east: Sandbox):
    region = east.layout.region("east")
    admin = AdminClient(kafka_config(region.bootstrap))
    (made,) = admin.create_topics([NewTopic("proxied", 1, 1)]).values()
    await asyncio.to_thread(made.result, 30)
    advertised = region.kafka_proxied_advertised
    async with FaultProxy(HOST, region.kafka_proxied, kind="kafka", port=advertised) as proxy:
        settings = {**kafka_config(f"{HOST}:{advertised}", "ledger"), "transactional.id": "tg.proxied.e00000001.0"}
        producer = Producer({**settings, "log_level": 0})
        await asyncio.to_thread(producer.init_transactions, 30)
        held = proxy.hold(KafkaMatch(END_TXN))
        producer.begin_transaction()
        producer.produce("proxied", b"late")
        with pytest.raises(KafkaException):
            await asyncio.to_thread(producer.commit_transaction, 2)
        caught = await held.caught()
        assert b"tg.proxied.e00000001.0" in caught.raw
        held.release()
        await held.delivered()
        del producer
    assert await asyncio.to_thread(committed_values, region.bootstrap, "proxied") == [b"late"]


async def test_a_late_call_reaches_flink(east: Sandbox):
    region = east.layout.region("east")
    async with (
        FaultProxy(HOST, region.flink_rest, kind="http") as proxy,
        httpx.AsyncClient(base_url=proxy.url, trust_env=False) as client,
    ):
        assert (await client.get("/overview")).json()["flink-version"] == "2.2.0"
        held = proxy.hold(HttpMatch(method="PATCH", path="/jobs/"))
        with pytest.raises(httpx.ReadTimeout):
            await client.patch(f"/jobs/{'0' * 32}", timeout=0.3)
        held.release()
        assert await held.delivered() == httpx.codes.NOT_FOUND
