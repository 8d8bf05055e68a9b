"""Killing, pausing and going on: one process, or all of a region as one act."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Literal

from sandbox.identity import Identity
from sandbox.spec import Folder, write
from sandbox.status import part_status
from tidegate.errors import NoProgress, Refused

_HEED_S = 5.0
_POLL_S = 0.002


def running(folder: Folder, name: str) -> Identity | None:
    """The process of that name, if it runs."""
    state = folder.state(name)
    return None if state is None or state.identity is None or not state.identity.alive() else state.identity


def want(folder: Folder, name: str, wanted: Literal["up", "killed"]) -> None:
    """Ask the supervisor for it anew."""
    spec = folder.spec(name)
    if spec is not None:
        write(folder.spec_path(name), spec.model_copy(update={"want": wanted, "wish": spec.wish + 1}))


def kill(folder: Folder, part: str, names: Sequence[str], *, for_good: bool) -> list[Identity]:
    """SIGKILL to all of them; what was killed, when it is dead.

    Every process is looked up first, and the signals follow each other at once. Raises NoProgress after five seconds.
    """
    if for_good:
        # First: from here on the supervisor starts none of them, and ends what it had begun to start.
        for name in names:
            want(folder, name, "killed")
    found = [one for name in names if (one := running(folder, name)) is not None]
    killed = [one for one in found if one.signal(signal.SIGKILL)]
    # Who asks next whether the part is ready must not meet the dying one.
    _until(
        lambda: (
            not any(one.alive() for one in killed) and not (for_good and any(running(folder, name) for name in names))
        ),
        f"{part}: still there {_HEED_S:.0f} s after SIGKILL",
    )
    return killed


def send(folder: Folder, part: str, names: Sequence[str], number: signal.Signals) -> None:
    """SIGSTOP or SIGCONT to all of them that run, looked up first as in ``kill``; returns when all heed it.

    Raises Refused, and has signalled nothing, if none runs, or if one is about to: it would go on beside the others.
    Raises NoProgress after five seconds.
    """
    found: list[Identity] = []
    for name in names:
        one = running(folder, name)
        if one is not None:
            found.append(one)
        elif (state := part_status(folder, name).state) in {"waiting", "starting"}:
            raise Refused(f"{name} is being started ({state})", hint=f"wait for it:  tidegate sandbox start {part}")
    signalled = [one for one in found if one.signal(number)]
    if not signalled:
        raise Refused(f"{part} does not run", hint=f"tidegate sandbox start {part}")
    stands = number == signal.SIGSTOP
    _until(
        lambda: all(one.paused() is stands or not one.alive() for one in signalled),
        f"{part}: has not heeded {number.name} after {_HEED_S:.0f} s",
    )


def _until(done: Callable[[], bool], why: str) -> None:
    """A signal is only noted at first: whoever sent it waits until the kernel has acted."""
    deadline = time.monotonic() + _HEED_S
    while not done():
        if time.monotonic() > deadline:
            raise NoProgress(why)
        time.sleep(_POLL_S)
