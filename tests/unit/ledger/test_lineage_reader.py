"""The class that others copy: all that counts of a topic, once, by lineage, without looking into records (X20, X21)."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ledger.faults import BadInput, CannotReach
from ledger.lineage_reader import LineageReader
from tests.unit.ledger.test_consuming import Item
from tests.unit.ledger.two_regions import a_lineage

LOGS: dict[str, dict[int, list[bytes | None]]] = {
    "e:1": {0: [b"a", b"b", None, b"tail"], 1: [b"c", None]},
    "w:1": {0: [b"a", b"b", b"x", b"d", None], 1: [b"c", b"e"]},
}
REGIONS = {"east": "e:1", "west": "w:1"}
SEGMENTS = {0: [(0, "east", 0, 3), (1, "west", 2, None)], 1: [(0, "east", 0, 2), (1, "west", 1, None)]}


class Stamped(Item):
    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def key(self) -> bytes:
        return b"k"


class Partition:
    """A consumer of one partition; a marker is no message, and the end is an event."""

    def __init__(self, settings: dict[str, Any]) -> None:
        assert settings["isolation.level"] == "read_committed"
        self._log = LOGS.get(settings["bootstrap.servers"])
        self._at = TopicPartition("", 0, 0)

    def get_watermark_offsets(self, part: TopicPartition, timeout: float) -> tuple[int, int]:
        if self._log is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return 0, len(self._log[part.partition])

    def assign(self, parts: list[TopicPartition]) -> None:
        (self._at,) = parts

    def poll(self, timeout: float) -> Stamped | None:
        assert self._log is not None
        records = self._log[self._at.partition]
        while self._at.offset < len(records) and records[self._at.offset] is None:
            self._at.offset += 1
        if self._at.offset == len(records):
            return Stamped(self._at.partition, len(records), code=KafkaError._PARTITION_EOF)
        self._at.offset += 1
        return Stamped(self._at.partition, self._at.offset - 1, records[self._at.offset - 1] or b"")

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.lineage_reader.Consumer", Partition)


def test_each_record_that_counts_once_from_where_it_was_written():
    word = a_lineage(1, region="west", segments=SEGMENTS, excluded={0: [("west", 2, 2), ("east", 3, 3)]})
    reader = LineageReader(word, REGIONS, {})
    found = [(r.region, r.partition, r.offset, r.value) for r in reader]
    assert found == [
        ("east", 0, 0, b"a"), ("east", 0, 1, b"b"), ("west", 0, 3, b"d"), ("east", 1, 0, b"c"), ("west", 1, 1, b"e"),
    ]  # fmt: skip
    assert (reader.read, reader.skipped) == (5, 1)
    assert len(list(reader)) == 5  # It may be read again.


def test_what_nobody_knows_the_end_of_is_read_where_it_crossed():
    segments = {p: [(t, r, first, None) for t, r, first, _ in known] for p, known in SEGMENTS.items()}
    reader = LineageReader(a_lineage(1, region="west", segments=segments), REGIONS, {})
    assert [r.value for r in reader] == [b"a", b"b", b"x", b"d", b"c", b"e"]
    assert {r.region for r in reader} == {"west"}


def test_a_region_that_is_not_known_or_gives_no_answer_is_named():
    word = a_lineage(1, region="west", segments=SEGMENTS)
    with pytest.raises(BadInput, match="payments has records in west, and nobody said"):
        list(LineageReader(word, {"east": "e:1"}, {}))
    with pytest.raises(CannotReach, match="region west: payments"):
        list(LineageReader(word, {"east": "e:1", "west": "nowhere:1"}, {}))
