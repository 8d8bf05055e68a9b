"""Taking, holding and releasing a mirror link (OWNERSHIP.md O1 to O6), as ``ownership`` does for a deployment."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tidegate import names
from tidegate.clients.objects import ObjectStore
from tidegate.errors import Held, Refused, Superseded
from tidegate.model.mirror import LinkRecord, LinkState, MirrorIntent, MirrorVerb
from tidegate.model.record import Holder, IntentState, RecordState, utc_now
from tidegate.registry.ownership import Takeover
from tidegate.registry.swap import CONTROL_WAIT_S, Stood, SwapConflict, SwapStore, encode

BY_HAND: Final = "by hand"
"""The runbook of a holder that is a command of a person: one act and its proof, no workflow stands behind it."""

HolderClosed = Callable[[Holder], Awaitable[bool]]


class LinkStore:
    """The records of links in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self.swaps = SwapStore(store, bucket, LinkRecord, control_wait_s=control_wait_s)

    async def read(self, link: str) -> LinkRecord | None:
        """The record now; None if the link was never taken. Raises Unavailable."""
        found = await self.swaps.read(names.mirror_key(link))
        return None if found is None else found.record


@dataclass(frozen=True)
class LinkClaim:
    """What an operation must still be for its next write to count."""

    link: str
    holder: Holder
    fence: int


class LinkTenure:
    """A link as held by one operation. Each change is one compare-and-swap under its fence."""

    def __init__(self, links: LinkStore, claim: LinkClaim, latest: Stood[LinkRecord]) -> None:
        self._links = links
        self.claim = claim
        self._latest = latest

    @property
    def record(self) -> LinkRecord:
        """The record as this operation last wrote or read it."""
        return self._latest.record

    async def change(self, step: str, n: int, change: Callable[[LinkRecord], LinkRecord]) -> LinkRecord:
        """Apply ``change`` once, on whatever version of ours stands there; found done, nothing is written.

        Raises:
            Superseded: the fence is lost; nothing was written.
            Unavailable: the control bucket did not answer for its bound.

        """
        basis = self._latest
        while True:
            self._check(basis.record)
            wanted = change(basis.record)
            if wanted == basis.record:
                self._latest = basis
                return basis.record
            wanted = _numbered(wanted, basis.record.seq + 1, self.claim.holder, step, n)
            try:
                self._latest = await self._links.swaps.swap(names.mirror_key(self.claim.link), basis, wanted)
                return self._latest.record
            except SwapConflict as conflict:
                basis = conflict.current

    async def begin(
        self,
        step: str,
        n: int,
        verb: MirrorVerb,
        offsets: dict[str, int] | None = None,
        principal: str | None = None,
    ) -> MirrorIntent:
        """Write what is about to be done; one that is there already (of an earlier attempt) is given as it stands.

        A start takes the next epoch. Raises as ``change``.
        """
        holder = self.claim.holder
        intent_id = names.derive_id(self.claim.link, holder.operation, holder.run_id, step, n)

        def begun(record: LinkRecord) -> LinkRecord:
            if record.intent(intent_id) is not None:
                return record
            epoch = record.epoch + (1 if verb is MirrorVerb.START else 0)
            intent = MirrorIntent(
                id=intent_id,
                step=step,
                n=n,
                link=record.link,
                epoch=epoch,
                verb=verb,
                offsets=offsets,
                principal=principal,
            )
            return record.model_copy(update={"epoch": epoch, "intents": (*record.intents, intent)})

        intent = (await self.change(step, n, begun)).intent(intent_id)
        if intent is None:
            raise Superseded(f"{self.claim.holder.operation} no longer holds the mirror link {self.claim.link}")
        return intent

    async def close(self, intent: MirrorIntent, note: str, mirror: LinkState | None = None) -> LinkRecord:
        """Close an intent as done, with what was proven of the connector. Raises as ``change``."""

        def closed(record: LinkRecord) -> LinkRecord:
            done = record.closing(intent.model_copy(update={"state": IntentState.DONE, "note": note}))
            if mirror is None or done == record:
                return done
            changes: dict[str, object] = {"mirror": mirror, "since": utc_now()}
            if intent.verb is MirrorVerb.START:
                changes["offsets"] = intent.offsets
            if intent.verb is MirrorVerb.DENY:
                changes["denied"] = intent.principal
            return done.model_copy(update=changes)

        return await self.change(intent.step, intent.n, closed)

    async def void(self, intent: MirrorIntent, note: str) -> LinkRecord:
        """Close an intent whose act another one has overtaken. Raises as ``change``."""
        voided = intent.model_copy(update={"state": IntentState.VOID, "note": note})
        return await self.change(intent.step, intent.n, lambda record: record.closing(voided))

    async def release(self) -> LinkRecord:
        """Give the link back; closed intents go with it.

        Raises:
            Refused: an intent is open.
            Superseded: another operation holds it.

        """

        def released(record: LinkRecord) -> LinkRecord:
            still_open = record.open_intents()
            if still_open:
                what = ", ".join(f"{intent.verb} of epoch {intent.epoch}" for intent in still_open)
                raise Refused(
                    f"the mirror link {record.link} cannot be released: begun and not known to have ended: {what}",
                    hint=f"finish it:  tidegate mirror {_command(still_open[-1])} {record.link}",
                )
            return record.model_copy(update={"state": RecordState.IDLE, "holder": None, "intents": ()})

        return await self.change("release", 0, released)

    def _check(self, record: LinkRecord) -> None:
        claim = self.claim
        if record.holder is not None and record.holder.is_same(claim.holder) and record.fence == claim.fence:
            return
        now = f"{record.holder.operation} (by {record.holder.who})" if record.holder else "nobody"
        raise Superseded(
            f"{claim.holder.operation} no longer holds the mirror link {claim.link}: "
            f"fence {claim.fence} has become {record.fence}, held by {now}",
            hint=f"tidegate mirror status {claim.link}",
            details={"fence": record.fence},
        )


