"""A copy of a deployment's snapshot for a region's Kafka, from what is wanted to where it lies (X12, X20).

For a person's command and for an operation's step alike. ``rebase_for`` only reads: what it gives back says what would
come again and what was dropped, and is to be judged before ``place_rebased`` writes anything. Both may be done again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from tidegate.clients.kafka_types import KafkaClient
from tidegate.clients.objects import ObjectStore, S3Uri, Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.mirror.carry import Carried, Crossing, carry, stay
from tidegate.mirror.link import MirrorLink, open_link
from tidegate.model.fleet import Fleet
from tidegate.snapshot import pins
from tidegate.snapshot.files import Snapshot, verify
from tidegate.snapshot.place import Place
from tidegate.snapshot.rebase import RebaseWish, positions_to_move
from tidegate.snapshot.rebased import Copy, make_copy, place, place_for, record_of
from tidegate.snapshot.shipped import read_shipped
from tidegate.snapshot.sinks import Committable, committables
from tidegate.snapshot.word import Judged, judge

Links = Callable[[str, str], AbstractAsyncContextManager[tuple[MirrorLink, ...]]]
"""The links of the fleet file that lead from a region to another, open."""


@dataclass(frozen=True)
class Reach:
    """How a rebase reaches what it asks. ``store``: the S3 of the region that the copy is for.

    ``kafka``: the client of a region's Kafka, made without asking it anything; whoever gives it closes it.
    """

    store: ObjectStore
    kafka: Callable[[str], KafkaClient]
    links: Links
    lineage: LineageStore | None = None
    """Where topics were turned: positions are searched for in the segment that they belong to. None: none ever was."""


@dataclass(frozen=True)
class Wanted:
    """Which copy. ``snapshot``: its location on the S3 of ``place``'s region; ``place``: the deployment's, there.

    ``fork``: the name of the fork that it is for, None: for the deployment itself. ``topics``: those that have another
    name there. ``cut``: operators to leave out, by uid. ``by_floor``: by the offset syncs though there is provenance.
    """

    snapshot: Uri
    place: Place
    fork: str | None = None
    topics: Mapping[str, str] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    by_floor: bool = False


@dataclass(frozen=True)
class Made:
    """A copy that is made and not yet placed. ``home``: the region whose Kafka the original's positions are of.

    ``judged``: the word of home's broker on each committable that is dropped (``listed``); ``said``: why there is none.
    """

    wanted: Wanted
    home: str
    copy: Copy
    listed: tuple[Committable, ...]
    judged: tuple[Judged, ...]
    said: str | None

    @property
    def deployment(self) -> str:
        """Whose snapshot it is a copy of."""
        return self.wanted.place.deployment

    @property
    def region(self) -> str:
        """The region that it is for."""
        return self.wanted.place.region

    @property
    def fork(self) -> str | None:
        """The name of the fork that it is for; None: for the deployment itself."""
        return self.wanted.fork

    @property
    def replays(self) -> int:
        """Input records that a start from it reads a second time; at most so many unless ``copy.rebased.counted``."""
        return self.copy.rebased.replays

    @property
    def not_committed(self) -> tuple[Judged, ...]:
        """Outputs that the copy counts as written and home's broker has not shown to be committed."""
        return tuple(one for one in self.judged if not one.word.safe)


def links_by(fleet: Fleet, source_timeout_s: float | None = None) -> Links:
    """Links that are opened by the fleet file, and closed at the end. ``source_timeout_s``: see ``open_link``."""
    return partial(_open_links, fleet, source_timeout_s)


@asynccontextmanager
async def _open_links(
    fleet: Fleet, source_timeout_s: float | None, source: str, target: str
) -> AsyncIterator[tuple[MirrorLink, ...]]:
    async with AsyncExitStack() as stack:
        yield tuple(
            [
                await stack.enter_async_context(open_link(fleet, name, source_timeout_s=source_timeout_s))
                for name, mirror in fleet.mirrors.items()
                if (mirror.source, mirror.target) == (source, target)
            ]
        )


