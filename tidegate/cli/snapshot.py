"""``tidegate snapshot``: what snapshots there are, what is in them, are they whole, what differs, which ones stay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from tidegate.cli import operations, output, regions, runbook
from tidegate.cli import snapshot_text as text
from tidegate.cli.bundle import bundled
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, read_fleet, who_asks
from tidegate.cli.snapshot_diff import diff
from tidegate.cli.snapshot_rebase import rebase
from tidegate.cli.snapshot_sweep import sweep
from tidegate.cli.snapshot_take import take
from tidegate.errors import InvalidInput, SnapshotIncomplete, Unavailable
from tidegate.model.fleet import Fleet
from tidegate.model.ship import SHIP_SNAPSHOTS, ShipInput
from tidegate.registry import artifacts
from tidegate.snapshot import pins
from tidegate.snapshot.catalog import Catalog
from tidegate.snapshot.files import Snapshot, Verified, read_snapshot
from tidegate.snapshot.files import verify as verify_files
from tidegate.snapshot.show import SnapshotView, view
from tidegate.snapshot.word import Judged, judge

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="savepoints and checkpoints: list, look into, verify, ship, pin, sweep",
    rich_markup_mode=None,
    help="Example:  tidegate snapshot list ledger\n\nSavepoints and retained checkpoints, in every region.",
)

Named = Annotated[
    str, typer.Argument(help="DEPLOYMENT/ID as in the list, DEPLOYMENT/newest, or a location s3://BUCKET/KEY")
]
RegionOption = Annotated[str | None, typer.Option("--region", help="default: where it runs")]


@app.command("list", short_help="the snapshots of a deployment, newest first")
def list_(
    deployment: Annotated[str, typer.Argument(help="a deployment")],
    *,
    region: RegionOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot list ledger --region west

    Savepoints, retained checkpoints of all epochs, and what was shipped there, newest first; each verified by listing.
    """
    loaded = read_fleet(fleet).fleet
    place, seen, kept = asyncio.run(_list(loaded, deployment, region))
    if form is output.Format.JSON:
        rows = [text.entry_json(entry) | {"protected": why} for entry, why in zip(seen.entries, kept, strict=True)]
        output.answer({"region": place, "snapshots": rows, "unknown_jobs": seen.unknown_jobs})
        return
    if not seen.entries:
        output.say(f"no snapshot of {deployment} lies in {place}")
    else:
        output.say(text.entries(seen.entries, kept, datetime.now(UTC)))
    if seen.unknown_jobs:
        many = len(seen.unknown_jobs)
        output.note(f"{many} job directories in {place} do not say whose they are: {', '.join(seen.unknown_jobs[:3])}")


async def _list(fleet: Fleet, deployment: str, region: str | None) -> tuple[str, Catalog, list[str | None]]:
    place, seen = await regions.read_catalog(fleet, deployment, region)
    record = await regions.read_record(fleet, deployment)
    async with artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control:
        pinned = await pins.read_pins(control, fleet.control.bucket, deployment)
    named = pins.named_by(record)
    return place.region, seen, [pins.protection(entry.location, named, pinned) for entry in seen.entries]


