"""Ratios within pairs, their bounds, and the turns that they come from."""

from __future__ import annotations

import json

import pytest

from benchmarks import pairs, running
from benchmarks.figures import Bound
from benchmarks.pairs import Comparison, Pair, Result


def comparison(*seconds: tuple[float, float], at_most: float = 1.5) -> Comparison:
    turns = [Pair(ours_s=ours, other_s=other, load=1.0) for ours, other in seconds]
    return pairs.compare(turns, "a thing", "ours", "theirs", amount=100.0, unit="MB", at_most=at_most)


def test_ratios_are_taken_within_a_pair():
    # Load tripled in the second turn, and ours was slower in the third: the ratio of medians would be 2.0.
    found = comparison((1.0, 1.0), (3.0, 3.0), (2.0, 1.0))
    assert (found.ours_s.median, found.other_s.median) == (2.0, 1.0)
    assert (found.ratio.minimum, found.ratio.median, found.ratio.maximum) == (1.0, 1.0, 2.0)


def test_rates_are_by_the_median():
    found = comparison((2.0, 0.5), (4.0, 1.0), (100.0, 25.0))
    assert (found.ours_rate, found.other_rate) == (25.0, 100.0)


@pytest.mark.parametrize(("ours_s", "passed"), [(1.5, True), (1.51, False)])
def test_one_broken_bound_fails_the_run(ours_s, passed):
    result = Result(benchmark="x", comparisons=(comparison((1.0, 1.0)), comparison((ours_s, 1.0))))
    assert result.passed is passed
    assert ("FAIL" in pairs.text(result)) is not passed


def test_a_bound_on_what_is_not_compared_fails_the_run_too():
    held, broken = (Bound(what="CPU a deployment", value=value, at_most=1.0) for value in (1.0, 1.1))
    assert Result(benchmark="x", comparisons=(comparison((1.0, 1.0)),), also=(held,)).passed
    result = Result(benchmark="x", comparisons=(comparison((1.0, 1.0)),), also=(held, broken))
    assert not result.passed
    assert "FAIL  CPU a deployment: 1.1, at most 1" in pairs.text(result)


async def test_turns_alternate_and_those_that_warm_up_do_not_count():
    order: list[str] = []

    async def ours() -> float:
        order.append("A")
        return float(len(order))

    async def other() -> float:
        order.append("B")
        return 1.0

    found = await running.in_turns("x", ours, other, turns=3, warmup=2)
    assert "".join(order) == "AB" * 5
    assert [pair.ours_s for pair in found] == [5.0, 7.0, 9.0]


@pytest.mark.parametrize(("at_most", "status"), [(2.0, 0), (0.5, 1)])
def test_the_answer_is_json_alone_and_the_status_its_verdict(capsys, at_most, status):
    result = Result(benchmark="x", comparisons=(comparison((1.0, 1.0), at_most=at_most),))
    assert running.answer(result, "json") == status
    said = json.loads(capsys.readouterr().out)
    assert said["passed"] is (status == 0)
    assert said["comparisons"][0]["ratio"]["median"] == 1.0