async def rebase_for(reach: Reach, wanted: Wanted) -> Made:
    """Make the copy, every file of the original seen (X3); only reads. Home's Kafka and the mirror may be away.

    Raises:
        InvalidInput: it is of that region's Kafka already and no fork, or a name that is not there.
        Refused: a position cannot be proven or lies outside of the target's log.
        SnapshotError: a file is missing, or it cannot be read or rewritten.
        Unavailable: the region's own S3 or Kafka did not answer.

    """
    target = wanted.place.region
    shipped = await read_shipped(reach.store, wanted.snapshot)
    home = shipped.source_region if shipped is not None else target
    if home == target and wanted.fork is None:
        raise InvalidInput(
            f"--to {target}: the snapshot is of that region's Kafka already",
            hint="to start from it there it needs no copy; for a fork beside the live job name it:  --as NAME",
        )
    at = place_for(wanted.place, wanted.fork)
    source = (await verify(reach.store, wanted.snapshot)).snapshot
    listed = tuple(await committables(reach.store, source))
    carried = await _carried(reach, wanted, source, home)
    wish = RebaseWish(carried.translate, carried.bounds, wanted.topics, wanted.fork is not None, wanted.cut)
    copy = await make_copy(reach.store, source, wish, at)
    judged, said = await _words(reach, home, listed)
    return Made(wanted, home, copy, listed, judged, said)


async def place_rebased(reach: Reach, control: ObjectStore, bucket: str, made: Made, who: str) -> S3Uri:
    """Write the copy, ``_metadata`` last, and see all of its files; its location. Done again it is found done (I4).

    The original is pinned first, so that no sweep takes the files that the copy names: it has none of its own (X10).

    Raises:
        Refused: another snapshot stands at its place.
        SnapshotError: a file of the original went meanwhile.
        Unavailable: the control bucket or the region's S3 did not answer.

    """
    keep = pins.Pin(
        deployment=made.deployment,
        location=str(made.copy.source.directory),
        why=f"its files are named by {made.copy.location}",
        who=who,
        at=datetime.now(UTC),
        user=str(made.copy.location),
    )
    await pins.pin(control, bucket, keep)
    record = record_of(made.copy, made.deployment, made.home, made.region, fork=made.fork is not None)
    location = await place(reach.store, made.copy, record)
    await verify(reach.store, location)
    return location


async def _carried(reach: Reach, wanted: Wanted, source: Snapshot, home: str) -> Carried:
    target = wanted.place.region
    positions = await positions_to_move(reach.store, source, wanted.cut)
    named = {topic for topic, _, _ in positions}
    for old in wanted.topics.keys() - named:
        raise InvalidInput(
            f"--topic {old}: no position of the snapshot is of that topic; it has {', '.join(sorted(named)) or 'none'}"
        )
    if home == target:
        if wanted.topics:
            raise InvalidInput("--topic: a fork in the same region reads the same topics, at the same positions")
        return await stay(reach.kafka(home), positions)
    lineage: dict[str, TopicLineage] = {}
    for topic in sorted(named) if reach.lineage is not None else ():
        known = await reach.lineage.read(topic) if reach.lineage is not None else None
        if known is not None:
            lineage[topic] = known
    async with reach.links(home, target) as links:
        crossing = Crossing(home, target, reach.kafka(home), reach.kafka(target), links, lineage)
        return await carry(crossing, positions, wanted.topics, by_floor=wanted.by_floor)


async def _words(reach: Reach, home: str, listed: tuple[Committable, ...]) -> tuple[tuple[Judged, ...], str | None]:
    if not listed:
        return (), None
    try:
        said = await reach.kafka(home).describe_transactions(sorted({one.transactional_id for one in listed}))
    except Unavailable as error:
        return (), f"Kafka in {home} cannot be asked: {error.message}"
    return tuple(judge(listed, said)), None
