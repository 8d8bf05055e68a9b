"""``tidegate return``: the short way to ReturnRegion."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.options import OutputOption, YesOption
from tidegate.errors import InvalidInput
from tidegate.model.returning import RETURN_REGION, ReturnInput
from tidegate.operation.move import lives_at

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="a region that was given up answers again: quarantine it, and make it a standby",
)


@app.callback()
def root() -> None:
    """Example:  tidegate return region east --dry-run

    A region that was given up answers again.
    """


@app.command(short_help="put it in quarantine, set its tail apart, mirror to it again")
@bundled
def region(
    name: Annotated[str, typer.Argument(metavar="REGION", help="the region that answers again")],
    *,
    deployment: Annotated[
        list[str] | None, typer.Option("--deployment", metavar="NAME", help="only this one; may be repeated")
    ] = None,
    tail: Annotated[
        str | None,
        typer.Option("--tail", metavar="feed|hold", help="what becomes of inputs that never crossed, this time"),
    ] = None,
    reason: runbook.ReasonOption = "",
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate return region east --dry-run

    For each deployment that has left the region: nothing of its old job can commit there any more, its mirror away is
    shut, producers are denied; inputs that never crossed are fed or held as the fleet file says, and what stands beyond
    the cut counts no more. Then the region is mirrored to again, and a failover can lead back.

    What is held is written out in the control bucket, under tails/. The same command with --tail feed feeds it later,
    as long as the deployment lives elsewhere.
    """
    names = asyncio.run(_left(name, deployment or [], launching.fleet))
    worst = 0
    for one in names:
        request = runbook.asked(ReturnInput, taking, launching, deployment=one, region=name, tail=tail, reason=reason)
        worst = max(worst, runbook.launch(RETURN_REGION, "return", request, None, launching, yes=yes))
    return worst


async def _left(region: str, wanted: list[str], fleet: Path | None) -> list[str]:
    """The deployments that have left the region: they live elsewhere, and it is their home or standby."""
    async with open_control(fleet) as control:
        published = (await control.fleet()).fleet
        published.region(region)
        for name in wanted:
            published.deployment(name)
        found: list[str] = []
        for name, spec in published.deployments.items():
            lives = lives_at(await control.record(name))
            if lives is not None and lives.region != region and region in {spec.home_ref.region, spec.standby}:
                found.append(name)
    chosen = [name for name in found if not wanted or name in wanted]
    if not chosen:
        known = ", ".join(found) or "none"
        raise InvalidInput(f"no deployment has left {region}", hint=f"those that live elsewhere: {known}")
    return chosen
