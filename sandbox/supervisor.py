"""The supervisor of a sandbox: starts what shall be, starts again what died, ends what shall not be.

Runs detached, one per data folder (``python -m sandbox.supervisor DATA``). It reads the specs ten times a second and
writes a state per process. When it dies itself, nothing else does: the next one takes the running processes over by
their recorded identity. SIGTERM ends everything and then the supervisor.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from sandbox.identity import MARK, Identity, end_all
from sandbox.spec import Folder, ProcessSpec, ProcessState, write
from tidegate.errors import InvalidInput

TICK_S = 0.1
# The first restart comes at once: a test that kills a part wants it back. Later ones wait, up to five seconds.
_BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 10.0
_LOG_LIMIT_BYTES = 16 * 1024 * 1024

log = logging.getLogger("sandbox.supervisor")


def backoff_s(failures: int) -> float:
    """Seconds to wait before the start that follows this many early deaths in a row."""
    return _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]


class _Child:
    """One process: its state on disk and, if this supervisor started it, the handle that reaps it."""

    def __init__(self, folder: Folder, sandbox_id: str, name: str) -> None:
        self._folder = folder
        self._sandbox_id = sandbox_id
        self.name = name
        self.state = folder.state(name) or ProcessState(name=name)
        self.spec: ProcessSpec | None = None
        self._popen: subprocess.Popen[bytes] | None = None

    def running(self) -> bool:
        """Whether it runs; notes its end when it has ended since the last look."""
        if self._popen is not None:
            # WNOWAIT: see the death but leave the number taken until its group is gone too.
            if os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return True
            self._kill_group(self._popen.pid)
            self._ended(self._popen.wait())
            return False
        if self.state.identity is None:
            return False
        if self.state.identity.alive():
            return True
        self._ended(None)
        return False

    def start(self, spec: ProcessSpec) -> None:
        """Start it; a failure to start counts as an early death."""
        path = self._folder.log_path(self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        temporary = self._folder.part_path(self.name) / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(temporary), **spec.env, MARK: self._sandbox_id}
        with path.open("ab") as output:
            offset = output.tell()
            try:
                self._popen = subprocess.Popen(
                    spec.argv,
                    cwd=spec.cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                failures = self.state.failures + 1
                self._save(
                    identity=None,
                    error=f"cannot start {spec.argv[0]}: {error}",
                    failures=failures,
                    next_start_at_s=time.time() + backoff_s(failures),
                )
                log.error("%s: cannot start: %s", self.name, error)
                return
        identity = Identity.of(self._popen.pid)
        self._save(
            identity=identity,
            started_at_s=identity.create_time_s,
            spawns=self.state.spawns + 1,
            log_offset=offset,
            error="",
        )
        log.info("%s: started, pid %d", self.name, identity.pid)

    def forget(self) -> None:
        """Remove the state of a process that shall not be any more and is not."""
        self._folder.state_path(self.name).unlink(missing_ok=True)

    def reset_backoff(self) -> None:
        """It was asked for anew: early deaths of before do not count."""
        if self.state.failures or self.state.next_start_at_s:
            self._save(failures=0, next_start_at_s=0.0)

    def _ended(self, exit_code: int | None) -> None:
        self._popen = None
        lived_s = time.time() - self.state.started_at_s
        failures = 0 if lived_s >= _STEADY_S else self.state.failures
        self._save(
            identity=None,
            exit_code=exit_code,
            failures=failures + 1,
            next_start_at_s=time.time() + backoff_s(failures),
        )
        log.info("%s: ended with %s after %.1f s", self.name, exit_code, lived_s)

    def _save(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)
        write(self._folder.state_path(self.name), self.state)

    @staticmethod
    def _kill_group(pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # Nobody but the dead leader is left; some systems say "not permitted" for a group of zombies.
            return


class Supervisor:
    """Keeps the processes of one data folder as their specs say."""

    def __init__(self, folder: Folder, sandbox_id: str) -> None:
        self._folder = folder
        self._sandbox_id = sandbox_id
        self._children: dict[str, _Child] = {}
        self._specs: dict[str, tuple[int, ProcessSpec]] = {}
        self._ending: dict[str, float] = {}
        self._stop = False

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: end everything at the next look."""
        self._stop = True

    def run(self) -> None:
        """Look after the processes until told to stop, then end them all."""
        for name in self._folder.state_names():
            self.adopt(name)
        while not self._stop:
            self.tick()
            time.sleep(TICK_S)
        self.end()

    def adopt(self, name: str) -> None:
        """Look after a process that an earlier supervisor started."""
        self._children[name] = _Child(self._folder, self._sandbox_id, name)

    def end(self) -> None:
        """End every process, each with its own grace."""
        end_all(
            (child.state.identity, child.spec.grace_s if child.spec else 5.0)
            for child in self._children.values()
            if child.running() and child.state.identity is not None
        )
        for child in self._children.values():
            child.running()

    def tick(self) -> None:
        """One look: compare what shall be with what is, and act on the difference."""
        wanted = self._read_specs()
        for name, spec in wanted.items():
            child = self._children.setdefault(name, _Child(self._folder, self._sandbox_id, name))
            if child.spec is not None and child.spec.wish != spec.wish:
                child.reset_backoff()
            child.spec = spec
        for name, child in list(self._children.items()):
            running = child.running()
            spec_now = wanted.get(name)
            if spec_now is None or spec_now.want == "down":
                if running:
                    self._end_one(child)
                    continue
                self._ending.pop(name, None)
                if spec_now is None:
                    child.forget()
                    del self._children[name]
                continue
            self._ending.pop(name, None)
            if spec_now.want == "killed" and running and child.state.identity is not None:
                # Started just when it was killed for good: who killed it may not have seen it.
                child.state.identity.signal(signal.SIGKILL)
            if spec_now.want == "up" and not running:
                # "never" means once per wish: a spec that was never started, or was asked for again.
                again = spec_now.restart == "always" or child.state.failures == 0
                if again and time.time() >= child.state.next_start_at_s:
                    child.start(spec_now)

    def _end_one(self, child: _Child) -> None:
        identity = child.state.identity
        if identity is None:
            return
        if child.name not in self._ending:
            grace_s = child.spec.grace_s if child.spec else 5.0
            self._ending[child.name] = time.monotonic() + grace_s
            if grace_s > 0:
                identity.signal(signal.SIGTERM)
                identity.signal(signal.SIGCONT)
            else:
                identity.signal(signal.SIGKILL)
        elif time.monotonic() >= self._ending[child.name]:
            identity.signal(signal.SIGKILL)

    def _read_specs(self) -> dict[str, ProcessSpec]:
        specs: dict[str, tuple[int, ProcessSpec]] = {}
        for name in self._folder.spec_names():
            try:
                changed = self._folder.spec_path(name).stat().st_mtime_ns
                known = self._specs.get(name)
                if known is not None and known[0] == changed:
                    specs[name] = known
                    continue
                spec = self._folder.spec(name)
            except FileNotFoundError:
                continue
            except (ValueError, InvalidInput) as error:
                log.error("%s: unreadable spec: %s", name, error)
                if name in self._specs:
                    specs[name] = self._specs[name]
                continue
            if spec is not None:
                specs[name] = (changed, spec)
        self._specs = specs
        return {name: spec for name, (_, spec) in specs.items()}


def _detach() -> None:
    # Twice, so that the supervisor is nobody's child: whoever runs `up` neither waits for it nor leaves a zombie.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def main(data: Path) -> int:
    """Run the supervisor of a data folder; 0 if another one is at it already."""
    folder = Folder(data)
    record = folder.record()
    if record is None:
        sys.stderr.write(f"{folder.record_path}: no sandbox here\n")
        return 2
    _detach()
    lock = folder.supervisor_lock_path.open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    supervisor = Supervisor(folder, record.id)
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    write(folder.supervisor_path, Identity.of(os.getpid()))
    supervisor.run()
    folder.supervisor_path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
