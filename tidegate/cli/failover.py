"""``tidegate failover``: the short way to FailoverDeployment."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.options import OutputOption, YesOption
from tidegate.errors import InvalidInput
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="go on in another region: a deployment with its topics and their writers",
)


@app.callback()
def root() -> None:
    """Example:  tidegate failover deployment ledger --dry-run

    Go on in another region.
    """


@app.command(short_help="a deployment goes on in another region, with its topics and their writers")
@bundled
def deployment(
    name: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="name in the fleet file")],
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REGION", help="default: the standby, or home if it runs there")
    ] = None,
    unplanned: Annotated[
        bool, typer.Option("--unplanned", help="go on without what the other region does not answer")
    ] = False,
    point: Annotated[
        str | None, typer.Option("--point", metavar="ID", help="unplanned: go on from this one; default the newest")
    ] = None,
    escalate_after: Annotated[
        str | None, typer.Option("--escalate-after", metavar="TIME", help="go on unplanned if that takes longer: 60s")
    ] = None,
    drain: Annotated[str, typer.Option("--drain", metavar="TIME", help="how long the mirror may take")] = "120s",
    detected_at: Annotated[
        str | None,
        typer.Option("--detected-at", metavar="TIME", help="when the loss was noticed: 2026-01-02T14:05:12Z"),
    ] = None,
    parallelism: Annotated[
        int | None, typer.Option("--parallelism", min=1, help="with so many subtasks there; default: fleet file")
    ] = None,
    bake: runbook.BakeOption = "60s",
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate failover deployment ledger --to west --dry-run

    A deployment goes on in another region: its job with its state, its topics, and who writes them. While both regions
    answer nothing is lost and nothing comes twice. Where one is lost, --unplanned goes on from the newest recovery
    point; what of its output no longer counts is written down before the start, by range.
    """
    request = runbook.asked(
        FailoverInput,
        taking,
        launching,
        deployment=name,
        to=to,
        unplanned=unplanned,
        point=point,
        escalate_after_s=None if escalate_after is None else runbook.seconds(escalate_after, "--escalate-after"),
        drain_s=runbook.seconds(drain, "--drain"),
        detected_at=_time(detected_at),
        parallelism=parallelism,
        reason=reason,
        bake_s=runbook.seconds(bake, "--bake"),
    )
    return runbook.launch(FAILOVER_DEPLOYMENT, "failover", request, None, launching, yes=yes)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"--detected-at: {text!r} is not a time", hint="for example 2026-01-02T14:05:12Z") from error
    if found.tzinfo is None:
        raise InvalidInput(f"--detected-at: {text!r} has no zone", hint="for example 2026-01-02T14:05:12Z")
    return found
