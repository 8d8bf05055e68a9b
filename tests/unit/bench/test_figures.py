"""Ratios within triples, and the bounds of the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.figures import Sample, Ways, ratios, spread, summarize, text

WAYS = Ways(tidegate="tidegate", script="script", command_line="flink-cli")
GOOD = {"lost": 0, "duplicated": 0, "wrong": 0}


def sample(triple: int, way: str, gap_ms: float, between_ms: float | None = None) -> Sample:
    return Sample(
        triple=triple,
        way=way,
        upgrade="v1->v2",
        gap_ms=gap_ms,
        stop_ms=1,
        handover_ms=2,
        start_ms=3,
        between_ms=between_ms,
    )


def triples(*gaps: tuple[float, float, float], between_ms: float = 40.0) -> list[Sample]:
    found = []
    for number, (tidegate, script, cli) in enumerate(gaps, start=1):
        found += [
            sample(number, "tidegate", tidegate, between_ms),
            sample(number, "script", script),
            sample(number, "flink-cli", cli),
        ]
    return found


def test_ratios_are_taken_within_a_triple():
    # Load doubled in the second triple: the ratio of medians would mix the two, the ratios do not.
    samples = triples((1_000, 1_000, 4_000), (2_000, 2_000, 8_000))
    assert ratios(samples, "tidegate", "script") == [1.0, 1.0]
    assert ratios(samples, "tidegate", "flink-cli") == [0.25, 0.25]


def test_a_triple_that_lacks_a_way_is_left_out():
    samples = [sample(1, "tidegate", 1_000), sample(2, "tidegate", 900), sample(2, "script", 1_000)]
    assert ratios(samples, "tidegate", "script") == [0.9]


def test_spread_has_median_and_quartiles():
    seen = spread([4, 1, 3, 2, 5])
    assert (seen.minimum, seen.low, seen.median, seen.high, seen.maximum) == (1, 2, 3, 4, 5)
    assert spread([7]).median == 7


@pytest.mark.parametrize(
    ("gaps", "between_ms", "verdict", "passed"),
    [
        ((1_050, 1_000, 3_200), 100.0, GOOD, True),
        ((1_051, 1_000, 3_300), 100.0, GOOD, False),
        ((1_000, 1_000, 3_000), 100.0, GOOD, False),
        ((1_000, 1_000, 4_000), 101.0, GOOD, False),
        ((1_000, 1_000, 4_000), 40.0, {**GOOD, "lost": 1}, False),
        ((1_000, 1_000, 4_000), 40.0, {}, False),
    ],
)
def test_every_bound_and_the_audit_must_hold(gaps, between_ms, verdict, passed):
    summary = summarize(triples(gaps, gaps, gaps, between_ms=between_ms), WAYS, verdict)
    assert summary.passed is passed
    assert ("FAIL" in text(summary)) is not passed
