"""``tidegate drill``: prove that a deployment can be restored, at no risk; and a real failover there and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tidegate.cli import operations, output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.failover import DrainOption, epochs
from tidegate.cli.options import OutputOption, YesOption, confirm, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.drill import DRILL_RECOVERY, DrillInput
from tidegate.model.gameday import GAME_DAY, GameDayInput
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput
from tidegate.temporal.converter import invalid_input

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="prove that a deployment, or a region, can be restored; or a game day: for real",
)


@app.callback()
def root() -> None:
    """Example:  tidegate drill recovery ledger --dry-run

    Prove that a deployment can be restored by a fork, at no risk; or fail it over for a while, for real (game-day).
    """


@app.command(short_help="restore a fork in the standby, compare it with the live job, take it away")
@bundled
def recovery(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
    point: Annotated[
        str | None,
        typer.Option("--from", metavar="POINT", help="the recovery point, by its id; default: the newest that is good"),
    ] = None,
    window: Annotated[
        str, typer.Option("--window", metavar="TIME", help="how long the fork runs beside the live job: 60s, 5m")
    ] = "60s",
    catch_up: Annotated[
        str, typer.Option("--catch-up", metavar="TIME", help="how long it may take to catch up")
    ] = "15m",
    clean: Annotated[
        str | None,
        typer.Option("--clean", metavar="FORK", help="start nothing: tear down what an earlier drill has left"),
    ] = None,
    reason: runbook.ReasonOption = "",
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate drill recovery ledger --dry-run

    A fork of the deployment, with a name, group, topics and transactions of its own, is started in the standby region
    from its recovery point. It catches up and runs on for the window; then what it wrote is compared with what the live
    job wrote for the same input, record by record, and all of it is taken away again. The live deployment is only read.
    """
    if clean is not None and point is not None:
        raise InvalidInput("--clean: starts nothing, so it goes without --from")
    asyncio.run(_known(deployment, launching.fleet))
    try:
        request = DrillInput(
            deployment=deployment,
            point=point,
            window_s=runbook.seconds(window, "--window"),
            catch_up_s=runbook.seconds(catch_up, "--catch-up"),
            clean=clean,
            requested_by=who_asks(launching.who),
            reason=reason,
            dry_run=launching.dry_run,
        )
    except ValidationError as error:
        raise invalid_input(error, DrillInput.__name__) from error
    operation = operations.operation_id("drill", request, 0)
    if launching.print_command:
        output.say(operations.plain_command(DRILL_RECOVERY, request, operation))
        return 0
    if not request.dry_run:
        question = (
            f"tear down {clean}, what a drill of {deployment} has left. Go on?"
            if clean
            else f"drill {deployment}: a fork of it runs in its standby for a while; the live job is only read. Go on?"
        )
        confirm(question, yes=yes)
    return runbook.started(DRILL_RECOVERY, request, operation, f"drill {deployment}", no_follow=launching.no_follow)


