"""Which drills by the clock were missed, by what a real Temporal holds of their schedules."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from temporalio.client import Client

from tests.docs.pages import ROOT
from tests.kit.eventually import eventually
from tests.kit.objects import MemoryStore
from tests.kit.scheduled import asked, delete_schedules
from tidegate.model.fleetfile import load_fleet
from tidegate.model.schedule import RunOutcome, ScheduledResult, SkipReason
from tidegate.readiness.facts import ScheduledDrill
from tidegate.schedules.store import ScheduleStore
from tidegate.temporal import schedules
from tidegate.temporal.late import scheduled_drills

WITHIN_S = 60.0


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _no_schedules(client: Client) -> AsyncIterator[None]:
    yield
    await delete_schedules(client)


async def test_a_drill_that_was_due_and_did_not_run_is_missed_and_other_runbooks_are_no_drills(client: Client) -> None:
    fleet = load_fleet(ROOT / "runbooks/fleet-sandbox.yaml").fleet
    ledger = fleet.deployment("ledger")
    objectives = ledger.objectives.model_copy(update={"drill_days": 7})
    fleet = fleet.model_copy(update={"deployments": {"ledger": ledger.model_copy(update={"objectives": objectives})}})
    name, store = f"drill-{uuid.uuid4().hex[:6]}", ScheduleStore(MemoryStore(), "tidegate")
    drill = asked(name, runbook="DrillRecovery", input={"deployment": "ledger"}, cron="0 5 * * *", time_zone="UTC")
    await schedules.create(client, drill, "by ana")
    await schedules.create(client, asked(f"sweep-{uuid.uuid4().hex[:6]}", max_age_days=1), "by ana")
    await schedules.pause(client, name, "paused by ana: audit")
    now = datetime.now(UTC)

    async def listed() -> None:
        assert await scheduled_drills(client, store, fleet, now) == (ScheduledDrill(name, "ledger"),)

    await eventually(listed, within_s=WITHIN_S)
    later = now + timedelta(days=2)
    (missed,) = await scheduled_drills(client, store, fleet, later)
    assert missed.missed is not None
    assert missed.missed.endswith("05:00 UTC, and nothing ran")
    seen = ScheduledResult(
        schedule=name, runbook="DrillRecovery", run="r", due=later, ended=later, outcome=RunOutcome.SKIPPED,
        skip=SkipReason.INCIDENT_OPEN,
    )  # fmt: skip
    await store.note(seen)
    assert await scheduled_drills(client, store, fleet, later) == (ScheduledDrill(name, "ledger"),)


async def test_a_regions_drill_that_was_missed_is_told_of_each_deployment_that_it_drills(client: Client) -> None:
    """By the name of the region nobody would hear of it: a review asks for one deployment after the other."""
    fleet = load_fleet(ROOT / "runbooks/fleet-sandbox.yaml").fleet
    ledger = fleet.deployment("ledger")
    objectives = ledger.objectives.model_copy(update={"drill_days": 7})
    ledger = ledger.model_copy(update={"objectives": objectives})
    elsewhere = ledger.model_copy(update={"home": "west/cell-1"})
    fleet = fleet.model_copy(update={"deployments": {"ledger": ledger, "ledger-2": ledger, "other": elsewhere}})
    name, store = f"drill-{uuid.uuid4().hex[:6]}", ScheduleStore(MemoryStore(), "tidegate")
    drill = asked(name, runbook="DrillRegion", input={"region": "east"}, cron="0 5 * * *", time_zone="UTC")
    await schedules.create(client, drill, "by ana")
    await schedules.pause(client, name, "paused by ana: audit")
    later = datetime.now(UTC) + timedelta(days=2)

    async def told() -> None:
        found = await scheduled_drills(client, store, fleet, later)
        assert [(one.schedule, one.deployment) for one in found] == [(name, "ledger"), (name, "ledger-2")]
        assert all(one.missed is not None for one in found)

    await eventually(told, within_s=WITHIN_S)
