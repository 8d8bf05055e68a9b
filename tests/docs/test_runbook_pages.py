"""The runbooks' pages say what the code does: steps, input, controls, outcomes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from tests.docs.pages import ROOT, front_matter, table_under, text_of
from tests.kit.temporal_world_facts import choice, writer
from tidegate.failover.plan import plan_failover
from tidegate.model.appraisal import Appraisal
from tidegate.model.drill import DRILL_RECOVERY, DrillInput
from tidegate.model.failover import FAILOVER_DEPLOYMENT, Answers, FailoverInput, PointChoice, RegionsSeen, Topics
from tidegate.model.gameday import GAME_DAY, GameDayInput
from tidegate.model.groups import GroupLook
from tidegate.model.inputs import (
    RESTORE_DEPLOYMENT,
    START_DEPLOYMENT,
    STOP_DEPLOYMENT,
    TAKE_SNAPSHOT,
    UPGRADE_DEPLOYMENT,
    ApproveInput,
    ControlInput,
    RejectInput,
    RestoreInput,
    SnapshotInput,
    StartInput,
    StopInput,
    UpgradeInput,
)
from tidegate.model.keep import KEEP_RECOVERY_POINTS, KeepInput
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Outcome, Phase, Plan
from tidegate.model.record import ArtifactRef, DeploymentRecord
from tidegate.model.recovery import Strength
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput
from tidegate.model.review import REVIEW_READINESS, ReviewInput
from tidegate.model.ship import SHIP_SNAPSHOTS, ShipInput
from tidegate.model.sweep import SWEEP_SNAPSHOTS, SweepInput
from tidegate.names import CONTROL_QUEUE
from tidegate.operation.plan import make_plan
from tidegate.operation.restore import plan_restore
from tidegate.operation.stop_deployment import plan_stop
from tidegate.operation.take_snapshot import plan_snapshot
from workflows import (
    drill_recovery,
    failover_deployment,
    game_day,
    restore_deployment,
    review_readiness,
    ship_snapshots,
    start_deployment,
    stop_deployment,
    sweep_snapshots,
    take_snapshot,
    upgrade_deployment,
)
from workflows.board import MINOR
from workflows.ending import Ending

UPGRADE, START = "runbooks/upgrade-deployment.md", "runbooks/start-deployment.md"
RESTORE, TAKE = "runbooks/restore-deployment.md", "runbooks/take-snapshot.md"
SHIP = "runbooks/ship-snapshots.md"
KEEP = "runbooks/keep-recovery-points.md"
SWEEP = "runbooks/sweep-snapshots.md"
REVIEW = "runbooks/review-readiness.md"
DRILL = "runbooks/drill-recovery.md"
DRILLS = "runbooks/drill-region.md"
STOP = "runbooks/stop-deployment.md"
FAILOVER = "runbooks/failover-deployment.md"
PLANNED, UNPLANNED = "## What it does", "## What it does when a region is lost"
REGION = "runbooks/failover-region.md"
GAME = "runbooks/game-day.md"
WORKFLOWS = {
    UPGRADE: upgrade_deployment,
    START: start_deployment,
    RESTORE: restore_deployment,
    TAKE: take_snapshot,
    STOP: stop_deployment,
}


def _seen(*, runs: bool) -> Observation:
    record = DeploymentRecord(deployment="ledger", epoch=7, writer=writer("v1", 7) if runs else None)
    target = ArtifactFacts(ref=ArtifactRef(name="v2", sha256="2" * 64, uri="s3://east/v2.jar"), size_bytes=1)
    return Observation(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        fleet_digest="f" * 64,
        deployment="ledger",
        region="east",
        cell="cell-1",
        tier=1,
        parallelism=2,
        approval_required=True,
        record=record,
        job=JobFacts(job_id="a" * 32, state="RUNNING") if runs else None,
        target=target,
        artifacts=(target,),
    )


def _upgrade_plan() -> Plan:
    return make_plan(UpgradeInput(deployment="ledger", to="v2"), _seen(runs=True))


def _start_plan() -> Plan:
    return make_plan(StartInput(deployment="ledger", artifact="v2", from_empty=True), _seen(runs=False))


def _restore_plan() -> Plan:
    seen = _seen(runs=True).model_copy(update={"appraisal": Appraisal(choices=(choice(12, newest=True),))})
    return plan_restore(RestoreInput(deployment="ledger"), seen)


def _snapshot_plan() -> Plan:
    return plan_snapshot(SnapshotInput(deployment="ledger"), _seen(runs=True))


def _stop_plan() -> Plan:
    return plan_stop(StopInput(deployment="ledger"), _seen(runs=True))


def _failover_plan(*, unplanned: bool) -> Plan:
    """From the east to the west, by a link each way."""
    seen = _seen(runs=True).model_copy(update={"region": "west"})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    snapshot = "s3://west/savepoints/ledger/from-east/e7-chk-1"
    point = PointChoice(id="e7-chk-1", snapshot=snapshot, source="s3://east/x/chk-1", epoch=7, taken_at=now)
    both = RegionsSeen(
        at=now,
        home=Answers(region="east", flink="gone" if unplanned else None),
        standby=Answers(region="west"),
        topics=Topics(turn=("balances", "payments"), links=("east-to-west",), back=("west-to-east",)),
        parallelism=2,
        slots_free=2,
        slots_total=2,
        points=(point,),
        groups=(GroupLook(group="shop", topics=("balances",), partitions=2),),
    )
    return plan_failover(FailoverInput(deployment="ledger", unplanned=unplanned), seen, both)


PLANS = {UPGRADE: _upgrade_plan, START: _start_plan, RESTORE: _restore_plan, TAKE: _snapshot_plan, STOP: _stop_plan}


@pytest.mark.parametrize("page", PLANS)
def test_the_steps_are_those_of_the_plan(page: str) -> None:
    named = [row[0] for row in table_under(page, "## What it does")]
    assert [name for name in named if name not in MINOR] == [step.name for step in PLANS[page]().steps]


@pytest.mark.parametrize("page", PLANS)
def test_the_steps_stand_in_the_order_of_the_workflow(page: str) -> None:
    """As a person sees them: with approve, take and prepare."""
    rows = WORKFLOWS[page].rows(PLANS[page]())
    shown = ["observe", "approve", *(name.split()[0] for name in rows)]
    assert [row[0] for row in table_under(page, "## What it does")] == shown


@pytest.mark.parametrize(
    ("page", "steps"),
    [
        (SHIP, ship_snapshots.STEPS),
        (SWEEP, sweep_snapshots.STEPS),
        (REVIEW, review_readiness.STEPS),
        (DRILL, drill_recovery.STEPS),
        (GAME, game_day.STEPS),
    ],
)
def test_the_steps_of_what_has_no_plan_are_those_of_the_workflow(page: str, steps: tuple[str, ...]) -> None:
    assert tuple(row[0] for row in table_under(page, "## What it does")) == steps


def test_every_finding_of_a_review_is_on_its_page_and_no_other() -> None:
    found = {"not-known", *(f"{name}-{what}" for name in ("rto", "rpo", "gap") for what in ("over-objective", "trend"))}
    found |= {f"{name}-not-measured" for name in ("rto", "rpo")}
    for path in (ROOT / "tidegate" / "readiness").glob("*.py"):
        found |= set(re.findall(r"""(?:breach|warning\)?|tell)\(\s*facts,\s+"([a-z0-9-]+)",\s""", path.read_text()))
    told = {name for row in table_under(REVIEW, "## What it finds") for name in row[0].split(", ")}
    assert told == {f"ready/{name}" for name in found}
    assert len(told) > 40


def test_only_the_last_step_has_no_way_back() -> None:
    """As the plan says; a page that promises an undo which is not there would be found here."""
    plan = _upgrade_plan()
    no_undo = [row[0] for row in table_under(UPGRADE, "## What it does") if row[3].startswith("none")]
    assert no_undo == [step.name for step in plan.steps if step.no_return]
    undos = {row[0]: row[3] for row in table_under(UPGRADE, "## What it does")}
    for step in plan.steps:
        if step.undo.startswith("restart"):
            assert undos[step.name].startswith(("restart", "as for start")), step
    undos = {row[0]: row[3] for row in table_under(START, "## What it does")}
    for step in _start_plan().steps:
        if step.undo.startswith("the job is cancelled"):
            assert undos[step.name].startswith(step.undo), step


@pytest.mark.parametrize(("heading", "unplanned"), [(PLANNED, False), (UNPLANNED, True)])
def test_the_steps_of_a_failover_are_those_of_its_two_plans(heading: str, unplanned: bool) -> None:
    plan = _failover_plan(unplanned=unplanned)
    rows = table_under(FAILOVER, heading)
    shown = ["observe", "approve", *(name.split()[0] for name in failover_deployment.rows(plan))]
    assert [row[0] for row in rows] == shown
    void = [step.name.split()[0] for step in plan.steps if step.undo.startswith("none")]
    assert [row[0] for row in rows if row[3].startswith("none")] == void


@pytest.mark.parametrize(("heading", "unplanned"), [(PLANNED, False), (UNPLANNED, True)])
def test_the_point_of_no_return_is_where_the_plan_has_it_x24(heading: str, unplanned: bool) -> None:
    plan = _failover_plan(unplanned=unplanned)
    first = next(step.name.split()[0] for step in plan.steps if step.undo.startswith("none"))
    told = [row[0] for row in table_under(FAILOVER, heading) if "there is no way back" in row[2]]
    assert told == [first]


def test_the_strengths_are_those_of_the_code_x14() -> None:
    rows = table_under(FAILOVER, "### How the old job is kept from committing")
    assert [row[0] for row in rows] == [strength.value for strength in Strength]


def test_a_failover_has_one_control_more() -> None:
    rows = {row[0]: row for row in table_under(FAILOVER, "## Follow it, stop it, escalate")}
    assert set(rows) == {"escalate"}
    assert re.findall(r"\b(by|why)\b", rows["escalate"][2]) == list(ControlInput.model_fields)
    assert callable(failover_deployment.FailoverDeployment.escalate)


def input_rows(model: type[BaseModel]) -> list[list[str]]:
    """Field, default, meaning: the table of a page, from the model."""
    return [
        [
            name,
            "required" if field.is_required() else json.dumps(field.default),
            (field.description or "").replace("|", "\\|"),
        ]
        for name, field in model.model_fields.items()
    ]


@pytest.mark.parametrize(
    ("page", "model"),
    [
        (UPGRADE, UpgradeInput),
        (START, StartInput),
        (RESTORE, RestoreInput),
        (TAKE, SnapshotInput),
        (STOP, StopInput),
        (SHIP, ShipInput),
        (KEEP, KeepInput),
        (SWEEP, SweepInput),
        (REVIEW, ReviewInput),
        (DRILL, DrillInput),
        (DRILLS, DrillRegionInput),
        (FAILOVER, FailoverInput),
        (REGION, FailoverRegionInput),
        (GAME, GameDayInput),
    ],
)
def test_the_input_is_that_of_the_model(page: str, model: type[BaseModel]) -> None:
    """To write the table anew:  python -m tests.docs.test_runbook_pages"""
    assert table_under(page, "### Input") == input_rows(model)


def test_the_controls_are_the_updates_of_the_workflow() -> None:
    rows = {row[0]: row for row in table_under(UPGRADE, "## Approve, pause, resume, abort")}
    inputs = {"approve": ApproveInput, "reject": RejectInput} | dict.fromkeys(
        ("pause", "resume", "abort"), ControlInput
    )
    assert set(rows) == set(inputs)
    for name, model in inputs.items():
        assert re.findall(r"\b(by|plan_hash|comment|why)\b", rows[name][2]) == list(model.model_fields), name
        assert callable(getattr(upgrade_deployment.UpgradeDeployment, name))


def test_the_outcomes_and_their_exit_statuses_are_those_of_the_code() -> None:
    rows = {row[0]: row for row in table_under(UPGRADE, "## How it ends")}
    assert set(rows) == {outcome.value for outcome in Outcome} | {Phase.HALTED.value}
    for outcome in Outcome:
        assert rows[outcome.value][2].startswith(str(outcome.exit_code)), outcome
        ended = "Completed" if outcome in {Outcome.DONE, Outcome.PLANNED} else f"Failed, {Ending(outcome, '').type}"
        assert rows[outcome.value][3].startswith(ended), outcome


@pytest.mark.parametrize(
    ("page", "type_"),
    [
        (UPGRADE, UPGRADE_DEPLOYMENT),
        (START, START_DEPLOYMENT),
        (RESTORE, RESTORE_DEPLOYMENT),
        (TAKE, TAKE_SNAPSHOT),
        (STOP, STOP_DEPLOYMENT),
        (SHIP, SHIP_SNAPSHOTS),
        (KEEP, KEEP_RECOVERY_POINTS),
        (SWEEP, SWEEP_SNAPSHOTS),
        (REVIEW, REVIEW_READINESS),
        (DRILL, DRILL_RECOVERY),
        (DRILLS, DRILL_REGION),
        (FAILOVER, FAILOVER_DEPLOYMENT),
        (REGION, FAILOVER_REGION),
        (GAME, GAME_DAY),
    ],
)
def test_the_front_matter_names_type_and_queue(page: str, type_: str) -> None:
    head = front_matter(page)
    assert (head["workflow type"], head["task queue"]) == (type_, CONTROL_QUEUE)
    assert page.endswith(f"/{head['runbook']}.md")
    assert {"touches", "does not touch"} <= set(head)


@pytest.mark.parametrize(
    "page", [*PLANS, SHIP, KEEP, SWEEP, REVIEW, DRILL, DRILLS, FAILOVER, REGION, GAME, "runbooks/failback.md"]
)
def test_a_page_opens_with_what_to_do_now(page: str) -> None:
    text = text_of(page)
    opening = (text.split("---\n", 2)[2] if text.startswith("---") else text).strip().splitlines()
    assert opening[2] == "**Do this now**"
    assert [line[:3] for line in opening[4:7]] == ["1. ", "2. ", "3. "]


if __name__ == "__main__":
    for one in (
        UpgradeInput,
        StartInput,
        StopInput,
        RestoreInput,
        SnapshotInput,
        ShipInput,
        SweepInput,
        ReviewInput,
        FailoverInput,
        FailoverRegionInput,
        GameDayInput,
    ):
        print(one.__name__)
        for row in input_rows(one):
            print(f"| `{row[0]}` | {row[1] if row[1] == 'required' else f'`{row[1]}`'} | {row[2]} |")
