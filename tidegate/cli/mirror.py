"""``tidegate mirror``: how far a mirror link is, start it, stop it, wait until it is drained."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.cli.mirror_text import revival_lines
from tidegate.cli.options import (
    DryRunOption,
    FleetOption,
    OutputOption,
    WhoOption,
    YesOption,
    confirm,
    read_fleet,
    who_asks,
)
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import InvalidInput, Unavailable
from tidegate.mirror import control
from tidegate.mirror.link import MirrorLink, open_link, parse_partition, partition_text, pick
from tidegate.mirror.status import MirrorStatus, look, wait_drained
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkHealth, LinkRecord, LinkState, MirrorVerb
from tidegate.model.record import Holder, utc_now
from tidegate.registry import artifacts
from tidegate.registry.links import BY_HAND, LinkStore, LinkTenure, take_link
from tidegate.registry.ownership import Takeover

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="the mirror between two regions: lag, start, stop, drain",
    rich_markup_mode=None,
    help="Example:  tidegate mirror status\n\n"
    "A mirror link copies topics from one region's Kafka to another's, each record exactly once, with its provenance.\n"
    "Links are described under `mirrors:` in the fleet file.",
)

LinkArgument = Annotated[
    str | None,
    typer.Argument(metavar="[LINK]", help="a mirror link; may be left out if there is one", show_default=False),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="seconds to wait at most")]
TakeOverOption = Annotated[bool, typer.Option("--take-over", help="take the link from an operation that is lost")]
WhyOption = Annotated[str, typer.Option("--why", help="why; goes on record")]
CONTROL_WAIT_S = 10.0


@app.command("status", short_help="how far it is")
def status(link: LinkArgument = None, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate mirror status -o json

    Each link (or one) now: state, lag in records and seconds, drained or not, per partition. Changes nothing.

    Lag is what is committed in the source and not yet in the target; its seconds are the age of the oldest such record.
    Drained: all that is committed is there, and no transaction is open (so close the producers first).
    """
    loaded = read_fleet(fleet).fleet
    chosen = [pick(loaded, link)] if link is not None or not loaded.mirrors else list(loaded.mirrors)
    found = asyncio.run(_look_at(loaded, chosen))
    if form is output.Format.JSON:
        output.answer([_as_json(seen, record) for seen, record, _ in found])
        return
    output.say("\n\n".join(describe(seen, record, away) for seen, record, away in found))


@app.command("start", short_help="have it run")
def start(
    link: LinkArgument = None,
    *,
    offset: Annotated[
        list[str] | None,
        typer.Option("--offset", help="TOPIC/PARTITION=N: N counts as the last mirrored one; may be repeated"),
    ] = None,
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="though the link of the other direction runs, too")
    ] = False,
    lift_deny: Annotated[
        bool, typer.Option("--lift-deny", help="though it was shut out on Kafka: take the DENY away; name the link")
    ] = False,
    timeout: TimeoutOption = control.START_S,
    take_over: TakeOverOption = False,
    why: WhyOption = "",
    who: WhoOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate mirror start east-to-west --yes

    Start a link, or bring it back after its worker or a task died; returns when every task runs. It goes on where it
    stopped; the first time at the beginning of each topic.

    After a reversal say with --offset from where on the source counts (cut - 1 of each partition).
    One that was shut out, because Connect did not answer when it was to stop, runs again only with --lift-deny.
    """
    loaded = read_fleet(fleet).fleet
    name = pick(loaded, link)
    if lift_deny and link is None:
        raise InvalidInput("--lift-deny: expected the link by name", hint=f"tidegate mirror start {name} --lift-deny")
    offsets = _offsets(offset or [])
    mirror = loaded.mirror(name)
    told = f"mirror {', '.join(mirror.topics)} from {mirror.source} to {mirror.target} ({name})"
    if offsets:
        told += f", from behind {', '.join(f'{partition_text(tp)} {n:,}' for tp, n in offsets.items())}"
    if lift_deny:
        told += f"; if User:{mirror.principal} is denied on {mirror.target}'s Kafka for it, lift that"
    if _only_told(told, dry_run=dry_run, form=form):
        return
    confirm(f"{told}?", yes=yes)
    verb = _Verb(_Asked(who, why, take_over), timeout)
    seen, record = asyncio.run(_start(loaded, name, offsets, verb, both_ways=both_ways, lift_deny=lift_deny))
    _done("running", seen, record, form)


@app.command("stop", short_help="shut it: it stays stopped")
def stop(
    link: LinkArgument = None,
    *,
    timeout: TimeoutOption = control.STOP_S,
    take_over: TakeOverOption = False,
    why: WhyOption = "",
    who: WhoOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate mirror stop east-to-west --yes

    Shut a link: STOPPED is written to Connect and read back, so it stays stopped when workers restart. What is not yet
    in the target does not come any more: run  tidegate mirror drain  first, unless the source is lost.

    If Connect does not answer within --timeout, the link is shut out instead: its principal is denied its transactions
    on the target's Kafka, that is seen to refuse, and what was open there is ended. It holds until start --lift-deny.
    """
    loaded = read_fleet(fleet).fleet
    name = pick(loaded, link)
    mirror = loaded.mirror(name)
    told = f"stop mirroring {', '.join(mirror.topics)} from {mirror.source} to {mirror.target} ({name})"
    if mirror.principal is not None:
        told += f"; if Connect does not answer, deny User:{mirror.principal} on {mirror.target}'s Kafka for it"
    if _only_told(told, dry_run=dry_run, form=form):
        return
    confirm(f"{told}?", yes=yes)
    seen, record, note = asyncio.run(_stop(loaded, name, _Verb(_Asked(who, why, take_over), timeout)))
    if record.mirror is LinkState.SHUT_OUT:
        _done("shut-out", seen, record, form, note)
        output.note(f"next       tidegate mirror start {name} --lift-deny      when its Connect answers again")
        return
    _done("stopped", seen, record, form)


