"""What is known of a process now, from its spec, its state and the process itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sandbox.identity import Identity
from sandbox.spec import Folder, ProcessSpec, ProcessState

State = Literal["running", "paused", "down", "killed", "ended", "waiting", "starting"]


@dataclass(frozen=True)
class PartStatus:
    """One process now. ``since_s`` is seconds since the epoch, ``spawns`` how often it was started.

    ``state``: running; paused; waiting (it died, the supervisor starts it again); starting; killed (for good); ended
    (it is not restarted); down.
    """

    name: str
    state: State
    pid: int | None
    since_s: float | None
    rss_bytes: int
    spawns: int
    endpoint: str
    error: str = ""


def part_status(folder: Folder, name: str) -> PartStatus:
    """The status of one process."""
    spec = folder.spec(name)
    recorded = folder.state(name) or ProcessState(name=name)
    identity = recorded.identity if recorded.identity is not None and recorded.identity.alive() else None
    return PartStatus(
        name=name,
        state=_state(spec, recorded, identity),
        pid=identity.pid if identity else None,
        since_s=recorded.started_at_s if identity else None,
        rss_bytes=identity.rss_bytes() if identity else 0,
        spawns=recorded.spawns,
        endpoint=spec.endpoint if spec else "",
        error=recorded.error,
    )


def _state(spec: ProcessSpec | None, recorded: ProcessState, identity: Identity | None) -> State:
    if identity is not None:
        return "paused" if identity.paused() else "running"
    if spec is None or spec.want == "down":
        return "down"
    if spec.want == "killed":
        return "killed"
    if recorded.spawns == 0 and not recorded.error:
        return "starting"
    return "ended" if spec.restart == "never" else "waiting"
