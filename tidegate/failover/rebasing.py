"""The copy that starts in the other region: positions of another Kafka, the old one's transactions dropped (X20)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.errors import Refused
from tidegate.failover.sides import Sides
from tidegate.mirror.link import open_kafka, open_link
from tidegate.mirror.positions import passed_position
from tidegate.mirror.rebasing import Reach, Wanted, links_by, place_rebased, rebase_for
from tidegate.model.failover import RebaseFact, RebaseInput
from tidegate.operation.run import Deadline
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.place import location_of, place_in
from tidegate.snapshot.rebase import positions_to_move

ASK_S: Final = 10.0
GONE_S: Final = 0.5
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
    await sides.away.tenure.read()
    site, home = sides.away.site, sides.home.site
    gone = request.answers is not None and request.answers.kafka is not None
    if not gone:
        await _wait_for_what_stays(sides, request)
    wanted = Wanted(location_of(request.snapshot), place_in(sides.fleet, sides.deployment, site.region))
    async with AsyncExitStack() as stack:
        kafkas: dict[str, KafkaClient] = {home.region: home.kafka, site.region: site.kafka}
        if gone:
            # It is asked for a word that it may have; nobody waits for it.
            kafkas[home.region] = await stack.enter_async_context(open_kafka(sides.fleet, home.region, GONE_S))
        links = links_by(sides.fleet, GONE_S if gone else None)
        reach = Reach(site.snapshots, kafkas.__getitem__, links, sides.lineage)
        made = await rebase_for(reach, wanted)
    if made.replays and not request.unplanned:
        raise Refused(
            f"a start from {request.snapshot} would read {made.replays:,} input records a second time, though the "
            f"mirror was drained: something else writes {', '.join(request.topics.turn)}"
        )
    location = await place_rebased(reach, site.control, site.control_bucket, made, sides.operation)
    ahead = (
        f"{made.replays:,} input records that its state has read have not come: an audit of {site.region} alone takes "
        f"what was made of them for wrong; over both regions' logs it is told, once {home.region} has returned (X22)"
    )
    return RebaseFact(
        location=str(location),
        original=request.snapshot,
        replays=made.replays,
        positions=len(made.copy.rebased.moved),
        notes=(ahead,) if made.replays else (),
    )


async def _wait_for_what_stays(sides: Sides, request: RebaseInput) -> None:
    """A topic that stays at home goes on coming: the job must not start before what it has read has come."""
    if not request.topics.stay:
        return
    site, home = sides.away.site, sides.home.site
    source = await read_snapshot(site.snapshots, location_of(request.snapshot))
    wanted = await positions_to_move(site.snapshots, source, ())
    for name, mirror in sides.fleet.mirrors.items():
        if (mirror.source, mirror.target) != (home.region, site.region):
            continue
        waited = {
            TopicPartition(topic, partition): offset
            for topic, partition, offset in wanted
            if topic in request.topics.stay and topic in mirror.topics
        }
        deadline = Deadline(f"the mirror {name} to bring what the snapshot has read", STAY_S)
        async with open_link(sides.fleet, name, ASK_S) as link:
            while waited:
                passed = await passed_position(link, waited)
                waited = {tp: offset for tp, offset in waited.items() if not passed[tp]}
                if waited:
                    await deadline.pause(f"{min(waited)} has not come up to {waited[min(waited)]:,}")
