"""``tidegate drill``: prove that a deployment can be restored, at no risk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tidegate.cli import operations, output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.options import OutputOption, YesOption, confirm, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.drill import DRILL_RECOVERY, DrillInput
from tidegate.temporal.converter import invalid_input

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="prove that a deployment can be restored, at no risk",
)


@app.callback()
def root() -> None:
    """Example:  tidegate drill recovery ledger --dry-run

    Prove that a deployment can be restored.
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


async def _known(deployment: str, fleet: Path | None) -> None:
    """Raises InvalidInput if the published fleet file does not name it."""
    async with open_control(fleet) as control:
        (await control.fleet()).fleet.deployment(deployment)
