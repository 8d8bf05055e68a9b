"""The files through which a sandbox and its supervisor talk.

    <data>/sandbox.json             the sandbox: id, base port, what was brought up     written by ``up``
    <data>/processes/<name>.json    a process that shall be: the spec                   written by the API
    <data>/states/<name>.json       the process that is                                 written by the supervisor
    <data>/supervisor.json          the supervisor's own identity
    <data>/logs/<region>-<part>.log output of each process

Each file has one writer and is replaced as a whole, so a reader sees the old or the new one.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.identity import Identity
from tidegate.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)+")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TcpProbe(_Model):
    """Ready when the port accepts connections."""

    kind: Literal["tcp"] = "tcp"
    port: int


class HttpProbe(_Model):
    """Ready when the URL answers with 200."""

    kind: Literal["http"] = "http"
    url: str


class LogProbe(_Model):
    """Ready when a line of the log, written since the process started, matches the regular expression."""

    kind: Literal["log"] = "log"
    pattern: str


class KafkaProbe(_Model):
    """Ready when an admin call with credentials is answered."""

    kind: Literal["kafka"] = "kafka"
    bootstrap: str


class S3Probe(_Model):
    """Ready when an object that was put is read back. The bucket is made if it is not there."""

    kind: Literal["s3"] = "s3"
    endpoint: str
    bucket: str


class JobManagerProbe(_Model):
    """Ready when Flink's REST answers."""

    kind: Literal["jobmanager"] = "jobmanager"
    url: str


class TaskManagerProbe(_Model):
    """Ready when the JobManager has had a heartbeat of the TaskManager at this RPC port since it started."""

    kind: Literal["taskmanager"] = "taskmanager"
    url: str
    rpc_port: int


class TemporalProbe(_Model):
    """Ready when the server answers for the namespace."""

    kind: Literal["temporal"] = "temporal"
    address: str
    namespace: str = "default"


Probe = Annotated[
    TcpProbe | HttpProbe | LogProbe | KafkaProbe | S3Probe | JobManagerProbe | TaskManagerProbe | TemporalProbe,
    Field(discriminator="kind"),
]


class ProcessSpec(_Model):
    """A process that the supervisor keeps.

    ``name`` is ``<region>/<part>`` (or ``control/<part>``), ``env`` comes on top of the supervisor's environment.
    ``want``: ``up`` it shall run; ``down`` it shall be ended; ``killed`` it was killed for good, and stays dead.
    ``grace_s`` is what it gets between SIGTERM and SIGKILL; 0: SIGKILL only. ``wish`` rises when it is asked for anew:
    early deaths of before do not count then, and one that is never restarted runs once more.
    """

    name: str
    argv: list[str] = Field(min_length=1)
    env: dict[str, str] = {}
    cwd: Path
    restart: Literal["always", "never"] = "always"
    want: Literal["up", "down", "killed"] = "up"
    ready: Probe | None = None
    grace_s: float = Field(default=10.0, ge=0)
    wish: int = 0
    endpoint: str = ""


class ProcessState(_Model):
    """What became of a process. ``started_at_s`` and ``next_start_at_s`` are seconds since the epoch.

    ``spawns`` counts its starts under this sandbox, ``log_offset`` is where its last start begins in the log.
    """

    name: str
    identity: Identity | None = None
    started_at_s: float = 0.0
    spawns: int = 0
    log_offset: int = 0
    exit_code: int | None = None
    failures: int = 0
    next_start_at_s: float = 0.0
    error: str = ""


class SandboxRecord(_Model):
    """What a data folder remembers of its sandbox. ``taskmanagers`` is a number per region that was brought up.

    ``ha`` names the regions whose Flink is highly available.
    """

    id: str
    base_port: int
    taskmanagers: dict[str, int] = {}
    ha: list[str] = []


class Folder:
    """The data folder: paths, and reading and writing of the files above."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.record_path = self.path / "sandbox.json"
        self.supervisor_path = self.path / "supervisor.json"
        self.supervisor_lock_path = self.path / "supervisor.lock"
        self.supervisor_log_path = self.path / "logs" / "supervisor.log"
        self.up_lock_path = self.path / "up.lock"

    def spec_path(self, name: str) -> Path:
        """File of a process's spec."""
        return self.path / "processes" / f"{check_name(name)}.json"

    def state_path(self, name: str) -> Path:
        """File of a process's state."""
        return self.path / "states" / f"{check_name(name)}.json"

    def log_path(self, name: str) -> Path:
        """File of a process's output."""
        return self.path / "logs" / f"{check_name(name).replace('/', '-')}.log"

    def part_path(self, name: str) -> Path:
        """The folder in which a part keeps its configuration and data."""
        return self.path / "parts" / check_name(name)

    def record(self) -> SandboxRecord | None:
        """The sandbox that lives here, if one was ever brought up."""
        text = _read(self.record_path)
        return None if text is None else SandboxRecord.model_validate_json(text)

    def supervisor(self) -> Identity | None:
        """The supervisor, if one is recorded (it may have died)."""
        text = _read(self.supervisor_path)
        return None if text is None else Identity.model_validate_json(text)

    def spec(self, name: str) -> ProcessSpec | None:
        """The spec of a process, if there is one."""
        text = _read(self.spec_path(name))
        return None if text is None else ProcessSpec.model_validate_json(text)

    def state(self, name: str) -> ProcessState | None:
        """The state of a process, if it was ever started."""
        text = _read(self.state_path(name))
        return None if text is None else ProcessState.model_validate_json(text)

    def spec_names(self) -> list[str]:
        """Names of all processes that shall be, sorted."""
        return _names(self.path / "processes")

    def state_names(self) -> list[str]:
        """Names of all processes that were started, sorted."""
        return _names(self.path / "states")


def check_name(name: str) -> str:
    """The name itself, if it can be one of a process.

    Raises:
        InvalidInput: it cannot.

    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"process name {name!r}: expected <region>/<part>, in small letters, digits, '.' and '-'")
    return name


def write(path: Path, model: BaseModel) -> None:
    """Replace a file by the model's JSON, as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(model.model_dump_json(indent=2) + "\n")
    Path(temporary).replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _names(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.json") if not path.name.startswith(".")
    )
