"""``tidegate snapshot sweep``: what would go is shown first, and asked for; then SweepSnapshots."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from tidegate.cli import operations, output, regions, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption, confirm, read_fleet, who_asks
from tidegate.clients.flink import FlinkClient
from tidegate.model.fleet import Fleet
from tidegate.model.sweep import KEEP, OLDER_THAN_S, SWEEP_SNAPSHOTS, SweepInput
from tidegate.operation.guard import Lookout
from tidegate.operation.sweep import Broom, Sight
from tidegate.registry import artifacts
from tidegate.snapshot.place import place_in
from tidegate.snapshot.sweep import Policy

DAY_S = 86_400.0


@bundled
def sweep(
    deployment: Annotated[str, typer.Argument(help="a deployment")],
    *,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="so many of the newest whole ones stay, of each origin")
    ] = KEEP,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="younger ones stay: 7d, 12h, 30m")
    ] = f"{OLDER_THAN_S / DAY_S:g}d",
    region: Annotated[str | None, typer.Option("--region", help="default: where it runs")] = None,
    reason: runbook.ReasonOption = "",
    launching: runbook.Launching,
    yes: YesOption = False,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate snapshot sweep ledger --keep 10 --older-than 7d

    Remove old snapshots, and the files that nothing else names. What is pinned, named by the record, a recovery point
    or of a job that runs stays. What would go is shown, and asked for; nothing that came since it was shown can go.
    """
    loaded = read_fleet(launching.fleet).fleet
    loaded.deployment(deployment)
    if region is None and not launching.print_command:
        region = asyncio.run(regions.lives_in(loaded, deployment)).region
    request = SweepInput(
        deployment=deployment,
        region=place_in(loaded, deployment, region).region if region else None,
        keep=keep,
        older_than_s=age_s(older_than),
        as_of=datetime.now(UTC),
        requested_by=who_asks(launching.who),
        reason=reason,
    )
    operation = operations.operation_id("sweep", request, 0)
    if launching.print_command:
        output.say(operations.plain_command(SWEEP_SNAPSHOTS, request, operation))
        return 0
    place = place_in(loaded, deployment, region)
    sight = asyncio.run(look(loaded, request))
    asks_in_json = form is output.Format.JSON
    if asks_in_json and (launching.dry_run or not yes):
        output.answer(as_json(place.region, sight))
    elif not asks_in_json:
        output.say(as_text(place.region, sight))
    if launching.dry_run:
        return 0
    if not sight.files and not sight.uploads:
        output.note("nothing to remove; the sweep only ends what one before it has left half done")
    confirm(f"sweep {deployment} in {place.region}: {told(sight)} go, for good. Go on?", yes=yes)

    what = f"sweep {deployment} in {place.region}"
    return runbook.started(SWEEP_SNAPSHOTS, request, operation, what, no_follow=launching.no_follow)


def age_s(text: str) -> float:
    """``7d``, or as any duration, in seconds. Raises InvalidInput."""
    days, _, rest = text.strip().partition("d")
    if days.replace(".", "", 1).isdigit() and not rest and text.strip().endswith("d"):
        return float(days) * DAY_S
    return runbook.seconds(text, "--older-than")


async def look(fleet: Fleet, request: SweepInput) -> Sight:
    """What would go, read from here. Raises Refused, InvalidInput, Unavailable."""
    place = place_in(fleet, request.deployment, request.region)
    policy = Policy(request.keep, timedelta(seconds=request.older_than_s), request.as_of or datetime.now(UTC))
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(regions.open_store_of(fleet, place.region))
        control = await stack.enter_async_context(artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S))
        lookout = Lookout(fleet, place, control, fleet.control.bucket, running_jobs)
        return await Broom(store, place, lookout, policy).look()


async def running_jobs(rest: str) -> set[str]:
    """The jobs of a Flink cluster, by its REST URL, that have not ended. Raises Unavailable."""
    async with FlinkClient(rest, timeout_s=regions.TIMEOUT_S) as flink:
        return {job.id for job in await flink.jobs() if not job.state.terminal}


def told(sight: Sight) -> str:
    """How much goes."""
    return f"{len(sight.going):,} snapshots, {output.count(sight.files)} files, {output.size(sight.bytes)}"


def as_text(region: str, sight: Sight) -> str:
    """A line for each snapshot, newest first, then the sum."""
    going = {one.entry.location: one for one in sight.going}
    now = datetime.now(UTC)
    rows = []
    for choice in sight.choices:
        entry, one = choice.entry, going.get(choice.entry.location)
        frees = output.size(one.metadata_bytes + sum(item.size for item in one.files)) if one else "-"
        age = output.duration(max(0.0, (now - entry.at).total_seconds()))
        rows.append(
            (entry.full_id, age, "goes" if one else "stays", frees, "" if one else choice.stays or "it is gone")
        )
    lines = [output.columns(rows, head=("ID", "AGE", "", "FREES", "WHY"))] if rows else [f"no snapshot in {region}"]
    if sight.leftovers or sight.uploads:
        size = output.size(sum(item.size for item in sight.leftovers))
        lines.append(
            f"of ships that were given up: {len(sight.leftovers):,} files, {size}, and {len(sight.uploads):,} uploads"
        )
    return "\n".join([*lines, f"would go   {told(sight)}"])


def as_json(region: str, sight: Sight) -> dict[str, object]:
    """The same for programs. ``bytes`` of a snapshot: what its going frees."""
    return {
        "region": region,
        "going": [
            {
                "id": one.entry.full_id,
                "location": str(one.entry.location),
                "at": one.entry.at.isoformat(),
                "files": len(one.files) + 1,
                "bytes": one.metadata_bytes + sum(item.size for item in one.files),
            }
            for one in sight.going
        ],
        "staying": [
            {"id": choice.entry.full_id, "location": str(choice.entry.location), "why": choice.stays}
            for choice in sight.choices
            if choice.stays is not None
        ],
        "leftovers": [str(item.uri) for item in sight.leftovers],
        "uploads": [str(one.uri) for one in sight.uploads],
        "files": sight.files,
        "bytes": sight.bytes,
    }
