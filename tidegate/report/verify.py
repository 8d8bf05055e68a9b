"""Verify the reports of a deployment against their chain (I8): each fault by the name of its object.

The links are followed from the head backwards, by hash: a link is what it was if its bytes have the sha256 that the
one after it names. Then every object of every report must have the sha256 that its link names, and every object that
lies among the reports must have a link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.nearest import did_you_mean
from tidegate.model.record import Frozen
from tidegate.report.chain import follows
from tidegate.report.link import NO_LINK, Form, Head, Link, digest, read_head, read_link

_AT_ONCE: Final = 8
_JUST_NOW: Final = timedelta(seconds=60)
HEAD_DIGITS: Final = 12
"""So many digits of a head are enough to be known again."""


class FaultKind(StrEnum):
    """What is wrong with an object."""

    ALTERED = "altered"
    MISSING = "missing"
    INSERTED = "inserted"
    REORDERED = "reordered"
    BROKEN = "broken"
    REWRITTEN = "rewritten"


class Fault(Frozen):
    """One object that is not as the chain says."""

    kind: FaultKind
    object: str
    """Its ``s3://`` location."""
    why: str


class Verified(Frozen):
    """The reports of one deployment, verified."""

    deployment: str
    reports: int
    """Reports that a link names."""
    before: int
    """Reports that lay there before the chain began."""
    links: int
    head: str | None
    """sha256 of the last link: to be written down elsewhere. None: there is no chain."""
    head_number: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    hashes: tuple[tuple[int, str], ...]
    """Number and hash of each link that is as it was, the oldest first."""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True)
class _Stored:
    """A link's object."""

    key: str
    body: bytes
    hash: str
    link: Link | None


