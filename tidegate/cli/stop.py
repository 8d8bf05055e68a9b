"""``tidegate stop``: the short way to StopDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption
from tidegate.model.inputs import STOP_DEPLOYMENT, StopInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="stop a deployment with a savepoint, and leave it stopped")
@bundled
def stop(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate stop ledger --dry-run

    Stop a deployment with a savepoint and leave it stopped: all that it wrote is committed, its state lies in the
    savepoint, which stays. A later start goes on from there; in another region from a copy that was rebased for it.
    """
    request = runbook.asked(
        StopInput,
        taking,
        launching,
        deployment=deployment,
        reason=reason,
    )
    return runbook.launch(STOP_DEPLOYMENT, "stop", request, None, launching, yes=yes)
