"""`tidegate sandbox …`: the two regions on this machine."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from sandbox.api import PartStatus, Sandbox
from sandbox.layout import REGIONS
from tidegate.errors import InvalidInput, TidegateError

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Two regions on this machine, from real parts.\n\nExample:  tidegate sandbox up",
)


class Output(StrEnum):
    """How to print."""

    text = "text"
    json = "json"


DataOption = Annotated[
    Path, typer.Option("--data", envvar="TIDEGATE_SANDBOX", help="The sandbox's data folder.", file_okay=False)
]
BasePortOption = Annotated[
    int | None,
    typer.Option("--base-port", help="The first of 300 ports; remembered in the data folder. Default 27000."),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
PartArgument = Annotated[str, typer.Argument(help="A part, or all below it: east/kafka, east/flink, east.")]
DEFAULT_DATA = Path(".tidegate/sandbox")


def _fail(error: TidegateError) -> NoReturn:
    lines = str(error).splitlines() or [type(error).__name__]
    typer.echo(f"error: {lines[0]}", err=True)
    for line in lines[1:]:
        typer.echo(f"       {line}", err=True)
    if error.hint:
        typer.echo(f"       {error.hint}", err=True)
    raise typer.Exit(error.exit_code) from error


def _try(work: Callable[[], T]) -> T:
    try:
        return work()
    except TidegateError as error:
        _fail(error)


def _run(work: Coroutine[Any, Any, None]) -> None:
    _try(lambda: asyncio.run(work))


def _open(data: Path, base_port: int | None = None) -> Sandbox:
    return _try(lambda: Sandbox(data, base_port))


@app.command()
def up(
    region: Annotated[list[str] | None, typer.Option("--region", help="east or west; may be repeated.")] = None,
    all_regions: Annotated[bool, typer.Option("--all", help="Both regions.")] = False,
    control_only: Annotated[bool, typer.Option("--control", help="Only Temporal and the control S3.")] = False,
    taskmanagers: Annotated[int, typer.Option(help="TaskManagers per region, two slots each; 0: no Flink.")] = 2,
    mirror: Annotated[bool, typer.Option("--mirror", help="Kafka Connect too, for mirrors to these regions.")] = False,
    ha: Annotated[bool, typer.Option("--ha", help="ZooKeeper too: Flink's jobs outlive their JobManager.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds until all must be ready.")] = 120.0,
    data: DataOption = DEFAULT_DATA,
    base_port: BasePortOption = None,
) -> None:
    """Start control and a region (east unless said) and wait until they are ready.

    Example:  tidegate sandbox up --region west
    """
    regions = REGIONS if all_regions else () if control_only else tuple(region or ("east",))
    sandbox = _open(data, base_port)
    _run(sandbox.up(regions, taskmanagers, typer.echo, timeout, mirror=mirror, ha=ha))
    typer.echo(f"up         Temporal UI {sandbox.endpoints.temporal_ui}      data {sandbox.folder.path}")


@app.command()
def down(
    delete: Annotated[bool, typer.Option("--delete", help="Remove the data folder too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before data is removed.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """End every process of the sandbox. Data stays unless --delete is given.

    Example:  tidegate sandbox down
    """
    sandbox = _open(data)
    if delete and not yes:
        typer.confirm(f"End the sandbox and remove all of {sandbox.folder.path}?", abort=True)
    running = [part.name for part in sandbox.status() if part.pid is not None]
    _run(sandbox.down(delete=delete))
    typer.echo(f"down       {len(running)} processes ended" + (", data removed" if delete else ""))


@app.command()
def status(data: DataOption = DEFAULT_DATA, output: OutputOption = Output.text) -> None:
    """Every process: state, since when, memory, endpoint.

    Example:  tidegate sandbox status -o json
    """
    parts = _open(data).status()
    if output is Output.json:
        typer.echo(json.dumps([_as_json(part) for part in parts], indent=2))
        return
    if not parts:
        typer.echo("down       nothing runs; start it:  tidegate sandbox up")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "pid", "since", "memory", "starts", "endpoint"):
        table.add_column(column, justify="right" if column in {"pid", "memory", "starts"} else "left", no_wrap=True)
    for part in parts:
        table.add_row(
            part.name,
            part.state,
            str(part.pid or ""),
            f"{datetime.fromtimestamp(part.since_s, UTC):%H:%M:%S} UTC" if part.since_s else "",
            f"{part.rss_bytes / 1024 / 1024:,.0f} MiB" if part.pid else "",
            str(part.spawns),
            part.error or part.endpoint,
        )
    Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True).print(table)


def _as_json(part: PartStatus) -> dict[str, object]:
    since = datetime.fromtimestamp(part.since_s, UTC).isoformat() if part.since_s else None
    return {**asdict(part), "since": since}


@app.command()
def logs(
    part: PartArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """The last lines of a part's log.

    Example:  tidegate sandbox logs east/flink/jobmanager
    """
    sandbox = _open(data)
    names = _try(lambda: sandbox.parts(part))
    for name in names:
        if len(names) > 1:
            typer.echo(f"==> {sandbox.folder.log_path(name)}")
        for line in sandbox.logs(name, lines):
            typer.echo(line)


@app.command()
def kill(
    part: PartArgument,
    for_good: Annotated[bool, typer.Option("--for-good", help="Do not start it again by itself.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """SIGKILL. The supervisor starts it again, unless --for-good. All of a region is one act.

    Example:  tidegate sandbox kill east --for-good
    """
    sandbox = _open(data)
    killed = _try(lambda: sandbox.kill(part, for_good=for_good))
    typer.echo(f"killed     {len(killed)} processes" + (f"; back:  tidegate sandbox start {part}" if for_good else ""))


@app.command()
def start(
    part: PartArgument,
    timeout: Annotated[float, typer.Option(help="Seconds until all must be ready.")] = 120.0,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Start again what was killed for good, and wait until it is ready. A region's data is as it was.

    Example:  tidegate sandbox start east
    """
    sandbox = _open(data)
    _try(lambda: sandbox.start(part))
    _run(sandbox.wait_ready(part, timeout))
    typer.echo(f"ready      {part}")


