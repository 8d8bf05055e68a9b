"""The ``tidegate`` command: finds its commands, runs one, prints errors for a person, exits with what happened."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from tidegate.cli import output
from tidegate.errors import InvalidInput, TidegateError
from tidegate.model.nearest import did_you_mean
from tidegate.temporal import telemetry

if TYPE_CHECKING:
    from typer._click import Command, Context  # typer exports no names for these

COMMANDS: tuple[tuple[str, str], ...] = (
    ("fleet", "tidegate.cli.fleet:app"),
    ("artifact", "tidegate.cli.artifact:app"),
    ("upgrade", "tidegate.cli.upgrade:app"),
    ("start", "tidegate.cli.start:app"),
    ("stop", "tidegate.cli.stop:app"),
    ("restore", "tidegate.cli.restore:app"),
    ("failover", "tidegate.cli.failover:app"),
    ("return", "tidegate.cli.return_:app"),
    ("drill", "tidegate.cli.drill:app"),
    ("kafka", "tidegate.cli.kafka:app"),
    ("ops", "tidegate.cli.ops:app"),
    ("mirror", "tidegate.cli.mirror:app"),
    ("registry", "tidegate.cli.registry:app"),
    ("snapshot", "tidegate.cli.snapshot:app"),
    ("points", "tidegate.cli.points:app"),
    ("ready", "tidegate.cli.ready:app"),
    ("lineage", "tidegate.cli.lineage:app"),
    ("groups", "tidegate.cli.groups:app"),
    ("schedules", "tidegate.cli.schedules:app"),
    ("report", "tidegate.cli.report:app"),
    ("notices", "tidegate.cli.notices:app"),
    ("incident", "tidegate.cli.incident:app"),
    ("incident", "tidegate.cli.incident:app"),
)
"""Commands of our own in the order of ``--help``: name and where its ``typer.Typer`` is. One line each."""

ENTRY_POINTS = "tidegate.commands"
"""Commands of packages that tidegate may not import (sandbox, workers) come in by this group."""

EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def known_commands() -> dict[str, str]:
    """Name of each command to where its ``typer.Typer`` is (``module:attribute``)."""
    found = dict(COMMANDS)
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, point.value)
    return found


class Commands(TyperGroup):
    """A group whose commands are imported when they are asked for, so that a broken one breaks only itself."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Names, in the order of ``--help``."""
        return list(known_commands())

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """One command, imported now; None if there is no such name."""
        target = known_commands().get(cmd_name)
        return None if target is None else _load(cmd_name, target)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """As the base, but an unknown name is our kind of error."""
        known = known_commands()
        if args and not args[0].startswith("-") and args[0] not in known:
            msg = f"no such command: {args[0]}{did_you_mean(args[0], known)}"
            raise InvalidInput(msg, hint=f"commands: {', '.join(known)}")
        return super().resolve_command(ctx, args)


def _load(name: str, target: str) -> Command:
    module, _, attribute = target.partition(":")
    try:
        app = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 (any error of a module that is being imported belongs to that module)
        app = _unavailable(name, module, error)
    command = typer.main.get_command(app)
    command.name = name
    return command


def _unavailable(name: str, module: str, error: Exception) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    @app.command(
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
        short_help=f"cannot be loaded: {type(error).__name__}: {error}",
    )
    def unavailable() -> None:
        msg = f"the command {name} cannot be loaded: importing {module}: {type(error).__name__}: {error}"
        hint = "install this project again in its environment:  make setup"
        raise InvalidInput(msg, hint=hint) from error

    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        output.say(f"tidegate {version('tidegate')}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 undone, 2 bad input, 3 halted, 4 refused, 5 cannot reach Temporal, 6 superseded, "
    "7 done but a bad verdict.",
)


@app.callback()
def root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Example:  tidegate fleet check runbooks/fleet-sandbox.yaml

    Durable runbooks for a fleet of Apache Flink jobs.
    """


def run(args: Sequence[str]) -> int:
    """Run one command line; its exit code. Errors are printed, never raised."""
    output.choose(_format_of(args))
    command = typer.main.get_command(app)
    try:
        done = command.main(list(args), prog_name="tidegate", standalone_mode=False)
    except TidegateError as error:
        output.print_error(error)
        return error.exit_code
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        output.note("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone; nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 (the last resort: a bug of ours, told in one line)
        return _bug(error)
    return done if isinstance(done, int) else 0


def _format_of(args: Sequence[str]) -> output.Format:
    """The format as far as it can be seen before the command line is understood: its mistakes are printed in it."""
    text = " ".join(args).replace("=", " ")
    return output.Format.JSON if " -o json" in f" {text}" or " --output json" in f" {text}" else output.Format.TEXT


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tidegate"
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error.format_message()}\n")
        return 2
    message = error.format_message().rstrip(".")
    output.print_error(InvalidInput(f"{path}: {message}", hint=f"see:  {path} --help"))
    return error.exit_code


def _bug(error: Exception) -> int:
    if os.environ.get("TIDEGATE_DEBUG"):
        traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    bug = TidegateError(
        f"a bug in tidegate: {type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})",
        hint="the whole stack:  TIDEGATE_DEBUG=1 tidegate …",
    )
    output.print_error(bug)
    return EXIT_BUG


def main() -> None:
    """Entry point of the ``tidegate`` script.

    The process ends without finalizing the interpreter: a call to Temporal or Kafka that was given up may still be
    answered in a native thread, and one that comes back into a finalizing interpreter aborts the process (seen: exit
    status 134 after a command that had done its work).
    """
    status = run(sys.argv[1:])
    telemetry.flush()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            status = status or 1  # who read it has gone
    logging.shutdown()
    os._exit(status)
