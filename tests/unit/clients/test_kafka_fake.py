"""The fake keeps the contract that the real client keeps."""

from __future__ import annotations

import pytest

from tests.kit.kafka_contract import KafkaContract
from tests.kit.kafka_fake import FakeKafka
from tests.kit.kafka_fake_job import FakeProducer, FakeSink
from tests.kit.kafka_fake_logs import Denied
from tidegate.clients.kafka_types import EndOutcome, TopicPartition, TxnState
from tidegate.errors import Unavailable


class TestFakeKafka(KafkaContract):
    @pytest.fixture
    def kafka(self):
        return FakeKafka()

    @pytest.fixture
    def name(self):
        return "out"

    @pytest.fixture
    def writers(self, kafka: FakeKafka):
        async def make(transactional_id: str) -> FakeProducer:
            producer = kafka.producer(transactional_id)
            await producer.init()
            return producer

        return make

    @pytest.fixture
    def join(self, kafka: FakeKafka):
        async def enter(group: str, _: str):
            kafka.join_group(group)

            async def leave() -> None:
                kafka.leave_group(group)

            return leave

        return enter

    @pytest.fixture
    def allow(self, kafka: FakeKafka):
        async def give(topic: str) -> None:
            kafka.ruleless.discard(topic)

        return give

    @pytest.fixture
    def ruleless(self, kafka: FakeKafka):
        async def take(topic: str) -> None:
            kafka.ruleless.add(topic)

        return take


async def test_a_sink_hands_over_every_committable_that_is_not_committed():
    kafka = FakeKafka()
    await kafka.create_topic("out", 2)
    sink = FakeSink(kafka, "tg.ledger.sink.e00000001.", "out")
    await sink.write(0, 0, [1])
    await sink.write(1, 1, [2])
    first = sink.pre_commit()
    await sink.write(0, 1, [3])
    assert [one.transactional_id for one in first] == [
        "tg.ledger.sink.e00000001.-0-1",
        "tg.ledger.sink.e00000001.-1-1",
    ]
    second = sink.pre_commit()
    assert len(second) == 3, "X1: the first checkpoint was never committed"
    assert kafka.committed_values("out", 1) == []
    await sink.commit()
    assert (kafka.committed_values("out", 0), kafka.committed_values("out", 1)) == ([1], [2, 3])
    assert sink.pre_commit() == []


async def test_flinks_committer_repeats_a_commit_by_a_third_party():
    kafka = FakeKafka()
    await kafka.create_topic("out", 1)
    sink = FakeSink(kafka, "p.", "out")
    await sink.write(0, 0, ["a"])
    (mine,) = sink.pre_commit()
    kafka.lose_next_end = True
    with pytest.raises(Unavailable):
        await kafka.end_transaction(mine.transactional_id, mine.producer_id, mine.producer_epoch, commit=True)
    again = await kafka.end_transaction(mine.transactional_id, mine.producer_id, mine.producer_epoch, commit=True)
    assert again is EndOutcome.ALREADY
    await FakeProducer.recovered(kafka, mine).commit()
    assert kafka.committed_values("out", 0) == ["a"]


async def test_a_transaction_past_its_time_out_is_aborted_and_markers_can_be_held():
    kafka = FakeKafka()
    await kafka.create_topic("out", 1)
    producer = kafka.producer("p.1", timeout_ms=1_000)
    await producer.init()
    await producer.write("out", 0, ["a"])
    kafka.hold_markers = True
    kafka.advance(1_000)
    assert (await kafka.describe_transactions(["p.1"]))["p.1"].state is TxnState.PREPARE_ABORT
    assert (await kafka.last_stable_offsets(["out"])) == {TopicPartition("out", 0): 0}
    kafka.release_markers()
    assert (await kafka.describe_transactions(["p.1"]))["p.1"].state is TxnState.COMPLETE_ABORT
    assert await kafka.wait_stable(["out"], 1) == {TopicPartition("out", 0): 2}


async def test_a_denied_sink_fails_and_a_broker_that_is_down_answers_nothing():
    kafka = FakeKafka()
    await kafka.create_topic("out", 1)
    sink = FakeSink(kafka, "p.", "out")
    await sink.write(0, 0, ["a"])
    sink.pre_commit()
    await kafka.deny_transactional_prefix("User:ledger", "p.")
    with pytest.raises(Denied):
        await sink.commit()
    kafka.down = True
    with pytest.raises(Unavailable):
        await kafka.topics()