@app.command()
def pause(part: PartArgument, data: DataOption = DEFAULT_DATA) -> None:
    """SIGSTOP: it keeps its connections and answers nothing. All of a region is one act.

    Example:  tidegate sandbox pause west/kafka
    """
    _try(lambda: _open(data).pause(part))
    typer.echo(f"paused     {part}; go on:  tidegate sandbox resume {part}")


@app.command()
def resume(part: PartArgument, data: DataOption = DEFAULT_DATA) -> None:
    """SIGCONT, after a pause.

    Example:  tidegate sandbox resume west/kafka
    """
    _try(lambda: _open(data).resume(part))
    typer.echo(f"resumed    {part}")


@app.command()
def env(
    part: Annotated[str | None, typer.Argument(help="control, east or west; all if not given.")] = None,
    data: DataOption = DEFAULT_DATA,
    base_port: BasePortOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Endpoints and the sandbox's fixed credentials, as lines for a shell.

    Example:  eval "$(tidegate sandbox env)"
    """
    values = _open(data, base_port).endpoints.environment()
    if part is not None:
        others = {"control", *REGIONS} - {_try(lambda: _control_or_region(part))}
        values = {key: value for key, value in values.items() if not any(f"_{one.upper()}_" in key for one in others)}
    if output is Output.json:
        typer.echo(json.dumps(values, indent=2))
        return
    for key, value in values.items():
        typer.echo(f"export {key}={shlex.quote(value)}")


def _control_or_region(part: str) -> str:
    if part not in {"control", *REGIONS}:
        raise InvalidInput(f"no endpoints of {part!r}", hint=f"expected control, {', '.join(REGIONS)}")
    return part


if __name__ == "__main__":
    app()
