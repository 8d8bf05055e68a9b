"""``tidegate worker``: the processes that do the work."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Annotated

import typer

from tidegate.errors import InvalidInput
from tidegate.names import DEPLOYMENT_NAME
from workers.options import Role, WorkerOptions

app = typer.Typer(help="Run the worker processes.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Example:  tidegate worker run --role control

    The processes that run workflows (control) and steps (control and region).
    """


@app.command()
def run(
    role: Annotated[Role, typer.Option(help="control: workflows and all steps; region: the steps of one region")],
    region: Annotated[
        list[str] | None, typer.Option("--region", help="of a region worker: whose steps; may be repeated")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error")] = "info",
) -> None:
    """Example:  tidegate worker run --role region --region east

    Poll for work until SIGTERM or Ctrl-C. Needs TIDEGATE_CONTROL_S3, TIDEGATE_CONTROL_BUCKET,
    TIDEGATE_CONTROL_ACCESS_KEY and TIDEGATE_CONTROL_SECRET_KEY; Temporal is where the profile says
    (TEMPORAL_CONFIG_FILE, TEMPORAL_PROFILE, TEMPORAL_ADDRESS).
    """
    regions = _regions(role, region or [])
    options = WorkerOptions.from_env(os.environ)
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise InvalidInput(f"--log-level: expected debug, info, warning or error, found {log_level}")
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    logging.getLogger("httpx").setLevel(max(level, logging.WARNING))  # a line a request would hide the rest
    # Loaded on demand: --help needs no clients.
    from workers.main import run_worker  # noqa: PLC0415

    asyncio.run(run_worker(role, regions, options))


def _regions(role: Role, regions: list[str]) -> list[str]:
    if role is Role.CONTROL:
        if regions:
            raise InvalidInput("--region: a control worker serves every region", hint="leave it out")
        return []
    if not regions:
        raise InvalidInput("--region: a region worker must be told its region", hint="for example --region east")
    for name in regions:
        if not DEPLOYMENT_NAME.fullmatch(name):
            raise InvalidInput(f"--region: {name!r} is not the name of a region")
    return regions
