"""``tidegate restore``: the short way to RestoreDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, WhoOption, YesOption, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.operation import RESTORE_DEPLOYMENT, RestoreInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="make a deployment go on from a snapshot")
def restore(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
    source: Annotated[
        str,
        typer.Option("--from", metavar="SNAPSHOT", help="newest, a name (e7-chk-212), its number, a location"),
    ] = "newest",
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="the newest that was complete then: 2026-01-02T14:05:12Z"),
    ] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="NAME", help="what shall run; default what ran last")
    ] = None,
    accept_loss: Annotated[
        str | None, typer.Option("--accept-loss", metavar="SNAPSHOT", help="its output that is lost, is given up")
    ] = None,
    accept_replay: Annotated[
        str | None,
        typer.Option("--accept-replay", metavar="SNAPSHOT", help="committed output after it may come again"),
    ] = None,
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    require_approval: runbook.ApprovalOption = False,
    break_glass: runbook.BreakGlassOption = None,
    take_over: runbook.TakeOverOption = False,
    why: runbook.WhyOption = None,
    dry_run: DryRunOption = False,
    no_follow: runbook.NoFollowOption = False,
    print_command: runbook.PrintOption = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate restore ledger --dry-run

    Make a deployment go on from a snapshot: its newest after a crash, or an older one that is named. What would be lost
    or come again is told in records before, and is refused unless it is accepted by the snapshot's name.
    """
    if as_of and source != "newest":
        raise InvalidInput("--as-of: cannot be combined with --from")
    request = runbook.validated(
        RestoreInput,
        {
            "deployment": deployment,
            "source": source,
            "as_of": as_of,
            "artifact": artifact,
            "accept_loss": accept_loss,
            "accept_replay": accept_replay,
            "requested_by": who_asks(who),
            "reason": reason,
            "bake_s": runbook.seconds(bake, "--bake"),
            "require_approval": require_approval,
            "break_glass": break_glass,
            "dry_run": dry_run,
            **runbook.take_over(take_over, why),
        },
    )
    return runbook.launch(
        RESTORE_DEPLOYMENT,
        "restore",
        request,
        artifact,
        fleet=fleet,
        yes=yes,
        print_command=print_command,
        no_follow=no_follow,
    )
