"""What is kept of scheduled runs: once, in order, whoever writes at the same time; and who is told of a failure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.testing import ActivityEnvironment

from activities.schedules import ScheduleActivities
from activities.sites import Sites
from tests.kit.objects import MemoryStore
from tests.kit.scheduled import asked
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.notices.samples import SECRET
from tidegate import names
from tidegate.clients.s3 import S3Uri
from tidegate.model.fleetpart import Announce
from tidegate.model.record import DeploymentRecord, Holder
from tidegate.model.schedule import NoteFact, RunNote, RunOutcome, ScheduledResult, SkipReason, WeighInput
from tidegate.model.secret import Secret
from tidegate.notices.delivery import SIGNATURE, signed_by
from tidegate.notices.sink import Sink
from tidegate.registry.fleet import publish
from tidegate.registry.records import encode
from tidegate.schedules.late import breaches
from tidegate.schedules.notice import tell_failed
from tidegate.schedules.store import ScheduleStore

AT = datetime(2026, 11, 30, 1, 30, tzinfo=UTC)


def _result(run: str = "tidegate-sweep-ledger-1", outcome: RunOutcome = RunOutcome.DONE, **fields: Any) -> Any:
    told = {"schedule": "sweep-ledger", "runbook": "SweepSnapshots", "run": run, "due": AT, "ended": AT} | fields
    return ScheduledResult.model_validate({**told, "outcome": outcome})


async def test_a_run_that_is_noted_twice_is_noted_once_i4() -> None:
    bucket = MemoryStore()
    store = ScheduleStore(bucket, "tidegate")
    await store.note(_result())
    before = dict(bucket.objects)
    await store.note(_result())
    assert bucket.objects == before


async def test_a_failure_is_the_last_run_and_the_last_good_one_stays() -> None:
    store = ScheduleStore(MemoryStore(), "tidegate")
    await store.note(_result())
    failed = _result("b", RunOutcome.FAILED, ended=AT + timedelta(days=1))
    await store.note(failed)
    await store.note(_result("late", RunOutcome.SKIPPED, ended=AT - timedelta(days=1)))  # a note that was held up
    log = await store.log("sweep-ledger")
    assert log is not None
    assert (log.last, log.last_done) == (failed, _result())


async def test_two_that_note_at_once_are_both_kept() -> None:
    bucket = MemoryStore()
    store, other = ScheduleStore(bucket, "tidegate"), ScheduleStore(bucket, "tidegate")
    await store.note(_result())
    later = _result("b", ended=AT + timedelta(hours=1))
    interrupted = False

    async def meanwhile(op: str, _uri: S3Uri) -> None:
        nonlocal interrupted
        if op == "replace" and not interrupted:
            interrupted = True
            await other.note(_result("c", RunOutcome.FAILED, ended=AT + timedelta(hours=2)))

    bucket.before = meanwhile
    await store.note(later)
    log = await store.log("sweep-ledger")
    assert log is not None
    assert log.last is not None
    assert (log.last.run, log.last_done) == ("c", later)


async def _weigh(bucket: MemoryStore, tmp_path: Any) -> Any:
    acts = ScheduleActivities(Sites(bucket, "tidegate", tmp_path))
    return (await acts.weigh_schedule(WeighInput(request=asked(), at=AT))).skip


async def test_the_step_reads_incidents_and_records_of_the_control_bucket(tmp_path: Any) -> None:
    bucket = MemoryStore()
    assert await _weigh(bucket, tmp_path) is None
    holder = Holder(
        operation="upgrade-audit-1", run_id="r", runbook="UpgradeDeployment", cluster_id="c", namespace="default",
        who="ana", why="", since=AT,
    )  # fmt: skip
    record = DeploymentRecord(deployment="audit", holder=holder)
    key = S3Uri("tidegate", names.record_key("audit"))
    await bucket.put(key, encode(record))
    skip = await _weigh(bucket, tmp_path)
    assert (skip.reason, skip.why) == (SkipReason.ROLLOUT_RUNNING, "rolls out: audit by upgrade-audit-1")
    await bucket.put(S3Uri("tidegate", f"{names.INCIDENTS_OPEN_PREFIX}inc-7.json"), b"{}")
    skip = await _weigh(bucket, tmp_path)
    assert (skip.reason, skip.why) == (SkipReason.INCIDENT_OPEN, "open: inc-7")


async def test_a_failure_is_told_signed_with_the_commands_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        got.append(request)
        return httpx.Response(503 if len(got) == 1 else 200)

    transport = httpx.MockTransport(answer)
    client = httpx.AsyncClient
    monkeypatch.setattr("tidegate.schedules.notice.httpx.AsyncClient", lambda: client(transport=transport))
    monkeypatch.setenv("NOTICE_SECRET", "s3cret")
    monkeypatch.delenv("NO_SUCH", raising=False)
    to = [Announce(url="http://h/x", secret=Secret(env=name)) for name in ("NOTICE_SECRET", "NO_SUCH")]
    failed = _result(outcome=RunOutcome.FAILED, why="no space", operation="sweep-ledger-1a2b3c4d")
    fact = await tell_failed(to, failed, paused=True, first_pause_s=0.001)
    assert fact.told == 1
    assert len(fact.problems) == 1
    assert "NO_SUCH is not set" in fact.problems[0]
    assert len(got) == 2
    first, second = got
    assert first.content == second.content
    now = datetime.now(UTC).timestamp()
    assert signed_by("s3cret", second.headers[SIGNATURE], second.content, now)
    assert second.headers["Idempotency-Key"] == "schedule-failed/tidegate-sweep-ledger-1"
    body = json.loads(second.content)
    assert (body["why"], body["paused"]) == ("no space", True)
    assert body["next"] == ["tidegate ops show sweep-ledger-1a2b3c4d", "tidegate schedules resume sweep-ledger"]


NOW = datetime(2026, 12, 10, 12, 0, tzinfo=UTC)
DUE = datetime(2026, 12, 10, 1, 30, tzinfo=UTC)
"""02:30 in Berlin, the last time before ``NOW``."""


async def _late(days: float | None, done_at: datetime | None, seen: datetime | None, since: datetime) -> list[str]:
    store = ScheduleStore(MemoryStore(), "tidegate")
    if done_at is not None:
        await store.note(_result(ended=done_at))
    log = await store.log("sweep-ledger")
    return [one.kind for one in breaches(asked(), days, log, since=since, now=NOW, seen=seen)]


async def test_what_was_missed_or_is_too_old_is_a_breach() -> None:
    long_ago, yesterday = NOW - timedelta(days=30), NOW - timedelta(days=1)
    assert await _late(None, None, None, long_ago) == []
    assert await _late(7, DUE, DUE, long_ago) == []
    assert await _late(7, NOW - timedelta(days=8), DUE, long_ago) == ["old"]
    assert await _late(7, None, DUE, long_ago) == ["never"]
    assert await _late(7, yesterday, yesterday, long_ago) == ["missed"]
    assert await _late(7, None, None, NOW - timedelta(hours=1)) == []  # made after it was due
    assert await _late(7, None, None, yesterday) == ["missed"]


# -- a failure that pauses the schedule


async def _noted(bucket: MemoryStore, tmp_path: Path, result: ScheduledResult, *, paused: bool = True) -> NoteFact:
    acts = ScheduleActivities(Sites(bucket, "tidegate", tmp_path))
    note = RunNote(result=result, paused=paused, deployment="ledger")
    found: NoteFact = await ActivityEnvironment().run(acts.note_run, note)
    return found


@pytest.fixture
async def sink(monkeypatch: pytest.MonkeyPatch, bucket: MemoryStore) -> AsyncIterator[Sink]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Sink(secrets={"hook": SECRET}) as listening:
        url = listening.url("hook")
        target = f'{{name: hook, kind: webhook, url: {{literal: "{url}"}}, secret: {{literal: {SECRET}}}}}'
        await publish(bucket, "tidegate", f"{SMALL}\nnotices:\n  - {target}\n", "ana")
        yield listening


@pytest.fixture
def bucket() -> MemoryStore:
    return MemoryStore()


FAILED = _result("run-1", RunOutcome.FAILED, why="no space", operation="sweep-ledger-1a2b3c4d")


async def test_a_pause_is_told_once_signed_with_the_command_that_resumes_i4(bucket, sink, tmp_path) -> None:
    for _ in range(2):
        assert await _noted(bucket, tmp_path, FAILED) == NoteFact()
    (got,) = sink.got
    assert (got.signed, got.body["event"], got.body["over"]) == ("signed by hook", "schedule-paused", False)
    assert got.body["title"] == "schedule sweep-ledger is paused: its run of 2026-11-30 01:30 UTC has failed"
    assert (got.body["detail"], got.body["deployment"]) == ("no space", "ledger")
    assert got.body["commands"] == ["tidegate ops show sweep-ledger-1a2b3c4d", "tidegate schedules resume sweep-ledger"]


async def test_a_failure_that_pauses_nothing_is_no_notice_of_a_pause(bucket, sink, tmp_path) -> None:
    await _noted(bucket, tmp_path, FAILED, paused=False)
    await _noted(bucket, tmp_path, _result("run-2", ended=AT + timedelta(days=1)), paused=False)
    assert sink.got == []


async def test_it_is_over_when_a_run_is_done_again_and_not_when_one_is_skipped(bucket, sink, tmp_path) -> None:
    await _noted(bucket, tmp_path, FAILED)
    for day, outcome in enumerate((RunOutcome.SKIPPED, RunOutcome.DONE, RunOutcome.DONE), 1):
        run = _result(f"run-{day + 1}", outcome, ended=AT + timedelta(days=day))
        for _ in range(2):  # a step that is done again
            await _noted(bucket, tmp_path, run)
    first, over = sink.got
    assert (over.body["over"], over.body["subject"]) == (True, first.body["subject"])
    await _noted(bucket, tmp_path, FAILED)  # an attempt that was held up: nothing is paused by it any more
    assert len(sink.got) == 2


async def test_o16_a_note_that_died_before_it_told_is_told_by_the_next_attempt(
    bucket, sink, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> None:
        raise RuntimeError("killed here")

    for result in (FAILED, _result("run-2", ended=AT + timedelta(days=1))):
        before = len(sink.got)
        with monkeypatch.context() as patched:
            patched.setattr("activities.schedules.notify", killed)
            with pytest.raises(RuntimeError):
                await _noted(bucket, tmp_path, result)
        assert len(sink.got) == before
        await _noted(bucket, tmp_path, result)
        assert len(sink.got) == before + 1


async def test_a_pause_that_could_not_be_told_is_said_and_fails_nothing(bucket, tmp_path) -> None:
    (problem,) = (await _noted(bucket, tmp_path, FAILED)).problems
    assert "no fleet file" in problem
    log = await ScheduleStore(bucket, "tidegate").log("sweep-ledger")
    assert log is not None
    assert (log.last, log.paused_by) == (FAILED, "run-1")
