"""The gap and the rate of the output: merged over partitions, in any order of reading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.audit_clock import OutputClock
from ledger.audit_log import Record

BASE_MS = 1_700_000_000_000


def clock_of(*offsets_ms: int) -> OutputClock:
    clock = OutputClock()
    clock.add([record(BASE_MS + at) for at in offsets_ms])
    return clock


def record(at_ms: int) -> Record:
    return (0, 0, at_ms, b"k", b"v")


def test_the_longest_pause_with_both_its_ends():
    assert clock_of(0, 5, 2_100, 2_105, 3_000).gap() == (BASE_MS + 5, BASE_MS + 2_100)


def test_partitions_fill_each_others_pauses():
    clock = clock_of(0, 1_000, 2_000)
    clock.add([record(BASE_MS + at) for at in (500, 1_500)])
    assert clock.gap() == (BASE_MS, BASE_MS + 500)


def test_a_window_takes_the_pauses_that_overlap_it():
    clock = clock_of(0, 3_000, 3_100, 4_000, 9_000)
    assert clock.gap(BASE_MS + 3_050, BASE_MS + 4_000) == (BASE_MS + 3_100, BASE_MS + 4_000)
    assert clock.gap(BASE_MS + 1_000, BASE_MS + 4_000) == (BASE_MS, BASE_MS + 3_000)
    assert clock.gap(from_ms=BASE_MS + 9_000) is None


def test_without_append_time_there_is_no_gap():
    clock = OutputClock()
    clock.add([record(-1), record(-1)])
    assert (clock.gap(), clock.rate(10)) == (None, [])


def test_one_output_is_no_pause():
    assert clock_of(7).gap() is None


def test_the_rate_counts_every_output_and_keeps_the_newest():
    clock = clock_of(0, 0, 999, 1_000, 5_500)
    second = BASE_MS // 1000
    assert clock.rate(10) == [(second, 3), (second + 1, 1), (second + 5, 1)]
    assert clock.rate(2) == [(second + 1, 1), (second + 5, 1)]


@given(st.lists(st.integers(0, 4_000), min_size=2, unique=True), st.randoms(use_true_random=False))
def test_reading_order_does_not_matter(times, random):
    shuffled = list(times)
    random.shuffle(shuffled)
    gap = clock_of(*shuffled).gap()
    assert gap is not None
    ordered = sorted(times)
    assert gap[1] - gap[0] == max(b - a for a, b in zip(ordered, ordered[1:], strict=False))  # noqa: RUF007
