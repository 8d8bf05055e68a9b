"""Send a notice to those whom a fleet file names, side by side; what became of it at each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from tidegate.errors import InvalidInput
from tidegate.model.fleetnotices import PAGERDUTY_URL, NoticeTarget
from tidegate.model.notice import Notice, Sent
from tidegate.notices import formats
from tidegate.notices.delivery import ATTEMPTS, FIRST_PAUSE_S, Delivery, deliver


async def send(
    targets: Sequence[NoticeTarget],
    notice: Notice,
    *,
    attempts: int = ATTEMPTS,
    first_pause_s: float = FIRST_PAUSE_S,
) -> tuple[Sent, ...]:
    """Tell every target that wants it. Raises nothing that a target does, nor for a secret that is not there.

    Bounded: ``tidegate.notices.delivery.deliver``, and no target waits for another.
    """
    wanting = [target for target in targets if target.wants(notice)]
    if not wanting:
        return ()
    async with httpx.AsyncClient() as http:
        sending = (_send(target, notice, http, attempts, first_pause_s) for target in wanting)
        return tuple(await asyncio.gather(*sending))


async def _send(
    target: NoticeTarget, notice: Notice, http: httpx.AsyncClient, attempts: int, first_pause_s: float
) -> Sent:
    try:
        delivery = delivery_of(target, notice)
    except InvalidInput as error:
        return Sent(target=target.name, kind=target.kind, attempts=0, problem=error.message)
    done = await deliver(delivery, http, attempts=attempts, first_pause_s=first_pause_s)
    return Sent(
        target=target.name,
        kind=target.kind,
        attempts=done.attempts,
        status=done.status,
        answer=done.answer[:200],
        problem=done.problem,
    )


def delivery_of(target: NoticeTarget, notice: Notice) -> Delivery:
    """What is posted to a target. Raises InvalidInput for a secret that is not there, or an address that is none."""
    url = target.url.resolve().strip() if target.url is not None else PAGERDUTY_URL
    parts = _split(url)
    if parts is None:
        # What stands there is a secret: it is not shown.
        raise InvalidInput(f"notices.{target.name}.url: not a URL; expected https://HOST/PATH")
    hide = tuple(part for part in (parts[1], parts[2]) if len(part) > 3)
    if target.kind == "webhook":
        secret = target.secret.resolve() if target.secret is not None else None
        body = formats.encoded(formats.webhook(notice))
        return Delivery(url, body, notice.id, secret=secret, hide=hide)
    if target.kind == "slack":
        return Delivery(url, formats.encoded(formats.slack(notice)), notice.id, hide=hide)
    key = target.routing_key.resolve() if target.routing_key is not None else ""
    return Delivery(url, formats.encoded(formats.pagerduty(notice, key)), notice.id, hide=(*hide, key))


def _split(url: str) -> tuple[str, str, str] | None:
    """Host, path and query of a URL; None: it is none."""
    try:
        found = urlsplit(url)
        host, _ = found.hostname, found.port
    except ValueError:
        return None
    return (host, found.path, found.query) if host and found.scheme in {"http", "https"} else None
