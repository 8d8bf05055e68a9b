"""The copy that starts in the other region: positions of another Kafka, the old one's transactions dropped (X20)."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Refused
from tidegate.failover.sides import Sides
from tidegate.mirror.carry import Crossing, Position, carry
from tidegate.mirror.link import MirrorLink, open_link
from tidegate.mirror.positions import passed_position
from tidegate.model.failover import RebaseFact, RebaseInput
from tidegate.model.record import utc_now
from tidegate.operation.run import Deadline
from tidegate.points.superseded import lineage_of
from tidegate.snapshot import pins
from tidegate.snapshot.files import verify
from tidegate.snapshot.place import place_in
from tidegate.snapshot.rebase import RebaseWish, positions_to_move
from tidegate.snapshot.rebased import make_copy, place, record_of

ASK_S: Final = 10.0
STAY_S: Final = 120.0
"""How long the mirror of a topic that stays may take to bring what the snapshot has read."""


async def rebase_copy(sides: Sides, request: RebaseInput) -> RebaseFact:
    """Make the copy beside the deployment's savepoints there, and pin what it was made of; done again, it is there.

    Raises:
        Refused: a position cannot be proven, or the copy would read input twice: after a planned cut nothing may.
        NoProgress: what a topic that stays must bring first does not come.
        SnapshotError: the snapshot is not whole there.
        Superseded, Unavailable.

    """
    record = await sides.away.tenure.read()
    site, fleet = sides.away.site, sides.fleet
    home = sides.home.site
    source = (await verify(site.snapshots, request.snapshot)).snapshot
    wanted = await positions_to_move(site.snapshots, source, ())
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(open_link(fleet, name, ASK_S))
            for name, mirror in fleet.mirrors.items()
            if (mirror.source, mirror.target) == (home.region, site.region)
        ]
        known = await lineage_of(site, {topic for topic, _, _ in wanted})
        crossing = Crossing(home.region, site.region, home.kafka, site.kafka, tuple(links), known)
        await _wait_for_what_stays(sides, request, links, wanted)
        carried = await carry(crossing, wanted, {})
        wish = RebaseWish(carried.translate, carried.bounds, {}, fork=False, cut=())
        copy = await make_copy(site.snapshots, source, wish, place_in(fleet, sides.deployment, site.region))
    replays = copy.rebased.replays
    if replays and not request.unplanned:
        raise Refused(
            f"a start from {request.snapshot} would read {replays:,} input records a second time, though the mirror "
            f"was drained: something else writes {', '.join(request.topics.turn)}"
        )
    if not copy.there:
        # First, so that no sweep takes the files that the copy names: it has none of its own (X10).
        pin = pins.Pin(
            deployment=sides.deployment,
            location=str(source.directory),
            why=f"its files are named by {copy.location}",
            who=record.holder.operation if record.holder is not None else sides.operation,
            at=utc_now(),
        )
        await pins.pin(site.control, site.control_bucket, pin)
        await place(site.snapshots, copy, record_of(copy, sides.deployment, home.region, site.region, fork=False))
    await verify(site.snapshots, copy.location)
    notes = (f"{replays:,} input records that had not crossed are read again when they come (X22)",) if replays else ()
    return RebaseFact(
        location=str(copy.location),
        original=request.snapshot,
        replays=replays,
        positions=len(copy.rebased.moved),
        notes=notes,
    )


async def _wait_for_what_stays(
    sides: Sides, request: RebaseInput, links: list[MirrorLink], wanted: Collection[Position]
) -> None:
    """A topic that stays at home goes on coming: the job must not start before what it has read has come."""
    for link in links:
        of_link = {
            TopicPartition(topic, partition): offset
            for topic, partition, offset in wanted
            if topic in request.topics.stay and topic in link.topics
        }
        deadline = Deadline(f"the mirror {link.name} to bring what the snapshot has read", STAY_S)
        while of_link:
            passed = await passed_position(link, of_link)
            of_link = {tp: offset for tp, offset in of_link.items() if not passed[tp]}
            if of_link:
                await deadline.pause(f"{min(of_link)} has not come up to {of_link[min(of_link)]:,}")
