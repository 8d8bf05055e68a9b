"""Drills in breach are told once each, whoever looks and however often, and told to be over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.review import ReviewActivities
from activities.sites import Sites
from tests.kit.objects import MemoryStore
from tests.kit.ready_world import World
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.notices.samples import SECRET
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import Unavailable
from tidegate.model.notice import Event, Notice, NotifyFact, Sent
from tidegate.model.review import BreachFact, BreachNote, DeploymentReview, Finding, Severity
from tidegate.notices.breaches import Breaches, BreachStore, tell_breaches
from tidegate.notices.sink import Sink
from tidegate.readiness.drills import TOLD, to_be_told
from tidegate.readiness.facts import NotKnown, ScheduledDrill
from tidegate.registry.fleet import publish

AT = datetime(2026, 11, 28, 7, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


def finding(name: str = "drill-overdue", subject: str = "", what: str = "the last was 9 days ago") -> Finding:
    return Finding(
        id=f"ready/{name}", severity=Severity.BREACH, deployment="ledger", subject=subject, what=what, why="",
        mend=("tidegate drill recovery ledger",),
    )  # fmt: skip


class Told:
    """Who is told: it keeps what comes, by id; a test makes it die or reach nobody."""

    def __init__(self) -> None:
        self.got: list[Notice] = []
        self.answer = (Sent(target="hook", kind="webhook", attempts=1, status=200),)
        self.note = ""
        self.dies = False

    async def __call__(self, notice: Notice) -> NotifyFact:
        if self.dies:
            raise RuntimeError("killed here")
        self.got.append(notice)
        return NotifyFact(notice=notice, sent=self.answer, note=self.note)

    @property
    def said(self) -> list[tuple[str, bool]]:
        return [(notice.subject, notice.over) for notice in self.got]


@pytest.fixture
def bucket() -> MemoryStore:
    return MemoryStore()


async def _lives(*_: object) -> None:
    """Nothing happens before the next calls."""


async def look(
    bucket: MemoryStore, told: Told, *found: Finding, at: datetime = AT, looked: frozenset[str] = TOLD, by: str = "r1"
) -> tuple[str, ...]:
    store = BreachStore(bucket, "tidegate", control_wait_s=1.0)
    return await tell_breaches(store, "ledger", found, looked, at=at, by=by, tell=told)


async def test_i4_one_notice_for_a_breach_and_not_one_for_each_look(bucket: MemoryStore) -> None:
    told = Told()
    await look(bucket, told, finding())
    await look(bucket, told, finding(what="the last was 10 days ago"), at=AT + timedelta(days=1), by="r2")
    assert told.said == [("breach/ledger/ready/drill-overdue/", False)]
    (notice,) = told.got
    assert (notice.event, notice.at, notice.deployment) == (Event.DRILL_BREACHED, AT, "ledger")
    assert notice.title == "drills of ledger: drill-overdue: the last was 9 days ago"
    assert notice.commands == ("tidegate drill recovery ledger", "tidegate schedules list")


async def test_what_is_over_is_told_once_and_the_next_breach_anew(bucket: MemoryStore) -> None:
    told = Told()
    for day, found in enumerate([[finding()], [], [], [finding()]]):
        await look(bucket, told, *found, at=AT + timedelta(days=day), by=f"r{day}")
    assert [over for _, over in told.said] == [False, True, False]
    assert len({notice.id for notice in told.got}) == 3
    assert len({notice.subject for notice in told.got}) == 1, "what is over resolves the alert that was opened"


async def test_what_nobody_could_look_for_is_not_over(bucket: MemoryStore) -> None:
    told = Told()
    await look(bucket, told, finding())
    await look(bucket, told, at=AT + timedelta(days=1), looked=frozenset(), by="r2")
    assert len(told.got) == 1


async def test_two_schedules_that_were_missed_are_two(bucket: MemoryStore) -> None:
    told = Told()
    await look(bucket, told, finding("drill-missed", "drill-a"), finding("drill-missed", "drill-b"))
    await look(bucket, told, finding("drill-missed", "drill-b"), by="r2")
    assert sorted(told.said) == [
        ("breach/ledger/ready/drill-missed/drill-a", False),
        ("breach/ledger/ready/drill-missed/drill-a", True),
        ("breach/ledger/ready/drill-missed/drill-b", False),
    ]


@pytest.mark.parametrize("op", ["create", "replace", "tell"])
async def test_o16_killed_anywhere_the_next_look_tells_the_same_notice(bucket: MemoryStore, op: str) -> None:
    """What it was killed with is told by the next look, under the id and time that were written down first."""
    told, calls = Told(), 0

    async def killed(called: str, _: S3Uri) -> None:
        nonlocal calls
        if called == op:
            calls += 1
            raise RuntimeError("killed here")

    bucket.before, told.dies = killed, op == "tell"
    with pytest.raises(RuntimeError):
        await look(bucket, told, finding())
    assert calls or op == "tell"
    bucket.before, told.dies = _lives, False
    await look(bucket, told, finding(), at=AT + WEEK, by="r2")
    (notice,) = told.got
    assert notice.at == (AT if op == "tell" else AT + WEEK)
    await look(bucket, told, finding(), at=AT + 2 * WEEK, by="r3")
    assert len(told.got) == 1


async def test_o16_killed_after_it_was_told_it_is_the_same_notice_again(bucket: MemoryStore) -> None:
    told, swaps = Told(), 0

    async def killed(called: str, _: S3Uri) -> None:
        nonlocal swaps
        swaps += called == "replace"
        if swaps == 2:  # what is told is written down
            raise RuntimeError("killed here")

    bucket.before = killed
    with pytest.raises(RuntimeError):
        await look(bucket, told, finding())
    bucket.before = _lives
    await look(bucket, told, finding(), at=AT + WEEK, by="r2")
    first, again = told.got
    assert first == again, "who has it drops it by its key"


async def test_what_could_not_be_sent_or_nobody_wants_is_told_by_a_later_look(bucket: MemoryStore) -> None:
    told = Told()
    told.note = "no fleet file is published"
    assert await look(bucket, told, finding()) == ("no fleet file is published",)
    told.note, told.answer = "", ()
    await look(bucket, told, finding(), by="r2")
    told.answer = (Sent(target="hook", kind="webhook", attempts=4, problem="no answer in 5 s"),)
    assert await look(bucket, told, finding(), by="r3") == ("hook (webhook): no answer in 5 s",)
    assert await look(bucket, told, finding(), by="r4") == (), "it was tried, as every notice is; the list shows it"
    assert len({notice.id for notice in told.got}) == 1


async def test_two_that_look_at_once_tell_one_notice(bucket: MemoryStore) -> None:
    told, other, interrupted = Told(), Told(), False

    async def meanwhile(op: str, _: S3Uri) -> None:
        nonlocal interrupted
        if op == "replace" and not interrupted:
            interrupted = True
            await look(bucket, other, finding(), at=AT + timedelta(seconds=1), by="other")

    bucket.before = meanwhile
    await look(bucket, told, finding())
    assert {notice.id for notice in told.got} <= {notice.id for notice in other.got}
    found = await bucket.get(S3Uri("tidegate", names.breaches_key("ledger")))
    assert len(Breaches.model_validate_json(found.body).open) == 1


async def test_a_bucket_that_is_away_is_told_nobody(bucket: MemoryStore) -> None:
    async def away(_: str, __: S3Uri) -> None:
        raise Unavailable("the control bucket does not answer")

    bucket.before, told = away, Told()
    with pytest.raises(Unavailable):
        await look(bucket, told, finding())
    assert told.got == []


# -- what a review says of it


async def test_a_review_finds_what_was_missed_and_what_nobody_could_see_is_not_known() -> None:
    world = await World.made()
    assert to_be_told(await world.review()) == ((), TOLD)
    world.drills = (ScheduledDrill("drill-ledger", "ledger", "was due 2026-11-24 04:00 UTC, and nothing ran"),)
    (one,) = (await world.review()).findings
    assert (one.id, one.subject, one.severity) == ("ready/drill-missed", "drill-ledger", Severity.BREACH)
    assert one.what == "schedule drill-ledger was due 2026-11-24 04:00 UTC, and nothing ran"
    world.drills = (ScheduledDrill("drill-other", "other", "was due"),)
    assert (await world.review()).findings == ()
    world.drills = NotKnown("Temporal", "does not answer")
    review = await world.review()
    assert [one.id for one in review.findings] == ["ready/not-known"]
    assert to_be_told(review) == ((), TOLD - {"ready/drill-missed"})


async def test_an_objective_that_nobody_has_set_is_no_breach() -> None:
    world = await World.made()
    await world.report("failover-ledger-1", days_ago=30.0)
    found, looked = to_be_told(await world.review())
    assert ([one.id for one in found], looked) == (["ready/drill-overdue"], TOLD)
    warned = [one.model_copy(update={"severity": Severity.WARNING}) for one in found]
    assert to_be_told((await world.review()).model_copy(update={"findings": tuple(warned)}))[0] == ()


async def test_the_step_tells_signed_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    bucket = MemoryStore()
    review = DeploymentReview(
        deployment="ledger", tier=1, home="east/cell-1", standby="west", score=70, findings=(finding(),)
    )

    async def step(client: Client | None = None) -> BreachFact:
        acts = ReviewActivities(Sites(bucket, "tidegate", tmp_path), client)  # type: ignore[arg-type]
        note = BreachNote(review=review, operation="review-ledger-1", at=AT)
        found: BreachFact = await ActivityEnvironment().run(acts.note_breaches, note)
        return found

    with Sink(secrets={"hook": SECRET}) as sink:
        target = f'{{name: hook, kind: webhook, url: {{literal: "{sink.url("hook")}"}}, secret: {{literal: {SECRET}}}}}'
        await publish(bucket, "tidegate", f"{SMALL}\nnotices:\n  - {target}\n", "ana")
        assert (await step()).problems == ()
        assert (await step()).problems == ()
        (got,) = sink.got
    assert (got.signed, got.status) == ("signed by hook", 200)
    assert got.body["event"] == "drill-breached"
