"""What of a region can be drilled, what its reports say of the last time, and to whom drills give way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.drills import DrillRegionActivities
from activities.sites import Sites
from sandbox.fleet import fleet_text
from tests.kit.objects import MemoryStore
from tests.kit.temporal_world_facts import pinned, writer
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.drill.region import besides_s, chosen, failover_there, told_by, what_goes_there
from tidegate.driver.base import Capacity
from tidegate.errors import Held, InvalidInput, Unavailable
from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.drilled import DrillCompared, DrillFacts
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.inputs import UPGRADE_DEPLOYMENT
from tidegate.model.operation import Outcome, StepState, StepStatus
from tidegate.model.record import DeploymentRecord, Holder
from tidegate.model.region import FAILOVER_MEMBER
from tidegate.model.regiondrill import DrillCandidate, DrillsSeen, GiveWayFact, GiveWayInput, LookDrillsInput
from tidegate.model.steps import ReportInput
from tidegate.report.write import write_report

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUCKET = "tidegate"
FOUR = ("ledger", "ledger-2", "ledger-3", "ledger-4")
DIGEST = "f" * 64


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text(21_000, 4))
    return load_fleet(path).fleet


def runs(name: str, **changes: Any) -> DeploymentRecord:
    return DeploymentRecord(deployment=name, fence=1, epoch=7, writer=writer("v1", 7)).model_copy(update=changes)


def everything(**changes: DeploymentRecord | None) -> dict[str, DeploymentRecord | None]:
    changed = {name.replace("_", "-"): record for name, record in changes.items()}
    return {name: runs(name) for name in FOUR} | changed


def asked(**fields: Any) -> LookDrillsInput:
    return LookDrillsInput(region="east", **fields)


def holder(runbook: str) -> Holder:
    return Holder(
        operation="op-1", run_id="r", runbook=runbook, cluster_id="c", namespace="default", who="ana", why="", since=AT
    )


def test_all_that_run_there_are_drilled_with_the_slots_that_they_run_on(fleet: Fleet) -> None:
    found, left_out = chosen(fleet, everything(), asked())
    assert [(one.deployment, one.tier, one.parallelism, one.at) for one in found] == [
        ("ledger", 0, 2, "west/cell-1"), ("ledger-2", 1, 2, "west/cell-1"),
        ("ledger-3", 1, 2, "west/cell-1"), ("ledger-4", 2, 2, "west/cell-1"),
    ]  # fmt: skip
    assert left_out == []
    found, _ = chosen(fleet, everything(), asked(tiers=(1, 2), deployments=("ledger-2", "ledger-4")))
    assert [one.deployment for one in found] == ["ledger-2", "ledger-4"]


def test_what_does_not_run_is_named_and_not_asked_for_and_if_it_was_named_refused(fleet: Fleet) -> None:
    stopped = runs("ledger-2", pinned=pinned())
    elsewhere = runs("ledger-4", writer=writer("v1", 7).model_copy(update={"region": "west"}))
    records = everything(ledger_2=stopped, ledger_3=None, ledger_4=elsewhere)
    found, left_out = chosen(fleet, records, asked())
    assert [one.deployment for one in found] == ["ledger"]
    assert [(one.deployment, one.why[:13]) for one in left_out] == [
        ("ledger-2", "it is stopped"), ("ledger-3", "it has never ")
    ]  # fmt: skip
    for name, why in (("ledger-2", "cannot be drilled: it is stopped"), ("ledger-4", "lives in west, not in east")):
        with pytest.raises(InvalidInput, match=why):
            chosen(fleet, records, asked(deployments=(name,)))
    with pytest.raises(InvalidInput, match="ledger is of tier 0"):
        chosen(fleet, records, asked(deployments=("ledger",), tiers=(1,)))
    for fields in ({"deployments": ("nobody",)}, {"to": "north"}):
        with pytest.raises(InvalidInput):
            chosen(fleet, records, asked(**fields))
    # From the west, the one that has moved there is drilled in the home that it has left.
    found, _ = chosen(fleet, records, LookDrillsInput(region="west"))
    assert [(one.deployment, one.at) for one in found] == [("ledger-4", "east/cell-1")]


def test_only_those_whose_standby_it_is(fleet: Fleet) -> None:
    lone = fleet.deployments["ledger"].model_copy(update={"standby": None})
    changed = fleet.model_copy(update={"deployments": {**fleet.deployments, "ledger": lone}})
    found, left_out = chosen(changed, everything(), asked(to="west"))
    assert [one.deployment for one in found] == ["ledger-2", "ledger-3", "ledger-4"]
    assert left_out[0].why == "it has no standby region in the fleet file"
    with pytest.raises(InvalidInput, match="nothing in east can be drilled: ledger: its standby is west, not east"):
        chosen(fleet, everything(), asked(to="east"))


def test_slots_are_kept_for_what_runs_and_would_go_there_whether_it_is_drilled_or_not(fleet: Fleet) -> None:
    records = everything(ledger=None)
    assert [one.deployment for one in what_goes_there(fleet, records, ["west/cell-1"])["west/cell-1"]] == [
        "ledger-2", "ledger-3", "ledger-4",
    ]  # fmt: skip


def test_drills_give_way_to_a_failover_to_or_from_the_standby_and_to_nothing_else(fleet: Fleet) -> None:
    moving = everything(ledger_3=runs("ledger-3", holder=holder(FAILOVER_MEMBER)))
    assert failover_there(fleet, moving, {"west"}) == "ledger-3 is held by op-1 (FailoverMember, ana)"
    assert failover_there(fleet, moving, {"north"}) is None
    assert failover_there(fleet, everything(ledger=runs("ledger", holder=holder(UPGRADE_DEPLOYMENT))), {"west"}) is None
    assert failover_there(fleet, everything(), {"west"}) is None


# -- reports


def report(days: float, took_s: float = 90.0, window_s: float = 60.0, **fields: Any) -> ReportInput:
    """Of a drill that ended so many days ago."""
    ended = AT - timedelta(days=days)
    began = ended - timedelta(seconds=took_s)
    watch = StepStatus(
        number=5, name="watch", state=StepState.OK, started=began, ended=began + timedelta(seconds=window_s)
    )
    compared = DrillCompared(
        compared=9, missing=0, extra=0, differing=0, undetermined=0, replayed=9, until="e7-chk-1", by="record id"
    )
    told: dict[str, Any] = {
        "operation": f"drill-ledger-{days:g}", "run_id": f"run-{days:g}", "runbook": DRILL_RECOVERY,
        "deployment": "ledger", "fleet_digest": DIGEST, "requested_by": "ana", "reason": "", "started": began,
        "ended": ended, "outcome": Outcome.DONE, "summary": "s", "why": "", "break_glass": None, "take_over": None,
        "observation": None, "plan": None, "approval": None, "steps": (watch,),
        "drill": DrillFacts(fork="ledger-drill-1a2b3c4d", compared=compared),
    }  # fmt: skip
    return ReportInput.model_validate(told | fields)


CANDIDATE = DrillCandidate(deployment="ledger", tier=0, parallelism=2, at="west/cell-1")


def test_the_last_proof_is_the_last_that_ended_well_a_failover_too() -> None:
    failed = report(1, outcome=Outcome.BAD_VERDICT)
    moved = report(2, runbook=FAILOVER_MEMBER, operation="failover-ledger-2", drill=None)
    told = told_by(CANDIDATE, (failed, moved, report(9)))
    assert (told.proven_at, told.proof) == (AT - timedelta(days=2), "failover-ledger-2")
    assert told.besides_s == 30.0, "a drill that failed when it was compared has taken its time all the same"
    assert told_by(CANDIDATE, ()) == CANDIDATE


def test_what_it_takes_is_without_its_watch_and_only_of_one_that_came_to_its_end() -> None:
    assert besides_s(report(1, took_s=95.0, window_s=20.0)) == 75.0
    assert besides_s(report(1, drill=DrillFacts(fork="ledger-drill-1a2b3c4d"))) is None
    assert besides_s(report(1, outcome=Outcome.UNDONE)) is None
    assert besides_s(report(1, runbook=FAILOVER_MEMBER)) is None


# -- the activities, on a registry in memory


class _Flink:
    async def capacity(self) -> Capacity:
        return Capacity(version="1.20", taskmanagers=2, slots_total=8, slots_free=6)


class _Silent:
    async def capacity(self) -> Capacity:
        raise Unavailable("Flink in west does not answer")


async def registry(fleet: Fleet, tmp_path: Path, driver: Any, **changes: DeploymentRecord | None) -> Sites:
    store = MemoryStore(BUCKET)
    for name, record in everything(**changes).items():
        if record is not None:
            await store.put(S3Uri(BUCKET, names.record_key(name)), record.model_dump_json().encode())
    rest = fleet.region("west").cells["cell-1"].flink.rest
    return Sites(store, BUCKET, tmp_path, _fleets={DIGEST: fleet}, _drivers={rest: driver})  # type: ignore[arg-type]


async def test_it_looks_at_records_reports_and_slots(fleet: Fleet, tmp_path: Path) -> None:
    sites = await registry(fleet, tmp_path, _Flink())
    await write_report(sites.control, BUCKET, report(3, took_s=95.0))
    second = report(1, took_s=50.0, deployment="ledger-2", operation="drill-ledger-2-1")
    await write_report(sites.control, BUCKET, second)
    act = DrillRegionActivities(sites).look_at_drills
    seen: DrillsSeen = await ActivityEnvironment().run(act, asked(fleet_digest=DIGEST))
    assert [(one.deployment, one.proof, one.besides_s) for one in seen.candidates] == [
        ("ledger", "drill-ledger-3", 35.0), ("ledger-3", "", None), ("ledger-2", "drill-ledger-2-1", 0.0),
        ("ledger-4", "", None),
    ]  # fmt: skip
    (room,) = seen.cells
    assert (room.at, room.slots_free, room.slots_total, room.keep, room.keep_for) == ("west/cell-1", 6, 8, 2, "ledger")


async def test_it_is_held_while_a_failover_is_under_way_and_says_so_when_one_begins(
    fleet: Fleet, tmp_path: Path
) -> None:
    moving = runs("ledger-3", holder=holder(FAILOVER_MEMBER))
    acts = DrillRegionActivities(await registry(fleet, tmp_path, _Flink(), ledger_3=moving))
    with pytest.raises(Held, match="drills give way to it: ledger-3 is held by op-1"):
        await ActivityEnvironment().run(acts.look_at_drills, asked(fleet_digest=DIGEST))
    see = GiveWayInput(fleet_digest=DIGEST, standbys=("west",))
    found: GiveWayFact = await ActivityEnvironment().run(acts.see_failover, see)
    assert found.holder == "ledger-3 is held by op-1 (FailoverMember, ana)"
    quiet = DrillRegionActivities(await registry(fleet, tmp_path, _Flink()))
    assert (await ActivityEnvironment().run(quiet.see_failover, see)).holder is None


async def test_a_standby_that_does_not_answer_is_said_and_nothing_is_planned(fleet: Fleet, tmp_path: Path) -> None:
    acts = DrillRegionActivities(await registry(fleet, tmp_path, _Silent()))
    with pytest.raises(Unavailable, match="Flink in west does not answer"):
        await ActivityEnvironment().run(acts.look_at_drills, asked(fleet_digest=DIGEST))
