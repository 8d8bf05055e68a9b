"""``tidegate fleet``: check the fleet file, publish it, see what is published."""

from __future__ import annotations

import asyncio
import difflib
import re
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import fleet_online, output
from tidegate.cli.options import (
    DryRunOption,
    FleetOption,
    OutputOption,
    WhoOption,
    YesOption,
    confirm,
    read_fleet,
    who_asks,
)
from tidegate.clients.s3 import S3Store
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import LoadedFleet
from tidegate.registry import artifacts
from tidegate.registry import fleet as published
from tidegate.registry.fleet import FleetPointer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="the fleet file: check it, publish it, see it",
    rich_markup_mode=None,
    help="Example:  tidegate fleet check runbooks/fleet-sandbox.yaml\n\nThe fleet file: check it, publish it, see it.",
)
FileArgument = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="the fleet file; default as --fleet", show_default=False)
]


@app.command("check", short_help="tell every mistake in a fleet file")
def check(
    file: FileArgument = None,
    *,
    online: Annotated[bool, typer.Option("--online", help="ask every endpoint and look for every object")] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate fleet check runbooks/fleet-sandbox.yaml

    Tell every mistake in a fleet file, each with file, line, column and what was expected.
    """
    loaded = read_fleet(file or fleet)
    findings = asyncio.run(fleet_online.examine(loaded)) if online else []
    bad = [finding for finding in findings if finding.wrong is not None]
    if form is output.Format.JSON and not bad:
        checks = [{"field": finding.field, "fact": finding.fact} for finding in findings]
        output.answer({"ok": True, "digest": loaded.digest, "checks": checks})
    elif form is output.Format.TEXT:
        for finding in findings:
            if finding.wrong is None:
                output.say(f"ok    {finding.field}: {finding.fact}")
        if not bad:
            output.say(f"ok    {loaded.source_name}  {_summary(loaded.fleet)}  sha256 {loaded.digest[:12]}")
    if bad:
        lines = [loaded.mistake(finding.path, finding.wrong or "") for finding in bad]
        hints = [finding.hint for finding in bad if finding.hint]
        details: dict[str, object] = {"mistakes": [{"field": f.field, "what": f.wrong} for f in bad]}
        raise InvalidInput("\n".join(lines), hint="\n".join(dict.fromkeys(hints)) or None, details=details)


@app.command("apply", short_help="publish it as the current one")
def apply(
    file: FileArgument = None,
    *,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    who: WhoOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate fleet apply runbooks/fleet-sandbox.yaml --dry-run

    Publish the fleet file in the control bucket and make it the current one. Prints what changes, and asks.
    """
    loaded = read_fleet(file or fleet)
    before, current = asyncio.run(_published(loaded.fleet))
    difference = _difference(current, loaded)
    basis = current.digest if current is not None else None
    if not difference and before is not None:
        _applied("unchanged", before, difference, form)
        return
    if form is output.Format.TEXT:
        for line in difference:
            output.say(line, style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))
    if dry_run:
        if form is output.Format.JSON:
            output.answer({"outcome": "dry-run", "digest": loaded.digest, "basis": basis, "difference": difference})
        else:
            output.say(f"would publish  sha256 {loaded.digest[:12]}  in s3://{loaded.fleet.control.bucket}")
        return
    if before is not None:
        confirm(f"publish this as the current fleet file in s3://{loaded.fleet.control.bucket}?", yes=yes)
    pointer = asyncio.run(_publish(loaded, who_asks(who), basis))
    _applied("published", pointer, difference, form)


@app.command("show", short_help="what operations use now")
def show(*, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate fleet show

    The fleet file that operations use now: the one published in the control bucket that the local file names.
    """
    loaded = read_fleet(fleet)
    pointer, current = asyncio.run(_published(loaded.fleet))
    if pointer is None or current is None:
        msg = f"no fleet file has been published in s3://{loaded.fleet.control.bucket}"
        raise InvalidInput(msg, hint=f"publish one:  tidegate fleet apply {loaded.source_name}")
    same = current.digest == loaded.digest
    if form is output.Format.JSON:
        data = current.fleet.model_dump(mode="json")
        output.answer({"pointer": pointer.model_dump(mode="json"), "same_as_local_file": same, "fleet": data})
        return
    output.say(
        f"current    sha256 {pointer.digest[:12]}  no. {output.count(pointer.seq)}  {output.utc(pointer.at)}"
        f"  claimed by {pointer.who}"
    )
    differs = f"differs: tidegate fleet apply {loaded.source_name} --dry-run"
    output.say(f"local      {loaded.source_name}  {'the same' if same else differs}")
    output.say(f"control    s3://{current.fleet.control.bucket} at {current.fleet.control.s3.endpoint}")
    regions = [
        (name, region.kafka.bootstrap, region.s3.endpoint, f"{name}/{cell}", at.flink.rest)
        for name, region in current.fleet.regions.items()
        for cell, at in region.cells.items()
    ]
    output.say(f"\n{output.columns(regions, head=('REGION', 'KAFKA', 'S3', 'CELL', 'FLINK'))}")
    deployments = [
        (name, of.home, of.standby or "none", str(of.tier), str(of.parallelism), ", ".join(of.artifacts))
        for name, of in current.fleet.deployments.items()
    ]
    if deployments:
        head = ("DEPLOYMENT", "HOME", "STANDBY", "TIER", "PARALLELISM", "ARTIFACTS")
        output.say(f"\n{output.columns(deployments, head=head)}")


def _summary(fleet: Fleet) -> str:
    cells = sum(len(region.cells) for region in fleet.regions.values())
    parts = ((len(fleet.regions), "region"), (cells, "cell"), (len(fleet.deployments), "deployment"))
    return ", ".join(f"{output.count(number)} {word}{'' if number == 1 else 's'}" for number, word in parts)


def _control(fleet: Fleet) -> S3Store:
    return artifacts.open_access(fleet.control.s3)


async def _published(fleet: Fleet) -> tuple[FleetPointer | None, LoadedFleet | None]:
    async with _control(fleet) as store:
        pointer = await published.read_pointer(store, fleet.control.bucket)
        if pointer is None:
            return None, None
        return pointer, await published.read_digest(store, fleet.control.bucket, pointer.digest)


async def _publish(loaded: LoadedFleet, who: str, basis: str | None) -> FleetPointer:
    async with _control(loaded.fleet) as store:
        return await published.publish(store, loaded.fleet.control.bucket, loaded.text, who, basis)


def _difference(current: LoadedFleet | None, wanted: LoadedFleet) -> list[str]:
    """A unified diff; literal secrets are not shown, a change of one is a changed line that looks the same."""
    old = current.text.splitlines() if current is not None else []
    name = f"current {current.digest[:12]}" if current is not None else "nothing"
    lines = difflib.unified_diff(old, wanted.text.splitlines(), name, wanted.source_name, n=2, lineterm="")
    return [re.sub(r"(literal\s*:\s*)[^\s,}][^,}]*", r"\1…", line) for line in lines]


def _applied(outcome: str, pointer: FleetPointer, difference: list[str], form: output.Format) -> None:
    if form is output.Format.JSON:
        output.answer({"outcome": outcome, "pointer": pointer.model_dump(mode="json"), "difference": difference})
        return
    when = f"{output.utc(pointer.at)}  claimed by {pointer.who}"
    output.say(f"{outcome}  sha256 {pointer.digest[:12]}  no. {output.count(pointer.seq)}  {when}")
