"""X18: producers are denied, and the topic is at rest before its end is taken for the cut."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.kafka_fake import FakeKafka
from tests.kit.kafka_fake_logs import Denied
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import NoProgress, Refused, Unavailable
from tidegate.lineage import gate

IN = "payments"
ZERO, ONE = TopicPartition(IN, 0), TopicPartition(IN, 1)
PRODUCER = "User:producer"


@pytest.fixture
async def kafka(monkeypatch) -> FakeKafka:
    monkeypatch.setattr(gate, "STANDS_S", 0.01)
    monkeypatch.setattr(gate, "PAUSE_S", 0.01)
    kafka = FakeKafka()
    await kafka.create_topic(IN, 2)
    kafka.write_plain(IN, 0, [1, 2, 3])
    return kafka


def ignore(_: dict[str, object]) -> None:
    pass


async def test_x18_the_cut_is_where_the_denied_topic_stands_still(kafka: FakeKafka) -> None:
    beats: list[dict[str, object]] = []
    assert await gate.shut(kafka, [IN], ["producer", "producer"], 5, beats.append) == {ZERO: 3, ONE: 0}
    assert beats[0] == {"phase": "close", "topic": IN, "principal": "producer"}
    with pytest.raises(Denied):
        kafka.write_plain(IN, 0, [4], PRODUCER)
    assert await gate.shut(kafka, [IN], ["producer"], 5, ignore) == {ZERO: 3, ONE: 0}
    await gate.lift(kafka, [IN], ["producer"], 5)
    kafka.write_plain(IN, 0, [4], PRODUCER)
    assert await gate.shut(kafka, [], ["producer"], 5, ignore) == {}


async def test_x18_what_was_let_in_before_the_deny_belongs_to_the_cut(kafka: FakeKafka) -> None:
    looks = 0

    def late(seen: dict[str, object]) -> None:
        nonlocal looks
        looks += "waiting_for" in seen
        if "waiting_for" in seen and looks <= 3:
            kafka.write_plain(IN, 1, ["let in before"])

    assert await gate.shut(kafka, [IN], ["producer"], 5, late) == {ZERO: 3, ONE: 3}


async def test_x18_a_writer_that_nobody_named_is_found_by_what_grows(kafka: FakeKafka) -> None:
    def on(_: dict[str, object]) -> None:
        kafka.write_plain(IN, 1, ["more"], "User:unknown")

    with pytest.raises(NoProgress, match=r"payments-1 grew from \d+ to \d+") as error:
        await gate.shut(kafka, [IN], ["producer"], 0.05, on)
    assert "payments-0" not in error.value.message
    assert "deployments.X.producers (denied: producer)" in (error.value.hint or "")


async def test_x18_an_open_transaction_is_named_with_its_producer(kafka: FakeKafka) -> None:
    writer = kafka.producer("loader-7", "User:loader")
    await writer.init()
    await writer.write(IN, 0, ["x", "y"])
    with pytest.raises(NoProgress, match=r"payments-0 stands at 3 of 5: loader-7"):
        await gate.shut(kafka, [IN], ["producer", "loader"], 0.03, ignore)

    shut = asyncio.create_task(gate.shut(kafka, [IN], ["producer", "loader"], 5, ignore))
    await asyncio.sleep(0.03)
    await writer.commit()  # which a DENY on the topic does not keep it from
    assert await shut == {ZERO: 6, ONE: 0}


async def test_x18_what_a_leader_took_in_alone_may_still_become_visible(kafka: FakeKafka) -> None:
    """The high watermark stands still while a follower lags; the producer gets its acknowledgement after that."""
    kafka.unreplicated[ZERO] = 2
    with pytest.raises(NoProgress, match="payments-0 has taken in 2 offsets that its followers lack"):
        await gate.shut(kafka, [IN], ["producer"], 0.03, ignore)


async def test_a_deadline_that_is_over_at_once_still_looks_twice(kafka: FakeKafka) -> None:
    assert await gate.shut(kafka, [IN], ["producer"], 0, ignore) == {ZERO: 3, ONE: 0}


async def test_a_kafka_that_does_not_answer_is_asked_again_in_its_time(kafka: FakeKafka) -> None:
    kafka.down = True
    shut = asyncio.create_task(gate.shut(kafka, [IN], ["producer"], 5, ignore))
    await asyncio.sleep(0.05)
    kafka.down = False
    assert await shut == {ZERO: 3, ONE: 0}
    kafka.down = True
    for call in (gate.deny(kafka, [IN], ["producer"], 0.02, ignore), gate.lift(kafka, [IN], ["producer"], 0.02)):
        with pytest.raises(Unavailable):
            await call


async def test_a_topic_that_everyone_may_write_is_not_closed_to_everyone(kafka: FakeKafka) -> None:
    kafka.ruleless.add(IN)
    with pytest.raises(Refused, match="no access rule"):
        await gate.shut(kafka, [IN], ["producer"], 5, ignore)
