"""X4: E(N), B(N) and the ranges between, against a record-by-record reading of random logs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.kafka_fake import FakeKafka
from tidegate.clients.kafka_types import Batch, ControlType, TopicPartition, TransactionState, TxnState
from tidegate.errors import Refused
from tidegate.names import transactional_prefix
from tidegate.points.attribution import Log, Range, Side, sides_of
from tidegate.snapshot.sinks import Committable, Ownership, WriterState

PREFIX = transactional_prefix("ledger", "balances-sink", 7)
FOREIGN = 999


@dataclass
class Written:
    """A log as it was written: batches, and for each data record which producer it is of."""

    batches: list[Batch] = field(default_factory=list)
    records: list[tuple[int, int]] = field(default_factory=list)  # offset, producer
    aborted: set[int] = field(default_factory=set)  # offsets
    end: int = 0

    def data(self, producer: int, count: int, *, txn: bool = True) -> None:
        last = self.end + count - 1
        self.batches.append(Batch(self.end, last, producer, 0, False, txn, count, 0, True))
        self.records += [(offset, producer) for offset in range(self.end, last + 1)]
        self.end = last + 1

    def marker(self, producer: int, *, commit: bool, since: int) -> None:
        kind = ControlType.COMMIT if commit else ControlType.ABORT
        self.batches.append(Batch(self.end, self.end, producer, 1, True, True, 1, 0, True, kind))
        if not commit:
            self.aborted |= {offset for offset, who in self.records if who == producer and offset >= since}
        self.end += 1


@st.composite
def logs(draw: st.DrawFn) -> tuple[Written, dict[int, Side]]:
    """Producers that write in turns and end, or not, in either way; one of them is somebody else's."""
    producers = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8, unique=True))
    sides = {who: draw(st.sampled_from(Side)) for who in producers}
    written = Written(end=draw(st.integers(0, 50)))
    since = dict.fromkeys(producers, 0)
    for _ in range(draw(st.integers(0, 40))):
        what = draw(st.integers(0, 9))
        who = draw(st.sampled_from(producers))
        if what < 6:
            written.data(who, draw(st.integers(1, 5)))
        elif what == 6:
            written.data(FOREIGN, draw(st.integers(1, 3)), txn=draw(st.booleans()))
        elif what == 7:
            written.end += draw(st.integers(1, 3))  # compacted away
        else:
            written.marker(who, commit=what == 8, since=since[who])
            since[who] = written.end
    return written, sides


def _by_reading_each_record(
    written: Written, sides: dict[int, Side]
) -> tuple[int | None, int | None, set[int], set[int]]:
    alive = [(offset, sides.get(who)) for offset, who in written.records if offset not in written.aborted]
    of_it = [offset for offset, side in alive if side is Side.OF_IT]
    later = [offset for offset, side in alive if side is Side.LATER]
    last = max(of_it, default=None)
    between = {offset for offset in later if last is not None and offset < last}
    not_later = {offset for offset, side in alive if side is not Side.LATER}
    return last, min(later, default=None), between, not_later


@settings(max_examples=150, deadline=None)
@given(logs())
def test_x4_the_cut_is_what_a_full_reading_of_the_log_says(made: tuple[Written, dict[int, Side]]):
    written, sides = made
    log = Log(written.batches[0].base_offset if written.batches else written.end)
    for batch in written.batches:
        log.add(batch)
    cut = log.cut(sides)
    last, first_later, between, not_later = _by_reading_each_record(written, sides)
    assert (cut.last, cut.first_later) == (last, first_later)
    inside = {offset for span in cut.later for offset in range(span.first, span.last + 1)}
    assert inside >= between
    assert not inside & not_later  # no record of the snapshot, and nobody else's, is in a range
    ends = {offset for offset, _ in written.records}
    assert all({span.first, span.last} <= ends for span in cut.later)
    assert all(one.last < other.first for one, other in zip(cut.later, cut.later[1:], strict=False))
    assert cut.upto == (log.start if last is None else last + 1)


@settings(max_examples=80, deadline=None)
@given(logs(), st.data())
def test_x4_what_is_forgotten_below_the_first_later_one_changes_no_later_cut(
    made: tuple[Written, dict[int, Side]], data: st.DataObject
):
    """The keeper cuts snapshot after snapshot: what is later for N is a part of what was later for N - 1 and before."""
    written, sides = made
    whole, trimmed = Log(0), Log(0)
    for batch in written.batches:
        whole.add(batch)
        trimmed.add(batch)
    newer = dict(sides)
    for who, side in sides.items():
        if side is Side.LATER and data.draw(st.booleans()):
            newer[who] = Side.OF_IT
    before = whole.cut(sides)
    trimmed.forget_before(whole.end if before.first_later is None else before.first_later)
    wanted, got = whole.cut(newer), trimmed.cut(newer)
    assert got.first_later == wanted.first_later
    if wanted.last is not None and got.last is not None:
        assert (got.last, got.later) == (wanted.last, wanted.later)
    else:
        assert wanted.last is None or wanted.last < trimmed.start


