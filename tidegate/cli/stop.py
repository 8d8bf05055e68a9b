"""``tidegate stop``: the short way to StopDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, WhoOption, YesOption, who_asks
from tidegate.model.operation import STOP_DEPLOYMENT, StopInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="stop a deployment with a savepoint, and leave it stopped")
def stop(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
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
    """Example:  tidegate stop ledger --dry-run

    Stop a deployment with a savepoint and leave it stopped: all that it wrote is committed, its state lies in the
    savepoint, which stays. A later start goes on from there; in another region from a copy that was rebased for it.
    """
    request = runbook.validated(
        StopInput,
        {
            "deployment": deployment,
            "requested_by": who_asks(who),
            "reason": reason,
            "require_approval": require_approval,
            "break_glass": break_glass,
            "dry_run": dry_run,
            **runbook.take_over(take_over, why),
        },
    )
    return runbook.launch(
        STOP_DEPLOYMENT,
        "stop",
        request,
        None,
        fleet=fleet,
        yes=yes,
        print_command=print_command,
        no_follow=no_follow,
    )
