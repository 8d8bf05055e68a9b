"""Keep recovery points: one look at everything, done again and again (X4 to X7).

Each cycle finds what Flink has completed, says whose the outputs are, looks whether all files are there in both
regions, ships the newest, and writes what it found. What is missing in the standby is told before it is sent again. It
can be cut off anywhere: the next one begins from what is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from tidegate.clients.kafka_types import KafkaClient, TopicDescription, TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.errors import Refused, SnapshotError, SnapshotIncomplete
from tidegate.model.mirror import LinkHealth
from tidegate.model.record import utc_now
from tidegate.points.attribution import Cut, Log, sides_of
from tidegate.points.index import newest_good, outages
from tidegate.points.model import OutputCut, Point, Points, Settlement
from tidegate.points.store import PointStore, Stored
from tidegate.points.topics import Topics, as_seen, changes, first_seen
from tidegate.snapshot.catalog import Entry, Kind, catalog
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import Place
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.reads import SnapshotReads
from tidegate.snapshot.ship import Beat, ship
from tidegate.snapshot.shipped import read_shipped
from tidegate.snapshot.sinks import committables, writer_states
from tidegate.snapshot.word import judge

KEPT = 20
"""So many points of a region are written down, the newest."""


class Mirror(Protocol):
    """What the mirror of a deployment's outputs can say."""

    @property
    def health(self) -> LinkHealth | None:
        """Whether it runs, and what it was restarted for; None: nobody looks."""

    async def passed(self, ends: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, bool]:
        """Of each partition at home whether all data below this position has come through (X5)."""
        ...

    async def described(self) -> Mapping[str, Mapping[str, TopicDescription]]:
        """What it brings, and where to, as it is now, by region and name (X7)."""
        ...

    async def holes(self) -> Sequence[str]:
        """What it has lost or can no longer bring, a line each (X7)."""
        ...


Jobs = Callable[[], Awaitable[Mapping[str, int]]]
"""The jobs that the record knows, with their epochs (``catalog.jobs_of``)."""
KeepJar = Callable[[], Awaitable[str | None]]
"""Sees to it that a copy of the jar that runs lies outside of its region; a line if there can be none."""
KeepGroups = Callable[[], Awaitable[Sequence[str]]]
"""Writes down where the consumer groups downstream stand, for when home is lost (X25); a line for what cannot be."""


@dataclass
class Side:
    """A region: where the snapshots lie, and their store."""

    place: Place
    store: TransferStore

    def __post_init__(self) -> None:
        self.reads = SnapshotReads(self.store)


