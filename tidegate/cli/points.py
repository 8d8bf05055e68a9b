"""``tidegate points``: can a deployment be restored in a region, from when, and what stands against it?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.mirror_text import revival_lines
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, YesOption, confirm, read_fleet, who_asks
from tidegate.errors import BasisChanged, InvalidInput
from tidegate.model.fleet import Fleet
from tidegate.model.keep import KEEP_RECOVERY_POINTS, KeepInput
from tidegate.points.index import against, restorability
from tidegate.points.model import Outage, Point, Points, Restorability
from tidegate.points.store import PointStore
from tidegate.points.topics import accepted
from tidegate.registry import artifacts

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="the restorability index: recovery points by deployment and region, and their age")
def points(
    deployment: Annotated[str | None, typer.Argument(help="a deployment; default: all of the fleet file")] = None,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="begin to keep them (KeepRecoveryPoints)")] = False,
    accept_topics: Annotated[
        bool,
        typer.Option("--accept-topics", help="topics that were made anew are mirrored again: no hole any more"),
    ] = False,
    yes: YesOption = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate points ledger

    For each region whether the deployment can be restored there, from which recovery point and how old that is: what a
    loss of the home region now would cost. Named alone, a deployment shows each of its points. Exit code 1 if one
    cannot be restored somewhere. A topic that was made anew is a hole in the mirror until --accept-topics.
    """
    loaded = read_fleet(fleet).fleet
    if keep or accept_topics:
        if deployment is None:
            option = "--keep" if keep else "--accept-topics"
            raise InvalidInput(f"{option}: whose? name a deployment", hint=f"known: {', '.join(loaded.deployments)}")
        loaded.deployment(deployment)
    if accept_topics and deployment is not None:
        confirm(f"take the topics of {deployment} for what its mirror brings, as they are now?", yes=yes)
        for region in asyncio.run(_accept_topics(loaded, deployment)):
            output.say(f"{region}: the topics are taken as they are; points of before are no recovery points")
        return 0
    if keep and deployment is not None:
        return _keep(KeepInput(deployment=deployment, requested_by=who_asks(who)))
    names = [deployment] if deployment else list(loaded.deployments)
    kept = asyncio.run(_read(loaded, names))
    now = datetime.now(UTC)
    index = [restorability(found, name, region, now) for (name, region), found in kept.items()]
    if form is output.Format.JSON:
        output.answer(
            {
                "index": [line.model_dump(mode="json") for line in index],
                "points": {
                    f"{name}/{region}": found.model_dump(mode="json") if found else None
                    for (name, region), found in kept.items()
                    if deployment
                },
            }
        )
    else:
        output.say(output.columns([_line(line) for line in index], head=_HEAD))
        if deployment:
            for (_, region), found in kept.items():
                _details(region, found, now)
    return 0 if all(line.restorable for line in index) else 1


async def _accept_topics(fleet: Fleet, deployment: str) -> list[str]:
    """The regions in which a baseline was given up. The keeper may write at the same time: then once more."""
    regions = []
    async with artifacts.open_access(fleet.control.s3) as control:
        store = PointStore(control, fleet.control.bucket)
        for region in fleet.regions:
            for last in (False, False, True):
                found = await store.read(deployment, region)
                if found.points is None or not found.points.topics:
                    break
                try:
                    await store.write(found, accepted(found.points, datetime.now(UTC)))
                except BasisChanged:
                    if last:
                        raise
                else:
                    regions.append(region)
                    break
    return regions


def _keep(request: KeepInput) -> int:
    operation = f"keep-points-{request.deployment}"
    return runbook.started(
        KEEP_RECOVERY_POINTS,
        request,
        operation,
        f"recovery points of {request.deployment}",
        no_follow=True,
        attached="they are kept already, by",
    )


_HEAD = ("DEPLOYMENT", "REGION", "RESTORABLE", "POINT", "AGE", "VERIFIED", "POINTS")


async def _read(fleet: Fleet, names: list[str]) -> dict[tuple[str, str], Points | None]:
    found: dict[tuple[str, str], Points | None] = {}
    async with artifacts.open_access(fleet.control.s3) as control:
        store = PointStore(control, fleet.control.bucket)
        for name in names:
            spec = fleet.deployment(name)
            for region in dict.fromkeys(one for one in (spec.home_ref.region, spec.standby) if one):
                found[name, region] = (await store.read(name, region)).points
    return found


def _line(line: Restorability) -> tuple[str, ...]:
    return (
        line.deployment,
        line.region,
        "yes" if line.restorable else f"NO: {line.why_not}",
        line.point or "-",
        "-" if line.age_s is None else output.duration(line.age_s),
        "-" if line.verified_age_s is None else f"{output.duration(line.verified_age_s)} ago",
        output.count(line.points),
    )


def _details(region: str, found: Points | None, now: datetime) -> None:
    if found is None or not found.points:
        return
    output.say(f"\n{region}, looked at {output.utc(found.updated_at)}")
    rows = [_point(found, point, now) for point in found.points]
    output.say(output.columns(rows, head=("POINT", "AGE", "SNAPSHOT", "STANDS AGAINST IT"), indent="  "))
    for outage in found.outages:
        output.say(f"  {_outage(outage)}")
    for line in revival_lines(found.mirror) if found.mirror is not None else ():
        output.say(f"  {line}")


def _outage(outage: Outage) -> str:
    since = output.utc(outage.since)
    if outage.until is None:
        return f"{outage.point} is not restorable since {since}: {outage.problem}"
    until = output.utc(outage.until)
    return f"{outage.point} was not restorable from {since} to {until}: {outage.problem}; since then it is whole again"


def _point(found: Points, point: Point, now: datetime) -> tuple[str, ...]:
    age = output.duration(max(0.0, (now - point.taken_at).total_seconds()))
    return (point.id, age, point.snapshot, against(found, point) or "nothing")
