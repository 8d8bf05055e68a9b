"""Taking, holding and releasing a deployment (OWNERSHIP.md O2 to O5, O8, O9).

What holds a deployment is the pair of holder and fence in its record. Every write names the version that it was based
on, so a process that froze for an hour finds out at its next write, and then does nothing more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import BasisChanged, Refused, Superseded
from tidegate.model.record import (
    DeploymentRecord,
    Holder,
    Intent,
    IntentState,
    RecordState,
    starts_of,
    utc_now,
)
from tidegate.registry.held import held
from tidegate.registry.records import Conflict, RecordStore, Stored, write_id

Change = Callable[[DeploymentRecord], DeploymentRecord]
"""Turns a record into the one wanted. Idempotent: where it is done already, it changes nothing."""

HolderClosed = Callable[[Holder], Awaitable[bool]]
"""Whether the holder's run is closed, asked of the same Temporal cluster and namespace; False if not known."""


@dataclass(frozen=True)
class Takeover:
    """A person's word that a held deployment shall change hands (O4)."""

    who: str
    why: str


@dataclass(frozen=True)
class Claim:
    """What an operation must still be for its next write to count."""

    deployment: str
    holder: Holder
    fence: int


class Tenure:
    """A deployment as held by one operation. Each change is one compare-and-swap under the operation's fence."""

    def __init__(self, records: RecordStore, claim: Claim, *, attempt: int = 1) -> None:
        self._records = records
        self.claim = claim
        self.wrote = False
        """Whether the last change was written by this attempt itself, and not found done by a twin of it."""
        self._attempt = attempt
        self._latest: Stored | None = None

    async def read(self) -> DeploymentRecord:
        """The record, read anew.

        Raises:
            Superseded: another operation holds it, or this one has released it.
            Unavailable: the control bucket did not answer.

        """
        self._latest = await self._records.read_or_create(self.claim.deployment)
        self._check(self._latest.record)
        return self._latest.record

    async def change(self, step: str, n: int, change: Change) -> DeploymentRecord:
        """Apply ``change`` to the record, on whatever version of ours stands there, once.

        A version that a twin attempt of the same operation wrote is taken as the new basis (O3, O16); if the change is
        found done in it, nothing is written.

        Raises:
            Superseded: the fence is lost; nothing was written.
            Unavailable: the control bucket did not answer for its bound; call again to learn what came of it.

        """
        self.wrote = False
        basis = self._latest or await self._records.read_or_create(self.claim.deployment)
        while True:
            self._check(basis.record)
            wanted = change(basis.record)
            if wanted == basis.record:
                self._latest = basis
                return basis.record
            wanted = wanted.model_copy(update={"seq": basis.record.seq + 1})
            holder = self.claim.holder
            own = write_id(holder.operation, holder.run_id, step, n, wanted, attempt=self._attempt)
            try:
                self._latest = await self._records.swap(basis, wanted.model_copy(update={"write_id": own}))
                self.wrote = True
                return self._latest.record
            except Conflict as conflict:
                basis = conflict.current

    async def release(self) -> DeploymentRecord:
        """Give the deployment back. Done already: nothing is written.

        Raises:
            Refused: an intent is open; what it began must be finished first.
            Superseded: another operation holds it.

        """
        current = await self._records.read_or_create(self.claim.deployment)
        if current.record.holder is None and current.record.fence == self.claim.fence:
            return current.record
        self._latest = current

        def released(record: DeploymentRecord) -> DeploymentRecord:
            refuse_open_intents(record)
            return record.model_copy(update={"state": RecordState.IDLE, "holder": None, "intents": _kept(record)})

        return await self.change("release", 0, released)

    async def halt(self) -> DeploymentRecord:
        """HALTED: this operation keeps the record and does nothing, until a person says how to go on (O9)."""
        return await self.change("halt", 0, lambda record: record.model_copy(update={"state": RecordState.HALTED}))

    async def unhalt(self) -> DeploymentRecord:
        """Go on after a halt; refused as superseded if another runbook has taken over meanwhile."""
        self._latest = None
        return await self.change("unhalt", 0, lambda record: record.model_copy(update={"state": RecordState.HELD}))

    def _check(self, record: DeploymentRecord) -> None:
        claim = self.claim
        if record.holder is not None and record.holder.is_same(claim.holder) and record.fence == claim.fence:
            return
        raise superseded(claim, record)


