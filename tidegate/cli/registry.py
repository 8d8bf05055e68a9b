"""``tidegate registry``: the record of a deployment for a person, its history, and the release by hand."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from tidegate import names
from tidegate.cli import output
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
from tidegate.errors import InvalidInput, Refused
from tidegate.model.fleet import Fleet
from tidegate.model.record import (
    CancelIntent,
    DenyIntent,
    DeploymentRecord,
    Gone,
    Intent,
    Pinned,
    RecordState,
    SnapshotIntent,
    StartIntent,
    StopIntent,
)
from tidegate.registry import artifacts
from tidegate.registry.admin import release_by_person
from tidegate.registry.ownership import History, refuse_open_intents
from tidegate.registry.records import RecordStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="who holds a deployment, what runs, what was begun",
    rich_markup_mode=None,
    help="Example:  tidegate registry show ledger\n\nWho holds a deployment, what runs, what was begun.",
)

Deployment = Annotated[str, typer.Argument(help="a deployment")]
CONTROL_WAIT_S = 10.0
"""A person waits less long for the control bucket than an operation does."""

_STATES = {
    RecordState.IDLE: "no operation holds it",
    RecordState.HELD: "an operation holds it; any other is refused",
    RecordState.HALTED: "its operation stands halted and waits for a person: resume, abort, or take it over",
}


@app.command("show", short_help="the record as it is now")
def show(deployment: Deployment, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate registry show ledger

    The record as it is now: state, holder, writer, what was begun and is not known to have ended, snapshots.
    """
    record = asyncio.run(_read(read_fleet(fleet).fleet, deployment))
    if form is output.Format.JSON:
        output.answer(record.model_dump(mode="json"))
        return
    output.say(describe(record))


async def _read(fleet: Fleet, deployment: str) -> DeploymentRecord:
    control = fleet.control
    async with artifacts.open_access(control.s3) as store:
        try:
            found = await RecordStore(store, control.bucket, control_wait_s=CONTROL_WAIT_S).read(deployment)
        except ValidationError as error:
            where = f"s3://{control.bucket}/{names.record_key(deployment)}"
            raise InvalidInput(f"{where}: no record that this version can read: {error.errors()[0]['msg']}") from error
    if found is None:
        fleet.deployment(deployment)  # a name that is in no fleet file is a mistake of another kind
        where = f"s3://{control.bucket}/{names.record_key(deployment)}"
        raise InvalidInput(f"{deployment} has no record yet: no operation ever took it (no object {where})")
    return found.record


def describe(record: DeploymentRecord) -> str:
    """The record in lines for a person."""
    numbers = (
        f"fence {output.count(record.fence)} · epoch {output.count(record.epoch)} · write {output.count(record.seq)}"
    )
    rows = [
        ("deployment", record.deployment),
        ("state", f"{record.state}: {_STATES[record.state]}"),
        ("numbers", numbers),
        *_holder(record),
        *_writer(record),
        *_snapshot("pinned", "savepoint of the last stop", record.pinned),
        *_snapshot("base", "what the writer started from", record.base),
    ]
    rows += [("left", _gone(region, gone)) for region, gone in record.gone.items()]
    if record.denied_epochs:
        rows.append(
            ("denied", f"epochs {', '.join(map(str, record.denied_epochs))}: their transactions are refused for good")
        )
    if record.stale_state_of is not None:
        stale = record.stale_state_of
        rows.append(
            ("stale state", f"state that only {stale.name} ({stale.sha256[:12]}) has lies unused and grows stale")
        )
    still_open = record.open_intents()
    if not still_open:
        rows.append(("open intents", "none: nothing is half-done"))
    for number, intent in enumerate(still_open):
        rows.append(("" if number else "open intents", f"{intent.kind} (epoch {intent.epoch}): {meaning(intent)}"))
    if still_open:
        hint = f"tidegate upgrade {record.deployment} --to ARTIFACT --take-over --why TEXT"
        rows.append(("", f"their operation resolves them; if it is lost, any runbook does:  {hint}"))
    return output.columns(rows)


def _gone(region: str, gone: Gone) -> str:
    how = f"given up ({gone.left.strength})" if gone.left is not None else "as planned"
    since = ", ".join(one or "empty state" for one in gone.snapshots)
    return f"{region}, {how}, {output.utc(gone.at)}; went on in {gone.to} from {since}"


def _holder(record: DeploymentRecord) -> list[tuple[str, str]]:
    holder = record.holder
    if holder is None:
        return [("holder", "nobody")]
    who = f"{holder.operation} ({holder.runbook}), claimed by {holder.who}, since {output.utc(holder.since)}"
    watch = f"tidegate ops watch {holder.operation}"
    return [("holder", who), ("", f"why: {holder.why or 'no reason given'}"), ("", f"watch it:  {watch}")]


def _writer(record: DeploymentRecord) -> list[tuple[str, str]]:
    writer = record.writer
    if writer is None:
        return [("writer", "none: no job of it was ever started by Tidegate")]
    artifact = f"{writer.artifact.name} (sha256 {writer.artifact.sha256[:12]})"
    where = f"{writer.region}/{writer.cell}, parallelism {writer.parallelism}, since {output.utc(writer.since)}"
    rows = [
        ("writer", f"{artifact}, epoch {writer.epoch}, {where}"),
        ("", f"job {writer.job_id}"),
        ("", f"started from {writer.started_from or 'empty state'}"),
    ]
    if record.pinned is not None and record.pinned.epoch == writer.epoch:
        rows.append(("", "it was stopped since: its savepoint is pinned"))
    return rows


