"""What the commands that start a runbook share: options, the id, what is said before, following it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tidegate.cli import follow, operations, output
from tidegate.cli.control import open_control
from tidegate.cli.operations import Handle
from tidegate.cli.options import DryRunOption, FleetOption, WhoOption, confirm, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.inputs import STOP_DEPLOYMENT, RunbookInput
from tidegate.model.record import DeploymentRecord
from tidegate.temporal.connect import connect
from tidegate.temporal.converter import invalid_input

BakeOption = Annotated[str, typer.Option("--bake", help="how long the job must prove healthy: 60s, 5m, 1h")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why; printed in the report")]
ApprovalOption = Annotated[
    bool, typer.Option("--require-approval", help="wait for an approval even if the fleet file asks for none")
]
BreakGlassOption = Annotated[
    str | None, typer.Option("--break-glass", metavar="WHY", help="go on without the approval that is required")
]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="take the deployment from the operation that holds it; needs --why")
]
WhyOption = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="why it is taken over")]
NoFollowOption = Annotated[bool, typer.Option("--no-follow", help="start it and return; print its id")]
PrintOption = Annotated[
    bool, typer.Option("--print-command", help="print the plain temporal command and start nothing")
]


@dataclass(frozen=True)
class Taking:
    """Options of a command whose runbook takes a deployment."""

    require_approval: ApprovalOption = False
    break_glass: BreakGlassOption = None
    take_over: TakeOverOption = False
    why: WhyOption = None


@dataclass(frozen=True)
class Launching:
    """Options of every command that starts a runbook."""

    dry_run: DryRunOption = False
    no_follow: NoFollowOption = False
    print_command: PrintOption = False
    fleet: FleetOption = None
    who: WhoOption = None


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str, option: str) -> float:
    """``90``, ``60s``, ``5m``, ``1h`` in seconds. Raises InvalidInput."""
    match = _DURATION.fullmatch(text.strip().replace(" ", ""))
    if match is None:
        raise InvalidInput(f"{option}: {text!r} is not a duration", hint="for example 60s, 5m or 1h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def take_over(wanted: bool, why: str | None) -> dict[str, object]:
    """The input's ``take_over``. Raises InvalidInput if only one of the two options is given."""
    if wanted and not why:
        raise InvalidInput("--take-over: needs --why TEXT, which stands in the report")
    if why and not wanted:
        raise InvalidInput("--why: goes with --take-over only", hint="for any other reason:  --reason TEXT")
    return {"take_over": {"why": why}} if wanted else {}


def asked(model: type[RunbookInput], taking: Taking, launching: Launching, **fields: object) -> RunbookInput:
    """The input: ``fields`` and what the options say. Raises InvalidInput with the names of those that do not fit."""
    options = {
        "requested_by": who_asks(launching.who),
        "dry_run": launching.dry_run,
        "require_approval": taking.require_approval,
        "break_glass": taking.break_glass,
        **take_over(taking.take_over, taking.why),
    }
    try:
        return model.model_validate(fields | options)
    except ValidationError as error:
        raise invalid_input(error, model.__name__) from error


def launch(
    runbook: str, verb: str, request: RunbookInput, artifact: str | None, launching: Launching, *, yes: bool
) -> int:
    """Start the runbook, or attach to the very same operation if it is there; follow it. The exit code.

    ``artifact`` None: the one that the record names.

    Raises:
        InvalidInput: the published fleet file knows no such deployment or artifact.
        TemporalUnreachable, ControlUnreachable: exit code 5.

    """
    record = asyncio.run(_look_up(request, artifact, launching.fleet))
    operation = operations.operation_id(verb, request, record.epoch if record else 0)
    if launching.print_command:
        output.say(operations.plain_command(runbook, request, operation))
        return 0
    if not request.dry_run:
        runs = record.writer.artifact.name if record and record.writer else "nothing"
        shall = "nothing" if runbook == STOP_DEPLOYMENT else artifact or runs
        confirm(f"{verb} {request.deployment}: {runs} runs now, {shall} shall run. Go on?", yes=yes)

    to = f" to {artifact}" if artifact else ""
    return started(runbook, request, operation, f"{verb} {request.deployment}{to}", no_follow=launching.no_follow)


def started(
    runbook: str,
    request: operations.Request,
    operation: str,
    what: str,
    *,
    no_follow: bool,
    attached: str = "the same request is there already: attached to",
) -> int:
    """Start ``operation``, or attach to it if it is there (then ``attached`` is said), and follow it. The exit code.

    Raises:
        TemporalUnreachable: exit code 5.

    """

    async def begin() -> Handle:
        client = await connect()
        summary = f"{what}, asked by {request.requested_by}"
        found = await operations.start(client, runbook, request, operation, summary)
        if found.attached:
            output.note(f"{attached} {operation}")
        return found.handle

    return asyncio.run(begun(begin)) if no_follow else follow.follow_to_end(begin)


async def begun(begin: operations.Begin) -> int:
    """Start it and return: its id is printed, and whether a worker has answered. The exit code."""
    handle = await begin()
    answered = True
    try:
        await operations.status(handle, within_s=operations.ANSWER_S)
    except operations.NoWorker as error:
        # Started it is, whoever works or not; but nobody shall think that it goes on.
        output.note(f"{error.message}; {handle.id} is started and waits for one ({error.hint})")
        answered = False
    if output.as_json():
        output.answer({"operation": handle.id, "run_id": handle.run_id, "worker": answered})
    else:
        output.say(f"started    {handle.id}\nwatch it   tidegate ops watch {handle.id}")
    return 0 if answered else operations.NoWorker.exit_code


async def _look_up(request: RunbookInput, artifact: str | None, fleet: Path | None) -> DeploymentRecord | None:
    async with open_control(fleet) as control:
        published = (await control.fleet()).fleet
        published.deployment(request.deployment)
        if artifact is not None:
            published.artifact(request.deployment, artifact)
        return await control.record(request.deployment)