@app.command(short_help="all that lives in a region, as many at once as slots allow")
@bundled
def region(
    name: Annotated[str, typer.Argument(metavar="REGION", help="the region where the deployments live")],
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REGION", help="only those whose standby it is; default: all")
    ] = None,
    deployment: Annotated[
        list[str] | None, typer.Option("--deployment", metavar="NAME", help="only this one; again for more")
    ] = None,
    tier: Annotated[
        list[int] | None, typer.Option("--tier", metavar="N", help="only those of this tier; again for more")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", min=1, help="so many at once; default: free ones, but for a failover's"),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="none is begun that could not end in it: 30m, 2h")
    ] = "2h",
    window: Annotated[
        str, typer.Option("--window", metavar="TIME", help="how long each fork runs beside its live job: 60s, 5m")
    ] = "60s",
    catch_up: Annotated[
        str, typer.Option("--catch-up", metavar="TIME", help="how long each may take to catch up")
    ] = "15m",
    reason: runbook.ReasonOption = "",
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate drill region east --dry-run

    The recovery of each deployment that lives in the region is drilled in its standby (see: tidegate drill recovery),
    tier by tier, and in a tier the one whose last proof is oldest first. As many forks run at once as slots allow; what
    has no room or no time is named and is no success. Without --yes the plan is shown before it asks.
    """
    fields = {
        "region": name,
        "to": to,
        "deployments": tuple(deployment or ()),
        "tiers": tuple(tier or ()),
        "slots": slots,
        "budget_s": runbook.seconds(budget, "--budget"),
        "window_s": runbook.seconds(window, "--window"),
        "catch_up_s": runbook.seconds(catch_up, "--catch-up"),
        "requested_by": who_asks(launching.who),
        "reason": reason,
        "dry_run": launching.dry_run,
    }
    try:
        request = DrillRegionInput.model_validate(fields)
    except ValidationError as error:
        raise invalid_input(error, DrillRegionInput.__name__) from error
    asyncio.run(_known_region(request, launching.fleet))
    operation = operations.operation_id("drill", request, 0)
    if launching.print_command:
        output.say(operations.plain_command(DRILL_REGION, request, operation))
        return 0
    if not request.dry_run and not yes:
        # What it would do now is found by the workers, as it will be when it is done: by a dry run.
        planned = request.model_copy(update={"dry_run": True})
        shown = _planned(planned, operations.operation_id("drill", planned, 0))
        if shown != 0:
            return shown
        confirm(f"drill region {name}: forks of these run in the standby; the live jobs are only read. Go on?", yes=yes)
    return runbook.started(DRILL_REGION, request, operation, f"drill region {name}", no_follow=launching.no_follow)


def _planned(request: DrillRegionInput, operation: str) -> int:
    """Have a worker plan it, and print what it says. The exit code."""
    return runbook.started(
        DRILL_REGION,
        request,
        operation,
        f"plan the drill of region {request.region}",
        no_follow=False,
        attached="planned a moment ago:",
    )


async def _known_region(request: DrillRegionInput, fleet: Path | None) -> None:
    """Raises InvalidInput if the published fleet file does not name what is asked for."""
    async with open_control(fleet) as control:
        known = (await control.fleet()).fleet
        for region_name in (request.region, request.to):
            if region_name is not None:
                known.region(region_name)
        for deployment in request.deployments:
            known.deployment(deployment)


@app.command(short_help="for real: deployments go to the other region, stay under watch, and come back")
@bundled
def game_day(
    region: Annotated[str, typer.Argument(metavar="REGION", help="where they live, and come back to")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="REGION", help="where they run for a while")],
    deployment: Annotated[list[str], typer.Option("--deployment", metavar="NAME", help="this one; again for more")],
    stay: Annotated[str, typer.Option("--stay", metavar="TIME", help="how long they run there under watch")] = "15m",
    max_gap: Annotated[
        str, typer.Option("--max-gap", metavar="TIME", help="rule: no output for so long; 'none': not looked at")
    ] = "5m",
    max_lag: Annotated[
        str, typer.Option("--max-lag", metavar="TIME", help="rule: so far behind the input there; 'none'")
    ] = "5m",
    max_lag_records: Annotated[
        int | None, typer.Option("--max-lag-records", min=0, metavar="N", help="rule: so many records behind there")
    ] = None,
    max_restarts: Annotated[
        int, typer.Option("--max-restarts", min=0, metavar="N", help="rule: more restarts of a job there")
    ] = 2,
    max_failed_checkpoints: Annotated[
        int, typer.Option("--max-failed-checkpoints", min=0, metavar="N", help="rule: more failed checkpoints there")
    ] = 3,
    max_away: Annotated[
        str, typer.Option("--max-away", metavar="TIME", help="rule: Flink or Kafka there cannot be asked for so long")
    ] = "60s",
    drain: DrainOption = "120s",
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate drill game-day east --to west --deployment ledger --dry-run

    A real, planned failover of chosen deployments and a failback, with rules that send them back: gap, lag, restarts,
    checkpoints, a region that does not answer, any record lost, twice or wrong. To stop it and go back, from wherever
    it stands:  tidegate ops abort OPERATION
    """
    fields = {
        "region": region,
        "to": to,
        "deployments": tuple(deployment),
        "stay_s": runbook.seconds(stay, "--stay"),
        "max_gap_s": _limit(max_gap, "--max-gap"),
        "max_lag_s": _limit(max_lag, "--max-lag"),
        "max_lag_records": max_lag_records,
        "max_restarts": max_restarts,
        "max_failed_checkpoints": max_failed_checkpoints,
        "max_away_s": runbook.seconds(max_away, "--max-away"),
        "drain_s": runbook.seconds(drain, "--drain"),
        "bake_s": runbook.seconds(bake, "--bake"),
        "requested_by": who_asks(launching.who),
        "reason": reason,
        "dry_run": launching.dry_run,
    }
    for name in deployment:
        asyncio.run(_known(name, launching.fleet))
    try:
        request = GameDayInput.model_validate(fields)
    except ValidationError as error:
        raise invalid_input(error, GameDayInput.__name__) from error
    operation = operations.operation_id("game-day", request, asyncio.run(epochs(launching.fleet)))
    names = ", ".join(request.deployments)
    if launching.print_command:
        output.say(operations.plain_command(GAME_DAY, request, operation))
        return 0
    if not request.dry_run:
        confirm(
            f"game day, for real: {names} shall go from {region} to {to}, stay there for {stay}, and come back: two "
            f"pauses of the output. Go on?",
            yes=yes,
        )
    return runbook.started(
        GAME_DAY, request, operation, f"game day of {names}: {region} to {to} and back", no_follow=launching.no_follow
    )


def _limit(text: str, option: str) -> float | None:
    """A duration in seconds; ``none``: no limit. Raises InvalidInput."""
    return None if text == "none" else runbook.seconds(text, option)


async def _known(deployment: str, fleet: Path | None) -> None:
    """Raises InvalidInput if the published fleet file does not name it."""
    async with open_control(fleet) as control:
        (await control.fleet()).fleet.deployment(deployment)
