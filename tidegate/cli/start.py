"""``tidegate start``: the short way to StartDeployment."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption
from tidegate.errors import InvalidInput
from tidegate.model.inputs import START_DEPLOYMENT, StartInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="make a deployment that does not run, run")
@bundled
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
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate start ledger v1 --from-empty

    Make a deployment that does not run, run: from its newest exact snapshot, from a named one, or from empty state if
    that is said in so many words.
    """
    if from_empty and snapshot:
        raise InvalidInput("--from-empty: cannot be combined with --snapshot")
    request = runbook.asked(
        StartInput,
        taking,
        launching,
        deployment=deployment,
        artifact=artifact,
        from_empty=from_empty,
        snapshot=snapshot,
        reason=reason,
        bake_s=runbook.seconds(bake, "--bake"),
    )
    return runbook.launch(START_DEPLOYMENT, "start", request, artifact, launching, yes=yes)
