"""The sample consumer: it goes where the topic is written, misses nothing, reads as little twice as it can (X25)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ledger.consuming import ConsumerSettings, LineageConsumer
from ledger.faults import BadInput, CannotReach
from ledger.lineage import LineageFollower
from tests.unit.ledger.two_regions import PARTITIONS, MemoryBucket, a_lineage


class Item:
    """A message, or an event when ``code`` is given."""

    def __init__(self, partition: int, offset: int, value: bytes = b"", code: int | None = None) -> None:
        self._fields = (partition, offset, value, code)

    def partition(self) -> int:
        return self._fields[0]

    def offset(self) -> int:
        return self._fields[1]

    def value(self) -> bytes:
        return self._fields[2]

    def error(self) -> KafkaError | None:
        return None if self._fields[3] is None else KafkaError(self._fields[3])


class Kafka:
    """One region: a log (None: a transaction's marker) and the group's offsets per partition."""

    def __init__(self) -> None:
        self.log: dict[int, list[bytes | None]] = {p: [] for p in range(PARTITIONS)}
        self.group: dict[int, int] = {}
        self.silent = self.refuses = False
        self.open = self.breaks = 0

    def consumer(self) -> GroupMember:
        self.open += 1
        return GroupMember(self)


class GroupMember:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._on_assign: Any = None
        self._positions: dict[int, int] = {}
        self._at_end: set[int] = set()

    def subscribe(self, topics: list[str], *, on_assign: Any) -> None:
        self._on_assign = on_assign

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(x.topic, x.partition, self._kafka.group.get(x.partition, -1001)) for x in partitions]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._positions = {x.partition: max(0, x.offset) for x in partitions}

    def consume(self, num_messages: int, timeout: float) -> list[Any]:
        if self._kafka.silent:
            threading.Event().wait(0.02)
            return []
        if self._kafka.breaks:
            self._kafka.breaks -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        if self._kafka.refuses:
            return [Item(0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)]
        if self._on_assign is not None:
            on_assign, self._on_assign = self._on_assign, None
            on_assign(self, [TopicPartition("payments", p) for p in range(PARTITIONS)])
        found = []
        for p, position in self._positions.items():
            records = self._kafka.log[p]
            for offset in range(position, min(len(records), position + 3)):
                if len(found) == num_messages:
                    return found
                value = records[offset]
                if value is not None:
                    found.append(Item(p, offset, value))
                self._positions[p] = offset + 1
                self._at_end.discard(p)
            if self._positions[p] == len(records) and p not in self._at_end:
                self._at_end.add(p)
                found.append(Item(p, len(records), code=KafkaError._PARTITION_EOF))
        if not found:
            threading.Event().wait(0.005)
        return found

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        if not self._kafka.silent:
            self._kafka.group |= {x.partition: x.offset for x in offsets}

    def close(self) -> None:
        self._kafka.open -= 1


class Shop:
    """A consumer of two regions; the test turns the topic and appends."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.bucket = MemoryBucket()
        self.kafkas = {"east": Kafka(), "west": Kafka()}
        self.out = folder / "out"
        self.stop = threading.Event()
        settings = ConsumerSettings("payments", "shop", {"east": "e:1", "west": "w:1"}, out=self.out, **more)
        self.consumer = LineageConsumer(
            settings,
            LineageFollower(self.bucket, poll_s=0.005),
            stop=self.stop,
            consumer=lambda region: self.kafkas[region].consumer(),
        )
        self.totals = self.consumer.totals
        self._thread = threading.Thread(target=self.consumer.run)

    def append(self, region: str, *values: str) -> None:
        for i, value in enumerate(values):
            self.kafkas[region].log[i % PARTITIONS].append(value.encode())

    def mirror(self) -> None:
        """Without the markers, as a mirror does."""
        for p, records in self.kafkas["east"].log.items():
            self.kafkas["west"].log[p] = [value for value in records if value is not None]

    def turn(self, *, gate: str = "open", known: bool = True, excluded: Any = None) -> None:
        segments = {
            p: [(0, "east", 0, len(records) if known else None), (1, "west", len(self.kafkas["west"].log[p]), None)]
            for p, records in self.kafkas["east"].log.items()
        }
        word = a_lineage(1, region="west", gate=gate, segments=segments, excluded=excluded or {})
        self.bucket.tell(**word.model_dump(exclude={"seq"}))

    def start(self) -> None:
        self._thread.start()

    def until(self, condition: Any, timeout_s: float = 60) -> None:
        for _ in range(int(timeout_s / 0.005)):
            if condition():
                return
            threading.Event().wait(0.005)
        pytest.fail("it did not come to be in time")

    def until_read(self, count: int) -> None:
        self.until(lambda: self.totals.read.total() + self.totals.skipped.total() >= count)

    def end(self) -> list[str]:
        """Stop it; the values read, in order."""
        self.stop.set()
        self._thread.join(60)
        assert [kafka.open for kafka in self.kafkas.values()] == [0, 0]
        return [line.split(",", 3)[3] for line in self.out.read_text().splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_x25_it_goes_on_at_the_offsets_that_its_group_has_in_the_new_region(shop):
    shop.append("east", "a", "b", "c", "d")
    shop.start()
    shop.until_read(4)
    shop.bucket.tell(gate="closed")
    shop.until(lambda: shop.kafkas["east"].group == {0: 2, 1: 2})  # At once: it is translated now.
    shop.mirror()
    shop.kafkas["west"].group = {0: 2, 1: 2}
    shop.turn(gate="closed")
    shop.until(lambda: shop.kafkas["east"].open == 0)
    threading.Event().wait(0.05)
    assert shop.kafkas["west"].open == 0  # Nobody may be in the group while its offsets are set.
    shop.append("west", "e", "f")
    shop.bucket.tell(gate="open")
    shop.until_read(6)
    assert sorted(shop.end()) == list("abcdef")
    assert shop.totals.as_json() == {
        "read": 6, "skipped": 0, "switches": 1, "passed_over": 0,
        "by_region": {"east": {"read": 4, "skipped": 0}, "west": {"read": 2, "skipped": 0}},
    }  # fmt: skip


@pytest.mark.parametrize("translated", [{}, {0: 1, 1: 0}])
def test_what_it_has_read_of_the_old_region_it_does_not_read_again_in_the_new_one(shop, translated):
    """Also where the offsets that were put there are older, or none were; markers stand at the segment's end."""
    shop.append("east", "a", "b", "c", "d")
    for records in shop.kafkas["east"].log.values():
        records.append(None)
    shop.start()
    shop.until_read(4)
    shop.append("east", "e", "f")
    for records in shop.kafkas["east"].log.values():
        records.append(None)
    shop.mirror()
    shop.kafkas["west"].group = dict(translated)
    shop.turn()
    shop.append("west", "g", "h")
    shop.until_read(8)
    assert sorted(shop.end()) == list("abcdefgh")
    assert (shop.totals.switches, shop.totals.passed_over) == (1, 0)
    assert shop.kafkas["west"].group == {0: 4, 1: 4}


def test_a_region_without_an_answer_is_left_within_a_second_and_the_groups_offsets_hold(shop):
    shop.append("east", "a", "b", "c", "d")
    shop.start()
    shop.until_read(4)
    shop.append("east", "e", "f")
    shop.kafkas["east"].silent = True
    shop.mirror()
    shop.kafkas["west"].group = {0: 2, 1: 2}
    shop.turn()
    shop.until_read(6)
    read = shop.end()
    assert set("abcdef") == set(read)
    assert shop.totals.switches == 1


def test_without_offsets_and_without_an_answer_it_begins_at_the_segment_and_says_what_it_passed_over(shop):
    shop.append("east", "a", "b", "c", "d")
    shop.start()
    shop.until_read(4)
    shop.until(lambda: shop.consumer._positions == {0: 2, 1: 2})
    shop.kafkas["east"].silent = True
    shop.append("east", "e", "f", "g")
    shop.mirror()
    shop.turn()
    shop.append("west", "h")
    shop.until_read(5)
    assert shop.end() == ["a", "c", "b", "d", "h"]
    assert shop.totals.passed_over == 3


def test_x21_a_fresh_reader_skips_what_does_not_count(tmp_path):
    shop = Shop(tmp_path, from_start=True)
    shop.append("east", "a", "b", "x", "y")
    shop.mirror()
    shop.turn(excluded={0: [("west", 1, 1)], 1: [("west", 1, 1), ("east", 0, 0)]})
    shop.append("west", "c", "d")
    shop.start()
    shop.until_read(6)
    assert sorted(shop.end()) == list("abcd")
    assert shop.totals.as_json()["by_region"] == {"west": {"read": 4, "skipped": 2}}


def test_a_group_without_offsets_begins_with_the_segment(shop):
    shop.append("east", "a", "b")
    shop.mirror()
    shop.turn()
    shop.append("west", "c", "d")
    shop.start()
    shop.until_read(2)
    assert sorted(shop.end()) == ["c", "d"]


def test_it_joins_the_group_anew_when_it_was_thrown_out(shop):
    shop.append("east", "a", "b")
    shop.kafkas["east"].breaks = 2
    shop.start()
    shop.until_read(2)
    assert shop.end() == ["a", "b"]
    assert shop.totals.switches == 0


def test_it_ends_by_count_and_by_idleness(tmp_path):
    for settings in ({"count": 3}, {"idle_s": 0.1}):
        shop = Shop(tmp_path, **settings)
        shop.append("east", "a", "b", "c", "d")
        shop.consumer.run()
        assert shop.totals.read.total() == settings.get("count", 4)


def test_refused_or_in_an_unknown_region_it_ends_with_a_name(tmp_path):
    shop = Shop(tmp_path)
    shop.kafkas["east"].refuses = True
    with pytest.raises(CannotReach, match="region east: payments"):
        shop.consumer.run()
    shop = Shop(tmp_path)
    shop.bucket.tell(region="north")
    with pytest.raises(BadInput, match="name its Kafka with --region north="):
        shop.consumer.run()
