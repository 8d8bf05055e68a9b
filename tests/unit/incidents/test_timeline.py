"""The page of an incident: everything that ran in its time, and the same failure seen before."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.incidents.test_incident import BUCKET, closed, incident
from tests.unit.notices.samples import notice
from tests.unit.report import samples
from tidegate.clients.objects import S3Uri
from tidegate.incidents.fingerprint import failure_of, normalised
from tidegate.incidents.gather import Gathered, Running, gather
from tidegate.incidents.model import IncidentNote, Section
from tidegate.incidents.page import forms, write_page
from tidegate.model.notice import NotifyFact, Sent
from tidegate.notices.store import NoticeStore
from tidegate.report.write import write_report

START = samples.START


def moved(request, seconds: float, operation: str, **changes):
    """The same operation at another time, under another name."""
    by = timedelta(seconds=seconds)
    shifted = {"started": request.started + by, "ended": request.ended + by, "operation": operation}
    return request.model_copy(update={**shifted, **changes})


class Scene:
    """An incident from a minute before ``START`` to an hour after it."""

    def __init__(self) -> None:
        self.now = START
        self.store = MemoryStore(now=lambda: self.now)
        self.incident = closed(incident(began_at=START - timedelta(seconds=60), opened_at=START)).model_copy(
            update={"closed_at": START + timedelta(hours=1), "regions": (), "deployments": ("ledger",)}
        )

    async def report(self, request) -> None:
        self.now = request.ended
        await write_report(self.store, BUCKET, request)

    async def gather(self, *others, running=(), unread=()) -> Gathered:
        return await gather(self.store, BUCKET, self.incident, others, START, running, unread)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_all_that_ran_in_its_time_is_there_and_nothing_else(scene: Scene) -> None:
    await scene.report(moved(samples.done(), -7_200, "before"))
    await scene.report(samples.done())
    await scene.report(moved(samples.undone(), 3_600 - 30, "across-its-end"))
    await scene.report(moved(samples.done(), 7_200, "after"))
    await scene.report(moved(samples.done(), 60, "elsewhere", deployment="other"))
    scene.now = START + timedelta(seconds=30)
    body = b'{"at": "2026-03-01T03:14:32+00:00", "who": "ana", "why": "x"}'
    await scene.store.put(S3Uri(BUCKET, "history/ledger/00000013-released.json"), body)
    told = NotifyFact(
        notice=notice(at=START + timedelta(seconds=40)),
        sent=(Sent(target="oncall", kind="pagerduty", attempts=4, problem="no answer in 5 s"),),
    )
    await NoticeStore(scene.store, BUCKET).append(told)
    running = Running("upgrade-x", "UpgradeDeployment", "ledger", "east", "halted", START + timedelta(seconds=50))
    scene.incident = scene.incident.with_note(
        IncidentNote(at=START + timedelta(seconds=45), who="ana", text="the provider says so")
    )
    found = await scene.gather(running=[running])
    ran = [one.report.operation for one in found.reports]
    assert ran == ["upgrade-ledger-7c1f", "elsewhere", "across-its-end"]
    what = [entry.what for entry in found.entries]
    assert [entry.at for entry in found.entries] == sorted(entry.at for entry in found.entries)
    for line in ("opened", "ledger: released", "ana", "upgrade-x begins", "closed", "upgrade-ledger-7c1f ends: done"):
        assert line in what
    assert any(line.startswith("CRITICAL: UpgradeDeployment of ledger") for line in what)
    assert {entry.what for entry in found.entries if not entry.hit} == {"elsewhere begins", "elsewhere ends: done"}


async def test_a_report_that_cannot_be_read_is_said_and_hides_no_other(scene: Scene) -> None:
    await scene.report(samples.done())
    await scene.store.put(S3Uri(BUCKET, "reports/ledger/broken/abc.json"), b"{}")
    found = await scene.gather(unread=["operations that have not ended: Temporal is away"])
    assert [one.report.operation for one in found.reports] == ["upgrade-ledger-7c1f"]
    assert len(found.unread) == 2
    html = forms(found)["html"].decode()
    assert "not on this page: operations that have not ended" in html
    assert "reports/ledger/broken/abc.json" in html


# -- the same failure


async def test_the_same_failure_seen_before_is_linked_with_its_incident(scene: Scene) -> None:
    earlier = moved(samples.undone(), -86_400, "the-one-before")
    await scene.report(earlier)
    await scene.report(moved(samples.bad_verdict(), -80_000, "another-failure"))
    await scene.report(samples.undone())
    old = closed(incident(id="old", began_at=earlier.started, opened_at=earlier.started, closed_at=None)).model_copy(
        update={"closed_at": earlier.ended}
    )
    found = await scene.gather(old, incident(id="unrelated", began_at=START, opened_at=START))
    (seen,) = found.seen
    assert seen.before == ("the-one-before",)
    assert seen.incidents == ("old",)
    assert "seen before" in forms(found)["md"].decode()


def test_a_failure_is_its_first_step_that_failed_and_not_what_came_of_it() -> None:
    failure = failure_of(samples.undone())
    assert failure is not None
    assert failure.step == "prove"
    assert failure_of(samples.done()) is None
    bad = failure_of(samples.bad_verdict())
    assert bad is not None
    assert bad.fingerprint != failure.fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 restarts in 20 s (limit 2)", "11 restarts in 20.5 s (limit 2)"),
        ("no answer since 03:13:58 UTC", "no answer since 17:00:01.250 UTC"),
        ("s3://east/savepoints/ledger/e7/x is missing", "s3://west/savepoints/ledger/e8/y is missing"),
        ("job 5bfb0123456789abcdef0123456789ab FAILED", "job 9a200123456789abcdef0123456789ab FAILED"),
        ("started 2026-03-01 03:14:22.870 UTC", "started 2027-11-28T07:00:00Z"),
        ("TaskManager-2 lost", "TaskManager-14 lost"),
        ("Too  many\nspaces", "too many spaces"),
    ],
)
def test_what_differs_from_run_to_run_makes_no_other_failure(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_other_words_are_another_failure() -> None:
    assert normalised("3 restarts in 20 s") != normalised("3 checkpoints in 20 s")
    assert normalised("decade") == "decade", "a word is no id because its letters are hex digits"


# -- the page


async def test_the_page_is_whole_in_one_file_and_asks_for_the_review(scene: Scene) -> None:
    await scene.report(samples.done())
    await scene.report(moved(samples.undone(), 60, "second"))
    scene.incident = scene.incident.with_note(
        IncidentNote(at=START, who="ana", text="<b>no payment</b> for 2 minutes", section=Section.IMPACT)
    )
    found = await scene.gather()
    where = await write_page(scene.store, BUCKET, found)
    html = scene.store.objects[where["html"]].body.decode()
    markdown = scene.store.objects[where["md"]].body.decode()
    assert not re.findall(r"(?:src|href)=|<script|url\(|@import", html)
    assert "&lt;b&gt;no payment&lt;/b&gt;" in html
    assert html.count('<rect class="bar') == 2
    for text in (html, markdown):
        for title in ("Impact", "What went well", "What went badly", "Follow-ups", "What happened", "Failures"):
            assert title in text
        assert "To be written" in text
    assert "Times count from the beginning of the incident." in html
    assert forms(found) == forms(await scene.gather()), "the same for the same"


async def test_an_incident_in_which_nothing_ran_has_a_page(scene: Scene) -> None:
    html = forms(await scene.gather())["html"].decode()
    assert "No operation failed in its time." in html
    assert "nothing was audited" in html
