"""``tidegate notices``: a test notice, what was told, and the local sink."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from datetime import timedelta

import httpx
import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.notices.samples import SECRET, notice
from tidegate.cli.main import run
from tidegate.model.notice import NotifyFact, Sent
from tidegate.model.record import utc_now
from tidegate.notices.delivery import SIGNATURE, signature
from tidegate.notices.sink import Sink
from tidegate.notices.store import NoticeStore
from tidegate.registry import artifacts


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def sink(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Sink(secrets={"hook": SECRET}) as listening:
        fleet = tmp_path / "fleet.yaml"
        fleet.write_text(
            f"""{SMALL}
notices:
  - {{name: hook, kind: webhook, url: {{literal: "{listening.url("hook")}"}}, secret: {{literal: {SECRET}}}}}
  - {{name: chat, kind: slack, url: {{literal: "{listening.url("slack")}"}}, events: [failed]}}
  - {{name: gone, kind: slack, url: {{env: NOT_THERE}}}}
"""
        )
        monkeypatch.setenv("TIDEGATE_FLEET", str(fleet))
        monkeypatch.delenv("NOT_THERE", raising=False)
        yield listening


@pytest.fixture
def store(monkeypatch, sink):
    store = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    return store


def test_a_test_notice_reaches_all_whatever_their_filters_and_says_what_came_back(sink, capsys):
    assert run(["notices", "test", "--who", "ana"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in out[1:3]] == [["hook", "webhook", "yes", "1"], ["chat", "slack", "yes", "1"]]
    assert "200 ok" in out[1]
    assert "NOT_THERE is not set" in out[3]
    assert [(got.kind, got.status) for got in sorted(sink.got, key=lambda got: got.kind)] == [
        ("slack", 200),
        ("webhook", 200),
    ]


def test_one_target_alone_and_as_json(sink, capsys):
    assert run(["notices", "test", "hook", "-o", "json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)
    assert (sent["target"], sent["status"], sent["problem"]) == ("hook", 200, None)
    assert run(["notices", "test", "hok"]) == 2
    assert "did you mean hook" in capsys.readouterr().err


def test_a_fleet_file_that_names_nobody_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "f.yaml").write_text(SMALL)
    monkeypatch.setenv("TIDEGATE_FLEET", str(tmp_path / "f.yaml"))
    assert run(["notices", "test"]) == 2
    assert "names nobody" in capsys.readouterr().err


def test_the_list_says_who_was_not_reached(store, capsys):
    kept, now = NoticeStore(store, "tidegate"), utc_now()
    good = Sent(target="hook", kind="webhook", attempts=1, status=200)
    bad = Sent(target="chat", kind="slack", attempts=4, problem="no answer in 5 s")
    for fact in (
        NotifyFact(notice=notice(id="a", at=now - timedelta(days=2)), sent=(bad,)),
        NotifyFact(notice=notice(id="b", at=now, over=True), sent=(good,)),
    ):
        asyncio.run(kept.append(fact))
    assert run(["notices", "list"]) == 0
    assert "over: UpgradeDeployment of ledger" in capsys.readouterr().out
    asyncio.run(kept.append(NotifyFact(notice=notice(id="c", at=now), sent=(good, bad))))
    assert run(["notices", "list", "--undelivered"]) == 1
    (_, line) = capsys.readouterr().out.splitlines()
    assert "chat (slack): no answer in 5 s" in line
    assert run(["notices", "list", "--since", "7d"]) == 2
    capsys.readouterr()
    assert run(["notices", "list", "--since", "72h", "-o", "json"]) == 1
    assert [fact["notice"]["id"] for fact in json.loads(capsys.readouterr().out)] == ["a", "b", "c"]


def _listening(capsys) -> str:
    for _ in range(2_000):
        told = "".join(capsys.readouterr())
        found = re.search(r"http://127\.0\.0\.1:\d+/", told)
        if found:
            return found.group()
        threading.Event().wait(0.005)
    raise AssertionError("it does not listen")


def test_the_sink_prints_what_comes_and_refuses_what_is_not_signed(sink, capsys):
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(["notices", "sink", "--port", "0", "--count", "3"])))
    thread.start()
    url = _listening(capsys)
    body = b'{"title":"ledger stands halted"}'
    with httpx.Client(trust_env=False) as http:
        signed = {SIGNATURE: signature(SECRET, body, int(utc_now().timestamp())), "Idempotency-Key": "k1"}
        assert http.post(f"{url}hook", content=body, headers=signed).status_code == 200
        assert http.post(f"{url}hook", content=body, headers=signed).status_code == 200
        assert http.post(f"{url}hook", content=body).status_code == 401
    thread.join(30)
    assert codes == [1]
    first, again, unsigned = capsys.readouterr().out.splitlines()
    assert first.startswith("200 webhook   ledger stands halted  [signed by hook, key k1")
    assert "again" in again
    assert unsigned.startswith("401 webhook   not signed: it is not by one of hook")
