"""``tidegate incident``: what is wrong now, what was done about it, and the review afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, get_args

import typer

from tidegate.cli import ops, output, runbook
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, read_fleet, who_asks
from tidegate.errors import InvalidInput, TidegateError
from tidegate.incidents.gather import Gathered, Running, gather
from tidegate.incidents.model import Incident, IncidentNote, Section, SeverityName, open_follow_ups
from tidegate.incidents.page import forms, write_page
from tidegate.incidents.store import IncidentStore, incident_id
from tidegate.model.fleet import Fleet
from tidegate.model.record import utc_now
from tidegate.registry import artifacts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="incidents: open, note, follow-up, close, list, show, page",
    rich_markup_mode=None,
    help='Example:  tidegate incident open "east does not answer" --severity sev1 --region east\n\n'
    "What is wrong now, what was done about it, and the review afterwards.",
)
IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="its id, or last: the newest that is open")]
TEMPORAL_S = 5.0
"""A Temporal that does not list operations in this time is lost, and the page says so."""


@app.command("open", short_help="something is wrong: from now on it is one timeline")
def open_(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="what is wrong, in a line")],
    *,
    severity: Annotated[str, typer.Option("--severity", help="sev1 (money or data is at risk) to sev4")] = "sev2",
    deployment: Annotated[
        list[str] | None, typer.Option("--deployment", help="whom it hits; more than once for more")
    ] = None,
    region: Annotated[list[str] | None, typer.Option("--region", help="where; more than once for more")] = None,
    began: Annotated[str, typer.Option("--began", metavar="DURATION", help="how long ago it began: 20m")] = "0s",
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate incident open "east does not answer" --severity sev1 --region east --began 20m

    Open an incident. Drills on a schedule are skipped while one is open. Opened again with the same title on the same
    day it is the same one. Without --deployment and --region it hits the whole fleet.
    """
    if len(title.strip()) < 3:
        raise InvalidInput("TITLE: expected what is wrong, in words")
    loaded = read_fleet(fleet).fleet
    for name in deployment or ():
        loaded.deployment(name)
    for name in region or ():
        loaded.region(name)
    now = utc_now()
    wanted = Incident(
        id=incident_id(title, f"{now:%Y%m%d}"),
        title=" ".join(title.split()),
        severity=_severity(severity),
        deployments=tuple(dict.fromkeys(deployment or ())),
        regions=tuple(dict.fromkeys(region or ())),
        began_at=now - timedelta(seconds=runbook.seconds(began, "--began")),
        opened_at=now,
        opened_by=who_asks(who),
    )

    async def act() -> tuple[Incident, bool]:
        async with artifacts.open_access(loaded.control.s3) as store:
            return await IncidentStore(store, loaded.control.bucket).open(wanted)

    incident, new = asyncio.run(act())
    if not new:
        output.note(f"it is open already, since {output.utc(incident.opened_at)}, by {incident.opened_by}")
    if form is output.Format.JSON:
        output.answer(incident.model_dump(mode="json"))
        return 0
    output.say(f"open       {incident.id}  ({incident.severity}, hits {_hits(incident)})")
    output.say(f"say what is done or seen     tidegate incident note {incident.id} TEXT")
    output.say(f"what ran so far              tidegate incident show {incident.id}")
    output.say(f"when it is over              tidegate incident close {incident.id}")
    return 0


