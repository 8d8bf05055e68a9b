"""The report of a readiness review: the score on top, each finding with what mends it, and what is well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.kit.temporal_world_facts import REVIEW
from tests.unit.report.test_write_report import Page, written
from tidegate.model.operation import Outcome
from tidegate.model.review import REVIEW_READINESS, DeploymentReview
from tidegate.model.steps import ReportInput

AT = datetime(2026, 3, 1, 3, 14, tzinfo=UTC)


def _report(review: DeploymentReview | None = REVIEW, outcome: Outcome = Outcome.DONE) -> ReportInput:
    return ReportInput(
        operation="review-ledger-7c1f",
        run_id="run-000000000001",
        runbook=REVIEW_READINESS,
        deployment="ledger",
        fleet_digest="f" * 64,
        requested_by="ana",
        reason="weekly",
        started=AT,
        ended=AT + timedelta(seconds=4),
        outcome=outcome,
        summary="76 of 100",
        why="the score is below 90: ready/no-room" if outcome is Outcome.BAD_VERDICT else "",
        break_glass=None,
        take_over=None,
        observation=None,
        plan=None,
        approval=None,
        steps=(),
        review=review,
    )


async def test_the_first_line_has_the_score_and_the_page_every_finding():
    _, bodies = await written(_report())
    page = Page()
    page.feed(bodies["html"])
    assert "readiness of ledger: 76 of 100 · 1 breach · 1 warning" in bodies["html"]
    assert page.outside == []
    for form in ("html", "md"):
        for said in ("ready/no-room", "more TaskManagers in west", "ready/one-broker", "from e7-chk-12, 2.1 s old"):
            assert said in bodies[form], (form, said)
    assert 'class="bad"' in bodies["html"]


async def test_one_that_is_too_low_is_told_as_a_review_and_not_as_a_job_with_a_bad_verdict():
    _, bodies = await written(_report(outcome=Outcome.BAD_VERDICT))
    assert bodies["md"].startswith("# readiness of ledger: 76 of 100")
    assert "ready/no-room" in bodies["md"]
    assert "runs, with a bad" not in bodies["md"]


async def test_without_a_finding_it_says_so_and_what_it_goes_by():
    _, bodies = await written(_report(REVIEW.model_copy(update={"score": 100, "findings": ()})))
    assert "Nothing stands against it." in bodies["md"]
    assert "restorable in west" in bodies["md"]
