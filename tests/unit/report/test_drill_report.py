"""The report of a drill says what was measured against what is promised, and shows each difference with its places."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.drilled import Difference, DrillCompared, DrillFacts, Place, TornDown
from tidegate.model.operation import Outcome
from tidegate.model.steps import ReportInput
from tidegate.report.html import html
from tidegate.report.markdown import markdown
from tidegate.report.view import headline, page_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def request(outcome: Outcome = Outcome.DONE, **told: Any) -> ReportInput:
    compared = DrillCompared(
        compared=60_000, missing=0, extra=0, differing=0, undetermined=0, replayed=60_100, until="e7-chk-40",
        by="record id",
    )  # fmt: skip
    facts = DrillFacts(
        fork="ledger-drill-1a2b3c4d", at="west/cell-1", point="e7-chk-12", age_s=1.5, rto_s=21.0, rpo_s=0.4,
        caught_up_s=3.0, rto_objective_s=60, rpo_objective_s=5, compared=compared,
        torn_down=TornDown(topics=1, objects=40),
    ).model_copy(update=told)  # fmt: skip
    return ReportInput(
        operation="drill-ledger-1", run_id="r", runbook=DRILL_RECOVERY, deployment="ledger", fleet_digest="f" * 64,
        requested_by="ana", reason="", started=AT, ended=AT + timedelta(minutes=2), outcome=outcome, summary="s",
        why="", break_glass=None, take_over=None, observation=None, plan=None, approval=None, steps=(), drill=facts,
    )  # fmt: skip


def test_the_first_line_has_the_measures_and_the_comparison():
    assert headline(request()) == (
        "DrillRecovery of ledger: done · RTO 21.0 s (objective 60 s, met) · RPO 0.40 s (objective 5 s, met) · "
        "60,000 records compared, 0 not the same"
    )
    missed = headline(request(Outcome.BAD_VERDICT, rto_s=61.0, failures=("RTO missed",)))
    assert missed.startswith("DrillRecovery of ledger: failed · RTO 1 min 01 s (objective 60 s, missed)")


def test_each_difference_is_shown_with_its_places_and_what_is_left_stands_out():
    one = Difference(
        kind="differing", key="p-77", what="value from byte 12 on",
        live=Place(topic="balances", partition=1, offset=1077), drill=Place(topic="x.balances", partition=1, offset=41),
    )  # fmt: skip
    compared = request().drill.compared.model_copy(update={"differing": 1, "examples": (one,)})  # type: ignore[union-attr]
    page = page_of(request(Outcome.BAD_VERDICT, compared=compared, left="topic x.balances"), "k", "0" * 64)
    assert page.tone == "bad"
    assert [cell.text for cell in page.alerts] == [
        "Not all of the fork ledger-drill-1a2b3c4d is gone: topic x.balances"
    ]
    for text in (markdown(page, ()), html(page, ())):
        assert "p-77, live balances/1@1,077, drill x.balances/1@41, value from byte 12 on" in text
        assert "tidegate drill recovery ledger" in text
