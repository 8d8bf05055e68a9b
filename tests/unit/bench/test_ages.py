"""The age of recovery points: median, worst, in intervals, and looks at which there was none."""

from __future__ import annotations

import pytest

from benchmarks import ages
from benchmarks.ages import Look


def looks(*away: float | None) -> list[Look]:
    return [
        Look(at_s=number, home_s=1.0, away_s=age, why_not="no mirror tells" if age is None else None)
        for number, age in enumerate(away)
    ]


def test_median_and_worst_are_also_told_in_intervals():
    found = ages.judge(looks(2.0, 4.0, 9.0), "east", "west", interval_s=2.0)
    assert (found.away_s.median, found.away_s.maximum, found.seconds) == (4.0, 9.0, 2.0)
    assert [bound.value for bound in found.bounds] == [2.0, 4.5, 0]
    assert found.passed
    assert "2.0, worst 4.5" in ages.text(found)


@pytest.mark.parametrize(
    ("away", "failed"),
    [
        ((ages.MEDIAN_INTERVALS, ages.WORST_INTERVALS), None),
        ((ages.MEDIAN_INTERVALS + 0.1,), "median"),
        ((1.0, 1.0, ages.WORST_INTERVALS + 0.1), "worst"),
        ((1.0, None, 1.0), "without"),
    ],
)
def test_each_bound_can_fail(away, failed):
    found = ages.judge(looks(*away), "east", "west", interval_s=1.0)
    if len(away) == 2:
        found = ages.judge(looks(away[0], *away), "east", "west", interval_s=1.0)
    told = [line for line in ages.text(found).splitlines() if line.startswith("FAIL")]
    assert found.passed is (failed is None)
    assert [failed in line for line in told] == ([True] if failed else [])


def test_what_stood_against_a_restore_is_told_once():
    found = ages.judge(looks(None, 1.0, None), "east", "west", interval_s=1.0)
    assert found.unusable == 2
    assert found.why_not == ("no mirror tells",)
    assert ages.text(found).count("no mirror tells") == 1
