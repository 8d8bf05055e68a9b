"""Telling who asked for it that a topic's gate has closed or opened, by a signed request.

An announcement may be lost, doubled or late: it says where to look, and ``lineage/<topic>.json`` is what counts. So
nobody waits for it and nothing fails by it. A receiver checks the signature (``signed_by``), drops what it has by
its ``Idempotency-Key``, and what has a lower ``seq`` than the last one of the topic.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from tidegate.lineage.model import TopicLineage
from tidegate.model.fleetpart import Announce
from tidegate.model.record import Frozen

SIGNATURE: Final = "Tidegate-Signature"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 0.5
"""Before the second attempt; doubled before each later one."""
ATTEMPT_S: Final = 5.0
TOLERANCE_S: Final = 300
"""How old a signature may be for a receiver: longer than all attempts, shorter than is of use to who recorded it."""
_DIGITS: Final = 12
"""Of a time in seconds, at most."""
_AGAIN: Final = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}


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


def signature(secret: str, body: bytes, at: int) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 of "SECONDS.BODY", so that an old request cannot be given a new time."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def signed_by(secret: str, header: str, body: bytes, now: float, tolerance_s: float = TOLERANCE_S) -> bool:
    """What a receiver checks: made with the secret, of just this body, and not long ago."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    at = parts.get("t", "")
    if len(at) > _DIGITS or not at.isascii() or not at.isdigit() or abs(now - int(at)) > tolerance_s:
        return False
    return hmac.compare_digest(signature(secret, body, int(at)).encode(), header.encode())


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
    telling = (_tell(one, body, key, http, max(1, attempts), first_pause_s) for one in receivers)
    return tuple(await asyncio.gather(*telling))


async def _tell(
    to: Receiver, body: bytes, key: str, http: httpx.AsyncClient, attempts: int, first_pause_s: float
) -> Told:
    told = Told(url=to.url, attempts=0)
    for number in range(1, attempts + 1):
        if number > 1:
            await asyncio.sleep(first_pause_s * 2 ** (number - 2))
        headers = {
            "Content-Type": "application/json",
            IDEMPOTENCY_KEY: key,
            SIGNATURE: signature(to.secret, body, int(time.time())),
        }
        try:
            answer = await http.post(to.url, content=body, headers=headers, timeout=ATTEMPT_S, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = Told(url=to.url, attempts=number, problem=f"{type(error).__name__}: {error}".rstrip(": "))
            continue
        if answer.is_success:
            return Told(url=to.url, attempts=number, status=answer.status_code)
        problem = f"answered {answer.status_code} {answer.reason_phrase}".rstrip()
        told = Told(url=to.url, attempts=number, status=answer.status_code, problem=problem)
        if not answer.is_server_error and answer.status_code not in _AGAIN:
            break
    return told


async def announce_all(wanted: Sequence[Announce], lineage: TopicLineage) -> tuple[Told, ...]:
    """Tell whom the fleet file names. Raises InvalidInput for a secret that is not there."""
    receivers = [Receiver.of(one) for one in wanted]
    if not receivers:
        return ()
    async with httpx.AsyncClient() as http:
        return await announce(receivers, lineage, http)
