"""A receiver of notices for the sandbox and the tests, on loopback: it checks what it gets as the real ones would.

By path: ``/slack`` answers as Slack's incoming webhook, ``/pagerduty`` as Events API v2, anything else as a webhook
that checks the signature and drops what it has already.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from tidegate.notices.delivery import IDEMPOTENCY_KEY, SIGNATURE, signed_by
from tidegate.notices.formats import (
    PAGERDUTY_DEDUP_KEY,
    PAGERDUTY_SUMMARY,
    SLACK_FIELD,
    SLACK_HEADER,
    SLACK_TEXT,
)

MOST_BYTES: Final = 512 * 1_024
"""What PagerDuty takes at most."""
_SEVERITIES: Final = {"critical", "error", "warning", "info"}


@dataclass(frozen=True)
class Got:
    """One request, and what is to be said of it."""

    kind: str
    key: str
    status: int
    text: str
    """The headline of what was told; or what was wrong with it."""
    signed: str
    """``signed by NAME``, ``not signed``, or ``BAD SIGNATURE``."""
    again: bool
    body: Mapping[str, object]

    @property
    def line(self) -> str:
        """For a person."""
        again = ", again" if self.again else ""
        text = "".join(char if char.isprintable() else " " for char in self.text)
        return f"{self.status} {self.kind:<9} {text}  [{self.signed}{again}, key {self.key[:12]}]"


@dataclass
class Sink:
    """It listens while it is entered. ``got`` holds all that came, the first first."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of each target that signs, by its name."""
    port: int = 0
    """0: any that is free."""
    said: Callable[[Got], None] = lambda _: None
    got: list[Got] = field(default_factory=list)
    _keys: set[tuple[str, str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                n_bytes = int(length) if length.isascii() and length.isdigit() and len(length) < 9 else 0
                body = self.rfile.read(n_bytes) if n_bytes <= MOST_BYTES else b""
                got, answer = sink.take(self.path, dict(self.headers), body)
                told = answer.encode()
                self.send_response(got.status)
                self.send_header("Content-Type", "application/json" if answer.startswith("{") else "text/plain")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                return  # `said` tells it better

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def url(self, path: str) -> str:
        """Where a target of this path posts to."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Got, str]:
        """Judge one request; what is to be said of it, and the answer."""
        known = {name.lower(): value for name, value in headers.items()}
        key, header = known.get(IDEMPOTENCY_KEY.lower(), ""), known.get(SIGNATURE.lower())
        kind = next((name for name in ("slack", "pagerduty") if path.strip("/").startswith(name)), "webhook")
        data = _json(body)
        who = next(
            (n for n, secret in self.secrets.items() if header and signed_by(secret, header, body, time.time())), ""
        )
        signed = f"signed by {who}" if who else "not signed" if header is None else "BAD SIGNATURE"
        wrong = list(_CHECKS[kind](data))
        if kind == "webhook" and self.secrets and not who:
            wrong.insert(0, f"{signed}: it is not by one of {', '.join(self.secrets)}")
        status, answer = _ANSWERS[kind](data, wrong)
        with self._lock:
            # One notice goes to several targets under one key.
            again = bool(key) and (path, key) in self._keys
            if not wrong:
                self._keys.add((path, key))
            got = Got(kind, key, status, "; ".join(wrong) or _headline(kind, data), signed, again, data)
            self.got.append(got)
            self.said(got)
        return got, answer


def slack_mistakes(body: Mapping[str, object]) -> Iterator[str]:
    """What Slack would not take (``invalid_payload``, ``invalid_blocks``)."""
    if not isinstance(body.get("text"), str):
        yield "text: expected the fallback"
    blocks = body.get("blocks")
    if not isinstance(blocks, list) or not 0 < len(blocks) <= 50:
        yield "blocks: expected 1 to 50"
        return
    for number, block in enumerate(blocks):
        kind = block.get("type")
        texts = {
            "header": [(block.get("text"), "plain_text", SLACK_HEADER)],
            "section": [(block.get("text"), "mrkdwn", SLACK_TEXT)] if "text" in block else [],
            "context": [(one, "mrkdwn", SLACK_TEXT) for one in block.get("elements", [])],
        }
        if kind not in texts:
            yield f"blocks[{number}].type: {kind}"
            continue
        fields = block.get("fields", [])
        if kind == "section" and not 0 < len(fields) + len(texts[kind]) <= 11:
            yield f"blocks[{number}]: neither text nor fields, or more than 10 fields"
        for text, wanted, most in (*texts[kind], *((one, "mrkdwn", SLACK_FIELD) for one in fields)):
            told = text.get("text") if isinstance(text, dict) and text.get("type") == wanted else None
            if not isinstance(told, str) or not 0 < len(told) <= most:
                yield f"blocks[{number}]: expected {wanted} of 1 to {most} characters"


def pagerduty_mistakes(body: Mapping[str, object]) -> Iterator[str]:
    """What PagerDuty's Events API v2 would not take."""
    if not body.get("routing_key"):
        yield "routing_key: missing"
    action, key = body.get("event_action"), body.get("dedup_key")
    if action not in {"trigger", "acknowledge", "resolve"}:
        yield f"event_action: {action}"
    if (action != "trigger" and not key) or len(str(key or "")) > PAGERDUTY_DEDUP_KEY:
        yield f"dedup_key: expected at most {PAGERDUTY_DEDUP_KEY} characters, and one to resolve"
    if action != "trigger":
        return
    payload = body.get("payload")
    told = payload if isinstance(payload, dict) else {}
    if not told.get("summary") or len(str(told["summary"])) > PAGERDUTY_SUMMARY:
        yield f"payload.summary: expected 1 to {PAGERDUTY_SUMMARY} characters"
    if not told.get("source"):
        yield "payload.source: missing"
    if told.get("severity") not in _SEVERITIES:
        yield f"payload.severity: {told.get('severity')}"


def _webhook_mistakes(body: Mapping[str, object]) -> Iterator[str]:
    if not body:
        yield "no JSON object"


def _answer_slack(_: Mapping[str, object], wrong: list[str]) -> tuple[int, str]:
    return (HTTPStatus.BAD_REQUEST, "invalid_payload") if wrong else (HTTPStatus.OK, "ok")


def _answer_pagerduty(body: Mapping[str, object], wrong: list[str]) -> tuple[int, str]:
    if wrong:
        refused = {"status": "invalid event", "message": "Event object is invalid", "errors": wrong}
        return HTTPStatus.BAD_REQUEST, json.dumps(refused)
    told = {"status": "success", "message": "Event processed", "dedup_key": body.get("dedup_key")}
    return HTTPStatus.ACCEPTED, json.dumps(told)


def _answer_webhook(_: Mapping[str, object], wrong: list[str]) -> tuple[int, str]:
    return (HTTPStatus.UNAUTHORIZED, "; ".join(wrong)) if wrong else (HTTPStatus.OK, "ok")


_CHECKS: Final[dict[str, Callable[[Mapping[str, object]], Iterator[str]]]] = {
    "slack": slack_mistakes,
    "pagerduty": pagerduty_mistakes,
    "webhook": _webhook_mistakes,
}
_ANSWERS: Final[dict[str, Callable[[Mapping[str, object], list[str]], tuple[int, str]]]] = {
    "slack": _answer_slack,
    "pagerduty": _answer_pagerduty,
    "webhook": _answer_webhook,
}


def _json(body: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _headline(kind: str, body: Mapping[str, object]) -> str:
    if kind == "slack":
        return str(body.get("text"))
    if kind == "pagerduty":
        payload = body.get("payload")
        summary = payload.get("summary") if isinstance(payload, dict) else ""
        return f"{body.get('event_action')} {body.get('dedup_key')} {summary}".rstrip()
    over = "over: " if body.get("over") else ""
    topic = f"{body.get('topic')} is {body.get('gate')} in {body.get('region')}" if "topic" in body else ""
    return f"{over}{body.get('title') or topic or '?'}"