@dataclass
class _Walk:
    """What following the chain has found."""

    faults: list[tuple[FaultKind, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    links: list[tuple[_Stored, bool]] = field(default_factory=list)
    """The newest first; whether it is as it was."""
    seen: set[str] = field(default_factory=set)

    def fault(self, kind: FaultKind, key: str, why: str) -> None:
        """Note a fault of the object under this key."""
        self.faults.append((kind, key, why))


async def deployments_of(store: ObjectStore, bucket: str) -> tuple[list[str], tuple[Fault, ...]]:
    """Whatever has reports or a chain; what lies beside their folders, where nothing belongs. Raises Unavailable."""
    found: set[str] = set()
    strays: list[Fault] = []
    for prefix in (names.REPORTS_PREFIX, names.CHAIN_PREFIX):
        for name in await store.list_names(S3Uri(bucket, prefix)):
            if name.endswith("/"):
                found.add(name.removesuffix("/"))
            else:
                why = "of no deployment: no operation writes there"
                strays.append(Fault(kind=FaultKind.INSERTED, object=f"s3://{bucket}/{prefix}{name}", why=why))
    return sorted(found), tuple(strays)


async def verify(store: ObjectStore, bucket: str, deployment: str) -> Verified:
    """Every report of a deployment against its link, and every link against the next.

    Raises:
        Unavailable: the control bucket did not answer.
    """
    listed = {
        info.uri.key: info.last_modified async for info in store.list(_at(bucket, names.REPORTS_PREFIX, deployment))
    }
    head_key = names.chain_head_key(deployment)
    head_body = await store.get_or_none(S3Uri(bucket, head_key))
    keys = [
        info.uri.key
        async for info in store.list(_at(bucket, names.CHAIN_PREFIX, deployment))
        if info.uri.key != head_key
    ]
    bodies = await _bodies(store, bucket, keys)
    stored = {
        key: _Stored(key, body, digest(body), read_link(body)) for key, body in bodies.items() if body is not None
    }
    head = read_head(head_body.body) if head_body is not None else None
    walk = _Walk()
    if head_body is None and stored:
        walk.fault(FaultKind.MISSING, head_key, "the head of the chain: whether later links are missing is not known")
    if head_body is not None and head is None:
        walk.fault(FaultKind.ALTERED, head_key, "the head of the chain cannot be read")
    _follow(walk, deployment, stored, head)
    await _check_reports(walk, store, bucket, listed)
    good = [(one.link.number, one.hash) for one, as_it_was in reversed(walk.links) if as_it_was and one.link]
    last = good[-1] if good else None
    linked = {_base(form.key) for form in _forms(walk.links, "report")}
    lay_there = {_base(form.key) for form in _forms(walk.links, "begun")}
    return Verified(
        deployment=deployment,
        reports=len(linked),
        before=len(lay_there - linked),  # of two that began the chain at once one saw the other's
        links=len(stored),
        head=last[1] if last else None,
        head_number=last[0] if last else 0,
        faults=tuple(Fault(kind=kind, object=f"s3://{bucket}/{key}", why=why) for kind, key, why in walk.faults),
        notes=tuple(walk.notes),
        hashes=tuple(good),
    )


def against(verified: Sequence[Verified], heads: Iterable[str]) -> list[tuple[str, Verified | None, int]]:
    """Each head that was written down, with the chain and the number of the link that it is; None: none has it.

    Raises:
        InvalidInput: it is no head: too short, or no hex digits.
    """
    found: list[tuple[str, Verified | None, int]] = []
    for given in heads:
        head = given.strip().lower()
        if len(head) < HEAD_DIGITS or len(head) > len(NO_LINK) or set(head) - set("0123456789abcdef"):
            raise InvalidInput(
                f"--head {given}: no head; expected {HEAD_DIGITS} to {len(NO_LINK)} hex digits",
                hint="it is what this prints:  tidegate report verify",
            )
        at = ((one, number) for one in verified for number, known in one.hashes if known.startswith(head))
        chain, number = next(at, (None, 0))
        found.append((head, chain, number))
    return found


def unknown(deployment: str, known: Sequence[str]) -> InvalidInput:
    """The error for a deployment that has neither reports nor a chain."""
    return InvalidInput(
        f"no report and no chain of {deployment}{did_you_mean(deployment, known)}", hint="see:  tidegate report list"
    )


def _at(bucket: str, prefix: str, deployment: str) -> S3Uri:
    return S3Uri(bucket, f"{prefix}{deployment}/")


def _base(key: str) -> str:
    return key.rpartition(".")[0]


def _forms(links: Sequence[tuple[_Stored, bool]], kind: str) -> list[Form]:
    return [form for one, _ in links if one.link and one.link.kind == kind for form in one.link.forms]


# -- links


def _follow(walk: _Walk, deployment: str, stored: Mapping[str, _Stored], head: Head | None) -> None:
    by_hash = {one.hash: one for one in stored.values()}
    number, expected = _last(walk, stored, head)
    while number > 0:
        key = names.chain_link_key(deployment, number)
        one = stored.get(key)
        if expected is not None and (one is None or one.hash != expected):
            real = by_hash.get(expected)
            if real is not None:
                if one is not None:
                    holds = f"link {one.link.number}" if one.link and one.link.number != number else "something else"
                    walk.fault(FaultKind.REORDERED, key, f"holds {holds}; link {number} lies under {real.key}")
                    walk.seen.add(key)
                else:
                    walk.fault(FaultKind.REORDERED, real.key, f"is link {number}, which belongs under {key}")
                one, as_it_was = real, True
            elif one is None:
                walk.fault(FaultKind.MISSING, key, f"link {number} of the chain")
                as_it_was = False
            else:
                what = "cannot be read" if one.link is None else f"has sha256 {one.hash}"
                walk.fault(FaultKind.ALTERED, key, f"link {number} {what}; what follows names {expected}")
                as_it_was = False
        elif one is None or one.link is None:
            kind = FaultKind.MISSING if one is None else FaultKind.ALTERED
            walk.fault(kind, key, f"link {number} of the chain{'' if one is None else ' cannot be read'}")
            as_it_was = False
        else:
            as_it_was = True
        if one is not None:
            walk.seen.add(one.key)
            walk.links.append((one, as_it_was))
        number, expected = _before(walk, deployment, stored, by_hash, number, one, as_it_was=as_it_was)
    for one in stored.values():
        if one.key not in walk.seen:
            walk.fault(FaultKind.INSERTED, one.key, "no link of this chain")
    for one, _ in reversed(walk.links):
        if one.link is not None:
            walk.notes += [f"link {one.link.number} says: {note}" for note in one.link.notes]


def _last(walk: _Walk, stored: Mapping[str, _Stored], head: Head | None) -> tuple[int, str | None]:
    """Where to begin: at the head, or at the one link after it that its writer did not live to move the head to."""
    if head is None:
        numbers = [one.link.number for one in stored.values() if one.link and one.link.key == one.key]
        return max(numbers, default=0), None
    walk.notes += list(head.notes)
    for one in sorted(stored.values(), key=lambda found: found.key):
        link = one.link
        if link is not None and link.key == one.key and link.number > head.number and follows(link, head, link.number):
            walk.notes.append(f"link {link.number} is not in the head yet: the next report will put it there")
            return link.number, one.hash
    return head.number, head.hash


def _before(
    walk: _Walk,
    deployment: str,
    stored: Mapping[str, _Stored],
    by_hash: Mapping[str, _Stored],
    number: int,
    one: _Stored | None,
    *,
    as_it_was: bool,
) -> tuple[int, str | None]:
    """Number and hash of the link before: by this one's word, if that can be believed."""
    link = one.link if one is not None else None
    if link is not None and (as_it_was or (link.number == number and link.prev in by_hash)):
        if link.prev_number < number and (link.prev == NO_LINK) == (link.prev_number == 0):
            return link.prev_number, link.prev
        walk.fault(FaultKind.BROKEN, link.key, f"names link {link.prev_number} as the one before link {number}")
    below = [
        found.link.number
        for found in stored.values()
        if found.link and found.link.key == found.key and found.link.number < number and found.key not in walk.seen
    ]
    nearest = max(below, default=0)
    for missing in range(number - 1, nearest, -1):
        key = names.chain_link_key(deployment, missing)
        found = stored.get(key)
        kind = FaultKind.MISSING if found is None else FaultKind.ALTERED
        walk.fault(kind, key, f"link {missing} of the chain{'' if found is None else ' cannot be read'}")
        walk.seen.add(key)
    return nearest, None


# -- reports


async def _check_reports(walk: _Walk, store: ObjectStore, bucket: str, listed: Mapping[str, datetime]) -> None:
    named: dict[str, tuple[Form, str]] = {}
    for one, _ in reversed(walk.links):
        if one.link is None:
            continue
        where = "what lay there when the chain began" if one.link.kind == "begun" else f"link {one.link.number}"
        for form in one.link.forms:
            named.setdefault(form.key, (form, where))  # the first word counts: what was linked is never replaced
    bodies = await _bodies(store, bucket, named)
    for key, (form, where) in named.items():
        body = bodies[key]
        if body is None:
            walk.fault(FaultKind.MISSING, key, f"{where} names it: {form.size:,} bytes, sha256 {form.sha256}")
        elif digest(body) != form.sha256:
            walk.fault(
                FaultKind.ALTERED, key, f"sha256 {digest(body)}, {len(body):,} bytes; {where} names {form.sha256}"
            )
    if not walk.links and not walk.faults:
        if listed:
            count = len({_base(key) for key in listed})
            walk.notes.append(f"no chain yet: {count:,} reports of before; the next one begins it and names them all")
        return
    for key, written in listed.items():
        if key not in named:
            fresh = datetime.now(UTC) - written < _JUST_NOW
            later = " It is less than a minute old: if an operation ends just now, verify again." if fresh else ""
            walk.fault(
                FaultKind.INSERTED,
                key,
                f"no link names it: put there by somebody else, or its writer died before the link.{later}",
            )


async def _bodies(store: ObjectStore, bucket: str, keys: Iterable[str]) -> dict[str, bytes | None]:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def body(key: str) -> bytes | None:
        async with turn:
            found = await store.get_or_none(S3Uri(bucket, key))
            return None if found is None else found.body

    wanted = list(keys)
    return dict(zip(wanted, await asyncio.gather(*(body(key) for key in wanted)), strict=True))
