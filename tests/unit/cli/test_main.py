"""The command line: how commands are found, how errors are printed, which exit codes come out."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType

import pytest
import typer

from tidegate.cli import main, output
from tidegate.cli.options import OutputOption
from tidegate.errors import Held, MustHalt


@pytest.fixture
def commands(monkeypatch):
    module = ModuleType("tidegate_test_commands")
    app = typer.Typer(add_completion=False)

    @app.command()
    def held(form: OutputOption = output.Format.TEXT) -> None:
        raise Held("ledger is held by upgrade-ledger-7c1f", hint="watch it:  x\nor  y", details={"holder": "ana"})

    module.held = app
    halt = typer.Typer(add_completion=False)

    @halt.command()
    def halted() -> None:
        raise MustHalt("no safe step is left")

    module.halted = halt
    bug = typer.Typer(add_completion=False)

    @bug.command()
    def broken() -> None:
        raise KeyError("x")

    module.bug = bug
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = {name: f"{module.__name__}:{name}" for name in ("held", "halted", "bug")}
    found["gone"] = "tidegate_no_such_module:app"
    found["empty"] = f"{module.__name__}:nothing"
    monkeypatch.setattr(main, "known_commands", lambda: found)


def test_an_error_is_lines_for_a_person(commands, capsys):
    assert main.run(["held"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: ledger is held by upgrade-ledger-7c1f\n       watch it:  x\n       or  y\n"


@pytest.mark.parametrize("args", [["held", "-o", "json"], ["held", "-ojson"]])
def test_an_error_is_json_when_json_was_asked_for(commands, capsys, args):
    assert main.run(args) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"] == {
        "type": "Held",
        "message": "ledger is held by upgrade-ledger-7c1f",
        "hint": "watch it:  x\nor  y",
        "details": {"holder": "ana"},
    }


def test_exit_codes_are_those_of_the_errors(commands, capsys):
    assert main.run(["halted"]) == 3
    assert main.run(["bug"]) == 70
    assert "a bug in tidegate: KeyError" in capsys.readouterr().err


def test_a_command_that_cannot_be_imported_breaks_only_itself(commands, capsys):
    assert main.run(["--help"]) == 0
    assert "gone    cannot be loaded: ModuleNotFoundError" in capsys.readouterr().out
    assert main.run(["gone", "up", "--now"]) == 2
    assert "importing tidegate_no_such_module: ModuleNotFoundError" in capsys.readouterr().err
    assert main.run(["empty"]) == 2
    assert "AttributeError" in capsys.readouterr().err


def test_usage_mistakes(commands, capsys):
    assert main.run(["hold"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: no such command: hold (did you mean held?)\n       commands: held,"
    )
    assert main.run(["held", "--bogus"]) == 2
    assert (
        capsys.readouterr().err == "error: tidegate held: No such option: --bogus\n       see:  tidegate held --help\n"
    )
    assert main.run(["--bogus", "-o", "json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["type"] == "InvalidInput"
    assert main.run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_the_real_commands_are_known_and_help_begins_with_an_example(capsys):
    assert {"fleet", "artifact", "sandbox", "worker"} <= set(main.known_commands())
    assert main.run(["--help"]) == 0
    assert "Example:  tidegate fleet check" in capsys.readouterr().out
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == "tidegate 0.1.0\n"


def test_units():
    assert [output.size(n) for n in (0, 1023, 1024, 41 * 1024 + 300, 12_582_912, 5 * 1024**3, 1024**2 - 1)] == [
        *("0 B", "1023 B", "1 KiB", "41 KiB", "12.0 MiB", "5.0 GiB", "1.0 MiB"),
    ]
    assert [output.duration(s) for s in (0, 0.4, 2.08, 2.0, 9.999, 41, 59.96, 185, 7380, -1.5)] == [
        *("0 s", "0.4 s", "2.08 s", "2 s", "10 s", "41 s", "1 min 00 s", "3 min 05 s", "2 h 03 min", "-1.5 s"),
    ]
    assert output.count(184_233) == "184,233"
    moment = datetime(2026, 3, 1, 5, 14, 22, 870_999, timezone(timedelta(hours=2)))
    assert output.utc(moment) == output.utc(moment.astimezone(UTC)) == "2026-03-01 03:14:22.870 UTC"
    with pytest.raises(ValueError, match="without a zone"):
        output.utc(datetime(2026, 3, 1))  # noqa: DTZ001 (that is the case)
    assert output.columns([("a", "bbb"), ("cc", "")], head=("X", "Y")) == "X   Y\na   bbb\ncc"