@app.command("note", short_help="say what was done or seen")
def note(
    incident: IncidentArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="what was done or seen")],
    *,
    impact: Annotated[bool, typer.Option("--impact", help="of the review: whom it hit, and what it cost")] = False,
    well: Annotated[bool, typer.Option("--well", help="of the review: what went well")] = False,
    badly: Annotated[bool, typer.Option("--badly", help="of the review: what went badly")] = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate incident note last "the provider has confirmed it"

    Write it into the timeline, with who and when. With --impact, --well or --badly it is a part of the review, also
    when the incident is closed.
    """
    chosen = [s for s, said in ((Section.IMPACT, impact), (Section.WELL, well), (Section.BADLY, badly)) if said]
    if len(chosen) > 1:
        raise InvalidInput("--impact, --well, --badly: expected one of them")
    if not text.strip():
        raise InvalidInput("TEXT: expected what was done or seen")
    said = IncidentNote(at=utc_now(), who=who_asks(who), text=text.strip(), section=(chosen or [Section.NOTE])[0])
    changed = _change(read_fleet(fleet).fleet, incident, lambda one: one.with_note(said))
    return _told(changed, form, f"noted      {output.utc(said.at)}  {said.who}: {said.text}")


@app.command("follow-up", short_help="what is to be done so that it does not come again")
def follow_up(
    incident: IncidentArgument,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="what is to be done")] = None,
    *,
    owner: Annotated[str | None, typer.Option("--owner", help="who does it")] = None,
    due: Annotated[str | None, typer.Option("--due", metavar="YYYY-MM-DD", help="until when")] = None,
    done: Annotated[int | None, typer.Option("--done", metavar="NUMBER", help="this one is done")] = None,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate incident follow-up last "alert on lag" --owner ana --due 2026-03-15

    Add something that is to be done, or say with --done that it is. What is not done is a finding of the readiness
    review.
    """
    by, now, loaded = who_asks(who), utc_now(), read_fleet(fleet).fleet
    if done is not None:
        if text is not None or owner is not None or due is not None:
            raise InvalidInput("--done: goes alone", hint=f"tidegate incident follow-up {incident} --done {done}")

        def finish(one: Incident) -> Incident:
            finished = one.with_done(done, by=by, at=now)
            if finished is None:
                known = ", ".join(str(other.number) for other in one.follow_ups) or "none"
                raise InvalidInput(f"--done: {incident} has no follow-up {done}", hint=f"known: {known}")
            return finished

        return _told(_change(loaded, incident, finish), form, f"done       follow-up {done}, by {by}")
    if text is None or owner is None or due is None:
        raise InvalidInput("expected TEXT, --owner and --due; or --done NUMBER")
    if not text.strip() or not owner.strip():
        raise InvalidInput("TEXT, --owner: expected words")
    try:
        until = date.fromisoformat(due)
    except ValueError as error:
        raise InvalidInput(f"--due: {due!r} is no date", hint="as 2026-03-15") from error
    changed = _change(
        loaded, incident, lambda one: one.with_follow_up(text.strip(), owner.strip(), until, by=by, at=now)
    )
    number = next(one.number for one in changed.follow_ups if one.text == text.strip())
    return _told(changed, form, f"follow-up  {number}: {text.strip()} ({owner.strip()}, due {until})")


