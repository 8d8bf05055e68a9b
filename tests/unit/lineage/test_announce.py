"""Signed announcements of a turn, told to a real server that answers badly, late or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tidegate.lineage.announce import Receiver, announce, announce_all, body_of, key_of
from tidegate.lineage.model import Gate, TopicLineage
from tidegate.model.fleetpart import Announce
from tidegate.notices.delivery import IDEMPOTENCY_KEY, SIGNATURE, signature, signed_by

SECRET = "a long secret"
CLOSED = TopicLineage(topic="payments", region="east", turn=3, seq=9, fence=4, gate=Gate.CLOSED, holder="o")


@dataclass
class Served:
    url: str = ""
    answers: list[int] = field(default_factory=list)
    """Status of each answer in turn, 200 afterwards; 0: the connection is closed without one."""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.got.append((dict(self.headers), body))
            status = served.answers.pop(0) if served.answers else 200
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served.url = f"http://127.0.0.1:{http.server_port}/turns"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield served
        http.shutdown()
        thread.join()


async def tell(*urls: str, lineage: TopicLineage = CLOSED, **how):
    async with httpx.AsyncClient(trust_env=False) as http:
        return await announce([Receiver(url, SECRET) for url in urls], lineage, http, first_pause_s=0.01, **how)


async def test_what_is_told_is_signed_and_says_where_the_topic_is_written(server: Served) -> None:
    (told,) = await tell(server.url)
    assert (told.attempts, told.status, told.problem) == (1, 200, None)
    ((headers, body),) = server.got
    said = json.loads(body)
    assert {name: said[name] for name in ("topic", "turn", "region", "gate", "seq")} == {
        "topic": "payments",
        "turn": 3,
        "region": "east",
        "gate": "closed",
        "seq": 9,
    }
    assert said["at"] == CLOSED.updated_at.isoformat()
    assert headers[IDEMPOTENCY_KEY] == "payments/3/closed/4"
    now = time.time()
    assert signed_by(SECRET, headers[SIGNATURE], body, now)
    assert not signed_by("another", headers[SIGNATURE], body, now)
    assert not signed_by(SECRET, headers[SIGNATURE], body + b" ", now)
    assert not signed_by(SECRET, headers[SIGNATURE], body, now + 301)


@pytest.mark.parametrize(
    "header", ["", "t=", "t=1", "v1=ab", "t=x,v1=ab", "t=²,v1=ab", "nonsense", "t=1,v1=é", "t=" + "9" * 5000]
)
def test_a_header_that_is_no_signature_is_none(header: str) -> None:
    assert not signed_by(SECRET, header, b"{}", 1.0)


def test_a_signature_cannot_be_given_another_time() -> None:
    old = signature(SECRET, b"{}", 1_000)
    assert signed_by(SECRET, old, b"{}", 1_001)
    assert not signed_by(SECRET, old.replace("t=1000", "t=5000"), b"{}", 5_001)


async def test_it_is_tried_again_with_the_same_body_and_key(server: Served) -> None:
    server.answers = [503, 0, 429]
    (told,) = await tell(server.url)
    assert (told.attempts, told.status, told.problem) == (4, 200, None)
    assert len({body for _, body in server.got}) == 1
    assert {headers[IDEMPOTENCY_KEY] for headers, _ in server.got} == {key_of(CLOSED)}


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (401, 1), (307, 1), (500, 3)])
async def test_what_cannot_be_told_is_reported_and_not_raised(server: Served, status: int, attempts: int) -> None:
    server.answers = [status] * 9
    (told,) = await tell(server.url, attempts=3)
    assert (told.attempts, told.status) == (attempts, status)
    assert f"answered {status}" in (told.problem or "")
    assert len(server.got) == attempts


async def test_who_does_not_answer_does_not_keep_it_from_others(server: Served) -> None:
    nobody = "http://127.0.0.1:9/turns"
    silent, told = await tell(nobody, server.url, attempts=2)
    assert (silent.url, silent.attempts, silent.status) == (nobody, 2, None)
    assert "ConnectError" in (silent.problem or "")
    assert (told.url, told.problem) == (server.url, None)


def test_two_closings_of_one_turn_have_two_keys() -> None:
    """Closed, opened again without a turn, and closed by another operation: the second is no copy of the first."""
    assert key_of(CLOSED) != key_of(CLOSED.model_copy(update={"fence": 5, "seq": 12}))
    assert key_of(CLOSED) == key_of(CLOSED.model_copy(update={"seq": 10}))
    assert body_of(CLOSED) == body_of(CLOSED.model_copy())


async def test_the_fleet_files_receivers_are_told(server: Served, monkeypatch) -> None:
    monkeypatch.setenv("TURNS", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (told,) = await announce_all([Announce.model_validate({"url": server.url, "secret": {"env": "TURNS"}})], CLOSED)
    assert told.problem is None
    assert await announce_all([], CLOSED) == ()
    assert SECRET not in repr(Receiver(server.url, SECRET))
