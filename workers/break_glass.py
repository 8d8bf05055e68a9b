"""``tidegate break-glass``: a runbook when Temporal itself is lost, on a server of its own (O22)."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tidegate.cli import operations, output, runbook
from tidegate.cli.control import ControlBucket, open_control
from tidegate.cli.failover import ParallelismOption, PointOption, ToOption, UnplannedOption
from tidegate.cli.follow import EXIT_HALTED, EXIT_INTERRUPTED
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, WhoOption, YesOption, confirm, who_asks
from tidegate.errors import InvalidInput, Refused, TidegateError
from tidegate.model.failover import FailoverInput
from tidegate.model.fleet import Fleet
from tidegate.model.inputs import ControlInput
from tidegate.model.record import DeploymentRecord, utc_now
from tidegate.temporal.connect import TemporalUnreachable, address, connect
from tidegate.temporal.converter import invalid_input
from workers.kept import Asked, again
from workers.options import cache_folder

CONTROL_TIMEOUT_S = 5.0
ANSWERS_S = 5.0
"""A Temporal that has not answered by then is lost."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="when Temporal itself is lost: a failover on a server of its own",
)


@app.callback()
def root() -> None:
    """Example:  tidegate break-glass failover ledger --why "Temporal is gone" --unplanned --dry-run

    Act when Temporal itself is lost. runbooks/break-glass.md says when, and when not.
    """


@dataclass(frozen=True)
class Asking:
    """What the command line says, as far as the operation is concerned."""

    why: str | None
    fields: Mapping[str, object]
    abort: bool
    who: str


