"""``tidegate groups``: consumer groups downstream, where each stands in each region, and moving them by hand (X25)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output, regions
from tidegate.cli.control import ControlBucket, open_control
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
from tidegate.clients.kafka_types import KafkaClient
from tidegate.errors import InvalidInput, Refused, TidegateError
from tidegate.failover.groups import crossing_of, read_lineage, silent_now, stood_of
from tidegate.failover.turning import consumers_of, inputs_of, outputs_of
from tidegate.lineage.model import Gate, TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.mirror.groups import Moving, Outcome, put, translate
from tidegate.mirror.link import partition_text
from tidegate.model.fleet import Consumer, Fleet
from tidegate.model.nearest import did_you_mean
from tidegate.operation.move import home_of
from tidegate.points.groups import GroupStore, KeptGroups

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="consumer groups downstream: where each stands, move one to the other region",
    help="Example:  tidegate groups list ledger\n\n"
    "The consumer groups that read what a deployment writes, or what it reads: `consumers:` in the fleet file.",
)

LEFT = 4
"""Exit status: something was left as it was."""
ASK_S = 5.0


@dataclass(frozen=True)
class Seen:
    """A group in a region. ``offsets`` None: nobody knows; ``kept``: when they were kept, if Kafka did not say."""

    deployment: str
    consumer: Consumer
    region: str
    state: str
    offsets: Mapping[str, int] | None = None
    lag: int | None = None
    kept: datetime | None = None


@app.command("list", short_help="where each group stands, in each region")
def list_(
    deployment: Annotated[str | None, typer.Argument(help="a deployment; default: all of the fleet file")] = None,
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate groups list ledger

    For each region whether somebody is in the group, on how many partitions it has an offset, and how many offsets are
    behind it up to the log's end. Of a region that does not answer what was kept of it last, by whoever keeps the
    recovery points. Changes nothing.
    """
    loaded = read_fleet(fleet).fleet
    names = [deployment] if deployment is not None else list(loaded.deployments)
    for name in names:
        loaded.deployment(name)
    seen = asyncio.run(_look(fleet, loaded, names))
    if form is output.Format.JSON:
        output.answer({"groups": [_seen_as_json(one) for one in seen]})
        return 0
    if not seen:
        output.say(f"no consumer group in the fleet file (deployments.{deployment or 'X'}.consumers)")
        return 0
    head = ("GROUP", "DEPLOYMENT", "REGION", "STATE", "PARTITIONS", "LAG", "KEPT AT")
    output.say(output.columns([_row(one) for one in seen], head=head))
    return 0