def _kept(record: DeploymentRecord) -> tuple[Intent, ...]:
    """Starts that took place and did not hold: what their jobs have committed must be known to the next start (X26)."""
    known = record.writer.epoch if record.writer else 0
    starts = (start for start in starts_of(record.intents) if start.state is IntentState.DONE)
    return tuple(start for start in starts if start.epoch > known)


def refuse_open_intents(record: DeploymentRecord) -> None:
    """Raise Refused, naming what was begun, if an intent is open."""
    still_open = record.open_intents()
    if still_open:
        what = ", ".join(f"{intent.kind} of epoch {intent.epoch}" for intent in still_open)
        raise Refused(
            f"{record.deployment} cannot be released: begun and not known to have ended: {what}",
            hint=f"any runbook resolves them first, for example: tidegate upgrade {record.deployment} "
            f"--to ARTIFACT --take-over --why TEXT",
        )


def superseded(claim: Claim, record: DeploymentRecord) -> Superseded:
    """The error for a lost fence: who has it now."""
    now = f"{record.holder.operation} (by {record.holder.who})" if record.holder else "nobody"
    return Superseded(
        f"{claim.holder.operation} no longer holds {claim.deployment}: fence {claim.fence} has become {record.fence}, "
        f"held by {now}",
        hint=f"tidegate registry show {claim.deployment}",
        details={"fence": record.fence, "holder": record.holder.operation if record.holder else ""},
    )


async def take(
    records: RecordStore,
    deployment: str,
    holder: Holder,
    *,
    expected_fence: int,
    takeover: Takeover | None = None,
    holder_closed: HolderClosed | None = None,
) -> Tenure:
    """Take a deployment for an operation: the fence rises by one (O2, O4).

    ``expected_fence`` is the fence that the plan was made on. A late or repeated call of an operation that has since
    released the deployment, or lost it, finds another fence and is refused, so it cannot take it a second time.

    Raises:
        Held: another operation holds it; says who, since when, and what to run.
        BasisChanged: it was taken and released by another since it was observed.
        Unavailable: the control bucket did not answer.

    """
    while True:
        current = await records.read_or_create(deployment)
        record = current.record
        if record.holder is not None and record.holder.is_same(holder) and record.fence == expected_fence + 1:
            return Tenure(records, Claim(deployment, record.holder, record.fence))
        if record.fence != expected_fence:
            raise _lost_race(record, expected_fence)
        if record.holder is not None and takeover is None:
            halted = record.state is RecordState.HALTED
            if halted or holder_closed is None or not await holder_closed(record.holder):
                raise held(record)
        wanted = record.model_copy(
            update={
                "seq": record.seq + 1,
                "fence": record.fence + 1,
                "state": RecordState.HELD,
                "holder": holder,
            }
        )
        wanted = wanted.model_copy(
            update={"write_id": write_id(holder.operation, holder.run_id, "take", wanted.fence, wanted)}
        )
        try:
            stored = await records.swap(current, wanted)
        except Conflict:
            continue
        return Tenure(records, Claim(deployment, holder, stored.record.fence))


def _lost_race(record: DeploymentRecord, expected_fence: int) -> Refused:
    if record.holder is not None:
        return held(record)
    return BasisChanged(
        f"{record.deployment} was taken and released by another operation since it was observed "
        f"(fence {expected_fence} has become {record.fence})",
        hint="start the operation again: it will be planned on what is there now",
    )


class History:
    """What happened to a deployment, as create-only objects in the order of their names (O1)."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def append(self, record: DeploymentRecord, event: str, body: bytes) -> None:
        """Write one event under the record's fence. The same event twice is one object: the first stays."""
        key = f"{names.history_prefix(record.deployment)}{record.fence:08d}-{event}.json"
        try:
            await self._store.create(S3Uri(self._bucket, key), body)
        except PreconditionFailed:
            return

    async def keys(self, deployment: str) -> list[str]:
        """The keys of all events, oldest first."""
        prefix = S3Uri(self._bucket, names.history_prefix(deployment))
        return sorted([info.uri.key async for info in self._store.list(prefix)])

    async def read(self, key: str) -> bytes:
        """One event."""
        return (await self._store.get(S3Uri(self._bucket, key))).body


def new_holder(
    *, operation: str, run_id: str, runbook: str, cluster_id: str, namespace: str, who: str, why: str
) -> Holder:
    """A holder as of now."""
    return Holder(
        operation=operation,
        run_id=run_id,
        runbook=runbook,
        cluster_id=cluster_id,
        namespace=namespace,
        who=who,
        why=why,
        since=utc_now(),
    )
