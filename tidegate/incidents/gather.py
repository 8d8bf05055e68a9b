"""What happened in the time of an incident, from all that the control bucket keeps, as one timeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from tidegate.clients.objects import ObjectInfo, ObjectStore, S3Uri
from tidegate.errors import InvalidInput
from tidegate.incidents.fingerprint import Failure, failure_of
from tidegate.incidents.model import Incident, Section
from tidegate.model.notice import NotifyFact
from tidegate.model.operation import Outcome
from tidegate.notices.formats import headline
from tidegate.notices.store import NoticeStore
from tidegate.report.read import StoredReport, list_reports, load_report

HISTORY_PREFIX: Final = "history/"
EARLIER: Final = 300
"""So many earlier reports are looked at for the same failure, the newest."""
_AT_ONCE: Final = 8
_SLACK: Final = timedelta(minutes=5)
"""What is written of a time is written a little later; clocks differ a little, too."""


@dataclass(frozen=True)
class Running:
    """An operation that has not ended, as Temporal lists it."""

    operation: str
    runbook: str
    deployment: str
    region: str
    phase: str
    since: datetime


@dataclass(frozen=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    kind: Literal["incident", "note", "operation", "record", "notice"]
    what: str
    detail: str = ""
    tone: Literal["", "good", "warn", "bad"] = ""
    hit: bool = True
    """Whether it is about what the incident hits."""


@dataclass(frozen=True)
class Seen:
    """A failure in the time of the incident, and where the same was seen before."""

    failure: Failure
    operations: tuple[str, ...]
    """In the time of the incident."""
    before: tuple[str, ...]
    """Operations that failed in the same way before it, the newest first."""
    incidents: tuple[str, ...]
    """Other incidents in whose time they failed."""


@dataclass(frozen=True)
class Gathered:
    """All of it."""

    incident: Incident
    until: datetime
    """The end of its time: when it was closed, or now."""
    entries: tuple[Entry, ...]
    reports: tuple[StoredReport, ...]
    """Of operations that ran in its time, the first begun first."""
    running: tuple[Running, ...]
    seen: tuple[Seen, ...]
    unread: tuple[str, ...] = ()
    """What could not be read, and why: the page says so instead of leaving it out in silence."""


async def gather(
    store: ObjectStore,
    bucket: str,
    incident: Incident,
    others: Iterable[Incident],
    now: datetime,
    running: Sequence[Running] = (),
    unread: Sequence[str] = (),
) -> Gathered:
    """Everything that ran in its time, whatever it is about; what the incident hits is marked.

    ``unread``: what the caller could not ask, for the page. Raises Unavailable: the control bucket did not answer.
    """
    until = incident.closed_at or now
    not_read = list(unread)
    infos = await list_reports(store, bucket)
    here, before = await _reports(store, bucket, infos, incident.began_at, until, not_read)
    facts = await NoticeStore(store, bucket).between(incident.began_at, until)
    entries = [
        *_of_itself(incident),
        *(entry for one in here for entry in _of_report(one, incident)),
        *(_of_running(one, incident) for one in running if one.since <= until),
        *(_of_notice(fact, incident) for fact in facts),
        *[entry async for entry in _history(store, bucket, incident, until)],
    ]
    return Gathered(
        incident=incident,
        until=until,
        entries=tuple(sorted(entries, key=lambda entry: (entry.at, entry.kind, entry.what))),
        reports=tuple(here),
        running=tuple(one for one in running if one.since <= until),
        seen=seen_before(here, before, [one for one in others if one.id != incident.id]),
        unread=tuple(not_read),
    )


async def _reports(
    store: ObjectStore, bucket: str, infos: Sequence[ObjectInfo], began: datetime, until: datetime, unread: list[str]
) -> tuple[list[StoredReport], list[StoredReport]]:
    """Reports of operations that ran in this time, and the newest of before it."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def load(key: str) -> StoredReport | None:
        async with turn:
            try:
                return await load_report(store, bucket, key)
            except InvalidInput as error:
                unread.append(error.message)
                return None

    # A report is written at the end of its operation: one that was written before ran before. One that was written
    # after may have begun in time, so all of those are read.
    after = [info for info in infos if info.last_modified >= began - _SLACK]
    older = [info for info in infos if info.last_modified < began - _SLACK][:EARLIER]
    loaded = await asyncio.gather(*(load(info.uri.key) for info in (*after, *older)))
    found = [one for one in loaded if one is not None]
    here = [one for one in found if one.report.started <= until and one.report.ended >= began]
    before = [one for one in found if one.report.ended < began]
    here.sort(key=lambda one: (one.report.started, one.key))
    before.sort(key=lambda one: one.report.ended, reverse=True)
    return here, before


