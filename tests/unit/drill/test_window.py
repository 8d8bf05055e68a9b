"""The window of a comparison: neither of the two jobs is blamed for input that only the other one has processed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.kit.kafka_fake import FakeKafka
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.drill.window import LiveWindow, highest, lowest, not_ahead, not_behind, read_inputs, usable
from tidegate.errors import Refused
from tidegate.mirror.provenance import HOP, ORIGIN, Provenance, encode
from tidegate.model.fleet import RecordId
from tidegate.points.model import OutputCut, Point

P0, P1, OUT = TopicPartition("payments", 0), TopicPartition("payments", 1), TopicPartition("balances", 0)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def point(number: int, payments: tuple[int, int], upto: int, later: tuple[tuple[int, int], ...] = ()) -> Point:
    return Point(
        id=f"e7-chk-{number}", kind="checkpoint", snapshot=f"s3://east/{number}", epoch=7, checkpoint_id=number,
        taken_at=AT, inputs={"payments-source": {f"payments/{n}": at for n, at in enumerate(payments)}},
        outputs={"balances/0": OutputCut(upto=upto, last=upto - 1, first_later=None, later=later)},
    )  # fmt: skip


def mirrored(value: str, tp: TopicPartition, offset: int, key: str = "a1", source: str = "east") -> LogRecord:
    place = encode(Provenance(source, tp.topic, tp.partition, offset))
    return LogRecord(0, 0, key.encode(), value.encode(), ((ORIGIN, place), (HOP, place)))


async def west() -> FakeKafka:
    """Ten payments in each partition; at home they stand at every third offset."""
    kafka = FakeKafka()
    await kafka.create_topic("payments", 2)
    for tp in (P0, P1):
        values = [mirrored(f"p{tp.partition}-{n},a", tp, 3 * n, key=f"a{n % 2}") for n in range(10)]
        kafka.write_plain("payments", tp.partition, values)
    return kafka


async def test_x20_the_forks_position_at_home_is_read_off_the_last_record_that_it_processed():
    begin, end, base = {P0: 2, P1: 4}, {P0: 7, P1: 4}, {P0: 5, P1: 11}
    read = await read_inputs(await west(), "east", begin, end, base, RecordId(column=0))
    assert read.home == {P0: 3 * 6 + 1, P1: 11}
    assert read.records == 5
    assert read.inputs.partitions == 2
    assert read.inputs.ids[b"p0-2"] == {("payments", 0)}
    assert set(read.inputs.keys) == {b"a0", b"a1"}


async def test_input_that_did_not_come_from_home_is_refused():
    kafka = await west()
    kafka.write_plain("payments", 0, [mirrored("x", P0, 99, source="south")])
    with pytest.raises(Refused, match="did not come from east"):
        await read_inputs(kafka, "east", {P0: 0}, {P0: 11}, {}, None)
    kafka.write_plain("payments", 1, [b"native"])
    with pytest.raises(Refused, match="payments-1 at 10 did not come from east"):
        await read_inputs(kafka, "east", {P1: 0}, {P1: 11}, {}, None)


async def test_a_point_is_ahead_by_data_and_not_by_markers_and_behind_if_any_partition_is():
    home = FakeKafka()
    await home.create_topic("payments", 2)
    for n in range(4):
        producer = home.producer(f"t-{n}")
        await producer.init()
        await producer.write("payments", 0, [n])  # at 0, 2, 4, 6; a marker behind each
        await producer.commit()
    home.write_plain("payments", 1, [b"x"] * 9)
    reached = {P0: 3, P1: 9}
    assert await not_ahead(home, point(1, (3, 9), 0), reached)
    assert await not_ahead(home, point(2, (4, 9), 0), reached), "only a marker lies between"
    assert not await not_ahead(home, point(3, (5, 9), 0), reached)
    assert not_behind(point(2, (4, 9), 0), reached)
    assert not not_behind(point(4, (4, 8), 0), reached)


def test_several_sources_of_one_topic_count_by_the_last_and_by_the_first():
    inputs = {"a": {"payments/0": 5, "payments/1": 7}, "b": {"payments/0": 9}}
    assert lowest(inputs) == {P0: 5, P1: 7}
    assert highest(inputs) == {P0: 9, P1: 7}


def test_x4_which_of_the_live_jobs_records_must_be_there_by_the_cuts_of_its_points():
    # 0..9 base's but 7 and 8; 10..14 until's; 15..19 beyond's, but 12 is of until+1.
    window = LiveWindow(point(1, (0, 0), 10, ((7, 8),)), point(2, (0, 0), 15, ((12, 12),)), point(3, (0, 0), 20))
    assert window.spans() == {OUT: (7, 20)}
    sides = {offset: window.side(OUT, offset) for offset in range(22)}
    assert [offset for offset, side in sides.items() if side is True] == [7, 8, 10, 11, 13, 14]
    assert [offset for offset, side in sides.items() if side is False] == [12, 15, 16, 17, 18, 19]


def test_only_later_points_that_say_whose_the_outputs_are_bound_a_window():
    base = point(5, (0, 0), 10)
    bare = point(7, (0, 0), 0).model_copy(update={"outputs": None})
    restarted = point(1, (0, 0), 30).model_copy(update={"epoch": 8})
    assert [one.id for one in usable([restarted, bare, point(6, (0, 0), 20), base, point(4, (0, 0), 5)], base)] == [
        "e7-chk-6", "e7-chk-1",
    ]  # fmt: skip