@app.command("show", short_help="what is in a snapshot")
def show(
    snapshot: Named,
    *,
    region: RegionOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot show ledger/newest

    Operators by uid with the size of their state, positions of the Kafka sources, and the transactions that the
    snapshot wants committed, with the broker's word on each: what would be lost by a start from here.
    """
    loaded = read_fleet(fleet).fleet
    found, read, seen, judged, said, kept = asyncio.run(_show(loaded, snapshot, region))
    at = read.metadata_uri
    if form is output.Format.JSON:
        output.answer(text.view_json(found, seen, judged, said) | {"protected": kept, "metadata": str(at)})
        return
    output.say(text.view(found, seen, judged, said, kept))


async def _show(
    fleet: Fleet, named: str, region: str | None
) -> tuple[regions.Found, Snapshot, SnapshotView, list[Judged], str | None, str | None]:
    async def read(found: regions.Found) -> tuple[Snapshot, SnapshotView]:
        async with regions.open_store_of(fleet, found.region) as store:
            snapshot = await read_snapshot(store, found.location)
            return snapshot, await view(store, snapshot)

    found, (snapshot, seen) = await regions.look_into(fleet, named, region, read)
    judged: list[Judged] = []
    said: str | None = None
    # A shipped copy's transactions are on the Kafka of the region that it came from.
    home = found.entry.shipped_from if found.entry and found.entry.shipped_from else found.region
    if seen.committables:
        client = regions.open_kafka(fleet.region(home).kafka)
        try:
            ids = sorted({one.transactional_id for one in seen.committables})
            judged = judge(seen.committables, await client.describe_transactions(ids))
        except Unavailable as error:
            said = f"Kafka in {home} cannot be asked: {error.message}"
        finally:
            await client.aclose()
    return found, snapshot, seen, judged, said, await _protection(fleet, found)


async def _protection(fleet: Fleet, found: regions.Found) -> str | None:
    try:
        deployment = await regions.deployment_of(fleet, found)
    except InvalidInput:
        return None  # nobody can have pinned what nobody can name
    record = await regions.read_record(fleet, deployment)
    async with artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control:
        pinned = await pins.read_pins(control, fleet.control.bucket, deployment)
    return pins.protection(found.location, pins.named_by(record), pinned)


@app.command("verify", short_help="is every file there, at its size?")
def verify(
    snapshot: Named,
    *,
    region: RegionOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot verify ledger/e7-chk-12

    Read _metadata to its last byte and see every file that it names at its size, by listing. What is missing is named.
    """
    loaded = read_fleet(fleet).fleet
    found, verified = asyncio.run(_verify(loaded, snapshot, region))
    if form is output.Format.JSON:
        output.answer(
            {"location": found.location, "region": found.region, "verified": True,
             "files": verified.files, "bytes": verified.bytes, "checkpoint_id": verified.metadata.checkpoint_id}
        )  # fmt: skip
        return
    what = {True: "savepoint", False: "checkpoint", None: "snapshot"}[verified.metadata.is_savepoint]
    files = f"{output.count(verified.files)} files, {output.size(verified.bytes)}"
    output.say(f"verified   {found.location} ({found.region}): {what} {verified.metadata.checkpoint_id}, {files}")


async def _verify(fleet: Fleet, named: str, region: str | None) -> tuple[regions.Found, Verified]:
    async def read(found: regions.Found) -> Verified:
        async with regions.open_store_of(fleet, found.region) as store:
            return await verify_files(store, found.location)

    try:
        return await regions.look_into(fleet, named, region, read)
    except SnapshotIncomplete as error:
        wrong = error.details.get("files")
        if isinstance(wrong, list) and wrong and isinstance(wrong[0], dict):
            error.hint = "\n".join(text.wrong_file(one) for one in wrong)
        raise


app.command("diff", short_help="what differs between two snapshots, or a snapshot and a job graph")(diff)


@app.command("ship", short_help="copy a snapshot to another region, whole")
@bundled
def ship(
    deployment: Annotated[str, typer.Argument(help="a deployment")],
    *,
    to: Annotated[str | None, typer.Option("--to", help="default: the standby, or the home that it has left")] = None,
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", metavar="ID", help="which one; default: the newest that is whole")
    ] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="MIB", min=0.001, help="send at most so many MiB a second")
    ] = None,
    reason: runbook.ReasonOption = "",
    launching: runbook.Launching,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate snapshot ship ledger --to west

    Copy a snapshot from the region where the deployment lives to another one, so that it can be restored there. Each
    file is sent once; _metadata comes last, so what is half-way is no snapshot. Killed or aborted, the same command
    goes on where it was.
    """
    read_fleet(launching.fleet).fleet.deployment(deployment)
    # Which one is the newest is found by the step that ships it: Flink retains few, and one that is named here may be
    # gone when its turn comes.
    request = ShipInput(
        deployment=deployment,
        to=to,
        snapshot=snapshot,
        requested_by=who_asks(launching.who),
        reason=reason,
        dry_run=launching.dry_run,
        bytes_per_s=limit * (1 << 20) if limit else None,
    )
    operation = operations.operation_id("ship", request, 0)
    if launching.print_command:
        output.say(operations.plain_command(SHIP_SNAPSHOTS, request, operation))
        return 0

    return runbook.started(
        SHIP_SNAPSHOTS,
        request,
        operation,
        f"ship {snapshot or 'the newest snapshot'} of {deployment}",
        no_follow=launching.no_follow,
        attached="the same request runs already: attached to",
    )


app.command("rebase", short_help="a copy for another region's Kafka, or for a fork")(rebase)
app.command("take", short_help="take a snapshot of a job that goes on")(take)
app.command("sweep", short_help="remove old snapshots, and the files that nothing else names")(sweep)


@app.command("pin", short_help="keep a snapshot from being swept")
def pin(
    snapshot: Named,
    *,
    why: Annotated[str, typer.Option("--why", help="why it must stay; whoever wants to sweep it reads this")],
    region: RegionOption = None,
    who: WhoOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot pin ledger/e7-chk-12 --why "before the migration of March"

    Keep a snapshot: no sweep removes it or a file of it. It does not bind Flink, which removes its own checkpoints.
    """
    if len(why.strip()) < 3:
        raise InvalidInput("--why: expected the reason, in words")
    loaded = read_fleet(fleet).fleet
    stands = asyncio.run(_pin(loaded, snapshot, region, who_asks(who), why.strip()))
    if form is output.Format.JSON:
        output.answer(stands.model_dump(mode="json"))
        return
    output.say(f"pinned     {stands.location}, by {stands.who}, since {output.utc(stands.at)}: {stands.why}")


async def _pin(fleet: Fleet, named: str, region: str | None, who: str, why: str) -> pins.Pin:
    found = await regions.find(fleet, named, region)
    deployment = await regions.deployment_of(fleet, found)
    async with regions.open_store_of(fleet, found.region) as store:
        await verify_files(store, found.location)  # a pin on what is not whole would promise too much
    wanted = pins.Pin(deployment=deployment, location=found.location, why=why, who=who, at=datetime.now(UTC))
    async with artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control:
        return await pins.pin(control, fleet.control.bucket, wanted)


@app.command("unpin", short_help="let a snapshot be swept again")
def unpin(
    snapshot: Named,
    *,
    region: RegionOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot unpin ledger/e7-chk-12

    Take a person's pin away; where there is none, those of copies. What the record of the deployment names stays
    protected.
    """
    loaded = read_fleet(fleet).fleet
    location, gone, left = asyncio.run(_unpin(loaded, snapshot, region))
    if form is output.Format.JSON:
        output.answer({"location": location, "unpinned": gone.model_dump(mode="json") if gone else None})
        return
    output.say(f"unpinned   {location}" if gone else f"no pin stood on {location}; nothing was done")
    for one in left:
        output.say(f"stays      pinned by {one.who}: {one.why}; again, this takes that away, too")


async def _unpin(fleet: Fleet, named: str, region: str | None) -> tuple[str, pins.Pin | None, list[pins.Pin]]:
    found = await regions.find(fleet, named, region)
    deployment, bucket = await regions.deployment_of(fleet, found), fleet.control.bucket
    async with artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control:
        gone = await pins.unpin(control, bucket, deployment, found.location)
        return found.location, gone, await pins.pins_on(control, bucket, deployment, found.location)