@app.command("drain", short_help="wait until all of it is in the target")
def drain(
    link: LinkArgument = None,
    *,
    timeout: TimeoutOption = 300.0,
    no_progress: Annotated[float, typer.Option(min=0.1, help="seconds without movement that end the wait")] = 30.0,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate mirror drain east-to-west --timeout 60

    Wait until everything that is committed in the source is in the target and no transaction is open there. Close the
    producers first: what they write meanwhile undoes it. Changes nothing. Ends with 1 if it does not come about.
    """
    loaded = read_fleet(fleet).fleet
    name = pick(loaded, link)
    seen, record = asyncio.run(_drain(loaded, name, timeout, no_progress))
    _done("drained", seen, record, form)


class _Asked:
    """Who asks, and whether the link may be taken from an operation."""

    def __init__(self, who: str | None, why: str, take_over: bool) -> None:
        if take_over and len(why.strip()) < 3:
            raise InvalidInput("--take-over: expected the reason, in words, by --why")
        self.who = who_asks(who)
        self.why = why
        self.takeover = Takeover(self.who, why) if take_over else None

    def holder(self, verb: str) -> Holder:
        now = utc_now()
        return Holder(
            operation=f"mirror-{verb}-by-hand",
            run_id=f"{self.who} {now.isoformat()} {os.getpid()}",
            runbook=BY_HAND,
            cluster_id="",
            namespace="",
            who=self.who,
            why=self.why,
            since=now,
        )


@dataclass(frozen=True)
class _Verb:
    """An act on a link: for whom, and how long it may take."""

    asked: _Asked
    timeout_s: float


@asynccontextmanager
async def _held(fleet: Fleet, link: MirrorLink, verb: str, asked: _Asked) -> AsyncIterator[LinkTenure]:
    """The link, taken for one command. Not released if it fails: what was begun stands there for whoever is next."""
    async with artifacts.open_access(fleet.control.s3) as store:
        links = LinkStore(store, fleet.control.bucket, control_wait_s=CONTROL_WAIT_S)
        tenure = await take_link(links, control.fresh_record(link), asked.holder(verb), takeover=asked.takeover)
        yield tenure
        if not tenure.record.open_intents():
            await tenure.release()


async def _start(
    fleet: Fleet,
    name: str,
    offsets: dict[TopicPartition, int],
    verb: _Verb,
    *,
    both_ways: bool,
    lift_deny: bool,
) -> tuple[MirrorStatus, LinkRecord]:
    async with open_link(fleet, name) as link:
        async with _held(fleet, link, "start", verb.asked) as tenure:
            await control.start(
                link,
                tenure,
                offsets=offsets or None,
                both_ways=both_ways,
                lift_deny=lift_deny,
                deadline_s=verb.timeout_s,
            )
        return await look(link), tenure.record


async def _stop(fleet: Fleet, name: str, verb: _Verb) -> tuple[MirrorStatus, LinkRecord, str]:
    async with open_link(fleet, name) as link:
        async with _held(fleet, link, "stop", verb.asked) as tenure:
            await control.stop(link, tenure, deadline_s=verb.timeout_s)
            note = [one.note for one in tenure.record.intents if one.verb is MirrorVerb.STOP][-1]
        return await look(link), tenure.record, note


async def _drain(
    fleet: Fleet, name: str, timeout_s: float, no_progress_s: float
) -> tuple[MirrorStatus, LinkRecord | None]:
    async with open_link(fleet, name) as link:
        said: list[int | None] = []

        def progress(seen: MirrorStatus) -> None:
            if not said or said[-1] != seen.lag_records:
                said.append(seen.lag_records)
                output.note(f"waiting    {_lag(seen)}")

        seen = await wait_drained(link, timeout_s, no_progress_s=no_progress_s, said=progress)
        return seen, (await _record(fleet, name))[0]


async def _look_at(fleet: Fleet, chosen: list[str]) -> list[tuple[MirrorStatus, LinkRecord | None, str]]:
    found = []
    for name in chosen:
        async with open_link(fleet, name) as link:
            found.append((await look(link), *await _record(fleet, name)))
    return found


async def _record(fleet: Fleet, name: str) -> tuple[LinkRecord | None, str]:
    """The link's record, or why it cannot be read: the mirror itself can be looked at all the same."""
    async with artifacts.open_access(fleet.control.s3) as store:
        try:
            return await LinkStore(store, fleet.control.bucket).read(name), ""
        except Unavailable as error:
            return None, error.message


def _offsets(given: list[str]) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = {}
    for text in given:
        name, equals, number = text.partition("=")
        if not equals or not number.isdecimal():
            raise InvalidInput(f"--offset {text}: expected TOPIC/PARTITION=OFFSET, as payments/0=18422")
        found[parse_partition(name)] = int(number)
    return found


def _only_told(told: str, *, dry_run: bool, form: output.Format) -> bool:
    if not dry_run:
        return False
    if form is output.Format.JSON:
        output.answer({"outcome": "dry-run", "would": told})
    else:
        output.say(f"would {told}")
    return True


def _done(word: str, seen: MirrorStatus, record: LinkRecord | None, form: output.Format, note: str = "") -> None:
    if form is output.Format.JSON:
        output.answer({"outcome": word, "note": note, **_as_json(seen, record)})
        return
    output.say(f"{word.ljust(10)} {seen.link}: {note or _state(seen)} · {_lag(seen)}")


def _as_json(seen: MirrorStatus, record: LinkRecord | None) -> dict[str, object]:
    return {
        **seen.model_dump(mode="json"),
        "drained": seen.drained,
        "lag_records": seen.lag_records,
        "lag_s": seen.lag_s,
        "record": None if record is None else record.model_dump(mode="json"),
    }


def describe(seen: MirrorStatus, record: LinkRecord | None, away: str = "") -> str:
    """A link in lines for a person."""
    rows = [
        ("link", f"{seen.link}: {seen.source} -> {seen.target}"),
        ("connector", _state(seen)),
        ("lag", _lag(seen)),
        ("drained", "yes" if seen.drained else "no"),
    ]
    rows += [("" if number else "failures", failure) for number, failure in enumerate(seen.failures)]
    rows += [("" if number else "away", reason) for number, reason in enumerate(seen.unreachable)]
    rows += [
        ("" if number else "record", text) for number, text in enumerate([away] if away else _record_lines(record))
    ]
    revived = () if record is None else revival_lines(LinkHealth(link=seen.link, revivals=record.revivals))
    rows += [("" if number else "outages", text) for number, text in enumerate(revived)]
    head = ("TOPIC", "PARTITION", "MIRRORED", "SOURCE END", "LAG", "AGE", "DRAINED")
    table = [
        (
            one.topic,
            str(one.partition),
            _number(one.mirrored) + ("*" if one.by == "provenance" else ""),
            _number(one.source_end),
            _number(one.lag_records) + ("" if one.lag_exact or one.lag_records is None else " at most"),
            "?" if one.lag_s is None else output.duration(one.lag_s),
            "yes" if one.drained else f"no: hole {one.hole[0]:,}-{one.hole[1] - 1:,}" if one.hole else "no",
        )
        for one in seen.partitions
    ]
    text = output.columns(rows)
    if table:
        text += f"\n\n{output.columns(table, head=head)}"
    if any(one.by == "provenance" for one in seen.partitions):
        text += "\n* by the provenance of the last record in the target; the connector gave no offset"
    return text


def _record_lines(record: LinkRecord | None) -> list[str]:
    if record is None:
        return ["none yet: Tidegate never started it"]
    since = f" since {output.utc(record.since)}" if record.since else ""
    held = f", held by {record.holder.operation} of {record.holder.who}" if record.holder else ""
    still_open = ", ".join(f"{intent.verb} begun" for intent in record.open_intents())
    begun = f", {still_open} and not known to have ended" if still_open else ""
    lines = [f"{record.mirror}{since}, epoch {record.epoch}, fence {record.fence}{held}{begun}"]
    if record.shut_out is not None:
        lines.append(
            f"User:{record.shut_out} is denied on {record.target}'s Kafka for it; it runs again with:  "
            f"tidegate mirror start {record.link} --lift-deny"
        )
    return lines


def _state(seen: MirrorStatus) -> str:
    if any(reason.startswith("connect: ") for reason in seen.unreachable):
        return "unknown: Connect does not answer"
    if seen.connector is None:
        return "none"
    return f"{seen.connector}, tasks: {', '.join(seen.tasks) or 'none'}"


def _lag(seen: MirrorStatus) -> str:
    if seen.lag_records is None or seen.lag_s is None:
        return "unknown"
    at_most = "" if all(one.lag_exact for one in seen.partitions) else "at most "
    return f"{at_most}{output.count(seen.lag_records)} records, oldest {output.duration(seen.lag_s)} old"


def _number(value: int | None) -> str:
    return "?" if value is None else output.count(value)
