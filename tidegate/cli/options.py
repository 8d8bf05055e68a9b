"""Options that commands share, and what stands behind them."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.errors import InvalidInput, Refused
from tidegate.model.fleetfile import LoadedFleet, load_fleet

SANDBOX_FLEET = Path("runbooks/fleet-sandbox.yaml")
DEFAULT_FLEET = Path("fleet.yaml")

OutputOption = Annotated[
    output.Format,
    typer.Option("-o", "--output", callback=output.choose, is_eager=True, help="text, or json for programs"),
]
FleetOption = Annotated[
    Path | None,
    typer.Option(
        "--fleet",
        envvar="TIDEGATE_FLEET",
        help=f"the fleet file; default {SANDBOX_FLEET} if it is there, else {DEFAULT_FLEET}",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="print what would be done and do nothing")]
WhoOption = Annotated[
    str | None,
    typer.Option("--who", envvar="TIDEGATE_WHO", help="who asks; default your user name", show_default=False),
]


def find_fleet(given: Path | None) -> Path:
    """The fleet file that is meant. Raises InvalidInput if none was named and none stands in its usual place."""
    if given is not None:
        return given
    for path in (SANDBOX_FLEET, DEFAULT_FLEET):
        if path.exists():
            return path
    msg = f"no fleet file: neither {SANDBOX_FLEET} nor {DEFAULT_FLEET} is here ({Path.cwd()})"
    raise InvalidInput(msg, hint="name one with --fleet FILE or TIDEGATE_FLEET")


def read_fleet(given: Path | None) -> LoadedFleet:
    """The fleet file that is meant, read. Raises InvalidInput with all of its mistakes."""
    return load_fleet(find_fleet(given))


def who_asks(given: str | None) -> str:
    """The name that goes on record: a claim, not a proof (O14)."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed. Raises Refused if the answer is no, or if nobody can be asked."""
    if yes:
        return
    if output.as_json() or not sys.stdin.isatty():
        msg = f"not confirmed: {question}"
        raise Refused(msg, hint="nothing was done; add --yes to do it without being asked")
    if not typer.confirm(question):
        msg = "not confirmed"
        raise Refused(msg, hint="nothing was done")
