"""The sandbox as a Python object: what the command line, the demo and the tests use."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from sandbox import faults
from sandbox.connect import allow_worker, build_transform, connect_spec
from sandbox.endpoints import Endpoints, RegionEndpoints
from sandbox.flink import jobmanager_name, jobmanager_spec, taskmanager_spec
from sandbox.identity import MARK, Identity, end_all, marked
from sandbox.kafka import kafka_spec
from sandbox.layout import CONTROL_BUCKET, DEFAULT_BASE_PORT, HOST, Layout
from sandbox.notices import notices_spec
from sandbox.parts import PARTS, ZOOKEEPER, fetch, find_java
from sandbox.probes import look
from sandbox.seaweed import remove_sockets, s3_spec
from sandbox.spec import Folder, ProcessSpec, SandboxRecord, write
from sandbox.status import PartStatus, part_status
from sandbox.temporal import temporal_spec
from sandbox.zookeeper import zookeeper_spec
from tidegate.errors import InvalidInput, NoProgress, Refused

__all__ = ["Endpoints", "PartStatus", "ProcessSpec", "RegionEndpoints", "Sandbox"]

Progress = Callable[[str], None]

_POLL_S = 0.05
_READY_S = 120.0
_SUPERVISOR_S = 15.0
_LOG_TAIL_LINES = 12


class Sandbox:
    """One sandbox: a data folder, a base port, a supervisor and its processes.

    Creating the object starts nothing. ``base_port`` None means the one that the folder remembers, else 27000.

    Raises:
        InvalidInput: the folder's sandbox has another base port than the one given.

    """

    def __init__(self, data: Path, base_port: int | None = None) -> None:
        self.folder = Folder(data)
        record = self.folder.record()
        if record is not None and base_port is not None and record.base_port != base_port:
            raise InvalidInput(
                f"{self.folder.path} is a sandbox at base port {record.base_port}, not {base_port}",
                hint="leave --base-port out, or give another --data",
            )
        self.layout = Layout(record.base_port if record is not None else base_port or DEFAULT_BASE_PORT)

    @property
    def endpoints(self) -> Endpoints:
        """Where clients find everything."""
        return Endpoints.of(self.layout)

    async def up(
        self,
        regions: Iterable[str] = ("east",),
        taskmanagers: int = 2,
        progress: Progress | None = None,
        timeout_s: float = _READY_S,
        *,
        mirror: bool = False,
        ha: bool = False,
    ) -> None:
        """Bring control and the named regions up and wait until they are ready. What runs already is left as it is.

        ``taskmanagers`` 0: no Flink. ``mirror``: Kafka Connect too, for links that lead to these regions. ``ha``:
        ZooKeeper too, and Flink's high availability by it; a region that was brought up so once keeps it.
        ``timeout_s`` is the deadline from the start of the processes; fetching parts comes before and has none.

        Raises:
            InvalidInput: a region is unknown, something to be installed is missing, a port is taken.
            NoProgress: a part was not ready in time; the message has its last log lines.
            OperationFailed: a part could not be fetched or prepared.
            Refused: ``ha`` of a region whose Flink runs without.

        """
        say = progress or (lambda _line: None)
        wanted = {name: self.layout.region(name) for name in dict.fromkeys(regions)}
        for ports in wanted.values():
            ports.taskmanager(taskmanagers or 1)
        java = await find_java() if wanted else ""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        async with self._up_lock():
            if wanted:
                for part in PARTS:
                    await fetch(part, say)
            known = self.folder.record() or SandboxRecord(id=uuid.uuid4().hex, base_port=self.layout.base_port)
            available = self._available(known, wanted if ha and taskmanagers else ())
            if available & wanted.keys():
                await fetch(ZOOKEEPER, say)
            transform = await build_transform(say) if wanted and mirror else None
            self._check_ports(taskmanagers, wanted)
            record = known.model_copy(
                update={
                    "taskmanagers": {**known.taskmanagers, **dict.fromkeys(wanted, taskmanagers)},
                    "ha": sorted(available),
                }
            )
            write(self.folder.record_path, record)
            await self._start_supervisor(record.id)
            specs = [
                s3_spec(self.folder, "control/s3", self.layout.control_s3, CONTROL_BUCKET),
                temporal_spec(self.folder, self.layout),
                notices_spec(self.folder, self.layout),
            ]
            for name, ports in wanted.items():
                specs.append(s3_spec(self.folder, f"{name}/s3", ports.s3, ports.bucket))
                by = name in available
                if taskmanagers:
                    specs.extend([zookeeper_spec(self.folder, ports, java)] if by else [])
                    specs.append(jobmanager_spec(self.folder, ports, java, ha=by))
                specs.extend(
                    taskmanager_spec(self.folder, ports, number, java, ha=by) for number in range(1, taskmanagers + 1)
                )
            deadline = time.monotonic() + timeout_s
            await _together(
                *(self._bring_up(spec, deadline, say) for spec in specs),
                *(self._bring_up_kafka(name, java, deadline, say, transform) for name in wanted),
            )

    async def down(self, *, delete: bool = False) -> None:
        """End every process of this sandbox, the supervisor too; returns when all have ended. Data stays.

        ``delete`` removes the data folder afterwards.
        """
        record = self.folder.record()
        if record is None:
            return
        await asyncio.to_thread(self._end, record)
        if delete:
            await asyncio.to_thread(shutil.rmtree, self.folder.path)

    def add_process(self, spec: ProcessSpec) -> None:
        """Have the supervisor keep a process (a worker, a generator). One of that name is replaced at its next start.

        Raises:
            InvalidInput: the sandbox is not up.

        """
        supervisor = self.folder.supervisor()
        if supervisor is None or not supervisor.alive():
            raise InvalidInput(f"the sandbox in {self.folder.path} is not up", hint="tidegate sandbox up")
        known = self.folder.spec(spec.name)
        write(
            self.folder.spec_path(spec.name), spec.model_copy(update={"wish": known.wish + 1 if known else spec.wish})
        )

    async def remove_process(self, name: str, timeout_s: float = 30.0) -> None:
        """End a process and forget it; returns when it has ended.

        Raises:
            NoProgress: it did not end in time.

        """
        self.folder.spec_path(name).unlink(missing_ok=True)
        await self._wait(timeout_s, f"{name} to end", lambda: self.folder.state(name) is None)

    def parts(self, part: str) -> list[str]:
        """Names of the processes that ``part`` means: one, or all below it (``east``, ``east/flink``).

        Raises:
            InvalidInput: none.

        """
        names = self.folder.spec_names()
        found = [name for name in names if name == part or name.startswith(f"{part.rstrip('/')}/")]
        if not found:
            raise InvalidInput(f"no part {part!r}", hint=f"there are {', '.join(names) or 'none: the sandbox is down'}")
        return found

    def kill(self, part: str, *, for_good: bool = False) -> list[Identity]:
        """SIGKILL; the supervisor starts it again unless it was ``for_good``. Returns what was killed, when it is dead.

        All of a region is one act: every process is looked up first, and the signals follow each other at once.

        Raises:
            NoProgress: the kernel has not ended it within five seconds.

        """
        return faults.kill(self.folder, part, self.parts(part), for_good=for_good)

    def start(self, part: str) -> None:
        """Start what was killed for good or has ended; what runs is left as it is."""
        for name in self.parts(part):
            faults.want(self.folder, name, "up")

    def pause(self, part: str) -> None:
        """SIGSTOP: it keeps its connections and answers nothing. All of a region is one act; what is ended stays so.

        Returns when all of it stands still.

        Raises:
            NoProgress: the kernel has not stopped it within five seconds.
            Refused: it does not run, or one of several is just being started. Nothing was signalled then.

        """
        faults.send(self.folder, part, self.parts(part), signal.SIGSTOP)

    def resume(self, part: str) -> None:
        """SIGCONT, as ``pause``.

        Raises:
            NoProgress: it does not go on within five seconds.
            Refused: it does not run, or one of several is just being started. Nothing was signalled then.

        """
        faults.send(self.folder, part, self.parts(part), signal.SIGCONT)

    def status(self) -> list[PartStatus]:
        """Every process that shall be or is, by name."""
        names = sorted({*self.folder.spec_names(), *self.folder.state_names()})
        return [part_status(self.folder, name) for name in names]

    def logs(self, part: str, lines: int = _LOG_TAIL_LINES) -> list[str]:
        """The last lines of a process's log; empty if it has written none."""
        path = self.folder.log_path(part)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 512 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]

    async def wait_ready(self, part: str, timeout_s: float = _READY_S) -> None:
        """Wait until the part (all processes below it) runs and its probe says ready.

        Raises:
            NoProgress: not in time, or it has ended and will not be started again. The message has the last log lines.

        """
        deadline = time.monotonic() + timeout_s
        await _together(*(self._ready(name, deadline) for name in self.parts(part)))

    def _available(self, record: SandboxRecord, asked: Iterable[str]) -> set[str]:
        """Regions whose Flink is highly available: those that were, and those that are asked to be."""
        for name in set(asked) - set(record.ha):
            if self._identity(jobmanager_name(name)) is not None:
                raise Refused(
                    f"{name}'s Flink runs without high availability",
                    hint="end it first:  tidegate sandbox down, and bring it up again with --ha",
                )
        return {*record.ha, *asked}

    async def _bring_up(self, spec: ProcessSpec, deadline: float, say: Progress) -> None:
        started = time.monotonic()
        if self._identity(spec.name) is None or self.folder.spec(spec.name) is None:
            known = self.folder.spec(spec.name)
            wish = known.wish + 1 if known else 0
            write(self.folder.spec_path(spec.name), spec.model_copy(update={"wish": wish}))
        await self._ready(spec.name, deadline)
        say(f"{spec.name}: ready after {time.monotonic() - started:.1f} s  {spec.endpoint}")

    async def _bring_up_kafka(
        self, region: str, java: str, deadline: float, say: Progress, transform: Path | None
    ) -> None:
        spec = await kafka_spec(self.folder, self.layout.region(region), java)
        await self._bring_up(spec, deadline, say)
        if transform is not None:
            await allow_worker(self.layout.region(region))
            await self._bring_up(connect_spec(self.folder, self.layout.region(region), java, transform), deadline, say)

    async def _ready(self, name: str, deadline: float) -> None:
        why: str | None = "not started yet"
        while why is not None:
            spec, state = self.folder.spec(name), self.folder.state(name)
            if spec is None:
                raise InvalidInput(f"no part {name!r}")
            alive = state is not None and state.identity is not None and state.identity.alive()
            if alive and state is not None:
                why = await look(spec.ready, state, self.folder.log_path(name)) if spec.ready else None
            elif state is not None and state.error:
                why = state.error
            ended = not alive and state is not None and state.failures > 0 and spec.restart == "never"
            if why is not None and (ended or time.monotonic() > deadline):
                tail = "\n".join(f"    {line}" for line in self.logs(name))
                raise NoProgress(
                    f"{name} is not ready: {why}. Last lines of {self.folder.log_path(name)}:\n{tail}",
                    hint="tidegate sandbox status, then tidegate sandbox down and up; a busy machine needs --timeout",
                )
            if why is not None:
                await asyncio.sleep(_POLL_S)

    def _identity(self, name: str) -> Identity | None:
        return faults.running(self.folder, name)

    def _end(self, record: SandboxRecord) -> None:
        supervisor = self.folder.supervisor()
        if supervisor is not None:
            # It ends its children first, each with its own grace.
            graces = [spec.grace_s for name in self.folder.spec_names() if (spec := self.folder.spec(name))]
            end_all([(supervisor, max(graces, default=0.0) + 10.0)])
        # What is left if the supervisor had been killed: by record, then by mark.
        recorded = [identity for name in self.folder.state_names() if (identity := self._identity(name))]
        end_all((one, 5.0) for one in recorded)
        while left := marked(record.id):
            end_all((one, 0.0) for one in left)
        for ports in (self.layout.control_s3, *(self.layout.region(name).s3 for name in record.taskmanagers)):
            remove_sockets(ports)
        for folder in ("processes", "states"):
            shutil.rmtree(self.folder.path / folder, ignore_errors=True)
        self.folder.supervisor_path.unlink(missing_ok=True)

    def _check_ports(self, taskmanagers: int, wanted: Iterable[str]) -> None:
        running = {status.name.partition("/")[0] for status in self.status() if status.pid is not None}
        ports = [] if "control" in running else list(self.layout.control_ports())
        for region in wanted:
            if region not in running:
                ports.extend(self.layout.region_ports(region, taskmanagers))
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise InvalidInput(
                        f"port {port}, which the sandbox at base port {self.layout.base_port} needs, is taken: {error}",
                        hint="another sandbox may use it: give --data and --base-port of your own",
                    ) from error

    async def _start_supervisor(self, sandbox_id: str) -> None:
        known = self.folder.supervisor()
        if known is not None and known.alive():
            return
        path = self.folder.supervisor_log_path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sandbox.supervisor",
                str(self.folder.path),
                env={**os.environ, MARK: sandbox_id},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            await process.wait()

        def alive() -> bool:
            supervisor = self.folder.supervisor()
            return supervisor is not None and supervisor.alive()

        await self._wait(_SUPERVISOR_S, f"the supervisor (its log: {path})", alive)

    async def _wait(self, timeout_s: float, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise NoProgress(f"waited {timeout_s:.0f} s for {what}")
            await asyncio.sleep(_POLL_S)

    @asynccontextmanager
    async def _up_lock(self) -> AsyncIterator[None]:
        with self.folder.up_lock_path.open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"another `up` is at work in {self.folder.path}", hint="wait for it, or give another --data"
                ) from None
            yield


async def _together(*work: Coroutine[None, None, None]) -> None:
    """Run all at once; the first error ends the others and is the one that is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