def _snapshot(label: str, what: str, pinned: Pinned | None) -> list[tuple[str, str]]:
    if pinned is None:
        return []
    committed = "committed" if pinned.committed else "its transactions are not known to be committed"
    told = f"{what}: of {pinned.artifact.name}, epoch {pinned.epoch}, {output.utc(pinned.at)}, {committed}"
    return [(label, pinned.location), ("", told)]


def meaning(intent: Intent) -> str:
    """What an open intent says about the world, in words."""
    if isinstance(intent, StopIntent):
        return (
            f"job {intent.job_id} ({intent.artifact.name}) may have been stopped into {intent.directory}; "
            f"its epoch is over, it is never taken up again"
        )
    if isinstance(intent, StartIntent):
        source = intent.snapshot or ("empty state" if intent.from_empty else "the savepoint of that stop")
        where = f"{intent.region}/{intent.cell}"
        return f"job {intent.job_id} ({intent.artifact.name}) may run in {where}, started from {source}"
    if isinstance(intent, CancelIntent):
        return f"job {intent.job_id} may have been cancelled; its epoch is over, its checkpoints stay"
    if isinstance(intent, SnapshotIntent):
        return f"a savepoint of job {intent.job_id} may be written into {intent.directory}; the job goes on"
    if isinstance(intent, DenyIntent):
        return (
            f"{intent.principal} may be denied on Kafka for {', '.join(intent.prefixes)}; never lifted by an operation"
        )
    again = "; committed output from there on comes again, by manifest" if intent.replay_from else ""
    kept = intent.snapshot or "no snapshot"
    return f"transactions of {kept} may be committed, those of later ones up to this epoch ended{again}"


@app.command("history", short_help="what happened to a deployment")
def history(deployment: Deployment, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate registry history ledger

    What happened to a deployment, oldest first.
    """
    events = asyncio.run(_events(read_fleet(fleet).fleet, deployment))
    if form is output.Format.JSON:
        output.answer([{"key": key, "event": event} for key, event in events])
        return
    if not events:
        output.say(f"nothing is written of {deployment} yet")
        return
    rows = [_event_row(deployment, key, event) for key, event in events]
    output.say(output.columns(rows, head=("FENCE", "EVENT", "AT", "WHAT")))


async def _events(fleet: Fleet, deployment: str) -> list[tuple[str, object]]:
    control = fleet.control
    async with artifacts.open_access(control.s3) as store:
        kept = History(store, control.bucket)
        keys = await kept.keys(deployment)
        if not keys and await RecordStore(store, control.bucket).read(deployment) is None:
            fleet.deployment(deployment)
        return [(key, _event(await kept.read(key))) for key in keys]


def _event(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _event_row(deployment: str, key: str, event: object) -> tuple[str, str, str, str]:
    fence, _, name = key.removeprefix(names.history_prefix(deployment)).removesuffix(".json").partition("-")
    if not isinstance(event, dict):
        return (fence.lstrip("0"), name, "", str(event))
    said = {str(field): value for field, value in event.items() if field not in {"at", "event", "fence"}}
    facts = ", ".join(f"{field} {_short(value)}" for field, value in said.items() if value not in (None, [], {}, ""))
    return (fence.lstrip("0"), name, _moment(event.get("at")), facts)


def _moment(said: object) -> str:
    """An event's time as all our times; as it stands, if it is none."""
    try:
        return output.utc(datetime.fromisoformat(str(said)))
    except ValueError:
        return str(said or "")


def _short(value: object) -> str:
    """A value in a line: what is long is counted; ``-o json`` has it whole."""
    if isinstance(value, dict) and "operation" in value:
        return str(value["operation"])
    return f"({output.count(len(value))})" if isinstance(value, dict | list) else str(value)


@app.command("release", short_help="give a held record free, by hand")
def release(
    deployment: Deployment,
    *,
    why: Annotated[str, typer.Option("--why", help="why its operation is given up; goes into the history")],
    who: WhoOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate registry release ledger --why "its Temporal server is gone for good"

    Release a record whose operation is lost. That operation, should it still live, is superseded and does nothing more.
    Refused while something is half-done: then a runbook with --take-over finishes or voids that first.
    """
    if len(why.strip()) < 3:
        raise InvalidInput("--why: expected the reason, in words")
    loaded = read_fleet(fleet).fleet
    record = asyncio.run(_read(loaded, deployment))
    holder = record.holder
    if holder is None:
        raise Refused(f"nobody holds {deployment}: there is nothing to release")
    refuse_open_intents(record)
    about = (
        f"release {deployment} from {holder.operation} ({record.state}, claimed by {holder.who}, "
        f"since {output.utc(holder.since)}); that operation is superseded: it does nothing more, not even undo"
    )
    if dry_run:
        if form is output.Format.JSON:
            output.answer({"outcome": "dry-run", "fence": record.fence, "holder": holder.model_dump(mode="json")})
        else:
            output.say(f"would {about}")
        return
    if not yes:
        output.note(f"this will {about}")
    confirm(f"release {deployment} from {holder.operation}?", yes=yes)
    released = asyncio.run(_release(loaded, deployment, who_asks(who), why.strip(), record.fence))
    if form is output.Format.JSON:
        output.answer({"outcome": "released", "from": holder.operation, "record": released.model_dump(mode="json")})
        return
    output.say(f"released   {deployment} from {holder.operation}, fence {record.fence} -> {released.fence}")
    output.say(f"next       see what runs before you go on:  tidegate registry show {deployment}")


async def _release(fleet: Fleet, deployment: str, who: str, why: str, fence: int) -> DeploymentRecord:
    control = fleet.control
    async with artifacts.open_access(control.s3) as store:
        records = RecordStore(store, control.bucket, control_wait_s=CONTROL_WAIT_S)
        kept = History(store, control.bucket)
        return await release_by_person(records, kept, deployment, who=who, why=why, expected_fence=fence)
