"""Delivering one request to somebody outside: signed, tried again a bounded number of times, and known again.

What is sent may be lost, doubled or late; nobody waits for it and nothing fails by it. A receiver checks the signature
(``signed_by``) and drops what it has already by its ``Idempotency-Key``.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass, field
from typing import Final

import httpx

SIGNATURE: Final = "Tidegate-Signature"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 0.5
"""Before the second attempt; doubled before each later one."""
ATTEMPT_S: Final = 5.0
"""One attempt, its answer included."""
MAX_PAUSE_S: Final = 5.0
"""A receiver that asks for a longer pause (``Retry-After``) is waited for no longer than this."""
TOLERANCE_S: Final = 300
"""How old a signature may be for a receiver: longer than all attempts, shorter than is of use to who recorded it."""
ANSWER_BYTES: Final = 2_048
"""So much of an answer is read."""
_DIGITS: Final = 12
"""Of a time in seconds, at most."""
_AGAIN: Final = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
_quiet: contextvars.ContextVar[bool] = contextvars.ContextVar("tidegate_quiet_http", default=False)


class _NoAddress(logging.Filter):
    """httpx logs the whole URL of a request, and these are secrets."""

    def filter(self, _: logging.LogRecord) -> bool:
        """Whether the line is logged."""
        return not _quiet.get()


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(_NoAddress())  # of these loggers, only lines about deliveries are left out


@dataclass(frozen=True)
class Delivery:
    """What is to be delivered to whom. The same bytes and key at every attempt."""

    url: str = field(repr=False)
    body: bytes
    key: str
    secret: str | None = field(default=None, repr=False)
    """What it is signed with; None: it is not."""
    hide: tuple[str, ...] = field(default=(), repr=False)
    """What must not be told of it even if the receiver or a library says it."""


@dataclass(frozen=True)
class Delivered:
    """What became of a delivery. ``problem`` None: the receiver has taken it."""

    attempts: int
    status: int | None = None
    """HTTP status of the last answer; None: there was none."""
    answer: str = ""
    """The beginning of the last answer."""
    problem: str | None = None


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


async def deliver(
    what: Delivery, http: httpx.AsyncClient, *, attempts: int = ATTEMPTS, first_pause_s: float = FIRST_PAUSE_S
) -> Delivered:
    """Deliver it; what became of it. Raises nothing that the receiver does.

    Tried again where no answer came, or one that asks for it (408, 425, 429, 5xx). It takes ``attempts`` times
    (``ATTEMPT_S`` + ``MAX_PAUSE_S``) seconds at most, whatever the receiver does.
    """
    done = Delivered(attempts=0)
    pause_s = first_pause_s
    token = _quiet.set(True)
    try:
        for number in range(1, max(1, attempts) + 1):
            if number > 1:
                await asyncio.sleep(min(pause_s, MAX_PAUSE_S))
            pause_s = first_pause_s * 2 ** (number - 1)
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    answer, text = await _post(what, http)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                said = f"{type(error).__name__}: {error}".rstrip(": ")
                problem = f"no answer in {ATTEMPT_S:g} s" if isinstance(error, TimeoutError) else said
                done = Delivered(attempts=number, problem=_hidden(what, problem))
                continue
            text = _hidden(what, text)
            if answer.is_success:
                return Delivered(attempts=number, status=answer.status_code, answer=text)
            problem = f"answered {answer.status_code} {answer.reason_phrase}".rstrip()
            done = Delivered(number, answer.status_code, text, f"{problem}: {text[:200]}" if text else problem)
            if not answer.is_server_error and answer.status_code not in _AGAIN:
                break
            asked = answer.headers.get("Retry-After", "")
            if len(asked) <= _DIGITS and asked.isascii() and asked.isdigit():
                pause_s = max(pause_s, float(asked))
    finally:
        _quiet.reset(token)
    return done


async def _post(what: Delivery, http: httpx.AsyncClient) -> tuple[httpx.Response, str]:
    headers = {"Content-Type": "application/json", IDEMPOTENCY_KEY: what.key}
    if what.secret is not None:
        headers[SIGNATURE] = signature(what.secret, what.body, int(time.time()))
    async with http.stream(
        "POST", what.url, content=what.body, headers=headers, timeout=ATTEMPT_S, follow_redirects=False
    ) as answer:
        begun = b""
        async for part in answer.aiter_bytes():
            begun += part
            if len(begun) >= ANSWER_BYTES:
                break
    return answer, " ".join(begun[:ANSWER_BYTES].decode(errors="replace").split())


def _hidden(what: Delivery, text: str) -> str:
    """The text without what must not be told; nothing in it reaches a terminal as a command to it."""
    for secret in sorted((what.url, *what.hide, what.secret or ""), key=len, reverse=True):
        if secret:
            text = text.replace(secret, "…")
    return "".join(char if char.isprintable() else " " for char in text)
