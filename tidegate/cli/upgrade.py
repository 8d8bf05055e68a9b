"""``tidegate upgrade``: the short way to UpgradeDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption
from tidegate.model.inputs import UPGRADE_DEPLOYMENT, UpgradeInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="stop a job with a savepoint, start another artifact from it, prove it")
@bundled
def upgrade(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    to: Annotated[str, typer.Option("--to", metavar="ARTIFACT", help="name of the artifact to run")],
    *,
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    on_unreadable_state: Annotated[
        str, typer.Option(help="going back would repeat committed output: replay (with a manifest), or halt and ask")
    ] = "replay",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate upgrade ledger --to v2 --bake 60s

    Stop the job with a savepoint, start another artifact from it, prove it. Whatever fails on the way, the old
    artifact runs again in the end, proven; or the operation stands halted and says how to go on.
    """
    request = runbook.asked(
        UpgradeInput,
        taking,
        launching,
        deployment=deployment,
        to=to,
        reason=reason,
        bake_s=runbook.seconds(bake, "--bake"),
        on_unreadable_state=on_unreadable_state,
    )
    return runbook.launch(UPGRADE_DEPLOYMENT, "upgrade", request, to, launching, yes=yes)
