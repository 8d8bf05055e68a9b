"""Telling who asked for it that a topic's gate has closed or opened, by a signed request.

An announcement may be lost, doubled or late: it says where to look, and ``lineage/<topic>.json`` is what counts. So
nobody waits for it and nothing fails by it. A receiver does as ``tidegate.notices.delivery`` says, and drops what has a
lower ``seq`` than the last one of the topic.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tidegate.lineage.model import TopicLineage
from tidegate.model.fleetpart import Announce
from tidegate.model.record import Frozen
from tidegate.notices.delivery import ATTEMPTS, FIRST_PAUSE_S, Delivery, deliver


@dataclass(frozen=True)
class Receiver:
    """Who is told, and what the requests to it are signed with."""

    url: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, wanted: Announce) -> Receiver:
        """As the fleet file names it. Raises InvalidInput for a secret that is not there."""
        return cls(wanted.url, wanted.secret.resolve())


class Told(Frozen):
    """What became of one announcement. ``problem`` None: the receiver has taken it."""

    url: str
    attempts: int
    status: int | None = None
    """HTTP status of the last answer; None: there was none."""
    problem: str | None = None


def body_of(lineage: TopicLineage) -> bytes:
    """What is posted: the same bytes for the same lineage, at every attempt."""
    said = {
        "topic": lineage.topic,
        "turn": lineage.turn,
        "region": lineage.region,
        "gate": lineage.gate.value,
        "seq": lineage.seq,
        "at": lineage.updated_at.isoformat(),
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def key_of(lineage: TopicLineage) -> str:
    """The same for the same state of the gate. The fence tells two closings in one turn apart."""
    return f"{lineage.topic}/{lineage.turn}/{lineage.gate.value}/{lineage.fence}"


async def announce(
    receivers: Sequence[Receiver],
    lineage: TopicLineage,
    http: httpx.AsyncClient,
    *,
    attempts: int = ATTEMPTS,
    first_pause_s: float = FIRST_PAUSE_S,
) -> tuple[Told, ...]:
    """Tell every receiver, side by side; what became of each, in their order. Raises nothing that they do.

    Tried again, a bounded number of times, where no answer came, or one that asks for it (408, 425, 429, 5xx).
    """
    body, key = body_of(lineage), key_of(lineage)
    return await tell(receivers, body, key, http, attempts=attempts, first_pause_s=first_pause_s)


async def tell(
    receivers: Sequence[Receiver],
    body: bytes,
    key: str,
    http: httpx.AsyncClient,
    *,
    attempts: int = ATTEMPTS,
    first_pause_s: float = FIRST_PAUSE_S,
) -> tuple[Told, ...]:
    """Post these bytes, signed, under this idempotency key, to every receiver; as ``announce``."""
    telling = (
        deliver(Delivery(one.url, body, key, secret=one.secret), http, attempts=attempts, first_pause_s=first_pause_s)
        for one in receivers
    )
    done = await asyncio.gather(*telling)
    return tuple(
        Told(url=to.url, attempts=one.attempts, status=one.status, problem=one.problem)
        for to, one in zip(receivers, done, strict=True)
    )


async def announce_all(wanted: Sequence[Announce], lineage: TopicLineage) -> tuple[Told, ...]:
    """Tell whom the fleet file names. Raises InvalidInput for a secret that is not there."""
    receivers = [Receiver.of(one) for one in wanted]
    if not receivers:
        return ()
    async with httpx.AsyncClient() as http:
        return await announce(receivers, lineage, http)
