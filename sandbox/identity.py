"""Which process is ours: a process id alone is reused by the kernel, so the time it started belongs to it.

Every process that a sandbox starts is the leader of a session of its own and carries the sandbox's random id in its
environment. Signals go to the whole group, and only after pid and start time were found to match.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil
from pydantic import BaseModel, ConfigDict

MARK = "TIDEGATE_SANDBOX_ID"
"""Environment variable that every process of a sandbox carries."""

# The start time is computed from the boot time, which moves a little when the clock is corrected.
_START_TOLERANCE_S = 1.0
_POLL_S = 0.02


class Identity(BaseModel):
    """A process, told apart from a later one with the same number. ``create_time_s`` is seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    pid: int
    create_time_s: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process that has this number now.

        Raises:
            psutil.NoSuchProcess: there is none.

        """
        return cls(pid=pid, create_time_s=psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, or None if it has ended (a zombie has)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.create_time_s) > _START_TOLERANCE_S:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        """Whether it still runs (a stopped one does)."""
        return self.process() is not None

    def paused(self) -> bool:
        """Whether it is stopped by SIGSTOP."""
        process = self.process()
        try:
            return process is not None and process.status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process and, if it leads one, its group; False if it has ended."""
        if not self.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                # The supervisor and what a part forked away lead no group; the group they are in may hold others.
                os.kill(self.pid, number)
            return True
        return False

    def rss_bytes(self) -> int:
        """Resident memory of the process and its children; 0 if it has ended."""
        process = self.process()
        if process is None:
            return 0
        total = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for member in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += member.memory_info().rss
        return total


def marked(sandbox_id: str) -> list[Identity]:
    """Every process of the sandbox, found by its mark: also those that no record names."""
    found: list[Identity] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == sandbox_id:
                found.append(Identity(pid=process.pid, create_time_s=process.create_time()))
    return found


def end_all(identities: Iterable[tuple[Identity, float]]) -> None:
    """End processes with their groups: SIGTERM, then SIGKILL to each whose grace (seconds) has passed.

    A grace of 0 means SIGKILL only. Returns when all have ended.
    """
    started = time.monotonic()
    waiting = [(one, started + grace_s) for one, grace_s in identities]
    for one, until in waiting:
        if until <= started:
            continue
        # A paused process takes SIGTERM only once it goes on.
        if one.signal(signal.SIGTERM):
            one.signal(signal.SIGCONT)
    while waiting := [(one, until) for one, until in waiting if one.alive()]:
        for one, until in waiting:
            if time.monotonic() >= until:
                one.signal(signal.SIGKILL)
        time.sleep(_POLL_S)
