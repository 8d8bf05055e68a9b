"""``tidegate snapshot take``: the short way to TakeSnapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, WhoOption, YesOption, who_asks
from tidegate.model.operation import TAKE_SNAPSHOT, SnapshotInput


def take(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
    form: Annotated[
        str, typer.Option("--format", help="native: fast, the backend's own files; canonical: for every state backend")
    ] = "native",
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
    """Example:  tidegate snapshot take ledger --yes

    A savepoint of the running job, which goes on. It is done when it is a recovery point: verified, and its
    transactions seen committed by the next checkpoint.
    """
    request = runbook.validated(
        SnapshotInput,
        {
            "deployment": deployment,
            "format": form,
            "requested_by": who_asks(who),
            "reason": reason,
            "require_approval": require_approval,
            "break_glass": break_glass,
            "dry_run": dry_run,
            **runbook.take_over(take_over, why),
        },
    )
    return runbook.launch(
        TAKE_SNAPSHOT,
        "snapshot",
        request,
        None,
        fleet=fleet,
        yes=yes,
        print_command=print_command,
        no_follow=no_follow,
    )
