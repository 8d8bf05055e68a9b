"""A sandbox for tests: on free ports, in a folder of its own, taken down at the end.

In a conftest.py:  ``from tests.kit.sandbox import east``  and the fixture is there, started once per session.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.layout import HOST, MAX_TASKMANAGERS, PORTS, REGIONS, Layout

_FIRST, _LAST = 12000, 26700
UP_S = 300.0
"""Deadline of ``up`` in tests: the machine may be busy with others."""


@contextmanager
def free_base_port() -> Iterator[int]:
    """A base port whose 300 ports are free, held against other test runs on this machine until the end."""
    root = Path(tempfile.gettempdir()) / "tidegate-test-ports"
    root.mkdir(exist_ok=True)
    with ExitStack() as stack:
        for base in range(_FIRST, _LAST, PORTS):
            lock = stack.enter_context((root / f"{base}.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if all(_free(port) for port in _ports(Layout(base))):
                yield base
                return
    pytest.fail("no free base port for a sandbox")


def _ports(layout: Layout) -> Iterator[int]:
    yield from layout.control_ports()
    for region in REGIONS:
        yield from layout.region_ports(region, MAX_TASKMANAGERS)
        yield layout.region(region).kafka_proxied_advertised


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextmanager
def running_sandbox(
    folder: Path, *regions: str, taskmanagers: int = 2, mirror: bool = False, ha: bool = False
) -> Iterator[Sandbox]:
    """Control and the named regions, up and ready; down at the end, whatever happened.

    Not for use inside a running event loop.
    """
    with free_base_port() as base:
        sandbox = Sandbox(folder, base)
        try:
            asyncio.run(sandbox.up(regions, taskmanagers, print, UP_S, mirror=mirror, ha=ha))
            yield sandbox
        finally:
            keep = os.environ.get("TIDEGATE_TEST_KEEP_DATA") == "1"
            asyncio.run(sandbox.down(delete=not keep))


@pytest.fixture(scope="session")
def east(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Control and ``east``, once per session. Tests that share it leave it as they found it: all up, none paused."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox") / "data", "east") as sandbox:
        yield sandbox
