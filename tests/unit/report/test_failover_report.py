"""What a report says of a failover: how the old job was left, RTO, RPO, what is superseded, what waits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.unit.report import samples_failover
from tests.unit.report.test_write_report import written
from tidegate.model.groups import GroupFact
from tidegate.model.operation import Outcome
from tidegate.model.recovery import Strength
from tidegate.model.steps import ReportInput
from tidegate.report.view import page_of

AT = datetime(2026, 3, 1, 3, 14, tzinfo=UTC)


def _page(request):
    return page_of(request, "reports/ledger/x/r.json", "00" * 32)


def _rows(request, title):
    page = _page(request)
    table = next(one for one in (*page.top, *page.blocks) if one.title == title)
    return {row[0].text: row[1] for row in table.rows}


def _facts(request, **changes):
    return request.model_copy(update={"failover": request.failover.model_copy(update=changes)})


async def test_all_three_forms_have_the_facts_of_an_unplanned_failover():
    request = samples_failover.unplanned()
    _, bodies = await written(request)
    assert ReportInput.model_validate_json(bodies["json"]).failover == request.failover
    for form in ("md", "html"):
        for fact in (
            "e7-chk-212",
            "28.4 s (objective 60 s, met)",
            "1 min 11 s (objective 60 s, missed)",
            "0.80 s (objective 5 s, met)",
            "2026-03-01 03:13:58.100 UTC",
            "manifests/ledger/9a9a.json",
            "46,610",
            "turn 1: the topics are written in west",
            "Connect in east does not answer",
            "Kafka in east: no answer within 5 s",
            "tidegate return region east",
            "tidegate failover deployment ledger --to east",
            "started in west",
            "found in east",
        ):
            assert fact in bodies[form], (form, fact)


SHOP = GroupFact(group="shop", put=4, as_of=AT, again=12, counted=False)
AUDIT = GroupFact(group="audit", left=("somebody is in it in west",))


def test_x25_where_consumer_groups_go_on_is_in_the_table_and_what_was_left_stands_out():
    request = _facts(samples_failover.unplanned(), groups=(SHOP, AUDIT))
    page = _page(request)
    (table,) = (one for one in (*page.top, *page.blocks) if one.title == "Failover")
    told = [(row[1].text, row[1].tone) for row in table.rows if row[0].text == "consumer group"]
    assert "as its offsets were kept at 2026-03-01 03:14:00.000 UTC; up to 12 records come again" in SHOP.text
    assert told == [
        (SHOP.text, ""),
        ("audit: LEFT AS IT WAS: somebody is in it in west", "warn"),
    ]
    (alert,) = (one.text for one in page.alerts if "onsumer groups" in one.text)
    assert alert.startswith("Consumer groups that do not go on in west where they were: audit.")
    assert page.tone == "warn"


def test_x25_groups_that_all_go_on_raise_no_alarm():
    page = _page(_facts(samples_failover.planned(), groups=(GroupFact(group="shop", put=4),)))
    assert not any("onsumer groups" in one.text for one in page.alerts)


def test_what_is_not_over_stands_out():
    page = _page(samples_failover.unplanned())
    told = " ".join(one.text for one in page.alerts)
    assert page.tone == "warn"
    assert "The old job in east could not be reached and may run on there" in told
    assert "RTO missed: 1 min 11 s from when the loss was noticed, objective 60 s" in told
    assert "Not mirrored back to east yet: west-to-east" in told
    assert "RPO missed" not in told


def test_a_planned_one_that_met_its_objectives_has_nothing_to_tell_beside_its_facts():
    page = _page(samples_failover.planned())
    assert (page.tone, page.alerts) == ("good", ())
    rows = _rows(samples_failover.planned(), "Failover")
    assert rows["old job"].text == "stopped: Flink says that every task has ended"
    assert rows["superseded output"].text == "none"
    assert rows["RPO"].text == "0, nothing lost"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rto_s": None, "rto_detected_s": None}, "RTO not measured"),
        ({"rto_objective_s": None}, "RTO 28.4 s, from detection 1 min 11 s · "),
        ({"rpo_s": None}, "RPO not known"),
        ({"strength": Strength.SHUT_OUT}, "unplanned, old job shut out"),
    ],
)
def test_what_was_not_measured_is_not_made_up(changes, said):
    page = _page(_facts(samples_failover.unplanned(), **changes))
    assert said in page.headline


def test_a_planned_one_without_an_audit_claims_no_rpo():
    good = samples_failover.planned()
    request = good.model_copy(update={"verdict": good.verdict.model_copy(update={"audited": False})})
    assert "RPO" not in _page(request).headline
    assert "RPO" not in _rows(request, "Failover")


def test_of_one_that_was_undone_there_is_no_block_and_it_can_be_done_again():
    page = _page(samples_failover.undone())
    assert [one.title for one in page.top] == ["Verdict"]
    lines = [one.line for one in page.commands]
    assert "tidegate failover deployment ledger --to west" in lines
    assert "tidegate failover deployment ledger --to east" not in lines
    rows = [[cell.text for cell in row] for one in page.blocks if one.title.startswith("Plan") for row in one.rows]
    assert ["6", "reopen", "not in the plan"] in [row[:3] for row in rows]
    assert [row[1] for row in rows if row[3] == "not reached"] == ["open", "mirror"]


def test_a_bad_verdict_offers_a_failback_and_no_upgrade():
    good = samples_failover.planned()
    verdict = good.verdict.model_copy(update={"lost": 3})
    page = _page(good.model_copy(update={"outcome": Outcome.BAD_VERDICT, "verdict": verdict}))
    assert page.headline.startswith(
        "ledger v1 east → west: runs, with a bad verdict 3/0/0 · planned, old job stopped · "
    )
    assert not [one for one in page.commands if one.line.startswith("tidegate upgrade")]
    assert "tidegate failover deployment ledger --to east" in [one.line for one in page.commands]