@dataclass
class Kept:
    """What a cycle found and did."""

    home: Points
    away: Points | None
    shipped: str | None = None
    sent_bytes: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Keeper:
    """Keeps the recovery points of one deployment. ``away`` None: it has no standby."""

    home: Side
    away: Side | None
    kafka: KafkaClient
    outputs: Sequence[str]
    """Topics that the deployment writes."""
    points: PointStore
    jobs: Jobs
    mirror: Mirror | None = None
    keep_jar: KeepJar | None = None
    keep_groups: KeepGroups | None = None
    pace: Pace = field(default_factory=Pace)
    beat: Beat | None = None
    now: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self._logs: dict[TopicPartition, Log] = {}
        self._attributed: dict[str, dict[str, OutputCut]] = {}
        self._after: tuple[int, int] | None = None
        self._baseline: tuple[int, int] | None = None
        self._sent: dict[S3Uri, S3Uri] = {}

    async def cycle(self) -> Kept:
        """One look. Raises BasisChanged if somebody else keeps them too, Unavailable if a part did not answer."""
        deployment = self.home.place.deployment
        before = await self.points.read(deployment, self.home.place.region)
        told = self._of_this_home(before)
        await self._begin_reading(told)
        seen = await catalog(self.home.store, self.home.place, await self.jobs(), reads=self.home.reads)
        entries = [entry for entry in seen.entries if entry.shipped_from is None][:KEPT]
        notes: list[str] = []
        newest = next((entry for entry in entries if entry.verified), None)
        if self._baseline is None:
            self._baseline = max((_order(entry) for entry in entries), default=(-1, -1))
        if newest is not None:
            await self._attribute(newest, entries, notes)
        known = _by_id(told)
        here = [await self._point(self.home, entry, known.get(entry.id), notes) for entry in entries]
        home = await self._write(before, self.home.place.region, here)
        if self.keep_groups is not None:
            notes += await self.keep_groups()
        kept = Kept(home, None, notes=notes)
        if self.away is not None:
            await self._keep_away(self.away, newest, {point.id: point for point in here}, kept)
        said = await self.keep_jar() if self.keep_jar is not None else None
        if said is not None:
            kept.notes.append(said)
        return kept

    async def _keep_away(self, away: Side, newest: Entry | None, here: Mapping[str, Point], kept: Kept) -> None:
        """Look at what stands in the standby, then ship; a file that was missing is told even if it is sent again."""
        stored = self._of_this_home(await self.points.read(away.place.deployment, away.place.region))
        good = newest_good(stored) if stored is not None else None
        too = [S3Uri.parse(good.snapshot)] if good is not None else []
        seen = await catalog(away.store, away.place, shipped_at_most=KEPT, shipped_too=too, reads=away.reads)
        stands = [entry for entry in seen.entries if entry.shipped_from == self.home.place.region]
        told = {point.id: point.problem for point in _by_id(stored).values()}
        if any(entry.problem is not None and told.get(entry.id) != entry.problem for entry in stands[:KEPT]):
            kept.away = await self._publish(away, stands, here, kept.notes)
        sent = await self._ship(newest, away, stands, kept)
        if sent is not None:
            stands = sorted([sent, *(one for one in stands if one.location != sent.location)], key=_age, reverse=True)
        kept.away = await self._publish(away, stands, here, kept.notes)

    def _of_this_home(self, stored: Stored) -> Points | None:
        """What was written while the job ran here; its offsets are of another Kafka if it ran elsewhere (X20)."""
        found = stored.points
        return found if found is not None and found.home == self.home.place.region else None

    async def _begin_reading(self, before: Points | None) -> None:
        """Where the logs are read from: where the last keeper was, else from their ends on."""
        if self._logs:
            return
        ends = await self.kafka.end_offsets(self.outputs)
        known = before.read_from if before is not None and before.read_after is not None else {}
        if known and before is not None and set(known) == {_name(tp) for tp in ends}:
            starts = await self.kafka.start_offsets(self.outputs)
            if all(starts[tp] <= known[_name(tp)] <= end for tp, end in ends.items()):
                self._after = before.read_after
                self._logs = {tp: Log(known[_name(tp)]) for tp in ends}
                self._attributed = {p.id: dict(p.outputs) for p in before.points if p.outputs is not None}
                return
        self._logs = {tp: Log(end) for tp, end in ends.items()}

    async def _attribute(self, entry: Entry, entries: Sequence[Entry], notes: list[str]) -> None:
        """Record which outputs are the snapshot's, if all that is later lies in what is read (X4)."""
        if entry.id in self._attributed or entry.epoch is None or entry.checkpoint_id is None:
            return
        at = (entry.epoch, entry.checkpoint_id)
        if self._after is None:
            # The first that completes after the reading began may have been triggered before: what came after its
            # barrier may lie before what is read. The next one was triggered when the first had ended: it is good.
            # (Flink's default of one checkpoint at a time; savepoints go beside, so they do not count here.)
            fresh = [
                one
                for one in entries
                if one.kind is Kind.CHECKPOINT and self._baseline is not None and _order(one) > self._baseline
            ]
            if len(fresh) < 2 or entry != fresh[0]:
                return
        elif at <= self._after:
            return
        try:
            snapshot = await self.home.reads.last(entry.location)
            own = await committables(self.home.store, snapshot)
            writers = await writer_states(self.home.store, snapshot)
            ends = await self.kafka.end_offsets(self.outputs)
            if any(tp in self._logs and end < self._logs[tp].end for tp, end in ends.items()):
                # Made anew (X7): what was read is of a log that is no more.
                self._logs, self._after, self._baseline = {}, None, None
                notes.append(f"{entry.id}: outputs not attributed: an output topic was made anew")
                return
            for tp, end in ends.items():
                log = self._logs.setdefault(tp, Log(0))
                async with aclosing(self.kafka.batches(tp, log.end, end)) as batches:  # type: ignore[type-var]
                    async for batch in batches:
                        log.add(batch)
            # A week's transactional ids are many; what was read is of a few.
            wrote = {one.producer_id for one in own}.union(*(log.producers for log in self._logs.values()))
            listed = await self.kafka.list_transactions(f"tg.{entry.deployment}.", wrote)
            sides = sides_of(listed, writers, own, deployment=entry.deployment, epoch=at[0], checkpoint_id=at[1])
        except (SnapshotError, Refused) as error:
            notes.append(f"{entry.id}: outputs not attributed: {error.message}")
            return
        cuts = {tp: log.cut(sides) for tp, log in self._logs.items()}
        self._attributed[entry.id] = {_name(tp): _as_model(cut) for tp, cut in sorted(cuts.items())}
        for tp, cut in cuts.items():
            log = self._logs[tp]
            log.forget_before(log.end if cut.first_later is None else cut.first_later)
        self._after = at

    async def _point(self, side: Side, entry: Entry, before: Point | None, notes: list[str]) -> Point:
        inputs = before.inputs if before is not None else None
        settled = before.settlements if before is not None else ()
        if entry.verified and (inputs is None or not all(one.safe for one in settled)):
            try:
                snapshot = await side.reads.last(entry.location)
                inputs = inputs or {
                    uid: {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(known.items())}
                    for uid, known in (await kafka_positions(side.store, snapshot)).items()
                }
                own = await committables(side.store, snapshot)
                ids = sorted({one.transactional_id for one in own})
                said = await self.kafka.describe_transactions(ids) if ids else {}
                safe = {one.transactional_id: one for one in settled if one.safe}
                settled = tuple(
                    safe.get(one.committable.transactional_id)
                    or Settlement(
                        transactional_id=one.committable.transactional_id,
                        producer_id=one.committable.producer_id,
                        producer_epoch=one.committable.producer_epoch,
                        word=one.word.value,
                        safe=one.word.safe,
                        at=self.now(),
                    )
                    for one in judge(own, said)
                )
            except SnapshotError as error:
                notes.append(f"{entry.id}: {error.message}")
        return Point(
            id=entry.id,
            kind=entry.kind.value,
            snapshot=str(entry.location),
            epoch=entry.epoch,
            checkpoint_id=entry.checkpoint_id,
            taken_at=entry.at,
            inputs=inputs,
            outputs=self._attributed.get(entry.id) or (before.outputs if before else None),
            settlements=settled,
            verified_at=self.now() if entry.verified else before.verified_at if before else None,
            problem=entry.problem,
        )

    async def _ship(self, newest: Entry | None, away: Side, stands: Sequence[Entry], kept: Kept) -> Entry | None:
        """Ship the newest; the copy as it stands there now, all of its files seen. None: nothing was to be done."""
        if newest is None:
            return None
        copy = self._sent.get(newest.location)
        if copy is not None and any(one.location == copy and one.verified for one in stands):
            kept.shipped = newest.id
            return None
        try:
            done = await ship(self.home.store, away.store, newest, away.place, self.pace, self.beat)
        except SnapshotIncomplete as error:
            kept.notes.append(f"{newest.id} went while it was shipped (X6): {error.message}")
            return None
        kept.shipped, kept.sent_bytes = newest.id, done.progress.sent
        self._sent = {newest.location: done.location}
        return replace(
            newest,
            region=away.place.region,
            location=done.location,
            at=done.record.taken_at,
            shipped_from=done.record.source_region,
            problem=None,
        )

    async def _publish(
        self, away: Side, stands: Sequence[Entry], here: Mapping[str, Point], notes: list[str]
    ) -> Points:
        """What is there in the standby, and whether its outputs are there too (X5)."""
        place = away.place
        before = await self.points.read(place.deployment, place.region)
        known = _by_id(self._of_this_home(before))
        found: list[Point] = []
        # While the mirror is behind, those that are shipped meanwhile are none: the last good one stays until one is.
        good = newest_good(mine) if (mine := self._of_this_home(before)) is not None else None
        last = [entry for entry in stands[KEPT:] if good is not None and str(entry.location) == good.snapshot]
        for entry in (*stands[:KEPT], *last):
            was, original = known.get(entry.id), here.get(entry.id)
            source = was.source if was is not None else None
            if source is None and (record := await read_shipped(away.store, entry.location)) is not None:
                source = record.source
            told = original or was
            point = Point(
                id=entry.id,
                kind=entry.kind.value,
                snapshot=str(entry.location),
                source=source,
                epoch=entry.epoch,
                checkpoint_id=entry.checkpoint_id,
                taken_at=entry.at,
                inputs=told.inputs if told else None,
                outputs=told.outputs if told else None,
                settlements=told.settlements if told else (),
                outputs_there=was.outputs_there if was else None,
                verified_at=self.now() if entry.verified else was.verified_at if was else None,
                problem=entry.problem,
            )
            found.append(point.model_copy(update={"outputs_there": await self._outputs_there(point)}))
        holes: tuple[str, ...] = ()
        topics: Topics = before.points.topics if before.points is not None else {}
        if self.mirror is not None:
            now = as_seen(await self.mirror.described())
            # Of a topic that was made anew the offsets tell nothing: it comes first.
            holes = (*changes(topics, now), *await self.mirror.holes())
            topics = first_seen(topics, now)
        notes += [
            f"hole in the mirror (X7): {hole}" for hole in holes if f"hole in the mirror (X7): {hole}" not in notes
        ]
        return await self._write(before, place.region, found, holes, topics)

    async def _outputs_there(self, point: Point) -> bool | None:
        if point.outputs_there or self.mirror is None or point.outputs is None:
            return point.outputs_there  # what has come through stays there
        passed = await self.mirror.passed({_partition(name): cut.upto for name, cut in point.outputs.items()})
        return all(passed.values())

    async def _write(
        self,
        before: Stored,
        region: str,
        points: Sequence[Point],
        holes: tuple[str, ...] = (),
        topics: Topics | None = None,
    ) -> Points:
        wanted = Points(
            deployment=self.home.place.deployment,
            region=region,
            home=self.home.place.region,
            updated_at=self.now(),
            points=tuple(points),
            holes=holes,
            topics_since=before.points.topics_since if before.points is not None else None,
            topics={name: dict(known) for name, known in (topics or {}).items()},
            outages=outages(self._of_this_home(before), points, self.now()) if region != self.home.place.region else (),
            read_from={_name(tp): log.start for tp, log in sorted(self._logs.items())} if self._after else {},
            read_after=self._after,
            mirror=self.mirror.health if self.mirror is not None and region != self.home.place.region else None,
        )
        written = await self.points.write(before, wanted)
        return written.points or wanted


def _order(entry: Entry) -> tuple[int, int]:
    """Epochs follow each other, and a job counts its checkpoints and savepoints by one counter."""
    return (
        entry.epoch if entry.epoch is not None else -1,
        entry.checkpoint_id if entry.checkpoint_id is not None else -1,
    )


def _age(entry: Entry) -> tuple[datetime, int]:
    return entry.at, entry.checkpoint_id if entry.checkpoint_id is not None else -1


def _by_id(points: Points | None) -> dict[str, Point]:
    return {point.id: point for point in points.points} if points is not None else {}


def _as_model(cut: Cut) -> OutputCut:
    return OutputCut(
        upto=cut.upto,
        last=cut.last,
        first_later=cut.first_later,
        later=tuple((span.first, span.last) for span in cut.later),
    )


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"


def _partition(name: str) -> TopicPartition:
    topic, _, partition = name.rpartition("/")
    return TopicPartition(topic, int(partition))
