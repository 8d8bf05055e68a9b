"""Telling that a drill was missed or is older than its objective: once for each breach, however often one looks.

What was told stands in the control bucket, a record for each deployment. Who looks writes down what is new before
anybody is told of it, so that a look that dies is gone on with by the next one, under the same ids and times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from pydantic import AwareDatetime

from tidegate import names
from tidegate.clients.objects import ObjectStore
from tidegate.model.notice import Event, Notice, NotifyFact, Severity
from tidegate.model.record import Frozen
from tidegate.model.review import Finding
from tidegate.registry.swap import CONTROL_WAIT_S, SwapConflict, SwapStore

Tell = Callable[[Notice], Awaitable[NotifyFact]]
"""Raises nothing of ours, and tells nobody a second time of the same notice."""
_COMMANDS: Final = ("tidegate schedules list",)


class OpenBreach(Frozen):
    """One that people are told of. ``over``: since when it is over, until they know it."""

    finding: str
    subject: str
    what: str
    mend: tuple[str, ...]
    since: AwareDatetime
    """When it was first seen: the time of its notice."""
    told: bool = False
    over: AwareDatetime | None = None

    @property
    def of(self) -> tuple[str, str]:
        """What it is known again by."""
        return self.finding, self.subject


class Breaches(Frozen):
    """``breaches/<deployment>.json``."""

    version: Literal[1] = 1
    deployment: str
    open: tuple[OpenBreach, ...] = ()
    seq: int = 0
    write_id: str = ""


class BreachStore:
    """Breaches that people are told of, in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._swaps = SwapStore(store, bucket, Breaches, control_wait_s=control_wait_s)

    async def change(self, deployment: str, by: str, change: Callable[[Breaches], Breaches]) -> Breaches:
        """Compare-and-swap until ``change`` is done on what stands there. Raises Unavailable."""
        key = names.breaches_key(deployment)
        while True:
            basis = await self._swaps.read_or_create(key, Breaches(deployment=deployment))
            wanted = change(basis.record)
            if wanted == basis.record:
                return wanted
            seq = basis.record.seq + 1
            wanted = wanted.model_copy(update={"seq": seq, "write_id": names.derive_id("breaches", by, seq)})
            try:
                return (await self._swaps.swap(key, basis, wanted)).record
            except SwapConflict:
                continue


def seen(known: Breaches, found: Iterable[Finding], looked: Collection[str], at: datetime) -> Breaches:
    """What is open after a look. ``looked``: ids of findings that were looked for; what nobody looked for stays. Pure.

    One that is there again before people were told that it is over has never been over for them.
    """
    now = {(one.id, one.subject): one for one in found}
    kept = []
    for one in known.open:
        if one.of in now:
            kept.append(one.model_copy(update={"over": None}))
        elif one.finding not in looked:
            kept.append(one)
        elif one.told:
            kept.append(one.model_copy(update={"over": one.over or at}))
        # else nobody was told of it, and it is over
    had = {one.of for one in known.open}
    fresh = [
        OpenBreach(finding=one.id, subject=one.subject, what=one.what, mend=one.mend, since=at)
        for of, one in now.items()
        if of not in had
    ]
    return known.model_copy(update={"open": (*kept, *fresh)})


def notice_of(deployment: str, breach: OpenBreach) -> Notice:
    """What is told of it: the same each time."""
    over = breach.over is not None
    of = f"{breach.finding.removeprefix('ready/')}{f' ({breach.subject})' if breach.subject else ''}"
    return Notice(
        id=names.derive_id("breach", deployment, *breach.of, breach.since.isoformat(), over),
        event=Event.DRILL_BREACHED,
        over=over,
        severity=Severity.WARNING,
        title=f"drills of {deployment}: {of}{' is over' if over else f': {breach.what}'}",
        detail="" if over else "A failover that was not drilled lately is a hope.",
        subject=f"breach/{deployment}/{'/'.join(breach.of)}",
        deployment=deployment,
        at=breach.over or breach.since,
        commands=() if over else (*breach.mend, *_COMMANDS),
    )


async def tell_breaches(
    store: BreachStore,
    deployment: str,
    found: Sequence[Finding],
    looked: Collection[str],
    *,
    at: datetime,
    by: str,
    tell: Tell,
) -> tuple[str, ...]:
    """Tell what is new and what is over; who was not reached, and why. Done again, or by another look, it says nothing.

    ``by``: the look, for its writes. What nobody wants, or what could not be sent, is told by a later look.
    Raises Unavailable.
    """
    open_now = await store.change(deployment, by, lambda known: seen(known, found, looked, at))
    untold = [one for one in open_now.open if not one.told or one.over is not None]
    facts = await asyncio.gather(*(tell(notice_of(deployment, one)) for one in untold))
    told = [one for one, fact in zip(untold, facts, strict=True) if fact.sent and not fact.note]

    def noted(known: Breaches) -> Breaches:
        left = [one for one in known.open if one not in told or one.over is None]
        return known.model_copy(
            update={"open": tuple(one.model_copy(update={"told": True}) if one in told else one for one in left)}
        )

    await store.change(deployment, f"{by}/told", noted)
    return tuple(problem for fact in facts for problem in fact.problems)