def seen_before(
    here: Sequence[StoredReport], before: Sequence[StoredReport], others: Sequence[Incident]
) -> tuple[Seen, ...]:
    """Each failure of ``here`` once, with those of ``before`` that have its fingerprint. Pure."""
    mine: dict[str, list[tuple[Failure, StoredReport]]] = {}
    for one in here:
        failure = failure_of(one.report)
        if failure is not None:
            mine.setdefault(failure.fingerprint, []).append((failure, one))
    earlier: dict[str, list[StoredReport]] = {}
    for one in before:
        failure = failure_of(one.report)
        if failure is not None and failure.fingerprint in mine:
            earlier.setdefault(failure.fingerprint, []).append(one)
    found = []
    for fingerprint, failures in mine.items():
        same = earlier.get(fingerprint, [])
        linked = [
            other.id
            for other in others
            if any(
                one.report.started <= (other.closed_at or one.report.started) and one.report.ended >= other.began_at
                for one in same
            )
        ]
        found.append(
            Seen(
                failure=failures[0][0],
                operations=tuple(one.report.operation for _, one in failures),
                before=tuple(one.report.operation for one in same),
                incidents=tuple(linked),
            )
        )
    return tuple(found)


def _of_itself(incident: Incident) -> Iterable[Entry]:
    yield Entry(incident.opened_at, "incident", "opened", f"{incident.title}, by {incident.opened_by}", "warn")
    for note in incident.notes:
        section = "" if note.section is Section.NOTE else f" ({note.section.value})"
        yield Entry(note.at, "note", f"{note.who}{section}", note.text)
    for one in incident.follow_ups:
        yield Entry(one.added_at, "incident", f"follow-up {one.number}", f"{one.text} ({one.owner}, due {one.due})")
    if incident.closed_at is not None:
        yield Entry(incident.closed_at, "incident", "closed", f"by {incident.closed_by}", "good")


def _of_report(one: StoredReport, incident: Incident) -> Iterable[Entry]:
    report = one.report
    region = report.observation.region if report.observation is not None else ""
    hit = incident.hits(report.deployment, region)
    asked = f"{report.runbook} of {report.deployment}, asked by {report.requested_by}"
    reason = f": {report.reason}" if report.reason else ""
    yield Entry(report.started, "operation", f"{report.operation} begins", f"{asked}{reason}", hit=hit)
    good = report.outcome in {Outcome.DONE, Outcome.PLANNED}
    tone: Literal["good", "bad", "warn"] = "good" if good else "warn"
    if report.outcome is Outcome.BAD_VERDICT:
        tone = "bad"
    ended = "; ".join(part for part in (report.summary, report.why) if part)
    yield Entry(report.ended, "operation", f"{report.operation} ends: {report.outcome.value}", ended, tone, hit)


def _of_running(one: Running, incident: Incident) -> Entry:
    told = f"{one.runbook} of {one.deployment}{f' in {one.region}' if one.region else ''}, not ended: {one.phase}"
    hit = incident.hits(one.deployment, one.region)
    return Entry(one.since, "operation", f"{one.operation} begins", told, "warn" if one.phase == "halted" else "", hit)


def _of_notice(fact: NotifyFact, incident: Incident) -> Entry:
    notice = fact.notice
    reached = ", ".join(one.target for one in fact.sent if one.problem is None)
    told = "; ".join(part for part in (f"told {reached}" if reached else "", *fact.problems) if part)
    hit = incident.hits(notice.deployment, notice.region)
    return Entry(notice.at, "notice", headline(notice), told, "bad" if fact.problems else "", hit)


async def _history(store: ObjectStore, bucket: str, incident: Incident, until: datetime) -> AsyncIterator[Entry]:
    async for info in store.list(S3Uri(bucket, HISTORY_PREFIX)):
        if not incident.began_at - _SLACK <= info.last_modified <= until + _SLACK:
            continue
        found = await store.get_or_none(info.uri)
        entry = _event(info, found.body, incident) if found is not None else None
        if entry is not None and incident.began_at <= entry.at <= until:
            yield entry


def _event(info: ObjectInfo, body: bytes, incident: Incident) -> Entry:
    deployment, _, name = info.uri.key.removeprefix(HISTORY_PREFIX).partition("/")
    fence, _, event = name.removesuffix(".json").partition("-")
    at, told = info.last_modified, ""
    try:
        said = json.loads(body)
        if isinstance(said, dict):
            told = ", ".join(
                f"{field} {value}" for field, value in said.items() if isinstance(value, str | int | float)
            )
            moment = datetime.fromisoformat(str(said.get("at")))
            at = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except ValueError:
        told = told or "(not JSON)"
    number = fence.lstrip("0") or "0"
    return Entry(at, "record", f"{deployment}: {event}", f"fence {number}; {told}", hit=incident.hits(deployment))
