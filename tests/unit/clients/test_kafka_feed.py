"""Feeding a topic under one id: each attempt fences the one before, and what that had begun is committed (I5, X23)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.kit.kafka_fake import FakeKafka
from tests.kit.kafka_fake_job import FakeProducer
from tests.kit.kafka_fake_logs import ADMIN, Denied, Fenced
from tidegate.clients import kafka_feed
from tidegate.clients.kafka_types import LogRecord, TopicPartition, TxnState
from tidegate.errors import NoProgress, Refused, TidegateError, Unavailable

ID = "tidegate-tail-east-payments"
TP = TopicPartition("payments", 0)
RECORDS = [LogRecord(n, 1_600_000_000_000 + n, f"k{n}".encode(), f"v{n}".encode(), (("h", b"x"),)) for n in range(4)]


class Died(BaseException):
    """The process ends here."""


class ConfluentFake:
    """confluent_kafka's producer over a FakeKafka: records go out at ``poll``, as many as its queue holds wait for it.

    Each call is counted; at ``dies_at`` the process dies, before the call or (``after``) behind it.
    """

    kafka: FakeKafka
    dies_at: int | None = None
    after = False
    queue_holds = 100_000
    fails: ClassVar[dict[str, KafkaError]] = {}
    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, settings: dict[str, Any], logger: logging.Logger) -> None:
        assert logger.name.startswith("tidegate")
        self.made.append(settings)
        self.calls: list[str] = []
        self._queue: list[tuple[str, int, LogRecord, Any]] = []
        self._inner: FakeProducer = self.kafka.producer(settings["transactional.id"], ADMIN)

    def _at(self, name: str, act: Coroutine[Any, Any, None] | None = None) -> None:
        dies = self.dies_at == len(self.calls)
        self.calls.append(name)
        if dies and not self.after:
            if act is not None:
                act.close()
            raise Died(name)
        if name in self.fails:
            if act is not None:
                act.close()
            raise KafkaException(self.fails[name])
        if act is not None:
            try:
                asyncio.run(act)
            except Fenced as error:
                raise KafkaException(KafkaError(kafka_feed._FENCED_HERE)) from error
            except Denied as error:
                raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)) from error
        if dies:
            raise Died(name)

    def init_transactions(self, timeout: float) -> None:
        assert timeout > 0
        self._at("init", self._inner.init())

    def begin_transaction(self) -> None:
        self._at("begin", self._inner.begin())

    def produce(
        self, topic: str, *, value: Any, key: Any, partition: int, headers: Any, on_delivery: Any, timestamp: int
    ) -> None:
        if len(self._queue) >= self.queue_holds:
            raise BufferError("Local: Queue full")
        self._at("produce")
        record = LogRecord(0, timestamp or self.kafka.now_ms, key, value, tuple(headers))
        self._queue.append((topic, partition, record, on_delivery))

    def poll(self, timeout: float) -> int:
        self._at("poll")
        return self._send(1) if self._queue and (timeout or len(self._queue) < self.queue_holds) else 0

    def flush(self, timeout: float) -> int:
        assert timeout > 0
        self._at("flush")
        self._send(len(self._queue))
        return len(self._queue)

    def commit_transaction(self, timeout: float) -> None:
        assert timeout > 0
        self._at("commit", self._inner.commit())

    def _send(self, count: int) -> int:
        for topic, partition, record, answered in self._queue[:count]:
            try:
                asyncio.run(self._inner.write(topic, partition, [record]))
            except Fenced:
                answered(KafkaError(KafkaError._PURGE_QUEUE), None)
            else:
                answered(None, None)
        del self._queue[:count]
        return count


@pytest.fixture
async def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    made = FakeKafka()
    await made.create_topic("payments", 2)
    fresh = {"kafka": made, "dies_at": None, "after": False, "queue_holds": 100_000, "fails": {}, "made": []}
    for name, value in fresh.items():
        monkeypatch.setattr(ConfluentFake, name, value, raising=False)
    monkeypatch.setattr(kafka_feed, "Producer", ConfluentFake)
    return made


async def _feed(kafka: FakeKafka) -> None:
    """As a step does it: what stands there is not written again."""
    async with kafka_feed.open_feed("b:1", None, kafka, ID) as feed:
        end = (await kafka.last_stable_offsets(["payments"]))[TP]
        there = {record.value async for record in kafka.records(TP, 0, end)}
        await feed.write("payments", 0, [one for one in RECORDS if one.value not in there])


async def _there(kafka: FakeKafka) -> list[LogRecord]:
    end = (await kafka.last_stable_offsets(["payments"]))[TP]
    return [record async for record in kafka.records(TP, 0, end)]


async def test_x23_records_keep_their_partition_order_time_key_and_headers(kafka: FakeKafka) -> None:
    await _feed(kafka)
    told = [(one.key, one.value, one.timestamp_ms, one.headers) for one in await _there(kafka)]
    assert told == [(one.key, one.value, one.timestamp_ms, one.headers) for one in RECORDS]
    assert (await kafka.describe_transactions([ID]))[ID].state is TxnState.COMPLETE_COMMIT
    (settings,) = ConfluentFake.made
    assert settings["transactional.id"] == ID
    assert settings["delivery.timeout.ms"] < settings["transaction.timeout.ms"]


async def test_a_queue_that_is_full_is_waited_for(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfluentFake, "queue_holds", 1)
    await _feed(kafka)
    assert [one.value for one in await _there(kafka)] == [one.value for one in RECORDS]


async def test_a_record_without_a_time_gets_the_brokers(kafka: FakeKafka) -> None:
    async with kafka_feed.open_feed("b:1", None, kafka, ID) as feed:
        await feed.write("payments", 0, [LogRecord(0, -1, None, b"v")])
    (record,) = await _there(kafka)
    assert record.timestamp_ms == kafka.now_ms


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
async def test_o16_killed_at_each_call_all_of_it_stands_once_when_done_again(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    died = 0
    while True:
        fresh = FakeKafka()
        await fresh.create_topic("payments", 2)
        monkeypatch.setattr(ConfluentFake, "kafka", fresh)
        monkeypatch.setattr(ConfluentFake, "dies_at", died)
        monkeypatch.setattr(ConfluentFake, "after", after)
        try:
            await _feed(fresh)
        except Died:
            died += 1
        else:
            break
        monkeypatch.setattr(ConfluentFake, "dies_at", None)
        await _feed(fresh)
        assert [one.value for one in await _there(fresh)] == [one.value for one in RECORDS], f"killed at {died - 1}"
        # Also for who reads what is not committed, or not yet: nothing of it was aborted and written again.
        data = [batch for batch in await fresh.batch_headers(TP, 0, 100) if not batch.is_control]
        assert sum(batch.records for batch in data) == len(RECORDS), f"killed at {died - 1}"
    assert died == 4 + 2 * len(RECORDS)  # init, begin, flush, commit; produce and poll of each


async def test_i5_who_fed_before_is_fenced_and_nothing_of_it_comes_any_more(kafka: FakeKafka) -> None:
    async with kafka_feed.open_feed("b:1", None, kafka, ID) as slow:
        await _feed(kafka)
        with pytest.raises(Unavailable, match="another attempt feeds it now"):
            await slow.write("payments", 0, RECORDS)
    assert len(await _there(kafka)) == len(RECORDS)


async def test_x23_what_was_begun_is_committed_before_the_look(kafka: FakeKafka) -> None:
    dead = kafka.producer(ID, ADMIN)
    await dead.init()
    await dead.write("payments", 0, [RECORDS[0]])
    await kafka_feed.finish_before(kafka, ID)
    assert [one.value for one in await _there(kafka)] == [b"v0"]
    await kafka_feed.finish_before(kafka, ID)
    with pytest.raises(Fenced):
        await dead.write("payments", 0, [RECORDS[1]])


async def test_i6_one_that_does_not_end_is_not_waited_for_for_ever(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_feed, "TAKE_OVER_S", 0.0)
    kafka.hold_markers = True
    dead = kafka.producer(ID, ADMIN)
    await dead.init()
    await dead.write("payments", 0, [RECORDS[0]])
    with pytest.raises(NoProgress, match="did not end within"):
        await kafka_feed.finish_before(kafka, ID)


@pytest.mark.parametrize(
    ("call", "code", "kind", "told"),
    [
        ("init", KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Refused, f"transactional id {ID}"),
        ("commit", KafkaError.TOPIC_AUTHORIZATION_FAILED, Refused, "does not let Tidegate feed it"),
        ("commit", KafkaError.PRODUCER_FENCED, Unavailable, "another attempt"),
        ("init", KafkaError._TIMED_OUT, Unavailable, "not all could be written"),
        ("begin", KafkaError._STATE, Unavailable, "payments/0"),
    ],
)
async def test_what_kafka_refuses_is_said(
    kafka: FakeKafka,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    kind: type[TidegateError],
    told: str,
) -> None:
    monkeypatch.setattr(ConfluentFake, "fails", {call: KafkaError(code)})
    with pytest.raises(kind, match=told):
        await _feed(kafka)


async def test_a_fatal_error_with_records_in_hand_is_told_as_what_it_is(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the client raises it: its callbacks have run after the error, and CPython tells of that one."""

    def flush(_self: ConfluentFake, _timeout: float) -> int:
        raise SystemError("returned a result with an exception set") from KafkaException(
            KafkaError(kafka_feed._FENCED_HERE)
        )

    monkeypatch.setattr(ConfluentFake, "flush", flush)
    with pytest.raises(Unavailable, match="another attempt feeds it now"):
        await _feed(kafka)
