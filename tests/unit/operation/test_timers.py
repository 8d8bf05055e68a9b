"""X28: what a plan says of timers and windows in the snapshot that it starts from; it never fails over it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import Job
from tidegate.clients.objects import S3Uri
from tidegate.errors import Unavailable
from tidegate.model.timers import OperatorTimers, TimersFound
from tidegate.operation import timers
from tidegate.operation.timer_notes import start_notes, tail_notes
from tidegate.operation.timers import timers_in

TAKEN = datetime(2026, 1, 2, 14, 5, 12, tzinfo=UTC)
NOW = TAKEN + timedelta(seconds=35)
HOLD = "tidegate return region east --tail hold"


def found(*operators: OperatorTimers, **fields: Any) -> TimersFound:
    return TimersFound(
        **{"snapshot": "s3://b/x", "name": "e7-chk-12", "taken_at": TAKEN, "operators": operators, **fields}
    )


def timer(operator: str = "balance", **held: Any) -> OperatorTimers:
    return OperatorTimers(operator=operator, **held)


async def looked(*states: bytes, store: MemoryStore | None = None) -> TimersFound:
    store = store or MemoryStore()
    at = await Job().checkpoint(store, 12, head=w.keyed_head(*states))
    return await timers_in(store, str(at), "e7-chk-12", TAKEN)


def test_x28_what_is_overdue_is_said_in_seconds():
    assert start_notes(found(timer(processing=True)), NOW) == [
        (
            "balance has processing-time timers: those that fell due in the last 35 s (since e7-chk-12 of 14:05:12 "
            "UTC) fire at once at the start (X28)"
        )
    ]
    assert start_notes(found(timer(processing=True), taken_at=None), NOW) == [
        "balance has processing-time timers: those that fall due while it moves fire at once at the start (X28)"
    ]


def test_x28_of_event_time_the_watermark_is_told_and_the_tail_where_there_may_be_one():
    windows = found(timer("minutes", event=True, windows=True), timer("hours", event=True))
    assert start_notes(windows, NOW) == [
        (
            "minutes, hours have event-time windows or timers: an input partition that stays empty holds them back "
            "unless its source has idleness (X28)"
        )
    ]
    (told,) = start_notes(windows, NOW, HOLD)
    assert f"what is fed late (the tail) may be dropped by them, to hold it:  {HOLD}" in told
    assert tail_notes(windows, HOLD) == [
        (
            f"minutes, hours have event-time windows or timers: what is fed late may be dropped by them; to hold it:  "
            f"{HOLD} (X28)"
        )
    ]


def test_x28_what_may_be_is_not_said_to_be_and_what_is_known_not_to_be_is_not_said():
    (told,) = start_notes(found(timer(processing=None)), NOW)
    assert told.startswith("balance may have processing-time timers: ")
    sure_and_not = found(timer("a", processing=True), timer("b", processing=None), timer("c", event=True))
    assert start_notes(sure_and_not, NOW)[0].startswith("a has processing-time timers")
    assert start_notes(found(timer(processing=False, event=False)), NOW) == []
    assert start_notes(None, NOW) == []
    assert start_notes(found(), NOW) == []


def test_x28_an_idle_window_may_be_of_event_time_and_one_with_processing_timers_is_not():
    assert timer(windows=True).event_time is None
    assert timer(windows=True, processing=True).event_time is False
    assert timer(windows=True, processing=True, event=True).event_time is True


def test_x28_many_operators_are_not_all_named():
    many = found(*(timer(f"op-{n}", processing=True) for n in range(5)))
    assert start_notes(many, NOW)[0].startswith("op-0, op-1, op-2 and 2 more have processing-time timers")


async def test_x28_they_are_read_from_the_snapshot():
    made = await looked(w.keyed_state("window-contents"), *w.timers("window-timers", "processing", "event"))
    assert made.operators == (timer(processing=None, event=None, windows=True),)
    assert made.unknown == ()
    assert (await looked(w.keyed_state("balance"))).operators == ()


async def test_x28_what_cannot_be_read_fails_nothing_and_is_said_not_to_be_known():
    store = MemoryStore()
    made = await timers_in(store, "s3://b/no", "e7-chk-12", TAKEN)
    assert start_notes(made, NOW) == [
        (
            "whether timers or windows are in e7-chk-12 is not known: there is no snapshot at s3://b/no: it has no "
            "_metadata (X28)"
        )
    ]
    at = await Job().checkpoint(store, 12)  # its keyed state begins with what is no head
    (told,) = start_notes(await timers_in(store, str(at), "e7-chk-12", TAKEN), NOW)
    assert "is not known: balance: keyed state of operator 'balance' has serialization version" in told

    async def away(op: str, uri: S3Uri) -> None:
        raise Unavailable("S3 in east did not answer")

    store.before = away
    assert (await timers_in(store, str(at), "e7-chk-12", TAKEN)).unknown == ("S3 in east did not answer",)


async def test_x28_a_store_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    async def hangs(op: str, uri: S3Uri) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(timers, "LOOK_S", 0.05)
    store = MemoryStore()
    at = await Job().checkpoint(store, 12)
    store.before = hangs
    found = await timers_in(store, str(at), "e7-chk-12", TAKEN)
    assert found.unknown == ("e7-chk-12 could not be read within 0.05 s",)
