"""Shutting a mirror out that cannot be told to stop: its Connect does not answer, and its tasks may still write (X17).

Its principal is denied the link's transactional ids on the target's Kafka, that is seen to bite, and what its tasks had
open there is ended: nothing of it is committed any more, whoever comes back. A start lifts it only when it is asked to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tidegate.clients.kafka_types import Heartbeat, TxnState
from tidegate.errors import NoProgress, Unavailable
from tidegate.mirror.link import MirrorLink
from tidegate.model.mirror import LinkState, MirrorIntent, MirrorVerb
from tidegate.registry.links import LinkTenure

T = TypeVar("T")
DENY_S: Final = 30.0
PAUSE_S: Final = 0.05
PAUSE_MAX_S: Final = 0.5
_NOT_ENDED: Final = frozenset({TxnState.ONGOING, TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT})


async def shut_out(
    link: MirrorLink, tenure: LinkTenure, away: Unavailable, *, step: str, n: int, heartbeat: Heartbeat | None = None
) -> str:
    """Shut out a link whose Connect is ``away``; what was done, for the record.

    Raises:
        Unavailable: it has no principal that could be denied (``away``), or the target's Kafka does not answer either.
        NoProgress: the DENY is written and not seen to refuse, or a transaction does not end.
        Superseded.

    """
    if link.principal is None:
        raise Unavailable(
            f"{away.message}; and the link has no principal that could be denied on Kafka",
            hint=f"until Connect answers the mirror is not shut; name its principal: mirrors.{link.name}.principal",
            details=away.details,
        )
    intent = await tenure.begin(f"{step}-deny", n, MirrorVerb.DENY, principal=link.principal)
    return await deny(link, tenure, intent, heartbeat)


async def deny(link: MirrorLink, tenure: LinkTenure, intent: MirrorIntent, heartbeat: Heartbeat | None = None) -> str:
    """Do what a DENY's intent says, prove it, and close it; what was done. Raises as ``shut_out``."""
    kafka, until = link.target_kafka, time.monotonic() + DENY_S
    principal = f"User:{intent.principal}"
    await asked(until, lambda: kafka.deny_transactional_prefix(principal, link.task_prefix))
    seen = "every broker shows it"
    if link.login is not None:
        await _bites(link, until, heartbeat)
        seen = "seen to refuse"
    ended = await _ended(link, until, heartbeat)
    note = f"{principal} is denied {link.task_prefix}* on {link.target}'s Kafka, {seen}"
    note += f"; ended {', '.join(ended)}" if ended else "; nothing was open"
    await tenure.close(intent, note, LinkState.SHUT_OUT)
    return note


async def lift(link: MirrorLink, tenure: LinkTenure, until: float) -> None:
    """Take the DENY away, and write down that it is. Only when the connector was told to stand still before.

    Raises Unavailable, Superseded.
    """
    principal = tenure.record.shut_out
    if principal is None:
        return
    await asked(until, lambda: link.target_kafka.lift_denied_prefix(f"User:{principal}", link.task_prefix))
    for begun in tenure.record.open_intents():
        if begun.verb is MirrorVerb.DENY:
            await tenure.void(begun, "lifted, as a person asked")
    await tenure.change("lifted", tenure.record.epoch, lambda record: record.model_copy(update={"denied": None}))


async def end_dead_transactions(link: MirrorLink) -> list[str]:
    """Abort what this link's dead tasks left open in the target; their transactional ids.

    A worker that starts reads its offsets topic up to an end that counts open transactions in, as a read_committed
    consumer: so it waits for a dead task's transaction until that times out. Ended by name (EndTxn, producer id and
    epoch as the broker says), the wait is over at once. Only where the tasks are known not to run: a live task whose
    transaction is ended fails (nothing is lost) and must be restarted.
    """
    kafka = link.target_kafka
    ended: list[str] = []
    for found in await kafka.list_transactions(link.task_prefix):
        if found.state is TxnState.ONGOING:
            await kafka.end_transaction(found.transactional_id, found.producer_id, found.producer_epoch, commit=False)
            ended.append(found.transactional_id)
    return ended


async def in_hand(link: MirrorLink) -> bool:
    """Whether its tasks may bring in something more: a transaction of theirs has no outcome yet, or nobody says."""
    try:
        listed = await link.target_kafka.list_transactions(link.task_prefix)
    except Unavailable:
        return True
    return any(one.state in _NOT_ENDED for one in listed)


async def asked(until: float, call: Callable[[], Awaitable[T]]) -> T:
    """A call again until it is answered or the time is over: workers rebalance (409), and restart. May be doubled."""
    pause_s = PAUSE_S
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_MAX_S, pause_s * 1.5)


async def _bites(link: MirrorLink, until: float, heartbeat: Heartbeat | None) -> None:
    """Until every broker refuses the link's principal."""
    kafka, login = link.target_kafka, link.login
    while not await asked(until, lambda: kafka.probe_denied(link.task_prefix, login)):
        await _again(link, until, "the DENY to bite", "a broker still lets it in", heartbeat)


async def _ended(link: MirrorLink, until: float, heartbeat: Heartbeat | None) -> list[str]:
    """End what is open; nothing new comes, since the DENY stands. Returns when every one of them has its outcome."""
    ended: list[str] = []
    while True:
        ended += await asked(until, lambda: end_dead_transactions(link))
        listed = await asked(until, lambda: link.target_kafka.list_transactions(link.task_prefix))
        still = [f"{one.transactional_id} {one.state.value}" for one in listed if one.state in _NOT_ENDED]
        if not still:
            return sorted(set(ended))
        await _again(link, until, "its transactions to end", ", ".join(still), heartbeat)


async def _again(link: MirrorLink, until: float, waits_for: str, seen: str, heartbeat: Heartbeat | None) -> None:
    if heartbeat is not None:
        heartbeat({"waiting_for": waits_for, "link": link.name, "seen": seen})
    if time.monotonic() > until:
        raise NoProgress(
            f"mirror link {link.name}: waited in vain for {waits_for}: {seen}",
            hint=f"it may still write; again:  tidegate mirror stop {link.name}",
        )
    await asyncio.sleep(PAUSE_S)
