"""`tidegate sandbox`: what the options become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sandbox.api import Sandbox
from sandbox.cli import app

RUN = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    async def up(_self: Sandbox, *arguments: Any, **options: Any) -> None:
        calls.append((arguments, options))

    monkeypatch.setattr(Sandbox, "up", up)
    return calls


def test_all_with_mirrors_and_high_availability(asked, tmp_path: Path):
    done = RUN.invoke(app, ["up", "--all", "--mirror", "--ha", "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    ((regions, taskmanagers, *_), options) = asked[0]
    assert (regions, taskmanagers, options) == (("east", "west"), 2, {"mirror": True, "ha": True})


def test_neither_comes_unasked(asked, tmp_path: Path):
    assert RUN.invoke(app, ["up", "--data", str(tmp_path)]).exit_code == 0
    assert asked[0][0][0] == ("east",)
    assert asked[0][1] == {"mirror": False, "ha": False}


@pytest.mark.parametrize("verb", ["kill", "start", "pause", "resume"])
def test_a_part_that_is_not_there_is_named(verb: str, tmp_path: Path):
    done = RUN.invoke(app, [verb, "east", "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "no part 'east'" in done.output
