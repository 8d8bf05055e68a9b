"""The page of an incident: what ran, what was said, and the review to be written. HTML and Markdown from one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.incidents.gather import Entry, Gathered
from tidegate.incidents.model import Incident, Section
from tidegate.model.operation import Outcome, StepState
from tidegate.names import incident_key, incident_page_key
from tidegate.report import words
from tidegate.report.html import html
from tidegate.report.markdown import markdown
from tidegate.report.page import Cell, Command, Page, Table
from tidegate.report.timeline import Lane, Picture, lanes

MOST_LANES: Final = 40
_STATE: Final = {Outcome.DONE: StepState.OK, Outcome.PLANNED: StepState.OK}
_REVIEW: Final = (
    (Section.IMPACT, "Impact", "who was hit, since when and until when, what it cost", "--impact"),
    (Section.WELL, "What went well", "what shortened it, and should be kept", "--well"),
    (Section.BADLY, "What went badly", "what lengthened it, or would have made it worse", "--badly"),
)


def forms(gathered: Gathered) -> dict[str, bytes]:
    """The page by its suffix: md and html. The same for the same."""
    page, drawn = page_of(gathered), pictures(gathered)
    return {"md": markdown(page, drawn).encode(), "html": html(page, drawn).encode()}


async def write_page(store: ObjectStore, bucket: str, gathered: Gathered) -> dict[str, S3Uri]:
    """Write both forms into the control bucket, over what stood there; where they lie. Raises Unavailable."""
    found = {}
    for suffix, body in forms(gathered).items():
        found[suffix] = S3Uri(bucket, incident_page_key(gathered.incident.id, suffix))
        await store.put(found[suffix], body)
    return found


def page_of(gathered: Gathered) -> Page:
    """What the page says. Pure."""
    incident = gathered.incident
    state = "open" if incident.is_open else "closed"
    took = words.between(incident.began_at, gathered.until)
    return Page(
        headline=f"Incident {incident.id}: {incident.title} ({incident.severity}, {state})",
        tone="bad" if incident.is_open else "warn",
        subtitle=f"began {words.utc(incident.began_at)}, {'lasts' if incident.is_open else 'lasted'} {took}, opened by "
        f"{incident.opened_by} (a claim)",
        summary=_summary(gathered),
        why="",
        alerts=tuple(Cell(told, tone="warn") for told in _alerts(gathered)),
        gap_note="",
        top=(_facts(gathered), _seen(gathered)),
        blocks=(_timeline(gathered.entries), *(_review(incident, *one) for one in _REVIEW), _follow_ups(incident)),
        commands=_commands(incident),
        evidence=_evidence(gathered),
        clock_note="Times count from the beginning of the incident.",
    )


def pictures(gathered: Gathered) -> tuple[Picture, ...]:
    """The operations over the time of the incident; none if none ran."""
    own = [
        Lane(
            f"{one.report.operation}, {one.report.outcome.value}",
            _STATE.get(one.report.outcome, StepState.FAILED),
            one.report.started,
            one.report.ended,
        )
        for one in gathered.reports
    ]
    own += [
        Lane(f"{one.operation}, {one.phase}", StepState.RUNNING, one.since, gathered.until) for one in gathered.running
    ]
    if not own:
        return ()
    shown = own[:MOST_LANES]
    more = f" (the first {MOST_LANES} of {len(own)})" if len(own) > MOST_LANES else ""
    return (lanes(f"What ran in its time{more}", gathered.incident.began_at, gathered.until, shown),)


def _summary(gathered: Gathered) -> str:
    failed = sum(one.report.outcome not in _STATE for one in gathered.reports)
    ran = len(gathered.reports) + len(gathered.running)
    last = next((note.text for note in reversed(gathered.incident.notes) if note.section is Section.IMPACT), "")
    told = f"{words.count(ran)} operations ran in its time, {words.count(failed)} of them did not end well"
    return f"{last} · {told}" if last else told


def _alerts(gathered: Gathered) -> Sequence[str]:
    found = [
        f"seen before: {one.failure.step}: {one.failure.kind}, in {', '.join(one.before[:3])}"
        + (f" (incident {', '.join(one.incidents[:3])})" if one.incidents else "")
        for one in gathered.seen
        if one.before
    ]
    return [*found, *(f"not on this page: {told}" for told in gathered.unread)]


def _facts(gathered: Gathered) -> Table:
    incident = gathered.incident
    gaps = [one.report.verdict.gap_ms for one in gathered.reports if one.report.verdict is not None]
    known = [gap / 1000 for gap in gaps if gap is not None]
    rtos = [one.report.failover.rto_s for one in gathered.reports if one.report.failover is not None]
    measured = [rto for rto in rtos if rto is not None]
    verdicts = [one.report.verdict for one in gathered.reports if one.report.verdict is not None]
    audited = [one for one in verdicts if one.audited]
    judged = "/".join(
        words.count(sum(numbers)) for numbers in zip(*((v.lost, v.duplicated, v.wrong) for v in audited), strict=True)
    )
    rows = (
        ("hits", ", ".join((*incident.deployments, *incident.regions)) or "the whole fleet"),
        ("began", words.utc(incident.began_at)),
        ("opened", f"{words.utc(incident.opened_at)}, {words.between(incident.began_at, incident.opened_at)} after"),
        ("closed", words.utc(incident.closed_at) if incident.closed_at is not None else "not yet"),
        ("longest gap in the output", words.seconds(max(known)) if known else "none was measured"),
        ("longest recovery (RTO)", words.seconds(max(measured)) if measured else "none was measured"),
        ("lost/duplicated/wrong, over all audits", judged or "nothing was audited"),
    )
    return Table("In short", tuple((Cell(label), Cell(value)) for label, value in rows))


def _seen(gathered: Gathered) -> Table:
    rows = tuple(
        (
            Cell(one.failure.fingerprint, code=True),
            Cell(one.failure.step),
            Cell(one.failure.kind),
            Cell(one.failure.message[:400]),
            Cell(", ".join(one.operations)),
            Cell(", ".join(one.before) or "never", tone="warn" if one.before else ""),
            Cell(", ".join(one.incidents)),
        )
        for one in gathered.seen
    )
    head = ("fingerprint", "step", "error", "message", "operations", "seen before in", "incidents then")
    return Table("Failures", rows, head if rows else (), "" if rows else "No operation failed in its time.")


def _timeline(entries: Sequence[Entry]) -> Table:
    rows = tuple(
        (
            Cell(words.utc(entry.at)),
            Cell(entry.kind if entry.hit else f"{entry.kind} (elsewhere)"),
            Cell(entry.what, tone=entry.tone),
            Cell(entry.detail),
        )
        for entry in entries
    )
    lead = "All that the control bucket knows of this time; what is about other deployments is marked (elsewhere)."
    return Table("What happened", rows, ("at", "of", "what", "detail"), lead)


def _review(incident: Incident, section: Section, title: str, what: str, option: str) -> Table:
    notes = [note for note in incident.notes if note.section is section]
    rows = tuple((Cell(f"{note.who}, {words.utc(note.at)}"), Cell(note.text)) for note in notes)
    command = f"tidegate incident note {shlex.quote(incident.id)} TEXT {option}"
    return Table(f"Review: {title}", rows, ("by", "text") if rows else (), f"To be written: {what}. {command}")


def _follow_ups(incident: Incident) -> Table:
    rows = tuple(
        (
            Cell(str(one.number)),
            Cell(one.text),
            Cell(one.owner),
            Cell(one.due.isoformat()),
            Cell(f"{words.utc(one.done_at)}, {one.done_by}", tone="good") if one.done_at else Cell("no", tone="warn"),
        )
        for one in incident.follow_ups
    )
    command = f"tidegate incident follow-up {shlex.quote(incident.id)} TEXT --owner WHO --due YYYY-MM-DD"
    lead = f"Each is a check of the readiness review until it is done. One more: {command}"
    return Table("Review: Follow-ups", rows, ("#", "what", "owner", "due", "done") if rows else (), lead)


def _commands(incident: Incident) -> tuple[Command, ...]:
    quoted = shlex.quote(incident.id)
    found = [
        Command("say what was done or seen", f"tidegate incident note {quoted} TEXT"),
        Command("this page as it would be now", f"tidegate incident page {quoted}"),
    ]
    if incident.is_open:
        found.append(Command("it is over", f"tidegate incident close {quoted}"))
    return tuple(found)


def _evidence(gathered: Gathered) -> Table:
    rows = [(Cell("incident"), Cell(incident_key(gathered.incident.id), code=True))]
    for one in gathered.reports:
        rows.append((Cell(f"report of {one.report.operation}"), Cell(one.key, code=True)))
        rows.append((Cell("sha256"), Cell(one.sha256, code=True)))
    return Table("Evidence", tuple(rows))
