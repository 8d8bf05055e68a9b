"""Notices sent to a real HTTP server: signature, retries, one key, dead targets, and no secret anywhere."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.notices.samples import AT, SECRET, notice, target
from tidegate import errors
from tidegate.model.fleetnotices import NoticeTarget
from tidegate.model.notice import Event, NotifyFact, Severity
from tidegate.notices import delivery
from tidegate.notices.delivery import IDEMPOTENCY_KEY, SIGNATURE, signed_by
from tidegate.notices.send import send
from tidegate.notices.sink import Sink
from tidegate.notices.store import NoticeStore, tell


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Answers:
    """A server that answers with these statuses in turn (200 afterwards), and keeps what it got."""

    def __init__(self, *statuses: int, text: str = "", retry_after: str | None = None) -> None:
        self.statuses, self.text, self.retry_after = list(statuses), text, retry_after
        self.got: list[tuple[float, dict[str, str], bytes]] = []
        self.url = ""

    @contextmanager
    def up(self) -> Iterator[Answers]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                served.got.append((time.monotonic(), dict(self.headers), body))
                status = served.statuses.pop(0) if served.statuses else 200
                self.send_response(status)
                if served.retry_after is not None and status != 200:
                    self.send_header("Retry-After", served.retry_after)
                self.send_header("Content-Length", str(len(served.text)))
                self.end_headers()
                self.wfile.write(served.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            self.url = f"http://127.0.0.1:{http.server_port}/services/T0/B0/verysecretpath"
            thread = threading.Thread(target=http.serve_forever, args=(0.02,))
            thread.start()
            yield self
            http.shutdown()
            thread.join()


async def test_each_kind_arrives_as_its_receiver_takes_it() -> None:
    with Sink(secrets={"webhook": SECRET}) as sink:
        sent = await send([target(kind, sink.url(kind)) for kind in ("webhook", "slack", "pagerduty")], notice())
        assert [(one.target, one.status, one.problem) for one in sent] == [
            ("webhook", 200, None),
            ("slack", 200, None),
            ("pagerduty", 202, None),
        ]
        by_kind = {got.kind: got for got in sink.got}
    assert by_kind["webhook"].signed == "signed by webhook"
    assert by_kind["webhook"].body["id"] == notice().id
    assert by_kind["slack"].signed == "not signed"
    assert by_kind["pagerduty"].body["routing_key"] == "R0UT1NGK3Y"
    assert sent[2].answer.startswith('{"status": "success"')


async def test_a_webhook_that_is_signed_with_another_secret_is_refused() -> None:
    with Sink(secrets={"webhook": "another one"}) as sink:
        (sent,) = await send([target("webhook", sink.url("hook"))], notice())
    assert (sent.status, sent.attempts) == (401, 1)
    assert "BAD SIGNATURE" in (sent.problem or "")


async def test_it_is_tried_again_with_the_same_body_and_key_and_a_fresh_signature() -> None:
    with Answers(503, 429).up() as server:
        (sent,) = await send([target("webhook", server.url)], notice(), first_pause_s=0.01)
    assert (sent.attempts, sent.status, sent.problem) == (3, 200, None)
    assert {headers[IDEMPOTENCY_KEY] for _, headers, _ in server.got} == {notice().id}
    assert len({body for *_, body in server.got}) == 1
    assert all(signed_by(SECRET, headers[SIGNATURE], body, time.time()) for _, headers, body in server.got)


async def test_a_receiver_that_asks_for_a_pause_gets_it_but_not_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(delivery, "MAX_PAUSE_S", 0.3)
    with Answers(429, retry_after="9999").up() as server:
        (sent,) = await send([target("slack", server.url)], notice(), first_pause_s=0.01)
    assert sent.problem is None
    (first, *_), (second, *_) = server.got
    assert second - first >= 0.3


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (410, 1), (500, 3)])
async def test_what_is_refused_for_good_is_not_tried_again_and_says_why(status: int, tries: int) -> None:
    with Answers(*[status] * 9, text="no_service").up() as server:
        (sent,) = await send([target("slack", server.url)], notice(), attempts=3, first_pause_s=0.01)
    assert (sent.attempts, sent.status) == (tries, status)
    assert f"answered {status}" in (sent.problem or "")
    assert "no_service" in (sent.problem or "")


async def test_a_dead_target_is_bounded_and_keeps_it_from_nobody(monkeypatch) -> None:
    """One that takes connections and never answers: as bad as it gets."""
    monkeypatch.setattr(delivery, "ATTEMPT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, Sink() as sink:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        dead, well = await send(
            [target("slack", url, name="dead"), target("slack", sink.url("slack"))], notice(), first_pause_s=0.01
        )
        took_s = time.monotonic() - began
    assert (dead.attempts, dead.status, dead.problem) == (4, None, "no answer in 0.2 s")
    assert well.problem is None
    assert took_s < 4 * (0.2 + delivery.MAX_PAUSE_S)


async def test_no_secret_is_told_or_logged(caplog) -> None:
    """Not even where the receiver itself sends it back."""
    caplog.set_level(logging.DEBUG)
    with Answers(400, text="no such key R0UT1NGK3Y at /services/T0/B0/verysecretpath").up() as server:
        (refused,) = await send([target("pagerduty", server.url)], notice())
    (gone,) = await send([target("slack", server.url)], notice(), attempts=1)
    assert gone.problem is not None
    assert "no such key …" in (refused.problem or "")
    told = f"{refused!r} {gone!r} {caplog.text}"
    for secret in ("R0UT1NGK3Y", "verysecretpath", SECRET):
        assert secret not in told


async def test_a_secret_that_is_not_there_is_said_and_keeps_it_from_nobody(monkeypatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("NO_URL", "verysecret but no URL")
    with Sink() as sink:
        missing, wrong, well = await send(
            [
                target("slack", {"env": "NOT_SET"}, name="missing"),
                target("slack", {"env": "NO_URL"}, name="wrong"),
                target("slack", sink.url("slack")),
            ],
            notice(),
        )
    assert "NOT_SET is not set" in (missing.problem or "")
    assert wrong.problem == "notices.wrong.url: not a URL; expected https://HOST/PATH"
    assert well.problem is None


def wants(changes: dict[str, object], **of_notice: object) -> bool:
    return NoticeTarget.model_validate({"name": "a", "kind": "slack", "url": {"env": "X"}, **changes}).wants(
        notice(**of_notice)
    )


def test_a_target_gets_what_its_filters_let_through() -> None:
    assert wants({})
    assert not wants({"events": ("failed",)})
    assert wants({"events": ("failed", "halted")})
    assert not wants({"min_severity": "error"}, severity=Severity.WARNING)
    assert wants({"min_severity": "error"}, severity=Severity.ERROR)
    # What is over passes as what it ends did: else the alert would stay.
    assert wants({"min_severity": "critical"}, over=True)
    assert wants({"events": ("failed",), "min_severity": "critical"}, event=Event.TEST, severity=Severity.INFO)


def test_pagerduty_is_called_for_no_less_than_a_warning_unless_it_is_asked_to() -> None:
    pager = {"kind": "pagerduty", "routing_key": {"env": "K"}}
    assert not wants(pager, severity=Severity.INFO)
    assert wants(pager, severity=Severity.WARNING)
    assert wants({**pager, "min_severity": "info"}, severity=Severity.INFO)


# -- what became of it


async def test_a_step_that_is_done_again_tells_nobody_twice() -> None:
    """The worker died after the delivery, and before Temporal knew of it."""
    store = MemoryStore()
    kept = NoticeStore(store, "tidegate")
    with Sink() as sink:
        first = await tell([target("slack", sink.url("slack"))], notice(), kept)
        again = await tell([target("slack", sink.url("slack"))], notice(), kept)
        assert len(sink.got) == 1
    assert first == again
    assert [fact.notice for fact in await kept.between()] == [notice()]


async def test_what_nobody_wants_leaves_no_trace() -> None:
    kept = NoticeStore(MemoryStore(), "tidegate")
    fact = await tell([target("slack", "http://127.0.0.1:9/x", events=("failed",))], notice(), kept)
    assert fact == NotifyFact(notice=notice())
    assert await kept.between() == []


async def test_notices_are_found_by_their_time() -> None:
    kept = NoticeStore(MemoryStore(), "tidegate")
    for second in (3, 1, 2):
        at = AT.replace(second=second)
        await kept.append(NotifyFact(notice=notice(id=f"{second}", at=at)))
    found = await kept.between(AT.replace(second=2), AT.replace(second=2))
    assert [fact.notice.id for fact in found] == ["2"]
    assert [fact.notice.id for fact in await kept.between()] == ["1", "2", "3"]


async def test_a_control_bucket_that_is_away_is_said_before_anybody_is_told() -> None:
    class Away(MemoryStore):
        async def get_or_none(self, uri):
            raise errors.Unavailable("the control bucket does not answer")

    with Sink() as sink:
        with pytest.raises(errors.Unavailable):
            await tell([target("slack", sink.url("slack"))], notice(), NoticeStore(Away(), "tidegate"))
        assert sink.got == []
