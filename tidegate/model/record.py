"""The record of a deployment: who writes, who holds it, and what was about to be done (OWNERSHIP.md O1 to O5).

It is the only compare-and-swap object of a deployment. Everything here is written so that a person can read it in the
bucket, and so that an operation that finds it, with nothing else left, can finish or void what was begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of everything that is stored: unchangeable, unknown fields kept out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def utc_now() -> datetime:
    """The time of day in UTC, to the millisecond. For people; nothing is decided by it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class RecordState(StrEnum):
    """O4. No lease and no clock: a record is held until it is released or taken over."""

    IDLE = "IDLE"
    HELD = "HELD"
    HALTED = "HALTED"


class Holder(Frozen):
    """The operation that holds a deployment. It is known again by workflow id and first execution run id."""

    operation: str
    run_id: str
    runbook: str
    cluster_id: str
    namespace: str
    who: str
    why: str
    since: datetime

    def is_same(self, other: Holder) -> bool:
        """Whether both are one operation: every attempt of each of its activities, also after a worker's crash."""
        return (self.operation, self.run_id) == (other.operation, other.run_id)


class ArtifactRef(Frozen):
    """An artifact by what it is, not by what it is called: the name may be given to other bytes later, sha256 not."""

    name: str
    sha256: str
    uri: str


class SlotMemory(Frozen):
    """What a slot has, in MiB: of a cell with several kinds of TaskManagers the least of each."""

    managed_mib: float
    """For RocksDB and the like."""
    heap_mib: float
    """For the tasks' own objects."""


class Writer(Frozen):
    """The last job that was started and ran: no other commits output for the deployment (I1).

    Whether it runs now is Flink's word. A ``pinned`` savepoint of the same epoch says that it was stopped.
    """

    region: str
    cell: str
    job_id: str
    epoch: int
    artifact: ArtifactRef
    parallelism: int
    started_from: str | None
    """Location of the snapshot it started from; None: from empty state, which its input asked for."""
    since: datetime
    slot_memory: SlotMemory | None = None
    """What the slots of its cell had when it was started: to compare with, when its region is gone. None: not known."""


class Left(Frozen):
    """How a job was left behind in a region that could not be asked: its end is not a stop's savepoint (X14, X21)."""

    region: str
    """Where it shall go on."""
    strength: str
    """What keeps the old job from committing: stopped, shut out or superseded."""
    point: str
    """Id of the recovery point that it goes on from."""
    snapshot: str
    """Location of that point in the region where it goes on."""
    point_epoch: int | None = None
    later: dict[str, tuple[tuple[int, int], ...]] = Field(default_factory=dict)
    """Ranges of the old region's output before ``output_ends`` that are later than the point, both ends included."""
    operation: str
    taken_at: datetime
    epoch: int | None = None
    """Of the job that was left; None: an earlier version did not write it down."""


class Gone(Frozen):
    """How a deployment went on elsewhere than in a region: what its state had read there is asked for when the region
    returns (X22).
    """

    to: str
    """The region where it went on."""
    snapshots: tuple[str | None, ...]
    """What it was started from there, first the copy that crossed; then every other copy that came to be started from.
    None: from empty state."""
    left: Left | None = None
    """How the region was given up; None: it was left by a stop, as planned."""
    returned: str | None = None
    """The operation that has put the region in quarantine and set its tail apart since (X23); None: nobody has."""
    at: datetime


class MadeWay(Frozen):
    """For whom a deployment was stopped: its slots were needed. It counts for as long as nothing was started since."""

    operation: str
    """The region's failover that needed its slots."""
    came_from: str
    """The region whose deployments took them: when they go back there, the slots are free again."""


class Pinned(Frozen):
    """A snapshot that nothing may dispose of, because the way back starts from it (X10, X26)."""

    location: str
    epoch: int
    job_id: str
    artifact: ArtifactRef
    parallelism: int
    output_ends: dict[str, int]
    """``topic/partition`` to log end when its job had ended: data from there on is of later epochs (X26)."""
    committed: bool = False
    """Flink said that its transactions are committed (X2), or they have been settled since."""
    at: datetime
    stale_state_of: ArtifactRef | None = None
    """As in the record, when this was taken (X27)."""
    left: Left | None = None
    """Set if the job was not stopped with it: its region was lost, and this recovery point is gone on from instead.
    Output beyond ``output_ends`` (and the ranges ``left.later``) is superseded."""
    edited_of: str | None = None
    """Location of the snapshot that this one is an edited copy of (X3, X15); None: it is as it was written."""
    made_way: MadeWay | None = None
    """Set if its job was stopped to make way for another; None: somebody wanted it stopped."""


class IntentState(StrEnum):
    """An intent is open until the act is known to have been done, or to be impossible for ever."""

    OPEN = "open"
    DONE = "done"
    VOID = "void"


class _Intent(Frozen):
    id: str
    step: str
    n: int
    state: IntentState = IntentState.OPEN
    note: str = ""
    """What was found when it was closed: for the report and for whoever reads the bucket."""


class StopIntent(_Intent):
    """Stop with savepoint, into a directory that only this trigger writes to."""

    kind: Literal["stop"] = "stop"
    job_id: str
    epoch: int
    trigger_id: str
    directory: str
    artifact: ArtifactRef
    parallelism: int
    location: str | None = None
    """Where the savepoint is, once closed as done."""
    makes_way: MadeWay | None = None
    """Kept with the savepoint, whoever finishes the stop."""


