"""Sandboxes side by side, and what is left of one that is down: data, and no process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.identity import MARK, Identity, marked
from sandbox.probes import s3_client
from tests.kit.sandbox import UP_S, free_base_port
from tidegate.errors import InvalidInput

pytestmark = pytest.mark.sandbox


def sandbox_id(sandbox: Sandbox) -> str:
    record = sandbox.folder.record()
    assert record is not None
    return record.id


async def test_two_side_by_side_and_down_ends_one_of_them_whole(tmp_path: Path):
    with free_base_port() as port_a, free_base_port() as port_b:
        a, b = Sandbox(tmp_path / "a", port_a), Sandbox(tmp_path / "b", port_b)
        try:
            await a.up((), timeout_s=UP_S)
            await b.up((), timeout_s=UP_S)
            client = s3_client(a.endpoints.control_s3)
            client.put_object(Bucket="tidegate", Key="kept", Body=b"kept")
            # A stranger with the mark's name but another id is none of its processes.
            stranger = await asyncio.create_subprocess_exec("sleep", "600", env={**os.environ, MARK: "stranger"})
            await a.down()
            assert marked(sandbox_id(a)) == []
            assert a.status() == []
            assert stranger.returncode is None
            stranger.kill()
            await stranger.wait()
            assert {part.state for part in b.status()} == {"running"}
            # The same folder comes up again, on its own port, with its data.
            again = Sandbox(tmp_path / "a")
            assert again.layout.base_port == port_a
            await again.up((), timeout_s=UP_S)
            assert client.get_object(Bucket="tidegate", Key="kept")["Body"].read() == b"kept"
            client.close()
        finally:
            await a.down()
            await b.down(delete=True)
        assert not (tmp_path / "b").exists()
        assert (tmp_path / "a").exists()
        assert marked(sandbox_id(a)) == []


async def test_a_lost_supervisor_is_replaced_and_down_works_without_one(tmp_path: Path):
    with free_base_port() as port:
        sandbox = Sandbox(tmp_path / "data", port)
        try:
            await sandbox.up((), timeout_s=UP_S)
            before = {part.name: part.pid for part in sandbox.status()}
            supervisor = sandbox.folder.supervisor()
            assert supervisor is not None
            supervisor.signal(signal.SIGKILL)
            await sandbox.up((), timeout_s=UP_S)
            assert {part.name: part.pid for part in sandbox.status()} == before
            second = sandbox.folder.supervisor()
            assert isinstance(second, Identity)
            assert second != supervisor
            second.signal(signal.SIGKILL)
        finally:
            await sandbox.down()
        assert marked(sandbox_id(sandbox)) == []


async def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path):
    with free_base_port() as port, socket.create_server(("127.0.0.1", port + 10)):
        sandbox = Sandbox(tmp_path / "data", port)
        with pytest.raises(InvalidInput, match=f"port {port + 10}"):
            await sandbox.up((), timeout_s=UP_S)
        assert sandbox.status() == []
