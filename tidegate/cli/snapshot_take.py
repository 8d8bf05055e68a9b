"""``tidegate snapshot take``: the short way to TakeSnapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption
from tidegate.model.inputs import TAKE_SNAPSHOT, SnapshotInput


@bundled
def take(
    deployment: Annotated[str, typer.Argument(help="name in the fleet file")],
    *,
    form: Annotated[
        str, typer.Option("--format", help="native: fast, the backend's own files; canonical: for every state backend")
    ] = "native",
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate snapshot take ledger --yes

    A savepoint of the running job, which goes on. It is done when it is a recovery point: verified, and its
    transactions seen committed by the next checkpoint.
    """
    request = runbook.asked(
        SnapshotInput,
        taking,
        launching,
        deployment=deployment,
        format=form,
        reason=reason,
    )
    return runbook.launch(TAKE_SNAPSHOT, "snapshot", request, None, launching, yes=yes)
