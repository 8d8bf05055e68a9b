"""``tidegate return``: the short way to ReturnRegion."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate import names
from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.options import FleetOption, OutputOption, YesOption, read_fleet
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput
from tidegate.failover.heldtail import INDEX_NAME
from tidegate.model.fleet import Fleet
from tidegate.model.returning import RETURN_REGION, ReturnInput
from tidegate.operation.move import lives_at
from tidegate.registry import artifacts

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="a region that was given up answers again: quarantine it, and make it a standby",
)


@app.callback()
def root() -> None:
    """Example:  tidegate return region east --dry-run

    A region that was given up answers again.
    """


@app.command(short_help="put it in quarantine, set its tail apart, mirror to it again")
@bundled
def region(
    name: Annotated[str, typer.Argument(metavar="REGION", help="the region that answers again")],
    *,
    deployment: Annotated[
        list[str] | None, typer.Option("--deployment", metavar="NAME", help="only this one; may be repeated")
    ] = None,
    tail: Annotated[
        str | None,
        typer.Option("--tail", metavar="feed|hold", help="what becomes of inputs that never crossed, this time"),
    ] = None,
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate return region east --dry-run

    For each deployment that has left the region: nothing of its old job can commit there any more, its mirror away is
    shut, producers are denied; inputs that never crossed are fed or held as the fleet file says, and what stands beyond
    the cut counts no more. Then the region is mirrored to again, and a failover can lead back.

    What is held is written out in the control bucket, under tails/. The same command with --tail feed feeds it later,
    as long as the deployment lives elsewhere.
    """
    if tail not in {None, "feed", "hold"}:
        raise InvalidInput(f"--tail {tail}: expected feed or hold")
    left = asyncio.run(_left(name, deployment or [], launching.fleet))
    worst = 0
    for one in left:
        request = runbook.asked(ReturnInput, taking, launching, deployment=one, region=name, tail=tail, reason=reason)
        worst = max(worst, runbook.launch(RETURN_REGION, "return", request, None, launching, yes=yes))
    return worst


@app.command(short_help="what is held of the inputs that never crossed")
def tail(
    deployment: Annotated[str, typer.Argument(help="whose inputs")],
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate return tail ledger

    What the last return of each region has held back, by partition, with why, and the objects in the control bucket
    where it is written out, a record a line. To feed it:  tidegate return region REGION --tail feed
    """
    loaded = read_fleet(fleet).fleet
    loaded.deployment(deployment)
    bucket = loaded.control.bucket
    found = asyncio.run(_held(loaded, deployment))
    if form is output.Format.JSON:
        output.answer({"deployment": deployment, "bucket": bucket, "held": found})
        return 0
    rows = [
        (
            one["region"],
            f"{part['topic']}/{part['partition']}",
            f"{part['first']:,} to {part['last']:,}",
            output.count(part["count"]),
            one["operation"],
            "; ".join(part["why"]),
        )
        for one in found
        for part in one["partitions"]
    ]
    if not rows:
        output.say(f"nothing is held of {deployment}")
        return 0
    output.say(output.columns(rows, head=("REGION", "PARTITION", "OFFSETS", "HELD", "BY", "WHY")))
    for one in found:
        for part in one["partitions"]:
            for written in part["objects"]:
                output.say(f"  s3://{bucket}/{written['key']}")
    return 0


async def _held(fleet: Fleet, deployment: str) -> list[dict[str, Any]]:
    """The index of the last return of each region that had a tail."""
    newest: dict[str, tuple[datetime, dict[str, Any]]] = {}
    async with artifacts.open_access(fleet.control.s3) as control:
        async for item in control.list(S3Uri(fleet.control.bucket, names.tails_prefix(deployment))):
            if item.uri.name != INDEX_NAME:
                continue
            there = await control.get_or_none(item.uri)
            index: dict[str, Any] = json.loads(there.body) if there is not None else {}
            known = newest.get(index.get("region", ""))
            if index and (known is None or known[0] < item.last_modified):
                newest[index["region"]] = (item.last_modified, index)
    return [index for _, (_, index) in sorted(newest.items())]


async def _left(region: str, wanted: list[str], fleet: Path | None) -> list[str]:
    """The deployments that have left the region: they live elsewhere, and it is their home or standby."""
    async with open_control(fleet) as control:
        published = (await control.fleet()).fleet
        published.region(region)
        for name in wanted:
            published.deployment(name)
        found: list[str] = []
        for name, spec in published.deployments.items():
            lives = lives_at(await control.record(name))
            if lives is not None and lives.region != region and region in {spec.home_ref.region, spec.standby}:
                found.append(name)
    chosen = [name for name in found if not wanted or name in wanted]
    if not chosen:
        known = ", ".join(found) or "none"
        raise InvalidInput(f"no deployment has left {region}", hint=f"those that live elsewhere: {known}")
    return chosen
