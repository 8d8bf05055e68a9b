"""A drill's comparison: exact counts, nothing that is not determined is judged, nothing that differs is passed over."""

from __future__ import annotations

import pytest

from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.drill.compare import Compared, Comparison, Inputs
from tidegate.errors import Refused
from tidegate.mirror.provenance import HOP, ORIGIN
from tidegate.model.fleet import RecordId

BY = RecordId(column=0)
LIVE, FORK = TopicPartition("balances", 0), TopicPartition("x.balances", 0)
ONE = Inputs({}, {}, 1)


def out(offset: int, of: str, key: str = "a1", value: str = "10", headers=()) -> LogRecord:
    return LogRecord(offset, 0, key.encode(), f"{of},{key},{value}".encode(), headers)


def compared(
    live: list[LogRecord], drill: list[LogRecord], by: RecordId | None = BY, inputs: Inputs = ONE, may=()
) -> Compared:
    comparison = Comparison(by, inputs)
    for record in live:
        comparison.live(LIVE, record, must=True)
    for record in may:
        comparison.live(LIVE, record, must=False)
    for record in drill:
        comparison.drill("balances", FORK, record)
    return comparison.result()


def counts(done: Compared) -> tuple[int, int, int, int, int]:
    return done.compared, done.missing, done.extra, done.differing, done.undetermined


def test_one_record_in_ten_thousand_that_differs_in_one_field_is_found_with_its_places():
    live = [out(n, f"p{n}", key=f"a{n % 50}", value=str(n)) for n in range(10_000)]
    drill = [out(9_999 - n, f"p{n}", key=f"a{n % 50}", value=str(n)) for n in reversed(range(10_000))]
    assert counts(compared(live, drill)) == (10_000, 0, 0, 0, 0)
    drill[4_321] = out(4_321, "p5678", key="a28", value="5679")
    done = compared(live, drill)
    assert counts(done) == (10_000, 0, 0, 1, 0)
    (example,) = done.examples
    assert (example.kind, example.key, example.what) == ("differing", "p5678", "value from byte 13 on")
    assert example.live is not None
    assert example.drill is not None
    assert (example.live.text, example.drill.text) == ("balances/0@5,678", "x.balances/0@4,321")


def test_missing_extra_and_doubled_are_told_apart():
    live = [out(n, f"p{n}") for n in range(4)]
    done = compared(live, [out(0, "p0"), out(1, "p1"), out(2, "p1"), out(3, "p9")])
    assert counts(done) == (2, 2, 2, 0, 0)
    assert [(one.kind, one.key) for one in done.examples] == [
        ("extra", "p1"), ("missing", "p2"), ("missing", "p3"), ("extra", "p9"),
    ]  # fmt: skip


def test_what_the_live_job_wrote_beyond_the_window_may_be_there_or_not():
    live, beyond = [out(0, "p0")], [out(1, "p1"), out(2, "p2")]
    assert counts(compared(live, [out(0, "p0"), out(1, "p1")], may=beyond)) == (2, 0, 0, 0, 0)
    assert counts(compared(live, [out(0, "p0"), out(1, "p1", value="11")], may=beyond)) == (2, 0, 0, 1, 0)
    assert counts(compared(live, [out(1, "p1")], may=beyond)) == (1, 1, 0, 0, 0)


def test_headers_count_and_those_of_the_mirror_do_not():
    one = out(0, "p0", headers=(("trace", b"1"), (ORIGIN, b"x"), (HOP, b"x")))
    assert counts(compared([one], [out(0, "p0", headers=(("trace", b"1"),))])) == (1, 0, 0, 0, 0)
    done = compared([one], [out(0, "p0")])
    assert counts(done) == (1, 0, 0, 1, 0)
    assert done.examples[0].what == "headers"


def test_without_ids_values_are_compared_by_key_as_many_times_as_they_come():
    live = [out(n, "p", value=str(n % 2)) for n in range(4)]
    assert counts(compared(live, list(reversed(live)), by=None)) == (4, 0, 0, 0, 0)
    assert counts(compared(live, live[:3], by=None)) == (3, 1, 0, 0, 0)
    other = [*live[:3], out(3, "p", value="7")]
    assert counts(compared(live, other, by=None)) == (4, 0, 0, 1, 0)


def test_a_key_whose_input_came_in_several_partitions_is_only_counted():
    both, one = frozenset({("payments", 0), ("payments", 1)}), frozenset({("payments", 0)})
    inputs = Inputs({b"p0": one, b"p1": frozenset({("payments", 1)}), b"p2": one}, {b"a1": both, b"a2": one}, 2)
    live = [out(0, "p0"), out(1, "p1"), out(2, "p2", key="a2")]
    drill = [out(0, "p0", value="99"), out(1, "p1", value="98"), out(2, "p2", key="a2")]
    assert counts(compared(live, drill, inputs=inputs)) == (1, 0, 0, 0, 2)
    drill[2] = out(2, "p2", key="a2", value="97")
    assert counts(compared(live, drill, inputs=inputs)) == (1, 0, 0, 1, 2), "the other key is determined"
    assert counts(compared(live, drill[1:], inputs=inputs)) == (1, 1, 0, 1, 1), "a number that differs is told"


def test_what_cannot_be_traced_to_input_is_not_judged_unless_there_is_one_partition():
    live, drill = [out(0, "q", key="z")], [out(0, "q", key="z", value="99")]
    assert counts(compared(live, drill, inputs=Inputs({}, {}, 2))) == (0, 0, 0, 0, 1)
    assert counts(compared(live, drill, inputs=ONE)) == (1, 0, 0, 1, 0)


def test_more_than_fits_into_memory_is_refused():
    comparison = Comparison(BY, ONE, most=2)
    for n in range(2):
        comparison.live(LIVE, out(n, f"p{n}"), must=True)
    with pytest.raises(Refused, match="more than 2 records") as raised:
        comparison.drill("balances", FORK, out(0, "p0"))
    assert "tidegate drill recovery" in (raised.value.hint or "")