class StartIntent(_Intent):
    """A start of one job under one epoch, from one snapshot."""

    kind: Literal["start"] = "start"
    job_id: str
    epoch: int
    region: str
    cell: str
    artifact: ArtifactRef
    parallelism: int
    snapshot: str | None = None
    """The location it starts from. None: the savepoint of the stop intent ``after_stop``, or empty state."""
    after_stop: str | None = None
    from_empty: bool = False


class CancelIntent(_Intent):
    """Cancel of a job; its retained checkpoints stay. An epoch with one is dead, never adopted (O5)."""

    kind: Literal["cancel"] = "cancel"
    job_id: str
    epoch: int


class DenyIntent(_Intent):
    """A DENY on an epoch's transactional prefixes for the job's principal. Never lifted by an operation (O5, X14)."""

    kind: Literal["deny"] = "deny"
    epoch: int
    principal: str
    prefixes: tuple[str, ...]


class SettleIntent(_Intent):
    """Settling of transactions (X15): those that the snapshot lists are committed, every other one is ended."""

    kind: Literal["txn"] = "txn"
    epoch: int
    """The last epoch whose transactions are settled; earlier ones are, too."""
    snapshot: str | None
    replay_from: dict[str, int] | None = None
    """Where committed output begins that will come again (``topic/partition`` to offset); None: nothing will."""
    by_name: bool = False
    """Settled for a snapshot that a restore named: what it accepted is not accepted by whoever comes next."""


class SnapshotIntent(_Intent):
    """A savepoint of a job that goes on. One that comes late harms nothing: its directory is only its own."""

    kind: Literal["snapshot"] = "snapshot"
    job_id: str
    epoch: int
    trigger_id: str
    directory: str
    canonical: bool
    location: str | None = None
    """Where it is, once closed as done."""


Intent = Annotated[
    StopIntent | StartIntent | CancelIntent | DenyIntent | SettleIntent | SnapshotIntent,
    Field(discriminator="kind"),
]


class DeploymentRecord(Frozen):
    """``own/<deployment>.json``. ``seq`` rises at each write, ``fence`` at each take, ``epoch`` at each start."""

    version: Literal[1] = 1
    deployment: str
    seq: int = 0
    write_id: str = ""
    fence: int = 0
    epoch: int = 0
    state: RecordState = RecordState.IDLE
    writer: Writer | None = None
    holder: Holder | None = None
    intents: tuple[Intent, ...] = ()
    pinned: Pinned | None = None
    """The savepoint of the last stop: the way back that every artifact before it can read."""
    base: Pinned | None = None
    """What the writer started from: exact for it until its own first checkpoint is complete."""
    denied_epochs: tuple[int, ...] = ()
    """Epochs whose transactional prefixes are denied for good: a snapshot of theirs is started as an edited copy."""
    gone: dict[str, Gone] = Field(default_factory=dict)
    """By region that it has left and not come back to."""
    stale_state_of: ArtifactRef | None = None
    """Set when the job runs on from a snapshot of this other artifact: state that only it has grows stale (X27)."""

    @property
    def made_way(self) -> MadeWay | None:
        """For whom it stands stopped; None: it runs, it is wanted stopped, or something was started since."""
        last = self.pinned
        if last is None or self.writer is None or last.epoch != self.writer.epoch or last.left is not None:
            return None
        return last.made_way

    def intent(self, intent_id: str) -> Intent | None:
        """The intent with this id, open or closed in this tenure; None if it was never written."""
        return next((intent for intent in self.intents if intent.id == intent_id), None)

    def open_intents(self) -> tuple[Intent, ...]:
        """What was begun and is not known to have ended."""
        return tuple(intent for intent in self.intents if intent.state is IntentState.OPEN)

    def with_intents(self, *added: Intent) -> DeploymentRecord:
        """The record with these intents; one that is there already, open or closed, stays as it is."""
        known = {intent.id for intent in self.intents}
        fresh = tuple(intent for intent in added if intent.id not in known)
        return self.model_copy(update={"intents": self.intents + fresh}) if fresh else self

    def closing(self, *closed: Intent) -> DeploymentRecord:
        """The record with these intents in place of the open ones of the same id; closed ones stay as they are."""
        by_id = {intent.id: intent for intent in closed}

        def pick(intent: Intent) -> Intent:
            return by_id.get(intent.id, intent) if intent.state is IntentState.OPEN else intent

        return self.model_copy(update={"intents": tuple(pick(intent) for intent in self.intents)})

    def job_ids(self) -> tuple[str, ...]:
        """Every job that may exist: the writer's and those of all intents, oldest epoch first, each once."""
        found: dict[str, int] = {}
        if self.writer:
            found[self.writer.job_id] = self.writer.epoch
        for intent in self.intents:
            if isinstance(intent, StopIntent | StartIntent | CancelIntent):
                found[intent.job_id] = intent.epoch
        return tuple(sorted(found, key=lambda job_id: found[job_id]))


def starts_of(intents: Iterable[Intent]) -> tuple[StartIntent, ...]:
    """The start intents among these, oldest epoch first."""
    starts = (intent for intent in intents if isinstance(intent, StartIntent))
    return tuple(sorted(starts, key=lambda intent: intent.epoch))
