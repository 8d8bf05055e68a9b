"""The auditor's reader of a topic, over a client that sits on a partition which it was just given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from ledger import audit_kafka
from ledger.audit_kafka import KafkaLog
from ledger.faults import CannotReach

RECORDS = 20


class _Message:
    def __init__(self, partition: int, offset: int) -> None:
        self._at = (partition, offset)

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]

    def error(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, 1_000 + self._at[1]

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return f"{self._at[0]}:{self._at[1]}".encode()


class _Client:
    """Partitions 0 and 1 hold `RECORDS` each. From partition 1 nothing comes behind ``sits_at`` until it was assigned
    so often again, and what was on its way before then comes again.
    """

    def __init__(self, _: dict[str, Any]) -> None:
        self.positions: dict[int, int] = {}
        self.assigned = 0
        self.sits_at, self.until = 7, 2
        self.late: list[_Message] = []

    def assign(self, parts: Iterable[Any]) -> None:
        self.assigned += 1
        if self.assigned > 1:
            self.late = [_Message(1, offset) for offset in range(self.positions.get(1, 0))]
        self.positions = {part.partition: part.offset for part in parts}

    def resume(self, _: object) -> None:
        """Nothing is paused for long here."""

    def pause(self, parts: Iterable[Any]) -> None:
        for part in parts:
            self.positions.pop(part.partition, None)

    def consume(self, _: int, timeout: float) -> list[_Message]:
        assert timeout > 0
        found, self.late = self.late, []
        for partition, first in self.positions.items():
            sits = partition == 1 and self.assigned < self.until
            last = min(self.sits_at if sits else RECORDS, first + 5)
            found += [_Message(partition, offset) for offset in range(first, last)]
            self.positions[partition] = max(first, last)
        return found


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> KafkaLog:
    monkeypatch.setattr(audit_kafka, "AGAIN_S", 0.05)
    monkeypatch.setattr(audit_kafka, "Consumer", _Client)
    monkeypatch.setattr(audit_kafka, "AdminClient", lambda _: None)
    monkeypatch.setattr(KafkaLog, "_find_partitions", lambda _: [0, 1])
    return KafkaLog("nowhere:1", "payments", {}, stall_s=0.4, tick_s=0.01)


def test_a_partition_that_brings_nothing_is_asked_for_again_and_each_record_comes_once(log: KafkaLog) -> None:
    read = [record[:2] for batch in log.read_from({0: 0, 1: 0}, {0: RECORDS, 1: RECORDS}) for record in batch]
    assert sorted(read) == [(partition, offset) for partition in (0, 1) for offset in range(RECORDS)]


def test_one_that_never_brings_it_is_given_up_and_says_how_far_it_came(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log._consumer, "until", 1_000)
    with pytest.raises(CannotReach, match="partitions left: 1 from 7 to 20"):
        list(log.read_from({0: 0, 1: 0}, {0: RECORDS, 1: RECORDS}))
