"""``tidegate failover``: the short way to FailoverDeployment."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from tidegate.cli import operations, output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.options import OutputOption, YesOption, confirm, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput
from tidegate.temporal.converter import invalid_input

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="go on in another region: a deployment or all of a region, with topics and writers",
)


ToOption = Annotated[
    str | None, typer.Option("--to", metavar="REGION", help="default: the standby, or home if it runs there")
]
UnplannedOption = Annotated[
    bool, typer.Option("--unplanned", help="go on without what the other region does not answer")
]
PointOption = Annotated[
    str | None, typer.Option("--point", metavar="ID", help="unplanned: go on from this one; default the newest")
]
EscalateAfterOption = Annotated[
    str | None, typer.Option("--escalate-after", metavar="TIME", help="go on unplanned if that takes longer: 60s")
]
DrainOption = Annotated[str, typer.Option("--drain", metavar="TIME", help="how long the mirror may take")]
DetectedAtOption = Annotated[
    str | None,
    typer.Option("--detected-at", metavar="TIME", help="when the loss was noticed: 2026-01-02T14:05:12Z"),
]
ParallelismOption = Annotated[
    int | None, typer.Option("--parallelism", min=1, help="with so many subtasks there; default: fleet file")
]


@app.callback()
def root() -> None:
    """Example:  tidegate failover deployment ledger --dry-run

    Go on in another region.
    """


@app.command(short_help="a deployment goes on in another region, with its topics and their writers")
@bundled
def deployment(
    name: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="name in the fleet file")],
    *,
    to: ToOption = None,
    unplanned: UnplannedOption = False,
    point: PointOption = None,
    escalate_after: EscalateAfterOption = None,
    drain: DrainOption = "120s",
    detected_at: DetectedAtOption = None,
    parallelism: ParallelismOption = None,
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate failover deployment ledger --to west --dry-run

    A deployment goes on in another region: its job with its state, its topics, and who writes them. While both regions
    answer nothing is lost and nothing comes twice. Where one is lost, --unplanned goes on from the newest recovery
    point; what of its output no longer counts is written down before the start, by range.
    """
    request = runbook.asked(
        FailoverInput,
        taking,
        launching,
        deployment=name,
        to=to,
        unplanned=unplanned,
        point=point,
        escalate_after_s=None if escalate_after is None else runbook.seconds(escalate_after, "--escalate-after"),
        drain_s=runbook.seconds(drain, "--drain"),
        detected_at=_time(detected_at),
        parallelism=parallelism,
        reason=reason,
        bake_s=runbook.seconds(bake, "--bake"),
    )
    return runbook.launch(FAILOVER_DEPLOYMENT, "failover", request, None, launching, yes=yes)


@app.command(short_help="all that lives in a region goes on in another one, tier by tier")
@bundled
def region(
    name: Annotated[str, typer.Argument(metavar="REGION", help="the region that is left")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="REGION", help="the region to go on in")],
    unplanned: UnplannedOption = False,
    deployment: Annotated[
        list[str] | None, typer.Option("--deployment", metavar="NAME", help="only this one; again for more")
    ] = None,
    room: Annotated[
        Literal["wait", "lower", "shed"],
        typer.Option("--room", help="what does not fit: waits, all run smaller, or lower tiers there are stopped"),
    ] = "wait",
    room_wait: Annotated[str, typer.Option("--room-wait", metavar="TIME", help="how long it may wait")] = "10m",
    at_once: Annotated[int, typer.Option("--at-once", help="how many may be on their way at the same time")] = 32,
    bring_back: Annotated[
        bool,
        typer.Option("--bring-back/--no-bring-back", help="start again what gave way in the region that is left"),
    ] = True,
    escalate_after: EscalateAfterOption = None,
    drain: DrainOption = "120s",
    detected_at: DetectedAtOption = None,
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    break_glass: runbook.BreakGlassOption = None,
    take_over: runbook.TakeOverOption = False,
    why: runbook.WhyOption = None,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate failover region east --to west --dry-run

    All deployments that live in a region go on in another one, the highest tier first. What they share, topics and
    mirror links, is closed, drained and turned once. At the end each has its line: gap, verdict, RTO.

    If one was lost in the middle (terminated, or its Temporal gone), the same with --take-over --why TEXT brings every
    deployment of it to its end: what is done is left alone, what stands behind its turn is adopted and opened, the rest
    moves as asked. With --dry-run it says for each which of these it is.
    """
    fields = {
        "region": name,
        "to": to,
        "deployments": tuple(deployment or ()),
        "unplanned": unplanned,
        "room": room,
        "at_once": at_once,
        "bring_back": bring_back,
        "room_wait_s": runbook.seconds(room_wait, "--room-wait"),
        "escalate_after_s": None if escalate_after is None else runbook.seconds(escalate_after, "--escalate-after"),
        "drain_s": runbook.seconds(drain, "--drain"),
        "detected_at": _time(detected_at),
        "bake_s": runbook.seconds(bake, "--bake"),
        "reason": reason,
        "break_glass": break_glass,
        "requested_by": who_asks(launching.who),
        "dry_run": launching.dry_run,
        **runbook.take_over(take_over, why),
    }
    try:
        request = FailoverRegionInput.model_validate(fields)
    except ValidationError as error:
        raise invalid_input(error, FailoverRegionInput.__name__) from error
    operation = operations.operation_id("failover", request, asyncio.run(epochs(launching.fleet)))
    if launching.print_command:
        output.say(operations.plain_command(FAILOVER_REGION, request, operation))
        return 0
    if not request.dry_run:
        what = ", ".join(request.deployments) or "all that lives there"
        confirm(f"failover region {name}: {what} shall go on in {to}. Go on?", yes=yes)
    return runbook.started(
        FAILOVER_REGION, request, operation, f"failover region {name} to {to}", no_follow=launching.no_follow
    )


async def epochs(fleet: Path | None) -> int:
    """The epochs of all deployments together: each start of any makes the same request another operation (O12)."""
    async with open_control(fleet) as control:
        records = [await control.record(name) for name in (await control.fleet()).fleet.deployments]
    return sum(record.epoch for record in records if record is not None)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"--detected-at: {text!r} is not a time", hint="for example 2026-01-02T14:05:12Z") from error
    if found.tzinfo is None:
        raise InvalidInput(f"--detected-at: {text!r} has no zone", hint="for example 2026-01-02T14:05:12Z")
    return found
