"""The sandbox's receiver of notices, as the process that it is: what is signed is kept, what is not is refused."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.fleet import fleet_text
from sandbox.layout import Layout
from sandbox.notices import NAME, notices_spec
from sandbox.spec import Folder
from tests.kit.eventually import eventually
from tests.kit.sandbox import free_base_port
from tests.unit.notices.samples import notice
from tidegate.model.fleetfile import load_fleet
from tidegate.model.fleetnotices import NoticeTarget
from tidegate.model.secret import Secret
from tidegate.notices.send import send


@pytest.fixture
def base_port() -> Iterator[int]:
    with free_base_port() as base:
        yield base


@pytest.fixture
def log(tmp_path: Path, base_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    layout = Layout(base_port)
    spec = notices_spec(Folder(tmp_path), layout)
    assert (spec.name, spec.endpoint) == (NAME, f"http://127.0.0.1:{layout.notices}")
    path = tmp_path / "log"
    with path.open("wb") as output, subprocess.Popen(spec.argv, cwd=spec.cwd, stdout=output) as process:
        yield path
        process.terminate()
        assert process.wait(10) == 0


async def _listens(port: int) -> None:
    with socket.socket() as there:
        assert there.connect_ex(("127.0.0.1", port)) == 0


def _lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _target(tmp_path: Path, base_port: int) -> NoticeTarget:
    """The one of the fleet file."""
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text(base_port))
    (target,) = load_fleet(path).fleet.notices
    return target


async def test_what_the_fleet_file_sends_is_kept_with_who_signed_it(log: Path, tmp_path: Path, base_port: int) -> None:
    await eventually(partial(_listens, Layout(base_port).notices), within_s=30.0)
    target = _target(tmp_path, base_port)
    for _ in range(2):
        (sent,) = await send([target], notice())
        assert (sent.status, sent.problem) == (200, None)
    (refused,) = await send([target.model_copy(update={"secret": Secret(literal="another")})], notice())
    assert refused.status == 401
    first, again, wrong = _lines(log)
    assert (first["signed"], first["again"], again["again"]) == ("signed by sandbox", False, True)
    assert first["notice"] == notice().model_dump(mode="json")
    assert wrong["signed"] == "BAD SIGNATURE"
