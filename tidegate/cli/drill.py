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
from tidegate.temporal.converter import invalid_input

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="prove that a deployment can be restored; or a game day: there and back, for real",
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
