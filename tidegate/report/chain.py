"""Append a report to the chain of its deployment (I8).

A link is created (create-only) under the next number, then the head is swapped to it (O3). Every writer first moves the
head to a link that stands there already, so one that died in between, or a second one at the same time, is helped and
not overtaken: at most one link is beyond the head. Nothing that is wrong with the chain keeps a report from being
written: no operation may hang on evidence that somebody else has spoilt. The next link says what its writer found.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.model.record import utc_now
from tidegate.registry.swap import CONTROL_WAIT_S, Stood, SwapConflict, SwapStore, encode
from tidegate.report.link import Form, Head, Link, digest, link_bytes, read_head, read_link

RECENT: Final = 16
"""So many of the last links are looked through for one that a report has already. A second link does no harm."""
_TRIES: Final = 1_000
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Entry:
    """A report to be linked. ``stem``: what the keys of all of its run's reports begin with."""

    operation: str
    runbook: str
    outcome: str
    verdict: str
    at: datetime
    forms: tuple[Form, ...]
    stem: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Linked:
    """A link as it stands, and the sha256 of its bytes."""

    link: Link
    hash: str


class Chain:
    """The chain of one deployment."""

    def __init__(
        self, store: ObjectStore, bucket: str, deployment: str, *, control_wait_s: float = CONTROL_WAIT_S
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._deployment = deployment
        self._heads = SwapStore(store, bucket, Head, control_wait_s=control_wait_s)
        self._head_key = names.chain_head_key(deployment)

    async def append(self, entry: Entry) -> Linked:
        """Link a report. Done again, it finds the link that is there.

        Raises:
            Unavailable: the control bucket did not answer; doing it again is harmless.
            InvalidInput: there is no such bucket.
        """
        head, beside, found_wrong = await self._head(), 0, entry.notes
        for _ in range(_TRIES):
            there = await self._recent(head.record, entry)
            if there is not None:
                return there
            number = head.record.number + 1 + beside
            wanted = await self._next(head.record, number, entry, found_wrong)
            linked = await self._create(head.record, wanted)
            if linked is None:
                # What stands there follows nothing: it stays, for verify to name it, and this chain goes on beside it.
                beside += 1
                found_wrong = (*found_wrong, f"{names.chain_link_key(self._deployment, number)} is not of this chain")
                continue
            head, beside, found_wrong = await self._advance(head, linked), 0, entry.notes
            if linked.link.forms == entry.forms:
                return linked
        raise Unavailable(f"{names.chain_prefix(self._deployment)}: others were faster {_TRIES} times")

    # -- the head

    async def _head(self) -> Stood[Head]:
        """The head; it is made anew if it is not there or cannot be read, and then says so to the next link."""
        while True:
            try:
                found = await self._heads.read(self._head_key)
            except ValidationError:
                found = await self._mend()
            else:
                found = found or await self._first()
            if found is not None:
                return found

    async def _first(self) -> Stood[Head] | None:
        fresh = await self._from_links("was missing")
        try:
            return Stood(fresh, await self._store.create(self._at(self._head_key), encode(fresh)))
        except PreconditionFailed:
            return None

    async def _mend(self) -> Stood[Head] | None:
        stood = await self._store.get_or_none(self._at(self._head_key))
        if stood is None or read_head(stood.body) is not None:
            return None
        fresh = await self._from_links(f"could not be read (sha256 {digest(stood.body)})")
        try:
            return Stood(fresh, await self._store.replace(self._at(self._head_key), encode(fresh), if_match=stood.etag))
        except PreconditionFailed:
            return None

    async def _from_links(self, wrong: str) -> Head:
        """A head that goes on from the last link that can be read."""
        prefix = self._at(names.chain_prefix(self._deployment))
        keys = [info.uri.key async for info in self._store.list(prefix) if info.uri.key != self._head_key]
        for key in sorted(keys, reverse=True):
            found = await self._store.get_or_none(self._at(key))
            link = read_link(found.body) if found is not None else None
            if found is not None and link is not None and link.key == key:
                note = f"the head {wrong}: gone on from link {link.number}"
                return Head(deployment=self._deployment, number=link.number, hash=digest(found.body), notes=(note,))
        notes = (f"the head {wrong}: no link could be read",) if keys or wrong != "was missing" else ()
        return Head(deployment=self._deployment, notes=notes)

    async def _advance(self, head: Stood[Head], linked: Linked) -> Stood[Head]:
        """The head on this link. What is written depends on nothing else, so that all who help write the same."""
        seq = head.record.seq + 1
        moved = Head(
            deployment=self._deployment,
            seq=seq,
            write_id=names.derive_id("chain", self._deployment, seq, linked.hash),
            number=linked.link.number,
            hash=linked.hash,
        )
        try:
            return await self._heads.swap(self._head_key, head, moved)
        except SwapConflict as conflict:
            current: Stood[Head] = conflict.current
            return current
        except (InvalidInput, ValidationError):
            return await self._head()  # somebody removed or spoilt it meanwhile; no such bucket is raised from there

    # -- links

    async def _recent(self, head: Head, entry: Entry) -> Linked | None:
        """The link that the report has already, among the last ones."""
        numbers = range(head.number, max(0, head.number - RECENT), -1)
        for linked in await asyncio.gather(*(self._read(number) for number in numbers)):
            if linked is not None and linked.link.kind == "report" and linked.link.forms == entry.forms:
                return linked
        return None

    async def _read(self, number: int) -> Linked | None:
        found = await self._store.get_or_none(self._at(names.chain_link_key(self._deployment, number)))
        link = read_link(found.body) if found is not None else None
        return Linked(link, digest(found.body)) if found is not None and link is not None else None

    async def _create(self, head: Head, wanted: Link) -> Linked | None:
        """The link under this number: the wanted one, or one that follows the head as well; None: something else."""
        body = link_bytes(wanted)
        try:
            await self._store.create(self._at(wanted.key), body)
        except PreconditionFailed:
            found = await self._read(wanted.number)
            return found if found is not None and follows(found.link, head, wanted.number) else None
        return Linked(wanted, digest(body))

    async def _next(self, head: Head, number: int, entry: Entry, notes: tuple[str, ...]) -> Link:
        if head.number == 0:
            return await self._beginning(number, entry.stem, (*head.notes, *notes[len(entry.notes) :]))
        return Link(
            number=number,
            deployment=self._deployment,
            prev_number=head.number,
            prev=head.hash,
            kind="report",
            at=entry.at,
            operation=entry.operation,
            runbook=entry.runbook,
            outcome=entry.outcome,
            verdict=entry.verdict,
            forms=entry.forms,
            notes=(*head.notes, *notes),
        )

    async def _beginning(self, number: int, stem: str, notes: tuple[str, ...]) -> Link:
        """The first link: whatever lay there before, as it is now. From here on a change of it shows, too."""
        prefix = self._at(f"{names.REPORTS_PREFIX}{self._deployment}/")
        keys = [info.uri.key async for info in self._store.list(prefix) if not info.uri.key.startswith(stem)]
        turn = asyncio.Semaphore(_AT_ONCE)

        async def form(key: str) -> Form | None:
            async with turn:
                return await read_form(self._store, self._at(key))

        forms = await asyncio.gather(*(form(key) for key in keys))
        return Link(
            number=number,
            deployment=self._deployment,
            prev_number=0,
            prev=Head(deployment=self._deployment).hash,
            kind="begun",
            at=utc_now(),
            forms=tuple(one for one in forms if one is not None),
            notes=notes,
        )

    def _at(self, key: str) -> S3Uri:
        return S3Uri(self._bucket, key)


def follows(link: Link, head: Head, number: int) -> bool:
    """Whether a link that stands under this number is the next one after the head."""
    return (link.number, link.prev_number, link.prev) == (number, head.number, head.hash)


async def read_form(store: ObjectStore, uri: S3Uri) -> Form | None:
    """An object as a link names it; None: it is not there. Raises Unavailable."""
    found = await store.get_or_none(uri)
    return None if found is None else Form(key=uri.key, sha256=digest(found.body), size=len(found.body))
