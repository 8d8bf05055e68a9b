"""``tidegate kafka transactions``: what a deployment has left open on Kafka, for a person; and settling it (X15)."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output, regions
from tidegate.cli.control import open_control
from tidegate.cli.options import (
    DryRunOption,
    FleetOption,
    OutputOption,
    WhoOption,
    YesOption,
    confirm,
    read_fleet,
    who_asks,
)
from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka_types import TopicPartition
from tidegate.driver.session import SessionClusterDriver
from tidegate.model.record import ArtifactRef
from tidegate.model.steps import Held
from tidegate.names import derive_id
from tidegate.operation.move import home_of
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.operation.transactions import Outlook, SeenTransaction, look, settle_by_hand, wait_for_readers
from tidegate.registry.artifacts import fetch, open_access
from tidegate.registry.held import held as held_error
from tidegate.registry.keptjars import KeptJars
from tidegate.registry.ownership import Takeover, new_holder, take
from tidegate.registry.records import RecordStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="a deployment's transactions: list, settle",
    rich_markup_mode=None,
    help="Example:  tidegate kafka transactions list ledger\n\nWhat a deployment has on its Kafka.",
)
transactions = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Example:  tidegate kafka transactions list ledger\n\nThe transactions of a deployment, of all epochs.",
)
app.add_typer(transactions, name="transactions", short_help="list them; settle what a dead job left open")

Deployment = Annotated[str, typer.Argument(help="a deployment")]
_ACTS = {"commit", "end"}


@asynccontextmanager
async def _open(fleet: Path | None, deployment: str) -> AsyncIterator[tuple[Site, RecordStore]]:
    """The deployment where it runs, with clients of this process."""
    loaded = read_fleet(fleet).fleet
    async with open_control(fleet) as control:
        home = home_of(loaded, deployment, await control.record(deployment))
    region, cell = loaded.region(home.region), loaded.cell(home)
    kafka, flink = regions.open_kafka(region.kafka), FlinkClient(cell.flink.rest)
    try:
        async with (
            open_access(region.s3) as snapshots,
            open_access(loaded.artifact_store(deployment)) as artifacts,
            open_control(fleet) as control,
        ):
            with tempfile.TemporaryDirectory(prefix="tidegate-") as cache:
                kept = KeptJars(control.store, control.bucket, deployment)

                async def bring(artifact: ArtifactRef) -> Path:
                    return await fetch(artifacts, artifact.uri, artifact.sha256, Path(cache), kept)

                site = Site(
                    fleet=loaded,
                    deployment=deployment,
                    region=home.region,
                    cell=home.cell,
                    driver=SessionClusterDriver(flink),
                    kafka=kafka,
                    snapshots=snapshots,
                    control=control.store,
                    control_bucket=control.bucket,
                    fetch=bring,
                    artifacts=artifacts,
                )
                yield site, RecordStore(control.store, control.bucket)
    finally:
        await kafka.aclose()
        await flink.aclose()


@transactions.command("list", short_help="every transaction under the deployment's prefixes")
def list_(
    deployment: Deployment,
    *,
    every: Annotated[bool, typer.Option("--all", help="ended ones too, however many")] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate kafka transactions list ledger

    State, producer, start, which partitions' readers it keeps back and at which offset, which snapshots count its
    output as written, and what settling would do with it.
    """
    outlook = asyncio.run(_look(fleet, deployment))
    if form is output.Format.JSON:
        output.answer(_as_json(outlook))
        return
    output.say(_describe(outlook, every=every))


async def _look(fleet: Path | None, deployment: str) -> Outlook:
    async with _open(fleet, deployment) as (site, records):
        return await look(site, records)