@app.command("close", short_help="it is over: its page is written")
def close(
    incident: IncidentArgument,
    *,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate incident close last

    Close it and write its page into the control bucket. Notes for the review and follow-ups can be added afterwards.
    """
    loaded, by, now = read_fleet(fleet).fleet, who_asks(who), utc_now()

    def over(one: Incident) -> Incident:
        return one if not one.is_open else one.model_copy(update={"closed_at": now, "closed_by": by})

    closed = _change(loaded, incident, over)
    gathered = _gather(loaded, closed.id)
    where = asyncio.run(_write(loaded, gathered))
    if form is output.Format.JSON:
        output.answer({"incident": closed.model_dump(mode="json"), "page": where})
        return 0
    lasted = (gathered.until - closed.began_at).total_seconds()
    output.say(f"closed     {closed.id}, it lasted {output.duration(lasted)}")
    output.say(f"page       {where}")
    output.say(f"read it    tidegate incident page {closed.id} --to .")
    output.say(f"review     tidegate incident note {closed.id} TEXT --impact   (--well, --badly)")
    return 0


@app.command("list", short_help="those that are open; with --all those that were")
def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="closed ones too")] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate incident list --all

    Incidents, newest first, and how many of their follow-ups are not done.
    """
    loaded = read_fleet(fleet).fleet

    async def read() -> tuple[Incident, ...]:
        async with artifacts.open_access(loaded.control.s3) as store:
            kept = IncidentStore(store, loaded.control.bucket)
            found = await kept.all()
            await kept.mend(found)
            return found

    found = [one for one in asyncio.run(read()) if all_ or one.is_open]
    if form is output.Format.JSON:
        output.answer([one.model_dump(mode="json") for one in found])
        return
    if not found:
        output.say("no incidents" if all_ else "no incident is open")
        return
    output.say(output.columns([_row(one) for one in found], head=_HEAD))


_HEAD = ("INCIDENT", "SEVERITY", "STATE", "BEGAN", "LASTED", "HITS", "TO DO", "TITLE")


def _row(one: Incident) -> tuple[str, ...]:
    now = utc_now()
    to_do = open_follow_ups([one], now.date())
    late = sum(each.overdue_days > 0 for each in to_do)
    lasted = output.duration(((one.closed_at or now) - one.began_at).total_seconds())
    state = "open" if one.is_open else "closed"
    told = f"{len(to_do)}, {late} overdue" if late else str(len(to_do))
    return (one.id, one.severity, state, output.utc(one.began_at), lasted, _hits(one), told, one.title)


@app.command("show", short_help="one incident, and all that ran in its time")
def show(incident: IncidentArgument, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate incident show last

    The incident with its timeline, as Markdown: reports, records, notices, notes, and operations that still run.
    """
    gathered = _gather(read_fleet(fleet).fleet, incident)
    if form is output.Format.JSON:
        output.answer(
            {
                "incident": gathered.incident.model_dump(mode="json"),
                "timeline": [vars(entry) for entry in gathered.entries],
                "failures": [
                    {
                        "fingerprint": one.failure.fingerprint,
                        **vars(one.failure),
                        "operations": one.operations,
                        "before": one.before,
                        "incidents": one.incidents,
                    }
                    for one in gathered.seen
                ],
                "unread": gathered.unread,
            }
        )
        return
    output.say(forms(gathered)["md"].decode().rstrip("\n"))


@app.command("page", short_help="write its page, HTML and Markdown")
def page(
    incident: IncidentArgument,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="write it here, too", file_okay=False)
    ] = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate incident page last --to .

    The page as it is now, with the review: into the control bucket, and with --to into a folder.
    """
    loaded = read_fleet(fleet).fleet
    gathered = _gather(loaded, incident)
    written = [asyncio.run(_write(loaded, gathered))]
    for suffix, body in forms(gathered).items() if to is not None else ():
        path = (to or Path()) / f"incident-{gathered.incident.id}.{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        except OSError as error:
            raise InvalidInput(f"--to {path}: cannot write it: {error.strerror}") from error
        written.append(str(path))
    if form is output.Format.JSON:
        output.answer({"written": written})
    else:
        output.say("\n".join(written))
    return 0


def _change(fleet: Fleet, incident: str, change: Callable[[Incident], Incident]) -> Incident:
    async def act() -> Incident:
        async with artifacts.open_access(fleet.control.s3) as store:
            kept = IncidentStore(store, fleet.control.bucket)
            return await kept.change(await kept.resolve(incident), change)

    return asyncio.run(act())


def _gather(fleet: Fleet, incident: str) -> Gathered:
    async def act() -> Gathered:
        async with artifacts.open_access(fleet.control.s3) as store:
            kept = IncidentStore(store, fleet.control.bucket)
            found = await kept.read(await kept.resolve(incident))
            running, unread = await _running()
            return await gather(store, fleet.control.bucket, found, await kept.all(), utc_now(), running, unread)

    return asyncio.run(act())


async def _running() -> tuple[tuple[Running, ...], tuple[str, ...]]:
    """What runs by Temporal's word; where it does not answer, that is said. The page is made all the same."""
    try:
        async with asyncio.timeout(TEMPORAL_S):
            rows = await ops.running_operations()
    except TidegateError as error:
        return (), (f"operations that have not ended: {error.message}",)
    except TimeoutError:
        return (), (f"operations that have not ended: Temporal did not answer in {TEMPORAL_S:g} s",)
    return tuple(rows), ()


async def _write(fleet: Fleet, gathered: Gathered) -> str:
    async with artifacts.open_access(fleet.control.s3) as store:
        return str((await write_page(store, fleet.control.bucket, gathered))["html"])


def _told(incident: Incident, form: output.Format, line: str) -> int:
    if form is output.Format.JSON:
        output.answer(incident.model_dump(mode="json"))
    else:
        output.say(line)
    return 0


def _severity(text: str) -> SeverityName:
    for known in get_args(SeverityName):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInput(f"--severity: {text!r}; expected one of: {', '.join(get_args(SeverityName))}")


def _hits(incident: Incident) -> str:
    return ", ".join((*incident.deployments, *incident.regions)) or "the whole fleet"
