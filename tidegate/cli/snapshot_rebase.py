"""``tidegate snapshot rebase``: a copy of a snapshot that starts on another region's Kafka, or as a fork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
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
from tidegate.clients.kafka import Kafka
from tidegate.errors import InvalidInput, Refused
from tidegate.lineage.store import LineageStore
from tidegate.mirror.rebasing import Made, Reach, Wanted, links_by, place_rebased, rebase_for
from tidegate.model.fleet import Fleet
from tidegate.registry import artifacts
from tidegate.snapshot.place import location_of, place_in


@dataclass(frozen=True)
class Asked:
    """What a person asked for. ``fork``: the name of the fork, None for the deployment itself."""

    snapshot: str
    to: str
    fork: str | None
    topics: dict[str, str]
    cut: tuple[str, ...]
    by_floor: bool


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
    made = asyncio.run(_made(loaded, asked))
    if made.copy.there:
        return _end("done already", made, form)
    replays = made.copy.rebased.replays
    if dry_run:
        return _end("dry run", made, form)
    if form is output.Format.TEXT:
        output.say(text.plan(made))
    if replays != (accept_replay or 0):
        raise _refused(made, accept_replay)
    confirm(f"write this copy to {made.copy.location}?", yes=yes)
    asyncio.run(_place(loaded, made, who_asks(who)))
    return _end("rebased", made, form)


def _topics(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        old, equals, new = one.partition("=")
        if not (old and equals and new):
            raise InvalidInput(f"--topic {one}: expected OLD=NEW, the topic's name here and there")
        if found.setdefault(old, new) != new:
            raise InvalidInput(f"--topic {one}: {old} was to become {found[old]}")
    return found


def _refused(made: Made, accepted: int | None) -> Refused:
    replays, counted = made.copy.rebased.replays, made.copy.rebased.counted
    many = f"{'' if counted else 'at most '}{output.count(replays)} input records"
    said = "" if accepted is None else f", not {output.count(accepted)} as accepted"
    if not replays:
        return Refused(f"--accept-replay {accepted}: nothing would be read a second time", hint="leave it out")
    return Refused(
        f"a start from this copy would read {many} a second time{said}: their effect comes twice",
        hint=f"to have it so, name the number:  --accept-replay {replays}",
    )


async def _made(fleet: Fleet, asked: Asked) -> Made:
    fleet.region(asked.to)
    found = await _found(fleet, asked)
    deployment = await regions.deployment_of(fleet, found)
    at = place_in(fleet, deployment, asked.to)
    wanted = Wanted(found.location, at, asked.fork, asked.topics, asked.cut, asked.by_floor)
    async with _reach(fleet, asked.to) as reach:
        return await rebase_for(reach, wanted)


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
async def _reach(fleet: Fleet, target: str) -> AsyncIterator[Reach]:
    async with AsyncExitStack() as stack:
        kafkas: dict[str, Kafka] = {}

        def kafka(region: str) -> Kafka:
            if region not in kafkas:
                kafkas[region] = regions.open_kafka(fleet.region(region).kafka)
                stack.push_async_callback(kafkas[region].aclose)
            return kafkas[region]

        store = await stack.enter_async_context(regions.open_store_of(fleet, target))
        control = await stack.enter_async_context(artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S))
        yield Reach(store, kafka, links_by(fleet), LineageStore(control, fleet.control.bucket))


async def _place(fleet: Fleet, made: Made, who: str) -> None:
    async with (
        _reach(fleet, made.region) as reach,
        artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control,
    ):
        await place_rebased(reach, control, fleet.control.bucket, made, who)


def _end(word: str, made: Made, form: output.Format) -> int:
    if form is output.Format.JSON:
        output.answer({"outcome": word} | text.plan_json(made))
        return 0
    if word != "rebased":
        output.say(text.plan(made))
    output.say(f"{word.ljust(12)}{'nothing was written' if word == 'dry run' else made.copy.location}")
    return 0
