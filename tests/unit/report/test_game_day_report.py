"""The report of a game day says what stopped it and when, both gaps, and what was seen while they were away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.model.gameday import GAME_DAY, GameDayFacts, Rule, Rules, Sample, Trip, Way
from tidegate.model.operation import MemberResult, Outcome, Verdict
from tidegate.model.steps import ReportInput
from tidegate.report.html import html
from tidegate.report.markdown import markdown
from tidegate.report.view import headline, page_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRIP = Trip(
    rule=Rule.RESTARTS, deployment="ledger", at=AT + timedelta(seconds=90), what="ledger restarted 3 times (limit 2)"
)


def way(source: str, target: str, gap_ms: float) -> Way:
    member = MemberResult(
        deployment="ledger", operation=f"failover-ledger-{target}", outcome=Outcome.DONE, summary="s", rto_s=66.2,
        verdict=Verdict(audited=True, gap_ms=gap_ms),
    )  # fmt: skip
    return Way(
        source=source, target=target, operation=f"failover-region-{source}", began=AT, ended=AT, outcome=Outcome.DONE,
        summary="s", members=(member,),
    )  # fmt: skip


def request(outcome: Outcome = Outcome.DONE, **told: Any) -> ReportInput:
    facts = GameDayFacts(
        region="east", to="west", deployments=("ledger",), rules=Rules(max_gap_s=300, max_lag_s=300), stay_s=900,
        stayed_s=900, there=way("east", "west", 31_100), back=(way("west", "east", 28_000),),
        samples=(
            Sample(at=AT, deployment="ledger", state="RUNNING", lag=12, lag_s=0.4),
            Sample(at=AT, deployment="ledger", state="RUNNING", lag=4_711, lag_s=2.5, restarts=1),
        ),
        stands=("ledger runs in east/cell-1, epoch 3",),
    ).model_copy(update=told)  # fmt: skip
    return ReportInput(
        operation="game-day-region-east-1", run_id="r", runbook=GAME_DAY, deployment="region-east",
        fleet_digest="f" * 64, requested_by="ana", reason="", started=AT, ended=AT + timedelta(minutes=20),
        outcome=outcome, summary="s", why="", break_glass=None, take_over=None, observation=None, plan=None,
        approval=None, steps=(), game_day=facts, verdict=Verdict(audited=True, gap_ms=31_100),
    )  # fmt: skip


def test_the_first_line_has_verdict_and_both_gaps() -> None:
    assert headline(request()) == (
        "GameDay of region-east: done · verdict 0/0/0 · gap 31.1 s there · gap 28.0 s back · 15 min 00 s in west"
    )
    failed = headline(request(Outcome.BAD_VERDICT))
    assert failed.startswith("GameDay of region-east: failed · verdict 0/0/0")


def test_the_rule_that_stopped_it_stands_out_with_its_time_and_limit() -> None:
    page = page_of(request(Outcome.UNDONE, stopped=TRIP.text, trips=(TRIP,), stayed_s=12.0), "k", "0" * 64)
    assert [cell.text for cell in page.alerts] == ["Stopped: rule restarts: ledger restarted 3 times (limit 2)"]
    assert page.tone == "warn"
    for text in (markdown(page, ()), html(page, ())):
        assert "broken: restarts" in text
        assert "2026-01-02 03:05:35.000 UTC" in text
        assert "at most 2" in text
        assert "12.0 s of 15 min 00 s" in text


def test_a_rule_broken_on_the_way_back_is_an_alert_too() -> None:
    page = page_of(request(Outcome.UNDONE, trips=(TRIP,)), "k", "0" * 64)
    assert [cell.text for cell in page.alerts] == ["Broke a rule restarts: ledger restarted 3 times (limit 2)"]


def test_each_way_has_a_line_and_the_worst_of_what_was_seen_is_told() -> None:
    page = page_of(request(), "k", "0" * 64)
    tables = {table.title: table for table in page.top}
    ways = [[cell.text for cell in row] for row in tables["There and back"].rows]
    assert ways == [
        ["east → west", "ledger", "done", "31.1 s", "1 min 06 s", "0/0/0", "failover-ledger-west"],
        ["west → east", "ledger", "done", "28.0 s", "1 min 06 s", "0/0/0", "failover-ledger-east"],
    ]
    (seen,) = [[cell.text for cell in row] for row in tables["What was seen in west"].rows]
    assert seen == ["ledger", "2", "1", "0", "4,711 records", "2.50 s", "0.00 s"]
    assert "tidegate ops list" in markdown(page, ())
    assert page.tone == "good"


def test_one_that_did_not_go_has_no_ways_and_says_so() -> None:
    page = page_of(request(Outcome.UNDONE, there=None, back=(), samples=(), stayed_s=None), "k", "0" * 64)
    assert "not at all of 15 min 00 s" in markdown(page, ())
    assert "There and back" not in {table.title for table in page.top}
