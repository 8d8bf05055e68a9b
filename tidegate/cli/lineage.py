"""``tidegate lineage``: where each topic is written, and which region wrote which range that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from tidegate.cli import output, regions
from tidegate.cli.control import open_control
from tidegate.cli.options import FleetOption, OutputOption, read_fleet
from tidegate.errors import InvalidInput
from tidegate.failover.turning import inputs_of, outputs_of
from tidegate.lineage.announce import Told, announce_all
from tidegate.lineage.model import Excluded, Partition, Segment, TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.model.fleet import Announce, Fleet
from tidegate.operation.move import lives_at
from tidegate.registry.records import RecordStore

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="topics: where each is written, and which region wrote which range",
    help="Example:  tidegate lineage list\n\nWhere each topic is written, and which region wrote which range.",
)


@app.command("list", short_help="every topic that has a lineage")
def list_(*, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> int:
    """Example:  tidegate lineage list

    Where each topic is written now, whether its gate is open, and how often it was turned.
    """
    known = asyncio.run(_read(fleet, None))
    if form is output.Format.JSON:
        output.answer({"topics": [one.model_dump(mode="json") for one in known]})
        return 0
    head = ("TOPIC", "WRITTEN IN", "GATE", "TURNS", "SINCE", "HELD BY")
    output.say(output.columns([_line(one) for one in known], head=head))
    return 0


@app.command(short_help="the segments of a topic: region, epoch, first, end, cut, and what does not count")
def show(
    topic: Annotated[str, typer.Argument(help="the topic's name")],
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate lineage show balances

    Each partition's segments, oldest first. Offsets are those of the region beside them; the cut is where, in the next
    region's log, what was mirrored of a segment ends.
    """
    known = asyncio.run(_read(fleet, topic))[0]
    if form is output.Format.JSON:
        output.answer(known.model_dump(mode="json"))
        return 0
    output.say(f"topic        {known.topic}")
    held = f", held by {known.holder}" if known.holder is not None else ""
    output.say(f"written in   {known.region}, gate {known.gate}{held}, turn {known.turn}")
    for turn in known.turns:
        how = "planned" if turn.planned else "unplanned"
        output.say(
            f"turn {turn.number:<8}{turn.source} -> {turn.target}, {how}, {output.utc(turn.at)}, {turn.operation}"
        )
    head = ("PARTITION", "TURN", "REGION", "EPOCH", "FIRST", "END", "CUT", "DOES NOT COUNT")
    rows = [row for number in sorted(known.partitions, key=int) for row in _segments(number, known.partitions[number])]
    output.say(output.columns(rows, head=head))
    return 0


@app.command(short_help="say where the topics of the fleet's deployments live, before they are ever turned")
def begin(*, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> int:
    """Example:  tidegate lineage begin

    Producers that follow the lineage need one: each topic of each deployment with a standby is said to live where the
    deployment lives, from its first offset there. A topic that has a lineage keeps it.
    """
    begun = asyncio.run(_begin(fleet))
    if form is output.Format.JSON:
        output.answer({"topics": [one.model_dump(mode="json") for one in begun]})
        return 0
    for one in begun:
        output.say(f"{one.topic} is written in {one.region}, turn {one.turn}")
    return 0


@app.command(short_help="tell the receivers of the fleet file once more where a topic is written")
def announce(
    topic: Annotated[str, typer.Argument(help="the topic's name")],
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate lineage announce payments

    Posts the topic's region, gate and turn, signed, to each URL under `announce:` in the fleet file; one that has it
    already knows it by its Idempotency-Key. Exit code 1 if one could not be told.
    """
    receivers = read_fleet(fleet).fleet.announce
    if not receivers:
        raise InvalidInput("nobody is to be told: the fleet file has no `announce:`", hint="announce: [{url, secret}]")
    told = asyncio.run(_announce(fleet, topic, receivers))
    if form is output.Format.JSON:
        output.answer({"announced": [one.model_dump(mode="json") for one in told]})
    else:
        rows = [(one.url, one.problem or "told", output.count(one.attempts)) for one in told]
        output.say(output.columns(rows, head=("RECEIVER", "TOLD", "ATTEMPTS")))
    return 0 if all(one.problem is None for one in told) else 1


async def _announce(fleet: FleetOption, topic: str, receivers: Sequence[Announce]) -> tuple[Told, ...]:
    return await announce_all(receivers, (await _read(fleet, topic))[0])


async def _read(fleet: FleetOption, topic: str | None) -> list[TopicLineage]:
    async with open_control(fleet) as control:
        store = LineageStore(control.store, control.bucket)
        names = await store.topics()
        if topic is not None and topic not in names:
            known = ", ".join(names) or "none"
            raise InvalidInput(f"topic {topic} has no lineage; known: {known}", hint="tidegate lineage begin")
        found = [await store.read(name) for name in names if topic in {None, name}]
        return [one for one in found if one is not None]


async def _begin(fleet: FleetOption) -> list[TopicLineage]:
    loaded: Fleet = read_fleet(fleet).fleet
    found: list[TopicLineage] = []
    async with open_control(fleet) as control:
        store, records = LineageStore(control.store, control.bucket), RecordStore(control.store, control.bucket)
        for name, spec in loaded.deployments.items():
            if spec.standby is None:
                continue
            stored = await records.read(name)
            at = lives_at(stored.record if stored else None) or spec.home_ref
            kafka = regions.open_kafka(loaded.region(at.region).kafka)
            try:
                for topic in sorted(inputs_of(spec) | outputs_of(spec)):
                    if any(one.topic == topic for one in found):
                        continue
                    starts = await kafka.start_offsets([topic])
                    firsts = {tp.partition: first for tp, first in starts.items()}
                    found.append(await store.begin(topic, at.region, firsts))
            finally:
                await kafka.aclose()
    return found


def _line(one: TopicLineage) -> tuple[str, ...]:
    since = one.turns[-1].at if one.turns else one.updated_at
    return (one.topic, one.region, one.gate, str(one.turn), output.utc(since), one.holder or "")


def _segments(number: str, partition: Partition) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for segment in partition.segments:
        gone = [one for one in partition.excluded if _stands_at(partition, one) == segment]
        told = ", ".join(f"{one.first:,}-{one.last:,} {one.why}" for one in gone[:3])
        rows.append(
            (
                number,
                str(segment.turn),
                segment.region,
                "" if segment.epoch is None else str(segment.epoch),
                f"{segment.first:,}",
                _end(partition, segment),
                _offset(segment.cut),
                told + (f" and {len(gone) - 3} more" if len(gone) > 3 else ""),
            )
        )
    return rows


def _stands_at(partition: Partition, gone: Excluded) -> Segment | None:
    """The segment beside which a range is shown: the last of its region that begins before it, else the first."""
    own = [one for one in partition.segments if one.region == gone.region]
    return next((one for one in reversed(own) if one.first <= gone.first), own[0] if own else None)


def _end(partition: Partition, segment: Segment) -> str:
    if segment == partition.segments[-1]:
        return "goes on"
    return "unknown" if segment.end is None else f"{segment.end:,}"


def _offset(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
