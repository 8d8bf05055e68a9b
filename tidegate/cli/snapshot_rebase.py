"""``tidegate snapshot rebase``: a copy of a snapshot that starts on another region's Kafka, or as a fork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from tidegate.cli import output, regions
from tidegate.cli import snapshot_rebase_text as text
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
from tidegate.clients.s3 import S3Store
from tidegate.errors import InvalidInput, Refused, Unavailable
from tidegate.mirror.carry import Crossing, carry, stay
from tidegate.mirror.link import open_link
from tidegate.model.fleet import Fleet
from tidegate.registry import artifacts
from tidegate.snapshot import pins
from tidegate.snapshot.files import Snapshot, verify
from tidegate.snapshot.place import Place, location_of, place_in
from tidegate.snapshot.rebase import RebaseWish, positions_to_move
from tidegate.snapshot.rebased import Copy, make_copy, place, place_for, record_of
from tidegate.snapshot.shipped import read_shipped
from tidegate.snapshot.sinks import Committable, committables
from tidegate.snapshot.word import Judged, judge


@dataclass(frozen=True)
class Asked:
    """What a person asked for. ``fork``: the name of the fork, None for the deployment itself."""

    snapshot: str
    to: str
    fork: str | None
    topics: dict[str, str]
    cut: tuple[str, ...]
    by_floor: bool


@dataclass(frozen=True)
class Plan:
    """What would be made, before anything is written. ``home``: the region whose Kafka the positions are of now.

    ``judged``: the broker's word on each committable that is dropped; ``said``: why there is none.
    """

    asked: Asked
    deployment: str
    home: str
    copy: Copy
    listed: tuple[Committable, ...]
    judged: tuple[Judged, ...]
    said: str | None


def rebase(
    snapshot: Annotated[str, typer.Argument(help="DEPLOYMENT/ID as in the list, or a location s3://BUCKET/KEY")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="REGION", help="the region whose Kafka it shall start on")],
    fork: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="for a fork of that name, beside the live job")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar="OLD=NEW", help="a topic's name there; may be repeated")
    ] = None,
    cut: Annotated[
        list[str] | None, typer.Option("--cut", metavar="OPERATOR", help="leave out, by uid; may be repeated")
    ] = None,
    by_floor: Annotated[
        bool, typer.Option("--by-floor", help="by MirrorMaker's offset syncs, though there is provenance")
    ] = False,
    accept_replay: Annotated[
        int | None, typer.Option("--accept-replay", metavar="N", min=0, help="so many input records come again")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    who: WhoOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate snapshot rebase ledger/e7-chk-12 --to west --dry-run

    Make a copy that starts on another region's Kafka: each position is found there, exactly by provenance, else by the
    offset syncs with the replays counted. In its own region it becomes a fork (--as). The original is not touched; it
    is pinned, for the copy names its files.
    """
    loaded = read_fleet(fleet).fleet
    asked = Asked(snapshot, to, fork, _topics(topic or []), tuple(dict.fromkeys(cut or [])), by_floor)
    plan = asyncio.run(_plan(loaded, asked))
    if plan.copy.there:
        return _end("done already", plan, form)
    replays = plan.copy.rebased.replays
    if dry_run:
        return _end("dry run", plan, form)
    if form is output.Format.TEXT:
        output.say(text.plan(plan))
    if replays != (accept_replay or 0):
        raise _refused(plan, accept_replay)
    confirm(f"write this copy to {plan.copy.location}?", yes=yes)
    asyncio.run(_place(loaded, plan, who_asks(who)))
    return _end("rebased", plan, form)