@app.command(short_help="a deployment goes on in another region, without the Temporal that is lost")
def failover(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="name in the fleet file")],
    *,
    why: Annotated[
        str | None, typer.Option("--why", metavar="TEXT", help="why it is done without Temporal; stands in the report")
    ] = None,
    to: ToOption = None,
    unplanned: UnplannedOption = False,
    point: PointOption = None,
    parallelism: ParallelismOption = None,
    bake: runbook.BakeOption = "60s",
    keep_server: Annotated[
        Path | None,
        typer.Option("--keep-server", metavar="DIR", help="go on with the operation there; or begin one there"),
    ] = None,
    abort: Annotated[bool, typer.Option("--abort", help="with --keep-server: send that operation back")] = False,
    even_though_temporal_answers: Annotated[
        bool, typer.Option("--even-though-temporal-answers", help="it answers, and yet nothing can be done there")
    ] = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    yes: YesOption = False,
    _form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate break-glass failover ledger --unplanned --why "Temporal and east are gone" --dry-run

    The same runbook as tidegate failover deployment, on a throw-away Temporal server on this machine. It takes the
    deployment over from whoever holds it: an operation that is still in the lost Temporal finds itself superseded when
    that comes back. Ctrl-C leaves it as it is; what goes on with it is printed.
    """
    fields = {
        "to": to,
        "unplanned": unplanned,
        "point": point,
        "parallelism": parallelism,
        "dry_run": dry_run,
        "bake_s": runbook.seconds(bake, "--bake"),
    }
    asking = Asking(why, fields, abort, who_asks(who))
    if not even_though_temporal_answers:
        asyncio.run(_refuse_if_temporal_answers(_plain(deployment, fields)))
    folder = (keep_server or _fresh_folder(deployment)).absolute()
    found = Asked.read(folder)
    if found is not None and found.request.deployment != deployment:
        raise InvalidInput(f"--keep-server: the operation in {folder} is one of {found.request.deployment}")
    if abort and found is None:
        raise InvalidInput(f"--abort: there is no operation in {folder}", hint="it goes with --keep-server DIR")
    known = asyncio.run(_look_up(deployment, fleet))
    asked = found or _asked(deployment, asking, known)
    if found is not None:
        output.note(
            f"goes on with {asked.operation}, asked by {asked.request.requested_by} at {output.utc(found.began)}"
        )
    else:
        _tell_of_unfinished(deployment)
        if not dry_run:
            confirm(_question(deployment, known.record), yes=yes)
        asked.write(folder)
    output.note(f"server     on this machine; its database is in {folder} until it has ended")
    try:
        code = asyncio.run(_operate(folder, asked, asking, fleet))
    except TidegateError as error:
        goes_on = f"go on with it:  {again(folder, deployment)}"
        error.hint = "\n".join(part for part in (error.hint, goes_on) if part)
        raise
    if code == EXIT_INTERRUPTED:
        _say_interrupted(asked.operation, folder, again(folder, deployment))
    elif code == EXIT_HALTED:
        output.note(f"kept       {folder}")
    return code


@dataclass(frozen=True)
class _Known:
    fleet: Fleet
    record: DeploymentRecord | None


async def _look_up(deployment: str, fleet: Path | None) -> _Known:
    async with open_control(fleet, CONTROL_TIMEOUT_S) as control:
        published = (await control.fleet()).fleet
        published.deployment(deployment)
        return _Known(published, await control.record(deployment))


async def _refuse_if_temporal_answers(plain: str) -> None:
    """Raises Refused if it answers; TemporalUnreachable if nobody can say where it should be."""
    where = address()
    try:
        await connect(timeout_s=ANSWERS_S)
    except TemporalUnreachable:
        return
    raise Refused(
        f"Temporal answers at {where}: break-glass is for when it is lost; nothing was done",
        hint=f"do it there:  {plain}\nif nothing can be done there all the same:  --even-though-temporal-answers",
    )


def _plain(deployment: str, fields: Mapping[str, object]) -> str:
    words = ["tidegate", "failover", "deployment", deployment]
    for name, value in fields.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif name == "bake_s":
            words += ["--bake", f"{value:g}s"]
        elif value not in {None, False}:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _asked(deployment: str, asking: Asking, known: _Known) -> Asked:
    """The operation that shall be. Raises InvalidInput."""
    if not asking.why:
        raise InvalidInput("--why: say why it is done without Temporal; it stands in the report", hint="--why TEXT")
    needs_approval = known.fleet.deployment(deployment).approval == "required"
    try:
        request = FailoverInput.model_validate(
            {
                **asking.fields,
                "deployment": deployment,
                "requested_by": asking.who,
                "reason": f"break-glass, without Temporal: {asking.why}",
                # Whoever holds it does so in a cluster that cannot be asked: a person's word it is (O4).
                "take_over": {"why": asking.why},
                "break_glass": asking.why if needs_approval else None,
            }
        )
    except ValidationError as error:
        raise invalid_input(error, FailoverInput.__name__) from error
    epoch = known.record.epoch if known.record else 0
    return Asked(operation=operations.operation_id("break-glass", request, epoch), request=request, began=utc_now())


def _question(deployment: str, record: DeploymentRecord | None) -> str:
    runs = f"{record.writer.artifact.name} in {record.writer.region}" if record and record.writer else "nothing"
    holder = record.holder if record else None
    held = f"; it is taken over from {holder.operation} of {holder.who}" if holder else ""
    return f"break-glass failover {deployment}: {runs} runs now{held}. Go on without the Temporal that is lost?"


def _fresh_folder(deployment: str) -> Path:
    """A folder that outlives a reboot: the operation in it may have to be gone on with."""
    return _state() / f"break-glass-{deployment}-{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def _state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tidegate"


def _tell_of_unfinished(deployment: str) -> None:
    """An earlier one may be gone on with instead; a new one takes the deployment over from it."""
    for folder in sorted(_state().glob(f"break-glass-{deployment}-*")):
        try:
            left = Asked.read(folder)
        except InvalidInput as error:
            output.note(error.message)  # what is left of another one stands in nobody's way
            continue
        if left is not None and left.request.deployment == deployment:
            output.note(
                f"not ended  {left.operation} of {output.utc(left.began)} is taken over from; or go on with it:  "
                f"{again(folder, deployment)}"
            )


async def _operate(folder: Path, asked: Asked, asking: Asking, fleet: Path | None) -> int:
    # Loaded on demand: --help needs no workers.
    from workers import alone  # noqa: PLC0415

    word = alone.Word.RESUME
    if asking.abort:
        word = alone.Word.ABORT
    elif asking.fields["unplanned"] and not asked.request.unplanned:
        word = alone.Word.ESCALATE
    said = word, ControlInput(by=asking.who, why=asking.why or "")
    async with open_control(fleet, CONTROL_TIMEOUT_S) as control:
        regions = sorted(await _regions(control))
        with alone.stopping() as stop:
            return await alone.operate(folder, asked, control, regions, cache_folder(os.environ), said, stop)


async def _regions(control: ControlBucket) -> set[str]:
    return set((await control.fleet()).fleet.regions)


def _say_interrupted(operation: str, folder: Path, command: str) -> None:
    if output.as_json():
        output.answer(
            {
                "operation": operation,
                "interrupted": True,
                "folder": str(folder),
                "next_commands": [command, f"{command} --abort"],
            }
        )
        return
    output.say(f"\ninterrupted {operation} is left as it is, and holds its deployment; nothing goes on by itself")
    output.say(f"go on       {command}")
    output.say(f"go back     {command} --abort")
    output.say(f"kept        {folder}")
