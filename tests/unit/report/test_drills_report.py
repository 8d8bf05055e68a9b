"""The report of a region's drill names each deployment; what was not drilled stands out as what failed does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.model.drilled import DrillCompared, DrillFacts, DrillLine, DrillsFacts
from tidegate.model.operation import Outcome
from tidegate.model.regiondrill import DRILL_REGION
from tidegate.model.steps import ReportInput
from tidegate.readiness.drills import proves
from tidegate.report.html import html
from tidegate.report.markdown import markdown
from tidegate.report.trend import measured_s
from tidegate.report.view import headline, page_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(name: str, rto_s: float, result: str = "good", **fields: Any) -> DrillLine:
    compared = DrillCompared(
        compared=20_000, missing=0, extra=0, differing=0, undetermined=0, replayed=20_010, until="e7-chk-40",
        by="record id",
    )  # fmt: skip
    told: dict[str, Any] = {
        "deployment": name, "tier": 1, "slots": 2, "result": result, "operation": f"drill-{name}-1a2b3c4d",
        "report": f"reports/{name}/drill-{name}-1a2b3c4d/1.json",
        "facts": DrillFacts(
            fork=f"{name}-drill-1a2b3c4d", point="e7-chk-12", rto_s=rto_s, rpo_s=0.4, rto_objective_s=60.0,
            compared=compared,
        ),
    }  # fmt: skip
    return DrillLine.model_validate(told | fields)


GOOD = (line("a", 20.0), line("b", 31.0), line("c", 24.0))
MISSING = DrillLine(deployment="d", tier=2, slots=9, result="not drilled", why="no room: it needs 9 slots")


def request(outcome: Outcome, *lines: DrillLine, **fields: Any) -> ReportInput:
    facts = DrillsFacts(
        region="east", standbys=("west",), slots=3, kept="1 in west/cell-1 for a", budget_s=7_200, took_s=305,
        lines=lines, left_out=("s: it is stopped",),
    )  # fmt: skip
    told: dict[str, Any] = {
        "operation": "drill-region-east-1", "run_id": "r", "runbook": DRILL_REGION, "deployment": "region-east",
        "fleet_digest": "f" * 64, "requested_by": "ana", "reason": "", "started": AT,
        "ended": AT + timedelta(minutes=5), "outcome": outcome, "summary": "s", "why": "", "break_glass": None,
        "take_over": None, "observation": None, "plan": None, "approval": None, "steps": (), "drills": facts,
    }  # fmt: skip
    return ReportInput.model_validate(told | fields)


def texts(asked: ReportInput) -> tuple[str, str]:
    page = page_of(asked, "k", "0" * 64)
    return markdown(page, ()), html(page, ())


def test_the_first_line_counts_and_has_the_worst() -> None:
    assert headline(request(Outcome.DONE, *GOOD)) == (
        "drill of region east: 3 of 3 good · RTO worst 31.0 s · RPO worst 0.40 s"
    )
    failed = line("e", 70.0, "failed", why="RTO missed")
    assert headline(request(Outcome.BAD_VERDICT, *GOOD, failed, MISSING)) == (
        "drill of region east: 3 of 5 good, 1 failed, 1 not drilled · RTO worst 1 min 10 s · RPO worst 0.40 s"
    )


def test_a_line_for_each_with_measures_comparison_and_its_own_report() -> None:
    for text in texts(request(Outcome.DONE, *GOOD)):
        assert "20.0 s of 60 s" in text
        assert "20,000, 0 not the same" in text
        assert "reports/b/drill-b-1a2b3c4d/1.json" in text
        assert "31.0 s, 24.0 s" in text, "worst and median"
        assert "60,000" in text
        assert "kept free: 1 in west/cell-1 for a" in text
        assert "5 min 05 s of 2 h 00 min" in text
        assert "s: it is stopped" in text
        assert "tidegate drill region east" in text
        assert "tidegate registry show region-east" not in text
        assert "There is none" not in text, "its verdict is what its lines say"
    assert page_of(request(Outcome.DONE, *GOOD), "k", "0" * 64).tone == "good"


def test_what_failed_what_is_left_and_what_is_not_proven_stand_out() -> None:
    left = line("e", 30.0, "failed", why="it failed")
    left = left.model_copy(update={"facts": left.facts and left.facts.model_copy(update={"left": "topic x"})})
    page = page_of(request(Outcome.BAD_VERDICT, *GOOD, left, MISSING), "k", "0" * 64)
    assert [(cell.text, cell.tone) for cell in page.alerts] == [
        ("Not all of the fork e-drill-1a2b3c4d of e is gone: topic x", "bad"),
        ("e failed: it failed", "bad"),
        ("Nothing is proven of d.", "warn"),
    ]
    assert page.tone == "bad"
    incomplete = page_of(request(Outcome.UNDONE, *GOOD, MISSING), "k", "0" * 64)
    assert incomplete.tone == "warn"
    for text in (markdown(incomplete, ()), html(incomplete, ())):
        assert "no room: it needs 9 slots" in text


def test_it_is_no_proof_of_a_deployment_and_no_measurement_of_its_own() -> None:
    """Each drill has its report; counted here as well, a night would count twice."""
    asked = request(Outcome.DONE, *GOOD)
    assert not proves(asked)
    assert measured_s(asked, "rto") is None