def _topics(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        old, equals, new = one.partition("=")
        if not (old and equals and new):
            raise InvalidInput(f"--topic {one}: expected OLD=NEW, the topic's name here and there")
        if found.setdefault(old, new) != new:
            raise InvalidInput(f"--topic {one}: {old} was to become {found[old]}")
    return found


def _refused(plan: Plan, accepted: int | None) -> Refused:
    replays, counted = plan.copy.rebased.replays, plan.copy.rebased.counted
    many = f"{'' if counted else 'at most '}{output.count(replays)} input records"
    said = "" if accepted is None else f", not {output.count(accepted)} as accepted"
    if not replays:
        return Refused(f"--accept-replay {accepted}: nothing would be read a second time", hint="leave it out")
    return Refused(
        f"a start from this copy would read {many} a second time{said}: their effect comes twice",
        hint=f"to have it so, name the number:  --accept-replay {replays}",
    )


async def _plan(fleet: Fleet, asked: Asked) -> Plan:
    fleet.region(asked.to)
    found = await _found(fleet, asked)
    deployment = await regions.deployment_of(fleet, found)
    async with regions.open_store_of(fleet, asked.to) as store:
        shipped = await read_shipped(store, found.location)
        home = shipped.source_region if shipped is not None else found.region
        if home == asked.to and asked.fork is None:
            raise InvalidInput(
                f"--to {asked.to}: the snapshot is of that region's Kafka already",
                hint="to start from it there it needs no copy; for a fork beside the live job name it:  --as NAME",
            )
        target = place_for(place_in(fleet, deployment, asked.to), asked.fork)
        source = (await verify(store, found.location)).snapshot
        listed = tuple(await committables(store, source))
        copy = await _copy(fleet, asked, store, source, home, target)
    judged, said = await _words(fleet, home, listed)
    return Plan(asked, deployment, home, copy, listed, judged, said)


async def _copy(fleet: Fleet, asked: Asked, store: S3Store, source: Snapshot, home: str, target: Place) -> Copy:
    wanted = await positions_to_move(store, source, asked.cut)
    named = {topic for topic, _, _ in wanted}
    for old in asked.topics.keys() - named:
        raise InvalidInput(
            f"--topic {old}: no position of the snapshot is of that topic; it has {', '.join(sorted(named)) or 'none'}"
        )
    if home == asked.to:
        if asked.topics:
            raise InvalidInput("--topic: a fork in the same region reads the same topics, at the same positions")
        kafka = regions.open_kafka(fleet.region(home).kafka)
        try:
            carried = await stay(kafka, wanted)
        finally:
            await kafka.aclose()
    else:
        async with _crossing(fleet, home, asked.to) as crossing:
            carried = await carry(crossing, wanted, asked.topics, by_floor=asked.by_floor)
    wish = RebaseWish(carried.translate, carried.bounds, asked.topics, asked.fork is not None, asked.cut)
    return await make_copy(store, source, wish, target)


async def _found(fleet: Fleet, asked: Asked) -> regions.Found:
    """The snapshot in the target's region. Raises Refused with the command that ships it if it lies elsewhere."""
    if "://" in asked.snapshot:
        found = await regions.find(fleet, asked.snapshot, None)
        if found.region == asked.to:
            return found
        deployment = await regions.deployment_of(fleet, found)
        short = await _short(fleet, deployment, found)
    else:
        try:
            return await regions.find(fleet, asked.snapshot, asked.to)
        except InvalidInput:
            found = await regions.find(fleet, asked.snapshot, None)  # raises if it is nowhere
            deployment, _, short = asked.snapshot.partition("/")
    raise Refused(
        f"{asked.snapshot} lies in {found.region}: a job in {asked.to} reads its state from {asked.to}'s S3",
        hint=f"ship it first:  tidegate snapshot ship {deployment} --to {asked.to} --snapshot {short}",
    )


async def _short(fleet: Fleet, deployment: str, found: regions.Found) -> str:
    _, seen = await regions.read_catalog(fleet, deployment, found.region)
    at = location_of(found.location)
    return next((entry.id for entry in seen.entries if entry.location == at), at.name)


@asynccontextmanager
async def _crossing(fleet: Fleet, source: str, target: str) -> AsyncIterator[Crossing]:
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(open_link(fleet, name))
            for name, mirror in fleet.mirrors.items()
            if (mirror.source, mirror.target) == (source, target)
        ]
        kafkas = []
        for name in (source, target):
            kafka = regions.open_kafka(fleet.region(name).kafka)
            stack.push_async_callback(kafka.aclose)
            kafkas.append(kafka)
        yield Crossing(source, target, kafkas[0], kafkas[1], tuple(links))


async def _words(fleet: Fleet, home: str, listed: tuple[Committable, ...]) -> tuple[tuple[Judged, ...], str | None]:
    if not listed:
        return (), None
    kafka = regions.open_kafka(fleet.region(home).kafka)
    try:
        said = await kafka.describe_transactions(sorted({one.transactional_id for one in listed}))
    except Unavailable as error:
        return (), f"Kafka in {home} cannot be asked: {error.message}"
    finally:
        await kafka.aclose()
    return tuple(judge(listed, said)), None


async def _place(fleet: Fleet, plan: Plan, who: str) -> None:
    async with regions.open_store_of(fleet, plan.asked.to) as store:
        asked = plan.asked
        record = record_of(plan.copy, plan.deployment, plan.home, asked.to, fork=asked.fork is not None)
        # First, so that no sweep takes the files that the copy names: it has none of its own (X10).
        async with artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control:
            await pins.pin(control, fleet.control.bucket, _pin(plan, who))
        await place(store, plan.copy, record)
        await verify(store, plan.copy.location)


def _pin(plan: Plan, who: str) -> pins.Pin:
    return pins.Pin(
        deployment=plan.deployment,
        location=str(plan.copy.source.directory),
        why=f"its files are named by {plan.copy.location}",
        who=who,
        at=datetime.now(UTC),
    )


def _end(word: str, plan: Plan, form: output.Format) -> int:
    if form is output.Format.JSON:
        output.answer({"outcome": word} | text.plan_json(plan))
        return 0
    if word != "rebased":
        output.say(text.plan(plan))
    output.say(f"{word.ljust(12)}{'nothing was written' if word == 'dry run' else plan.copy.location}")
    return 0
