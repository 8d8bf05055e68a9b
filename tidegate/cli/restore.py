"""``tidegate restore``: the short way to RestoreDeployment."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tidegate.cli import output, runbook
from tidegate.cli.bundle import bundled
from tidegate.cli.control import open_control
from tidegate.cli.options import OutputOption, YesOption
from tidegate.errors import InvalidInput
from tidegate.model.inputs import RESTORE_DEPLOYMENT, START_DEPLOYMENT, RestoreInput, StartInput

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(short_help="make a deployment go on from a snapshot")
@bundled
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
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="REGION", help="go on there, from a copy that was rebased for it (--from)"),
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="start it as a fork of that name, beside the live job"),
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
    taking: runbook.Taking,
    launching: runbook.Launching,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate restore ledger --dry-run

    Make a deployment go on from a snapshot: its newest after a crash, or an older one that is named. What would be lost
    or come again is told in records before, and is refused unless it is accepted by the snapshot's name. A deployment
    that was stopped can go on in another region (--region). As a fork (--as) it starts a second time, under a name of
    the fleet file with topics of its own, from a copy of a snapshot that lasts; the live job is not touched.
    """
    if fork is not None:
        if as_of or region or accept_loss or accept_replay:
            raise InvalidInput("--as: goes with --from and --artifact only")
        artifact = artifact or _runs(deployment, launching)
        request = runbook.asked(
            StartInput,
            taking,
            launching,
            deployment=fork,
            artifact=artifact,
            snapshot=None if source == "newest" else source,
            fork_of=deployment,
            reason=reason,
            bake_s=runbook.seconds(bake, "--bake"),
        )
        return runbook.launch(START_DEPLOYMENT, "start", request, artifact, launching, yes=yes)
    if as_of and source != "newest":
        raise InvalidInput("--as-of: cannot be combined with --from")
    request = runbook.asked(
        RestoreInput,
        taking,
        launching,
        deployment=deployment,
        source=source,
        as_of=as_of,
        artifact=artifact,
        region=region,
        accept_loss=accept_loss,
        accept_replay=accept_replay,
        reason=reason,
        bake_s=runbook.seconds(bake, "--bake"),
    )
    return runbook.launch(RESTORE_DEPLOYMENT, "restore", request, artifact, launching, yes=yes)


def _runs(deployment: str, launching: runbook.Launching) -> str:
    """The artifact that the record names. Raises InvalidInput if it never ran."""

    async def read() -> str:
        async with open_control(launching.fleet) as control:
            record = await control.record(deployment)
        if record is None or record.writer is None:
            raise InvalidInput(f"{deployment} has never run, so there is nothing to make a fork of")
        return record.writer.artifact.name

    return asyncio.run(read())