@transactions.command("settle", short_help="commit what counts, end what does not, prove that readers move")
def settle(
    deployment: Deployment,
    *,
    reason: Annotated[str, typer.Option("--reason", help="why; stands in the record meanwhile")] = "settle by hand",
    take_over: Annotated[bool, typer.Option("--take-over", help="take the deployment from who holds it")] = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    yes: YesOption = False,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate kafka transactions settle ledger --dry-run

    For a job that is dead and keeps readers of its output back. What the snapshot that it goes on from counts as
    written is committed; everything else of dead epochs is ended. A job that runs is not touched. Takes the deployment,
    as a runbook does, and gives it back.
    """
    before = asyncio.run(_look(fleet, deployment))
    if form is output.Format.TEXT:
        output.say(_describe(before, every=False))
    if before.record.holder is not None and not take_over:
        raise held_error(before.record)
    if dry_run or (not before.to_do and not _shuts_out(before)):
        if form is output.Format.JSON:
            output.answer(_as_json(before))
        return 0
    confirm(_question(deployment, before), yes=yes)
    after, offsets = asyncio.run(_settle(fleet, deployment, before, who_asks(who), reason, take_over=take_over))
    if form is output.Format.JSON:
        proof = {str(tp): {"last_stable_offset": lso, "end": end} for tp, (lso, end) in sorted(offsets.items())}
        output.answer(_as_json(after) | {"proof": proof})
        return 0
    output.say("settled    " + _proof(offsets))
    return 0


def _shuts_out(outlook: Outlook) -> bool:
    record = outlook.record
    unknown = record.writer is not None and outlook.job_state is None
    return unknown and record.writer is not None and record.writer.epoch not in record.denied_epochs


def _question(deployment: str, outlook: Outlook) -> str:
    count = {name: sum(one.decision.value == name for one in outlook.to_do) for name in ("commit", "end")}
    shut = " Flink does not know its job: it is shut out of Kafka for good first." if _shuts_out(outlook) else ""
    return f"settle {deployment}: commit {count['commit']}, end {count['end']} transactions.{shut} Go on?"


async def _settle(
    fleet: Path | None, deployment: str, before: Outlook, who: str, reason: str, *, take_over: bool
) -> tuple[Outlook, dict[TopicPartition, tuple[int, int]]]:
    async with _open(fleet, deployment) as (site, records):
        operation = f"settle-{deployment}-{derive_id(who, before.record.fence, time.time_ns())[:8]}"
        holder = new_holder(
            operation=operation,
            run_id=operation,
            runbook="tidegate kafka transactions settle",
            cluster_id="",
            namespace="",
            who=who,
            why=reason,
        )
        taking = Takeover(who, reason) if take_over else None
        tenure = await take(records, deployment, holder, expected_fence=before.record.fence, takeover=taking)
        run = Run(site=site, tenure=tenure)
        await settle_by_hand(run, Held(deployment=deployment, holder=tenure.claim.holder, fence=tenure.claim.fence))
        after = await look(site, records)
        offsets = await wait_for_readers(run, after)
        await tenure.release()
        return await look(site, records), offsets


def _describe(outlook: Outlook, *, every: bool) -> str:
    shown = [
        one for one in outlook.transactions if every or one.status.started_ms is not None or one.decision.value in _ACTS
    ]
    left_out = len(outlook.transactions) - len(shown)
    job = outlook.job_state.value if outlook.job_state else "not known to Flink"
    lines = [f"job        {job}" if outlook.record.writer else "job        none"]
    lines.append(f"goes on    from {outlook.snapshot}" if outlook.snapshot else "goes on    from no snapshot")
    if shown:
        rows = [_row(one) for one in shown]
        head = ("TRANSACTION", "STATE", "PRODUCER", "SINCE", "HOLDS BACK", "LISTED BY", "SETTLING")
        lines.append(output.columns(rows, head=head))
    else:
        lines.append("no transaction is open")
    if left_out:
        lines.append(f"{output.count(left_out)} that have ended are not shown; see them with --all")
    return "\n".join(lines)


def _row(one: SeenTransaction) -> tuple[str, ...]:
    status = one.status
    return (
        status.transactional_id,
        status.state.value,
        f"{status.producer_id}/{status.producer_epoch}",
        output.utc(one.started) if one.started else "",
        ", ".join(f"{tp}@{output.count(offset)}" for tp, offset in one.holds) or "nothing",
        ", ".join(one.listed_by) or "none",
        one.decision.value,
    )


def _as_json(outlook: Outlook) -> dict[str, object]:
    return {
        "job_state": outlook.job_state.value if outlook.job_state else None,
        "snapshot": outlook.snapshot or None,
        "transactions": [
            {
                "transactional_id": one.status.transactional_id,
                "epoch": one.epoch,
                "state": one.status.state.value,
                "producer_id": one.status.producer_id,
                "producer_epoch": one.status.producer_epoch,
                "started": one.started.isoformat() if one.started else None,
                "timeout_ms": one.status.timeout_ms,
                "holds_back": {str(tp): offset for tp, offset in one.holds},
                "listed_by": list(one.listed_by),
                "settling": one.decision.value,
            }
            for one in outlook.transactions
        ],
    }


def _proof(offsets: dict[TopicPartition, tuple[int, int]]) -> str:
    told = ", ".join(f"{tp} {output.count(lso)} of {output.count(end)}" for tp, (lso, end) in sorted(offsets.items()))
    return f"readers move: last stable offset {told}"
