"""What of the Kafka client can be judged without a broker: outcomes, borders of ranges, and what is repeated."""

from __future__ import annotations

import time
from importlib import import_module

import pytest

from tidegate.clients import kafka_transactions
from tidegate.clients.kafka_log import Committed, parse
from tidegate.clients.kafka_transactions import log_partition
from tidegate.clients.kafka_types import EndOutcome, TopicPartition, TxnState
from tidegate.clients.kafka_wire import Again, Message, Wire
from tidegate.errors import InvalidInput, Refused, Unavailable

TP = TopicPartition("out", 0)


class StubWire(Wire):
    """One transactional id whose coordinator gives the answers that are lined up for EndTxn."""

    def __init__(self, state: TxnState, epoch: int, answers: list[object], timeout_s: float = 1.0):
        super().__init__("stub:1", None, timeout_s)
        self.state, self.epoch, self.answers = state, epoch, answers
        self.ended: list[tuple[int, int, bool]] = []

    async def ask(self, request: Message, node: int | None = None) -> Message:
        match request.name:
            case "FindCoordinatorRequest":
                row = _Row(error_code=0, key=request.coordinator_keys[0], node_id=1)
                return _Row(coordinators=[row])
            case "DescribeTransactionsRequest":
                return _Row(transaction_states=[self._described(request.transactional_ids[0])])
            case "EndTxnRequest":
                self.ended.append((request.producer_id, request.producer_epoch, request.committed))
                answer = self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return _Row(error_code=answer)
        raise AssertionError(request.name)

    def _described(self, name: str) -> _Row:
        return _Row(
            error_code=0,
            transactional_id=name,
            transaction_state=self.state.value,
            producer_id=7,
            producer_epoch=self.epoch,
            transaction_timeout_ms=1,
            transaction_start_time_ms=1,
            topics=[],
        )

    async def end(self, epoch: int, *, commit: bool) -> EndOutcome:
        return await self.until(
            "end", lambda: kafka_transactions.end_once(self, "id", 7, epoch, commit=commit), sent_is_final=True
        )


class _Row:
    def __init__(self, **fields: object):
        self.__dict__.update(fields)


async def test_x15_a_lost_answer_to_an_end_is_unavailable_at_once():
    wire = StubWire(TxnState.ONGOING, 3, [Again("stub:1 closed the connection", sent=True)], timeout_s=30)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="it may have acted") as caught:
        await wire.end(3, commit=True)
    assert time.monotonic() - started < wire.timeout_s / 2, "it did not try on to its deadline"
    assert caught.value.retryable
    assert wire.ended == [(7, 3, True)]


async def test_a_coordinator_that_is_loading_is_asked_again():
    wire = StubWire(TxnState.ONGOING, 3, [14, 16, 51, Again("refused"), 0])
    assert await wire.end(3, commit=False) is EndOutcome.ENDED
    assert len(wire.ended) == 5


async def test_an_answer_that_never_comes_right_ends_at_the_deadline():
    wire = StubWire(TxnState.ONGOING, 3, [51] * 100, timeout_s=0.2)
    with pytest.raises(Unavailable, match=r"within 0.2 s \(end\): commit id: ConcurrentTransactionsError"):
        await wire.end(3, commit=True)


@pytest.mark.parametrize(
    ("state", "epoch", "commit", "outcome"),
    [
        (TxnState.COMPLETE_COMMIT, 4, True, EndOutcome.ALREADY),
        (TxnState.COMPLETE_COMMIT, 3, True, EndOutcome.ALREADY),  # ended by a client of an older transaction version
        (TxnState.COMPLETE_COMMIT, 4, False, EndOutcome.REFUSED_OTHER_END),
        (TxnState.PREPARE_COMMIT, 4, False, EndOutcome.REFUSED_OTHER_END),
        (TxnState.COMPLETE_ABORT, 4, False, EndOutcome.ALREADY),
        (TxnState.COMPLETE_ABORT, 4, True, EndOutcome.REFUSED_OTHER_END),
        (TxnState.COMPLETE_COMMIT, 5, True, EndOutcome.REFUSED_OTHER_PRODUCER),
        (TxnState.COMPLETE_COMMIT, 2, True, EndOutcome.REFUSED_OTHER_PRODUCER),
        (TxnState.ONGOING, 4, True, EndOutcome.REFUSED_OTHER_PRODUCER),
        (TxnState.EMPTY, 3, False, EndOutcome.NOTHING_OPEN),
        (TxnState.EMPTY, 5, False, EndOutcome.REFUSED_OTHER_PRODUCER),
        (TxnState.DEAD, 3, True, EndOutcome.UNKNOWN_ID),
    ],
)
async def test_x3_nothing_is_sent_unless_exactly_this_transaction_is_open(
    state: TxnState, epoch: int, commit: bool, outcome: EndOutcome
):
    wire = StubWire(state, epoch, [])
    assert await wire.end(3, commit=commit) is outcome
    assert wire.ended == []


async def test_x3_prepare_commit_is_waited_for():
    wire = StubWire(TxnState.PREPARE_COMMIT, 4, [], timeout_s=0.2)
    with pytest.raises(Unavailable, match="id is in PrepareCommit"):
        await wire.end(3, commit=True)


@pytest.mark.parametrize(
    ("text", "java_hash"), [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", -(2**31))]
)
def test_the_transaction_logs_partition_is_javas_hash(text: str, java_hash: int):
    expected = 0 if java_hash == -(2**31) else abs(java_hash)
    assert log_partition(text, 1 << 40) == expected
    assert log_partition(text, 50) == expected % 50


def _records(offsets: list[int], base: int) -> bytes:
    # Not at the top: only kafka_messages can import kafka-python without a warning.
    builder = import_module("kafka.record.memory_records").MemoryRecordsBuilder(2, 0, 1 << 20)
    for offset in offsets:
        builder.skip(offset - builder.next_offset())
        builder.append(timestamp=5, key=None, value=b"v")
    builder.close()
    raw = bytearray(builder.buffer())
    raw[0:8] = base.to_bytes(8, "big")  # the broker gives the base offset; the checksum does not cover it
    return bytes(raw)


def test_x26_a_compacted_batch_at_the_border_is_counted_by_its_records():
    raw = _records([0, 1, 5, 9], base=100) + _records([0, 1, 2], base=110)
    for first, end, counted in ((0, 1000, [4, 3]), (101, 109, [2, 0]), (105, 111, [2, 1]), (106, 109, [0, 0])):
        assert [piece.records_inside for piece in parse(raw, 0, first, end)] == counted
    assert [piece.batch.base_offset for piece in parse(raw, 110, 0, 1000)] == [110]
    assert [piece.batch.base_offset for piece in parse(raw[:-1], 0, 0, 1000)] == [100], "a cut-off batch is left"


def test_x26_without_log_append_time_nobody_says_when():
    count = Committed(TP, 0, 10)
    for piece in parse(_records([0, 1], base=0), 0, 0, 10):
        count.add(piece)
    assert (count.result().count, count.result().last_append_ms) == (2, None)


def test_a_broker_that_does_not_know_the_topic_is_told_from_one_that_refuses():
    wire = Wire("h:1", None, 1)
    wire.check(0, "x")
    with pytest.raises(InvalidInput, match="no such topic"):
        wire.check(3, "topic out")
    with pytest.raises(Refused, match="does not let an anonymous client do this"):
        wire.check(29, "topic out")
    with pytest.raises(Again, match="NotLeader"):
        wire.check(6, "topic out")
