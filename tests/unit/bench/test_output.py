"""The gap from batch headers: what counts, and which pause is meant."""

from __future__ import annotations

import pytest

from benchmarks.output import CommittedTimes, Pause, longest_pause
from tidegate.clients.kafka_types import Batch, ControlType
from tidegate.errors import OperationFailed


def data(at_ms: int, producer: int, *, transactional: bool = True, append_time: bool = True) -> Batch:
    return Batch(
        base_offset=0,
        last_offset=0,
        producer_id=producer,
        producer_epoch=0,
        is_control=False,
        is_transactional=transactional,
        records=1,
        max_timestamp_ms=at_ms,
        log_append_time=append_time,
    )


def marker(at_ms: int, producer: int, kind: ControlType) -> Batch:
    return Batch(
        base_offset=0,
        last_offset=0,
        producer_id=producer,
        producer_epoch=0,
        is_control=True,
        is_transactional=True,
        records=1,
        max_timestamp_ms=at_ms,
        log_append_time=True,
        control_type=kind,
    )


def test_only_committed_data_counts_with_the_time_of_its_own_append():
    committed = CommittedTimes()
    for batch in (
        data(100, 1),
        data(150, 2),
        marker(900, 1, ControlType.COMMIT),
        data(200, 1),
        marker(950, 2, ControlType.ABORT),
        data(300, -1, transactional=False),
        data(400, 2),
        marker(990, 2, ControlType.COMMIT),
    ):
        committed.add(batch)
    # 150 was aborted, 200 is not decided; markers are no output.
    assert committed.times_ms == [100, 300, 400]


def test_a_topic_without_append_time_is_refused():
    with pytest.raises(OperationFailed, match="append time"):
        CommittedTimes().add(data(100, 1, append_time=False))


def test_the_longest_pause_is_sought_around_the_operation_only():
    times = [0, 5_000, 5_010, 7_010, 7_020, 12_020]
    assert longest_pause(times, 5_005, 7_000) == Pause(2_000, 5_010, 7_010)
    # A pause that begins before the window or ends after it belongs to it; order of the partitions does not matter.
    assert longest_pause(reversed(times), 6_000, 6_500) == Pause(2_000, 5_010, 7_010)
    assert longest_pause(times, 4_000, 6_000).ms == 5_000


def test_no_output_around_the_operation_is_no_gap_of_zero():
    with pytest.raises(OperationFailed, match="no output"):
        longest_pause([10, 20], 500, 600)
    with pytest.raises(OperationFailed, match="no output"):
        longest_pause([], 0, 1)
