"""RTO, RPO and gap by week."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.unit.report import samples, samples_failover
from tests.unit.report.test_write_report import Page
from tidegate.model.fleet import Objectives
from tidegate.model.inputs import RESTORE_DEPLOYMENT
from tidegate.model.operation import Outcome
from tidegate.report.trend import CHART_HEIGHT, chart, measured_s, since, spark, summary, trend
from tidegate.report.trend_html import trend_html

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
PROMISED = Objectives(rto_s=60, rpo_s=5)


def moved(name, ended, **changes):
    report = samples_failover.unplanned(operation=name, ended=ended)
    return report.model_copy(update={"failover": report.failover.model_copy(update=changes)})


def upgraded(name, ended, gap_ms):
    verdict = samples.done().verdict.model_copy(update={"gap_ms": gap_ms})
    return samples.done(operation=name, ended=ended, verdict=verdict)


def of(*reports, weeks=4, promised=PROMISED):
    return trend("ledger", reports, promised, NOW, weeks)


def test_a_week_has_the_median_and_the_worst_of_its_operations():
    found = of(*(upgraded(f"u{n}", NOW, gap_ms) for n, gap_ms in enumerate((2_000, 9_000, 2_400))))
    assert [week.week for week in found.weeks] == ["2026-W07", "2026-W08", "2026-W09", "2026-W10"]
    assert found.weeks[3].gap.model_dump() == {"n": 3, "median_s": 2.4, "worst_s": 9.0}
    assert [week.gap for week in found.weeks[:3]] == [None] * 3
    assert found.weeks[3].rto is None


def test_weeks_are_iso_weeks_in_utc():
    assert since(NOW, 1) == datetime(2026, 3, 2, tzinfo=UTC)
    last_second = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    found = of(upgraded("a", last_second, 1_000), upgraded("b", last_second + timedelta(seconds=1), 2_000))
    assert [(week.starts, week.operations) for week in found.weeks[2:]] == [
        (date(2026, 2, 23), 1),
        (date(2026, 3, 2), 1),
    ]
    new_year = trend("ledger", [], PROMISED, datetime(2027, 1, 3, tzinfo=UTC), 2)
    assert [week.week for week in new_year.weeks] == ["2026-W52", "2026-W53"]


def test_recovery_is_of_failovers_and_restores_and_an_outage_is_no_planned_gap():
    away = moved("f", NOW, rto_s=30.0, rto_detected_s=71.0, rpo_s=0.8)
    assert [measured_s(away, measure) for measure in ("rto", "rpo", "gap")] == [71.0, 0.8, None]
    planned = samples_failover.planned()
    assert [measured_s(planned, measure) for measure in ("rto", "rpo", "gap")] == [14.14, 0.0, 6.04]
    assert [measured_s(samples.done(), measure) for measure in ("rto", "rpo", "gap")] == [None, None, 2.083]
    restored = samples.undone(runbook=RESTORE_DEPLOYMENT, outcome=Outcome.DONE, switch=None)
    assert [measured_s(restored, measure) for measure in ("rto", "rpo")] == [20.4, 0.0]
    lossy = restored.model_copy(update={"verdict": restored.verdict.model_copy(update={"lost": 3})})
    assert measured_s(lossy, "rpo") is None, "lost records are no age, and not 0"
    assert measured_s(samples_failover.undone(), "rto") is None, "what was not reached took no time"


def test_a_run_that_reported_twice_counts_once_by_its_last_word():
    found = of(upgraded("u", NOW, 2_000), upgraded("u", NOW + timedelta(seconds=9), 5_000))
    assert found.weeks[-1].operations == 1
    assert found.weeks[-1].gap.worst_s == 5.0


def test_the_objective_is_a_line_and_what_missed_it_is_marked():
    found = of(
        moved("a", NOW, rto_s=20.0, rto_detected_s=None),
        moved("b", NOW, rto_s=80.0, rto_detected_s=None),
        moved("c", NOW - timedelta(weeks=2), rto_s=10.0, rto_detected_s=None),
    )
    drawn = chart(found, "rto")
    assert [dot.missed for dot in drawn.dots] == [False, True]
    assert drawn.dots[1].worst_y == pytest.approx(CHART_HEIGHT * (1 - 1 / 1.1), abs=0.01)
    assert drawn.dots[1].worst_y < drawn.objective_y < drawn.dots[1].median_y
    assert drawn.paths == (), "no line over a week in which nothing was measured"
    assert drawn.marks[-1].text == "W10"
    assert summary(found, "rto").endswith("objective 1 min 00 s; missed in 1 of 2 weeks")
    assert spark(found, "rto") == "·▂·█"
    assert chart(found, "gap").objective_y is None


def test_nothing_measured_is_said_and_divides_by_nothing():
    empty = of(promised=Objectives())
    assert summary(empty, "gap") == "not measured in 4 weeks; no objective"
    assert spark(empty, "gap") == "····"
    assert chart(empty, "gap").dots == ()
    zero = of(samples_failover.planned(ended=NOW), promised=Objectives())
    assert summary(zero, "rpo") == "median 0.00 s, worst 0.00 s in 2026-W10; no objective"
    assert chart(zero, "rpo").dots[0].worst_y == CHART_HEIGHT


def test_the_page_is_whole_and_reaches_for_nothing():
    reports = [upgraded("u", NOW, 2_000), moved("f", NOW, rto_s=80.0)]
    text = trend_html([of(*reports), of()], NOW, ("not counted: <b>x</b>",))
    page = Page()
    page.VOID = page.VOID | {"circle"}
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.outside == []
    assert not {"script", "link", "img", "iframe", "object", "b"} & page.tags
    assert len(page.ids) == len(set(page.ids))
    assert "url(" not in text
    assert 'class="missed"' in text
    assert 'class="objective"' in text
