"""The timeline's numbers."""

from __future__ import annotations

import pytest

from tests.unit.report import samples
from tidegate.report.timeline import pictures


def test_a_short_gap_in_a_long_operation_gets_a_picture_of_its_own():
    whole, focus = pictures(samples.done())
    assert whole.gap is not None
    assert focus.gap is not None
    assert whole.gap.width == pytest.approx(2.083 / 72 * 100, abs=0.01)
    assert focus.gap.width > 30
    assert "gap 2.08 s" in focus.description


def test_bars_stand_where_the_steps_were():
    whole = pictures(samples.done())[0]
    prove = next(bar for bar in whole.bars if bar.label.startswith("4 "))
    assert prove.label == "4 prove: 1 min 00 s"
    assert prove.x == pytest.approx(4.2 / 72 * 100, abs=0.01)
    assert prove.width == pytest.approx(60.2 / 72 * 100, abs=0.01)
    last = whole.bars[-1]
    assert last.state == "running"
    assert last.x + last.width == pytest.approx(100)


def test_without_a_measured_gap_the_shade_says_so():
    request = samples.done(verdict=samples.halted_then_undone().verdict)
    gap = pictures(request)[0].gap
    assert gap is not None
    assert gap.label == "no job ran for 1.50 s (output gap not measured)"
    assert pictures(samples.halted_then_undone())[0].gap is None


def test_seconds_without_output_are_zero_and_the_unmeasured_is_not_drawn():
    start = int(samples.START.timestamp())
    verdict = samples.done().verdict.model_copy(update={"rate": ((start + 10, 1000), (start + 13, 500))})
    rate = pictures(samples.done(verdict=verdict))[0].rate
    assert rate is not None
    assert rate.words == "between 0 and 1,000 records a second"
    assert rate.top == 1000
    places = [float(point.split()[0]) for point in rate.path.strip("MZ").replace("M", "L").split("L")]
    offset = samples.START.timestamp() - start
    assert places[0] == pytest.approx((10 - offset) * 1000 / 72, abs=0.1)
    assert places[-1] == pytest.approx((14 - offset) * 1000 / 72, abs=0.1)


def test_a_long_operation_is_shown_in_few_bars_and_ticks():
    start = int(samples.START.timestamp())
    verdict = samples.done().verdict.model_copy(update={"rate": tuple((start + n, 100) for n in range(7_200))})
    whole = pictures(samples.done(ended=samples.at(7_200), verdict=verdict))[0]
    assert whole.rate is not None
    assert whole.rate.path.count("L") < 600
    assert 2 <= len(whole.ticks) <= 6
    assert whole.ticks[-1].label == "2 h"


def test_no_output_at_all_has_no_rate():
    assert pictures(samples.halted_then_undone())[0].rate is None


def test_the_lag_is_drawn_where_it_was_seen():
    whole, focus = pictures(samples.done())
    start = int(samples.START.timestamp())
    assert whole.lag is not None
    assert whole.lag.top == 2_100
    assert whole.lag.words == "between 3 and 2,100 records behind while the job was proven"
    assert "Lag: between 3 and 2,100" in whole.description
    places = [tuple(map(float, point.split())) for point in whole.lag.path.strip("M").split("L")]
    assert places[0] == pytest.approx(((start + 4 - samples.START.timestamp()) * 1000 / 72, 0), abs=0.1)
    assert len(places) == 60
    assert focus.lag is not None
    assert focus.lag.path.count("L") < 12, "only what is in the window, and one point on either side"
    assert pictures(samples.halted_then_undone(prove=None))[0].lag is None


def test_a_job_that_was_caught_up_all_the_time_has_a_flat_lag():
    prove = samples.done().prove.model_copy(
        update={"lags": tuple((int(samples.START.timestamp()) + n, 0) for n in (5, 9))}
    )
    lag = pictures(samples.done(prove=prove))[0].lag
    assert lag is not None
    assert {point.split()[1] for point in lag.path.strip("M").split("L")} == {"100.0"}
