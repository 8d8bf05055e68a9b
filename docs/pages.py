"""The pages that are shown: the readiness review and the failover that the tests use, as a browser shows them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kit.ready_world import World
from tests.unit.readiness import test_planted_faults as faults
from tests.unit.report import samples_failover
from tidegate.model.record import utc_now
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.review import Review
from tidegate.readiness import render
from tidegate.readiness.facts import ScheduledDrill
from tidegate.report.html import html
from tidegate.report.timeline import pictures
from tidegate.report.view import page_of


@dataclass(frozen=True)
class Shot:
    """A page, and how much of it is shown, in CSS pixels."""

    html: str
    width: int
    height: int


async def readiness() -> Shot:
    """Five faults in a deployment that was drilled every week until it was not."""
    world = await World.made()
    for week, rto_s in enumerate((21.0, 18.4, 15.2, 16.9, 14.2, 13.8), start=1):
        facts = FailoverFacts(
            source="east", target="west", planned=False, strength=Strength.STOPPED, rto_s=rto_s, rpo_s=rto_s / 12
        )
        await world.report(f"failover-ledger-{week + 10}", days_ago=57.0 - 7 * week, failover=facts)
    world.drilled = 8.9
    await world.report("failover-ledger-1", days_ago=world.drilled)
    await faults.rto_over(world)
    await faults.generated_uid(world)
    await faults.short_retention(world)
    missed = f"was due {utc_now():%Y-%m-%d} 04:00 UTC, and nothing ran"
    world.drills = (ScheduledDrill("drill-ledger", "ledger", missed),)
    found = Review(at=world.now, fleet_digest="f" * 64, took_s=2.4, deployments=(await world.review(),))
    return Shot(render.html(found, world.fleet), 1_000, 1_500)


def failover() -> Shot:
    """A planned failover, with its gap, output and lag."""
    request = samples_failover.planned()
    key = f"reports/ledger/{request.operation}/{request.run_id[-12:]}.json"
    return Shot(html(page_of(request, key, "0" * 64), pictures(request)), 1_000, 1_545)


def lost_region() -> Shot:
    """A region that is gone: what was superseded, what was missed, what waits."""
    request = samples_failover.unplanned()
    key = f"reports/ledger/{request.operation}/{request.run_id[-12:]}.json"
    return Shot(html(page_of(request, key, "0" * 64), pictures(request)), 1_000, 1_330)