async def take_link(
    links: LinkStore,
    fresh: LinkRecord,
    holder: Holder,
    *,
    takeover: Takeover | None = None,
    holder_closed: HolderClosed | None = None,
    only_free: bool = False,
) -> LinkTenure:
    """Take a link: the fence rises by one (O2, O4). ``fresh`` is written if the link has no record yet.

    The same operation again gets its own tenure back. A holder by hand yields to any other: what it began stands as an
    open intent, and a taker never waits for its owner (O6). ``only_free``: not to this one, which yields to everybody.

    Raises:
        Held: an operation holds it, or with ``only_free`` anybody else.
        Refused: the record is of a link between other regions.
        Unavailable: the control bucket did not answer.

    """
    key = names.mirror_key(fresh.link)
    current = await links.swaps.read_or_create(key, fresh)
    while True:
        record = current.record
        if (record.source, record.target) != (fresh.source, fresh.target):
            raise Refused(
                f"the record of mirror link {fresh.link} is of {record.source} -> {record.target}, the fleet file has "
                f"{fresh.source} -> {fresh.target}",
                hint="give the new link a name of its own: offsets of the old one mean nothing to it",
            )
        if record.holder is not None and record.holder.is_same(holder):
            return LinkTenure(links, LinkClaim(fresh.link, record.holder, record.fence), current)
        if record.holder is not None and only_free:
            raise _held(record, record.holder)
        if record.holder is not None and takeover is None and record.holder.runbook != BY_HAND:
            halted = record.state is RecordState.HALTED
            if halted or holder_closed is None or not await holder_closed(record.holder):
                raise _held(record, record.holder)
        wanted = record.model_copy(update={"fence": record.fence + 1, "state": RecordState.HELD, "holder": holder})
        wanted = _numbered(wanted, record.seq + 1, holder, "take", wanted.fence)
        try:
            stood = await links.swaps.swap(key, current, wanted)
        except SwapConflict as conflict:
            current = conflict.current
            continue
        return LinkTenure(links, LinkClaim(fresh.link, holder, wanted.fence), stood)


def _command(intent: MirrorIntent) -> str:
    """The command that finishes it."""
    return MirrorVerb.STOP if intent.verb is MirrorVerb.DENY else intent.verb


def _numbered(record: LinkRecord, seq: int, holder: Holder, step: str, n: int) -> LinkRecord:
    bare = record.model_copy(update={"seq": 0, "write_id": ""})
    content = hashlib.sha256(encode(bare)).hexdigest()
    write_id = names.derive_id(holder.operation, holder.run_id, step, n, content)
    return record.model_copy(update={"seq": seq, "write_id": write_id})


def _held(record: LinkRecord, holder: Holder) -> Held:
    return Held(
        f"the mirror link {record.link} is held by {holder.operation} ({holder.runbook}, claimed by {holder.who}) "
        f"since {holder.since:%Y-%m-%d %H:%M:%S} UTC",
        hint=f"watch it:  tidegate ops watch {holder.operation}\n"
        f"take it over, if that operation is lost:  add --take-over --why TEXT",
        details={"operation": holder.operation, "who": holder.who, "fence": record.fence},
    )
