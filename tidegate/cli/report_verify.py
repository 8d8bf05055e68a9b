"""``tidegate report verify``: are the reports what their operations wrote, all of them, and no others?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.cli.options import FleetOption, OutputOption, read_fleet
from tidegate.model.fleet import Control
from tidegate.model.operation import Outcome
from tidegate.registry import artifacts
from tidegate.report import verify as chain
from tidegate.report.verify import Fault, Verified

_HEAD = ("DEPLOYMENT", "REPORTS", "BEFORE", "LINKS", "CHAIN", "HEAD")


def verify(
    deployment: Annotated[str | None, typer.Argument(help="one deployment; default all that have reports")] = None,
    *,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head", metavar="HASH", help="a head that was written down earlier must be in the chain; more than once"
        ),
    ] = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate report verify ledger

    Each report's bytes against the chain of hashes: altered, missing, inserted and reordered ones by name. Exit code 7
    if there is a fault. Write the head down where nobody can change it, and give it with --head the next time: only
    that shows a chain that was written anew as a whole, or cut at its end.
    """
    control = read_fleet(fleet).fleet.control
    found, strays = asyncio.run(_verify(control, deployment))
    heads = chain.against(found, head or ())
    lost = [given for given, known, _ in heads if known is None]
    whole = not lost and not strays and all(one.whole for one in found)
    if form is output.Format.JSON:
        output.answer(
            {
                "whole": whole,
                "deployments": [
                    {**one.model_dump(mode="json", exclude={"hashes"}), "whole": one.whole} for one in found
                ],
                "strays": [fault.model_dump(mode="json") for fault in strays],
                "heads": [
                    {"head": given, "deployment": known.deployment if known else None, "link": number or None}
                    for given, known, number in heads
                ],
            }
        )
    else:
        _say(control, found, strays, heads)
    return 0 if whole else Outcome.BAD_VERDICT.exit_code


async def _verify(control: Control, deployment: str | None) -> tuple[list[Verified], tuple[Fault, ...]]:
    async with artifacts.open_access(control.s3) as store:
        known, strays = await chain.deployments_of(store, control.bucket)
        if deployment is not None and deployment not in known:
            raise chain.unknown(deployment, known)
        if deployment is not None:
            return [await chain.verify(store, control.bucket, deployment)], ()
        return [await chain.verify(store, control.bucket, one) for one in known], strays


def _say(
    control: Control,
    found: Sequence[Verified],
    strays: Sequence[Fault],
    heads: Sequence[tuple[str, Verified | None, int]],
) -> None:
    if not found:
        output.say(f"no reports in s3://{control.bucket}/reports/")
    else:
        output.say(output.columns([_row(one) for one in found], head=_HEAD))
    for fault in (*(fault for one in found for fault in one.faults), *strays):
        output.say(f"{fault.kind.value:<10} {fault.object}", style="bold red")
        output.say(f"{'':<10} {fault.why}")
    for given, known, number in heads:
        if known is None:
            output.say(f"{chain.FaultKind.REWRITTEN.value:<10} {given}", style="bold red")
            output.say(f"{'':<10} no chain has this head: it was written anew since, or cut before it")
        else:
            since = known.head_number - number
            output.say(f"head       {given} is link {number} of {known.deployment}, {output.count(since)} links since")
    for one in found:
        for note in one.notes:
            output.note(f"note       {one.deployment}: {note}")
    sound = next((one for one in found if one.head is not None and one.whole), None)
    if sound is not None and not heads:
        output.note("")
        output.note("write the heads down elsewhere, and check against them next time:")
        output.note(f"  tidegate report verify {sound.deployment} --head {sound.head}")


def _row(one: Verified) -> tuple[str, ...]:
    faults = len(one.faults)
    word = f"{faults} {'fault' if faults == 1 else 'faults'}" if faults else "whole" if one.head else "none yet"
    head = one.head if one.head is not None and one.whole else "-"
    return (one.deployment, output.count(one.reports), output.count(one.before), output.count(one.links), word, head)