def test_x4_one_offset_cannot_tell_so_ranges_do():
    """Two open transactions in turns, as it was seen on a broker: the first one's outputs end at 19, the log at 25."""
    written = Written()
    for _ in range(3):
        written.data(1, 4)
        written.data(2, 4)
    written.marker(1, commit=True, since=0)
    log = Log(0)
    for batch in written.batches:
        log.add(batch)
    cut = log.cut({1: Side.OF_IT, 2: Side.LATER})
    assert (cut.last, cut.first_later, cut.upto) == (19, 4, 20)
    assert cut.later == (Range(4, 7), Range(12, 15))


def test_a_batch_that_is_read_twice_counts_once():
    log = Log(0)
    batch = Batch(0, 4, 1, 0, False, True, 5, 0, True)
    log.add(batch)
    log.add(batch)
    log.add(Batch(5, 5, 1, 1, True, True, 1, 0, True, ControlType.ABORT))
    assert log.cut({1: Side.OF_IT}).last is None
    assert log.end == 6


# Whose is a producer id?


def _status(name: str, producer_id: int) -> TransactionState:
    return TransactionState(name, TxnState.COMPLETE_COMMIT, producer_id, 1)


def _sides(*listed: TransactionState, own: tuple[Committable, ...] = (), writers: tuple[WriterState, ...] = ()):
    return sides_of(listed, writers, own, deployment="ledger", epoch=7, checkpoint_id=12)


def test_x4_the_interval_and_the_epoch_in_the_name_tell():
    old = transactional_prefix("ledger", "balances-sink", 6)
    new = transactional_prefix("ledger", "balances-sink", 8)
    assert _sides(
        _status(f"{PREFIX}-0-12", 1),
        _status(f"{PREFIX}-1-13", 2),
        _status(f"{PREFIX}-0-2", 3),
        _status(f"{old}-0-99", 4),
        _status(f"{new}-0-1", 5),
        _status("tg.fraud.alerts-sink.e00000001.-0-1", 6),
        _status("somebody-0-1", 7),
    ) == {1: Side.OF_IT, 2: Side.LATER, 3: Side.OF_IT, 4: Side.OF_IT, 5: Side.LATER}


def test_x4_what_the_snapshot_lists_is_its_own_also_if_the_broker_has_forgotten_it():
    own = Committable("balances-sink", "0" * 32, 0, 12, f"{PREFIX}-0-12", 41, 0)
    assert _sides(own=(own,)) == {41: Side.OF_IT}
    with pytest.raises(Refused, match=r"lists .* as its own"):
        _sides(_status(f"{PREFIX}-0-13", 41), own=(own,))


def test_x13_pooled_names_are_refused_by_name():
    writer = WriterState("balances-sink", "0" * 32, 0, PREFIX, Ownership.EXPLICIT_BY_WRITER_STATE)
    with pytest.raises(Refused, match="balances-sink uses pooled"):
        _sides(writers=(writer,))


async def test_x4_attribution_on_a_kafka_with_four_subtasks_that_all_write_to_three_partitions():
    kafka = FakeKafka()
    await kafka.create_topic("balances", 3)
    wrote: dict[TopicPartition, list[tuple[int, int]]] = {}  # offset, interval
    for interval in range(1, 6):
        producers = [kafka.producer(f"{PREFIX}-{subtask}-{interval}") for subtask in range(4)]
        for producer in producers:
            await producer.init()
            await producer.begin()
        for turn in range(6):
            for subtask, producer in enumerate(producers):
                tp = TopicPartition("balances", (subtask + turn) % 3)
                at = (await kafka.end_offsets(["balances"]))[tp]
                await producer.write("balances", tp.partition, [turn])
                wrote.setdefault(tp, []).append((at, interval))
        if interval < 4:
            for producer in producers:
                await producer.commit()
    listed = await kafka.list_transactions("tg.ledger.")
    for checkpoint in range(1, 6):
        sides = sides_of(listed, [], [], deployment="ledger", epoch=7, checkpoint_id=checkpoint)
        for tp, written in wrote.items():
            log = Log(0)
            async for batch in kafka.batches(tp, 0, (await kafka.end_offsets(["balances"]))[tp]):
                log.add(batch)
            cut = log.cut(sides)
            assert cut.last == max(at for at, interval in written if interval <= checkpoint)
            assert cut.first_later == min((at for at, interval in written if interval > checkpoint), default=None)
