"""The step ``notify``: by the fleet file as it is now, once, and never an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.notify import NotifyActivities
from activities.sites import Sites
from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.notices.samples import notice
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.notices.sink import Sink
from tidegate.registry.fleet import publish


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def told(store: MemoryStore, folder: Path) -> NotifyFact:
    sites = Sites(store, "tidegate", folder)
    found: NotifyFact = await ActivityEnvironment().run(NotifyActivities(sites).notify, NotifyInput(notice=notice()))
    return found


async def test_who_is_on_call_now_is_told_and_once(tmp_path: Path) -> None:
    store = MemoryStore()
    with Sink() as first, Sink() as second:
        for sink in (first, second):
            text = f'{SMALL}\nnotices:\n  - {{name: chat, kind: slack, url: {{literal: "{sink.url("slack")}"}}}}\n'
            await publish(store, "tidegate", text, "ana")
        fact = await told(store, tmp_path)
        assert [one.problem for one in fact.sent] == [None]
        assert await told(store, tmp_path) == fact, "a step that is done again tells nobody again"
        assert (len(first.got), len(second.got)) == (0, 1)


async def test_without_a_fleet_file_it_says_so_and_fails_nothing(tmp_path: Path) -> None:
    fact = await told(MemoryStore(), tmp_path)
    assert fact.sent == ()
    assert fact.note
    assert fact.problems == (fact.note,)
