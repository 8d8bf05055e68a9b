"""``tidegate start``: the short way to StartDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, WhoOption, YesOption, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.operation import START_DEPLOYMENT, StartInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="make a deployment that does not run, run")
def start(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    artifact: Annotated[str, typer.Argument(help="name of the artifact to run")],
    *,
    from_empty: Annotated[bool, typer.Option("--from-empty", help="start with empty state, from nothing")] = False,
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", metavar="LOCATION", help="start from this one; default the newest")
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
    """Example:  tidegate start ledger v1 --from-empty

    Make a deployment that does not run, run: from its newest exact snapshot, from a named one, or from empty state if
    that is said in so many words.
    """
    if from_empty and snapshot:
        raise InvalidInput("--from-empty: cannot be combined with --snapshot")
    request = runbook.validated(
        StartInput,
        {
            "deployment": deployment,
            "artifact": artifact,
            "from_empty": from_empty,
            "snapshot": snapshot,
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
        START_DEPLOYMENT,
        "start",
        request,
        artifact,
        fleet=fleet,
        yes=yes,
        print_command=print_command,
        no_follow=no_follow,
    )
