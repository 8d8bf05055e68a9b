"""Every error that Tidegate raises on purpose, and what its reader can do about it.

    TidegateError
    ├── InvalidInput        what was asked cannot be done as written: field, what is wrong, what was expected
    ├── Refused             nothing was done, and trying the same again will not help until something changes
    │   ├── Held            another operation holds the deployment
    │   └── BasisChanged    the world is not as it was when the plan was made or approved
    ├── Superseded          another operation took over: this one does nothing more
    ├── OperationFailed     an act was tried, and the world refused it or it did not hold
    │   ├── SavepointFailed no savepoint came of the stop; the message says whether the job still runs
    │   ├── StartRejected   Flink refused the start, or the job failed before it ran
    │   ├── ProofFailed     the job runs but is not healthy
    │   ├── JobLost         Flink no longer knows the job: its JobManager was restarted without high availability
    │   └── NoProgress      what was waited for stopped moving, or its deadline passed
    ├── MustHalt            no safe step is left without a person; holds what it holds
    ├── SnapshotError       a snapshot is damaged, incomplete or of a kind that is not read
    └── Unavailable         a part did not answer, or not in a way that says it acted; the only retryable kind

An error says which thing, what is wrong with it, where that came from and what to do. ``hint`` holds the last part: a
command that exists, or a fact. ``details`` is for machines.
"""

from __future__ import annotations

from typing import ClassVar


class TidegateError(Exception):
    """Base of all: a message for a person, a hint, and details for a machine.

    ``retryable`` says whether the same call may succeed later without anything being changed by a person.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}

    @property
    def type(self) -> str:
        """The name that crosses process borders (Temporal's ``ApplicationError.type``)."""
        return type(self).__name__


class InvalidInput(TidegateError):
    """What was asked cannot be done as written. The message names the field."""

    exit_code = 2


class Refused(TidegateError):
    """Nothing was done; the same request is refused again until something changes."""

    exit_code = 4


class Held(Refused):
    """Another operation holds the deployment. The message says which, who started it and since when."""


class BasisChanged(Refused):
    """The world is no longer what the plan was made for."""


class Superseded(TidegateError):
    """Another operation has taken the deployment over. Who gets this does nothing more: no call, no undo."""

    exit_code = 6


class OperationFailed(TidegateError):
    """An act was tried; the world refused it or it did not hold."""


class SavepointFailed(OperationFailed):
    """The stop gave no savepoint. ``details['job_state']`` is Flink's word on the job afterwards."""


class StartRejected(OperationFailed):
    """Flink refused the start, or the job ended before all of its tasks ran."""


class ProofFailed(OperationFailed):
    """The job was started but did not prove healthy. ``details['first_error']`` holds Flink's first exception."""


class JobLost(OperationFailed):
    """Flink no longer knows the job: its JobManager was restarted without high availability. Its snapshots stay."""


class NoProgress(OperationFailed):
    """What was waited for stopped moving or passed its deadline. The message says what, how long, the last value."""


class MustHalt(TidegateError):
    """No safe step is left without a person. The operation keeps what it holds and waits."""

    exit_code = 3


class SnapshotError(TidegateError):
    """A snapshot cannot be used."""


class SnapshotUnreadable(SnapshotError):
    """``_metadata`` is damaged or of an unknown form: ``offset`` is the byte, ``expected`` what should stand there."""

    def __init__(self, message: str, *, offset: int, expected: str) -> None:
        super().__init__(f"{message} at byte {offset:,}; expected {expected}", details={"offset": offset})
        self.offset = offset
        self.expected = expected


class SnapshotUnsupported(SnapshotError):
    """A known form that Tidegate does not read yet. The message names it."""


class SnapshotIncomplete(SnapshotError):
    """A file that ``_metadata`` names is missing or of another size. ``details['files']`` lists them."""


class Unavailable(TidegateError):
    """A part did not answer, or answered in a way that leaves open whether it acted. May be tried again."""

    retryable = True


ERRORS: dict[str, type[TidegateError]] = {
    cls.__name__: cls
    for cls in (
        InvalidInput,
        Refused,
        Held,
        BasisChanged,
        Superseded,
        OperationFailed,
        SavepointFailed,
        StartRejected,
        ProofFailed,
        JobLost,
        NoProgress,
        MustHalt,
        SnapshotError,
        SnapshotUnsupported,
        SnapshotIncomplete,
        Unavailable,
    )
}
"""By name, to turn an error that crossed a process border back into ours (SnapshotUnreadable as SnapshotError)."""