@app.command("translate", short_help="have groups go on in another region where they were")
def translate_(
    deployment: Annotated[str, typer.Argument(help="a deployment")],
    *,
    group: Annotated[
        str | None, typer.Option("--group", help="only this one; one that the fleet file does not name, with --topic")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="the topics that the group reads; may be repeated")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="REGION", help="where it was; default: the other region")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="REGION", help="default: where the topics are written now")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    who: WhoOption = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate groups translate ledger --group shop --dry-run

    A failover does this by itself; by hand for a group that it had to leave, or whose consumers move later. Stop its
    consumers first, in both regions: Kafka lets nobody be moved who reads.

    Each partition is found by the provenance of the mirrored records. None is jumped: what cannot be proven is left,
    and said; what may come again is counted. A group that stands further on there stays. Exit code 4 if any was left.
    """
    loaded = read_fleet(fleet).fleet
    consumers = _wanted(loaded, deployment, group, topic or [])
    told = asyncio.run(_translate(fleet, deployment, consumers, _Way(source, target), note=None))
    if form is output.Format.TEXT:
        _say(told)
    todo = any(moved.to_put for one in told.outcomes for moved in one.moved)
    if todo and not dry_run:
        names = ", ".join(one.group for one in told.outcomes if any(moved.to_put for moved in one.moved))
        confirm(f"put the offsets of {names} in {told.target}?", yes=yes)
        note = f"tidegate groups translate, by {who_asks(who)}"
        told = asyncio.run(_translate(fleet, deployment, consumers, _Way(told.source, told.target), note=note))
        if form is output.Format.TEXT:
            output.say(f"done       {told.source} -> {told.target}")
            _say(told)
    if form is output.Format.JSON:
        output.answer(_as_json(told, dry_run=dry_run))
    return LEFT if any(one.left for one in told.outcomes) else 0


@dataclass(frozen=True)
class _Way:
    source: str | None
    target: str | None


@dataclass(frozen=True)
class _Told:
    source: str
    target: str
    outcomes: tuple[Outcome, ...]


def _wanted(fleet: Fleet, deployment: str, group: str | None, topics: Sequence[str]) -> tuple[Consumer, ...]:
    """Which groups. Raises InvalidInput."""
    spec = fleet.deployment(deployment)
    known = consumers_of(fleet, deployment, inputs_of(spec) | outputs_of(spec))
    if topics:
        if group is None:
            raise InvalidInput("--topic: of which group? name it with --group")
        return (Consumer(group=group, topics=tuple(sorted(set(topics)))),)
    if group is None:
        if not known:
            raise InvalidInput(
                f"deployments.{deployment}.consumers: the fleet file names no consumer group",
                hint=f"name it here:  tidegate groups translate {deployment} --group GROUP --topic TOPIC",
            )
        return known
    found = tuple(one for one in known if one.group == group)
    if not found:
        names = [one.group for one in known]
        raise InvalidInput(
            f"--group {group}: the fleet file names no such group of {deployment}{did_you_mean(group, names)}",
            hint="say what it reads:  --topic TOPIC",
        )
    return found


async def _translate(
    path: Path | None, deployment: str, consumers: Sequence[Consumer], way: _Way, *, note: str | None
) -> _Told:
    """Find where they go on, and with a ``note`` put them there."""
    fleet = read_fleet(path).fleet
    async with open_control(path) as control, AsyncExitStack() as stack:
        lineage = await read_lineage(LineageStore(control.store, control.bucket), consumers)
        target = way.target or await _written_in(fleet, deployment, control, lineage)
        source = way.source or _other(fleet, consumers, target)
        _check(fleet, lineage, source, target)
        kept = await GroupStore(control.store, control.bucket).read(deployment, source)
        kafkas = {name: await stack.enter_async_context(_kafka(fleet, name)) for name in (source, target)}
        silent = await silent_now(kafkas[source])
        ends = (source, kafkas[source]), (target, kafkas[target])
        crossing = await stack.enter_async_context(crossing_of(fleet, *ends, lineage, gone=silent is not None))
        moving = Moving(crossing, note or "")
        outcomes: list[Outcome] = []
        for one in consumers:
            try:
                stood = await stood_of(crossing.source_kafka, source, kept, one, silent)
                found = await translate(moving, one, one.topics, stood)
                outcomes.append(found if note is None else await put(moving, found))
            except TidegateError as error:
                outcomes.append(Outcome(one.group, left=(error.message,)))
    return _Told(source, target, tuple(outcomes))


async def _written_in(
    fleet: Fleet, deployment: str, control: ControlBucket, lineage: Mapping[str, TopicLineage]
) -> str:
    """Where the topics are written, by their lineage; without one, where the deployment lives."""
    found = {one.region for one in lineage.values()}
    if len(found) > 1:
        told = ", ".join(f"{topic} in {one.region}" for topic, one in sorted(lineage.items()))
        raise InvalidInput(f"--to: the topics are written in several regions ({told}); name one")
    if found:
        return found.pop()
    return home_of(fleet, deployment, await control.record(deployment)).region


def _other(fleet: Fleet, consumers: Sequence[Consumer], target: str) -> str:
    topics = {topic for one in consumers for topic in one.topics}
    found = sorted({one.source for one in fleet.mirrors.values() if one.target == target and topics & set(one.topics)})
    if len(found) != 1:
        told = ", ".join(found) or "no mirror link leads there"
        raise InvalidInput(f"--from: where was it? ({told})", hint="name the region:  --from REGION")
    return found[0]


def _check(fleet: Fleet, lineage: Mapping[str, TopicLineage], source: str, target: str) -> None:
    """Raises InvalidInput, Refused while a topic is on its way: whoever turns it moves the groups."""
    for name in (source, target):
        fleet.region(name)
    if source == target:
        raise InvalidInput(f"--from {source} --to {target}: expected two regions")
    for topic, one in sorted(lineage.items()):
        if one.gate is Gate.CLOSED:
            operation = (one.holder or "").partition("/")[0]
            raise Refused(
                f"{topic} is being turned by {operation}: that moves its consumer groups",
                hint=f"watch it:  tidegate ops watch {operation}",
            )


@asynccontextmanager
async def _kafka(fleet: Fleet, region: str) -> AsyncIterator[KafkaClient]:
    client = regions.open_kafka(fleet.region(region).kafka, ASK_S)
    try:
        yield client
    finally:
        await client.aclose()


async def _look(path: Path | None, fleet: Fleet, names: Sequence[str]) -> list[Seen]:
    found: list[Seen] = []
    async with open_control(path) as control, AsyncExitStack() as stack:
        store = GroupStore(control.store, control.bucket)
        kafkas = {name: await stack.enter_async_context(_kafka(fleet, name)) for name in fleet.regions}
        silent = dict(zip(kafkas, await asyncio.gather(*map(silent_now, kafkas.values())), strict=True))
        for name in names:
            spec = fleet.deployment(name)
            consumers = consumers_of(fleet, name, {topic for one in spec.consumers for topic in one.topics})
            for region in dict.fromkeys((spec.home_ref.region, *([spec.standby] if spec.standby else []))):
                kept = await store.read(name, region)
                if silent[region] is None:
                    found += [await _seen(name, one, region, kafkas[region]) for one in consumers]
                else:
                    found += [_last_known(name, one, region, kept) for one in consumers]
    return sorted(found, key=lambda one: (one.consumer.group, one.deployment))


async def _seen(deployment: str, consumer: Consumer, region: str, kafka: KafkaClient) -> Seen:
    known = set(await kafka.topics())
    offsets = {tp: at for tp, at in (await kafka.group_offsets(consumer.group)).items() if tp.topic in consumer.topics}
    topics = sorted(known & set(consumer.topics))
    ends = await kafka.end_offsets(topics) if topics else {}
    lag = sum(max(0, end - offsets[tp]) for tp, end in ends.items() if tp in offsets)
    state = await kafka.group_state(consumer.group)
    told = {partition_text(tp): at for tp, at in sorted(offsets.items())}
    return Seen(deployment, consumer, region, state.value, told, lag if offsets else None)


def _last_known(deployment: str, consumer: Consumer, region: str, kept: KeptGroups | None) -> Seen:
    known = kept.groups.get(consumer.group) if kept is not None else None
    if known is None:
        return Seen(deployment, consumer, region, "no answer")
    return Seen(deployment, consumer, region, "no answer", dict(known.offsets), kept=known.at)


def _row(one: Seen) -> tuple[str, ...]:
    return (
        one.consumer.group,
        one.deployment,
        one.region,
        one.state,
        "not known" if one.offsets is None else output.count(len(one.offsets)),
        "" if one.lag is None else output.count(one.lag),
        "" if one.kept is None else output.utc(one.kept),
    )


def _say(told: _Told) -> None:
    for one in told.outcomes:
        output.say(one.fact().text)
        rows = [
            (
                partition_text(moved.tp),
                f"{moved.source:,}",
                "" if moved.was is None else f"{moved.was:,}",
                f"{moved.target:,}",
                _word(moved.was, moved.target, exact=moved.exact),
                f"{'' if moved.counted else 'up to '}{moved.again:,}",
            )
            for moved in one.moved
        ]
        if rows:
            head = (
                "PARTITION",
                f"IN {told.source.upper()}",
                f"{told.target.upper()} HAD",
                "GOES ON AT",
                "HOW",
                "AGAIN",
            )
            output.say(output.columns(rows, head=head, indent="  "))


def _word(was: int | None, target: int, *, exact: bool) -> str:
    if was is not None and was >= target:
        return "there already" if was == target else "further already: left"
    return "exact" if exact else "floor"


def _seen_as_json(one: Seen) -> dict[str, object]:
    return {
        "group": one.consumer.group,
        "deployment": one.deployment,
        "topics": list(one.consumer.topics),
        "region": one.region,
        "state": one.state,
        "offsets": None if one.offsets is None else dict(one.offsets),
        "lag": one.lag,
        "kept_at": None if one.kept is None else one.kept.isoformat(),
    }


def _as_json(told: _Told, *, dry_run: bool) -> dict[str, object]:
    return {
        "from": told.source,
        "to": told.target,
        "dry_run": dry_run,
        "groups": [
            one.fact().model_dump(mode="json")
            | {
                "partitions": [
                    {
                        "partition": partition_text(moved.tp),
                        "source": moved.source,
                        "target": moved.target,
                        "was": moved.was,
                        "exact": moved.exact,
                        "again": moved.again,
                        "counted": moved.counted,
                        "ahead": moved.ahead,
                    }
                    for moved in one.moved
                ],
            }
            for one in told.outcomes
        ],
    }
