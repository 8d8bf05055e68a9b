"""Ask everything that a review goes by, at once, in bounded time. Changes nothing that lasts.

A region that does not answer costs the patience of one question, whatever number of deployments is asked about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from tidegate.errors import InvalidInput
from tidegate.incidents.model import OpenFollowUp, open_follow_ups
from tidegate.incidents.store import IncidentStore
from tidegate.model.fleet import CellRef, Deployment, Fleet
from tidegate.model.record import DeploymentRecord, Writer, utc_now
from tidegate.model.region import Member, Other
from tidegate.model.review import Review
from tidegate.model.steps import ReportInput
from tidegate.names import CONTROL_QUEUE, region_queue
from tidegate.operation.forks import fork_records, forks_of
from tidegate.operation.move import cell_in, home_of, standby_of, stopped
from tidegate.points.model import Points
from tidegate.points.store import PointStore
from tidegate.readiness.drills import proves
from tidegate.readiness.facts import (
    Facts,
    JobFacts,
    LinkFacts,
    NotKnown,
    RegionFacts,
    ScheduledDrill,
    StandbyRoom,
    StateFacts,
)
from tidegate.readiness.gather_job import look_at_job, look_at_state
from tidegate.readiness.gather_links import look_at_ids, look_at_link, look_at_way_back
from tidegate.readiness.gather_region import login, look_at_region
from tidegate.readiness.reach import Reach, ask
from tidegate.readiness.review import review
from tidegate.registry.keptjars import KeptJars
from tidegate.registry.records import RecordStore
from tidegate.report.read import RECENT, recent_reports

CONTROL_WAIT_S: Final = 5.0
Records = Mapping[str, DeploymentRecord | NotKnown | None]


async def review_fleet(reach: Reach, deployments: Sequence[str], outage_s: float, *, digest: str = "") -> Review:
    """A review of these deployments. Raises InvalidInput for an unknown one, and nothing else of ours."""
    began = time.monotonic()
    found = await gather(reach, deployments, outage_s)
    return Review(
        at=utc_now(),
        fleet_digest=digest,
        took_s=round(time.monotonic() - began, 3),
        deployments=tuple(sorted((review(one) for one in found), key=lambda one: (one.tier, one.deployment))),
    )


@dataclass(frozen=True)
class _Place:
    """Where a deployment lives and would go."""

    name: str
    spec: Deployment
    home: CellRef
    standby: str | None
    away: CellRef | NotKnown | None

    @property
    def topics(self) -> set[str]:
        """All that it reads and writes."""
        read = {topic for source in self.spec.sources for topic in source.topics}
        return read | {topic for sink in self.spec.sinks for topic in sink.topics}

    @property
    def regions(self) -> tuple[str, ...]:
        """Home, and the standby if there is one."""
        return (self.home.region,) if self.standby is None else (self.home.region, self.standby)


async def gather(reach: Reach, deployments: Sequence[str], outage_s: float) -> list[Facts]:
    """The facts of each deployment, in their order. Raises InvalidInput for an unknown deployment."""
    fleet = reach.fleet
    for name in deployments:
        fleet.deployment(name)
    records = await _records(reach)
    places = [_place(fleet, name, records[name]) for name in deployments]
    regions = sorted({region for place in places for region in place.regions})
    links = sorted({name for place in places for name in _forward(fleet, place)})
    ways_back = sorted({name for place in places for name in _back(fleet, place)})
    queues = [CONTROL_QUEUE, *(region_queue(region) for region in regions)]
    of_regions, of_links, of_back, polled, scheduled, forks = await asyncio.gather(
        asyncio.gather(*(look_at_region(reach, region, _topics(places, region)) for region in regions)),
        asyncio.gather(*(ask(f"mirror {name}", partial(look_at_link, reach, name)) for name in links)),
        asyncio.gather(
            *(ask(f"Connect of mirror {name}", partial(look_at_way_back, reach, name)) for name in ways_back)
        ),
        ask("Temporal", partial(_pollers, reach, queues)),
        ask("Temporal", reach.drills),
        ask("the control bucket", partial(fork_records, reach.control, reach.bucket, fleet)),
    )
    shared = _Shared(
        records=records,
        regions=dict(zip(regions, of_regions, strict=True)),
        links=dict(zip(links, of_links, strict=True)),
        ways_back=dict(zip(ways_back, of_back, strict=True)),
        queues=polled,
        scheduled=scheduled,
        forks=forks,
        outage_s=outage_s,
    )
    return list(await asyncio.gather(*(_facts(reach, place, shared) for place in places)))


@dataclass(frozen=True)
class _Shared:
    """What was asked once for all."""

    records: Records
    regions: Mapping[str, RegionFacts]
    links: Mapping[str, LinkFacts | NotKnown]
    ways_back: Mapping[str, str | NotKnown]
    queues: Mapping[str, int] | NotKnown
    scheduled: tuple[ScheduledDrill, ...] | NotKnown
    forks: Mapping[str, DeploymentRecord] | NotKnown
    outage_s: float


async def _facts(reach: Reach, place: _Place, shared: _Shared) -> Facts:
    fleet, spec, name = reach.fleet, place.spec, place.name
    record = shared.records[name]
    writer = record.writer if isinstance(record, DeploymentRecord) else None
    points, follow_ups, reports, logins = await asyncio.gather(
        _points(reach, place),
        ask("the control bucket", partial(_follow_ups, reach, place)),
        ask("the control bucket", partial(_reports, reach, name)),
        asyncio.gather(*(login(reach, region, spec, place.topics) for region in place.regions)),
    )
    job, state, ids, jar = await asyncio.gather(
        _job(reach, writer),
        _state(reach, place, points[place.home.region], writer),
        _ids(reach, place),
        _jar(reach, name, writer),
    )
    forward, back = _forward(fleet, place), _back(fleet, place)
    return Facts(
        deployment=name,
        spec=spec,
        now=utc_now(),
        outage_s=shared.outage_s,
        record=record,
        home=place.home,
        standby=place.standby,
        cell_away=place.away,
        regions={region: shared.regions[region] for region in place.regions},
        points=points,
        jar_kept=jar,
        reports=reports,
        follow_ups=follow_ups,
        job=job,
        state=state,
        forward={link: shared.links[link] for link in forward},
        uncovered=_uncovered(fleet, place, forward),
        back={link: shared.ways_back[link] for link in back},
        uncovered_back=_uncovered(fleet, place, back),
        logins={(region, spec.principal): access for region, access in zip(place.regions, logins, strict=True)},
        record_ids=ids,
        room=_room(fleet, place, shared.records),
        queues=_queues_of(place, shared.queues),
        control_host=urlsplit(fleet.control.s3.endpoint).hostname or "",
        flink_page=fleet.cell(place.home).flink.rest,
        bootstraps={region: fleet.region(region).kafka.bootstrap for region in place.regions},
        region_hosts={region: _hosts(fleet, region) for region in place.regions},
        scheduled=_drills_of(name, shared.scheduled),
        forks=shared.forks,
        own_forks={} if isinstance(shared.forks, NotKnown) else forks_of(shared.forks, fleet, name),
    )


def _drills_of(
    deployment: str, scheduled: tuple[ScheduledDrill, ...] | NotKnown
) -> tuple[ScheduledDrill, ...] | NotKnown:
    if isinstance(scheduled, NotKnown):
        return scheduled
    return tuple(one for one in scheduled if one.deployment == deployment)


async def _job(reach: Reach, writer: Writer | None) -> JobFacts | NotKnown | None:
    if writer is None:
        return None
    return await ask(f"Flink in {writer.region}/{writer.cell}", partial(look_at_job, reach, writer))


async def _jar(reach: Reach, deployment: str, writer: Writer | None) -> bool | NotKnown | None:
    if writer is None:
        return None
    kept = KeptJars(reach.control, reach.bucket, deployment)
    return await ask("the control bucket", partial(kept.has, writer.artifact.sha256))


async def _state(
    reach: Reach, place: _Place, kept: Points | NotKnown | None, writer: Writer | None
) -> StateFacts | NotKnown | None:
    if isinstance(kept, NotKnown):
        return kept
    region = place.home.region
    return await ask(f"S3 in {region}", partial(look_at_state, reach, place.name, region, kept, writer))


async def _ids(reach: Reach, place: _Place) -> Mapping[str, bool] | NotKnown:
    rule, region = place.spec.record_id, place.home.region
    if rule is None:
        return {}
    inputs = sorted({topic for source in place.spec.sources for topic in source.topics})
    return await ask(f"Kafka in {region}", partial(look_at_ids, reach, region, inputs, rule))


async def _records(reach: Reach) -> Records:
    """The records of all deployments of the fleet file: also those that are not asked about may need room."""
    store = RecordStore(reach.control, reach.bucket, control_wait_s=CONTROL_WAIT_S)

    async def one(name: str) -> DeploymentRecord | None:
        stored = await store.read(name)
        return stored.record if stored is not None else None

    names = list(reach.fleet.deployments)
    found = await asyncio.gather(*(ask("the control bucket", partial(one, name)) for name in names))
    return dict(zip(names, found, strict=True))


async def _points(reach: Reach, place: _Place) -> dict[str, Points | NotKnown | None]:
    store = PointStore(reach.control, reach.bucket)

    async def one(region: str) -> Points | None:
        return (await store.read(place.name, region)).points

    found = await asyncio.gather(*(ask("the control bucket", partial(one, region)) for region in place.regions))
    return dict(zip(place.regions, found, strict=True))


async def _follow_ups(reach: Reach, place: _Place) -> tuple[OpenFollowUp, ...]:
    """What incidents have left to be done that concerns it."""
    incidents = await IncidentStore(reach.control, reach.bucket).all()
    hit = [one for one in incidents if any(one.hits(place.name, region) for region in place.regions)]
    return open_follow_ups(hit, utc_now().date())


async def _reports(reach: Reach, deployment: str) -> tuple[ReportInput, ...]:
    """The newest reports, newest first; those of reviews not counted: one an hour must not hide the last drill."""

    def enough(known: Sequence[ReportInput]) -> bool:
        return sum(report.review is None for report in known) >= RECENT and any(map(proves, known))

    return await recent_reports(reach.control, reach.bucket, deployment, enough)


async def _pollers(reach: Reach, queues: Sequence[str]) -> dict[str, int]:
    return dict(zip(queues, await asyncio.gather(*(reach.pollers(queue) for queue in queues)), strict=True))


def _queues_of(place: _Place, polled: Mapping[str, int] | NotKnown) -> Mapping[str, int] | NotKnown:
    if isinstance(polled, NotKnown):
        return polled
    wanted = (CONTROL_QUEUE, *(region_queue(region) for region in place.regions))
    return {queue: polled[queue] for queue in wanted}


def _known(record: DeploymentRecord | NotKnown | None) -> DeploymentRecord | None:
    return None if isinstance(record, NotKnown) else record


def _place(fleet: Fleet, name: str, record: DeploymentRecord | NotKnown | None) -> _Place:
    known = _known(record)
    home = home_of(fleet, name, known)
    standby = standby_of(fleet, name, home.region)
    away: CellRef | NotKnown | None = None
    if standby is not None:
        try:
            away = cell_in(fleet, name, standby, known)
        except InvalidInput as error:
            away = NotKnown(f"cell of {name} in {standby}", error.message)
    return _Place(name, fleet.deployment(name), home, standby, away)


def _topics(places: Iterable[_Place], region: str) -> set[str]:
    return {topic for place in places if region in place.regions for topic in place.topics}


def _links(fleet: Fleet, place: _Place, source: str | None, target: str | None) -> tuple[str, ...]:
    return tuple(
        name
        for name, mirror in fleet.mirrors.items()
        if (mirror.source, mirror.target) == (source, target) and place.topics & set(mirror.topics)
    )


def _forward(fleet: Fleet, place: _Place) -> tuple[str, ...]:
    return _links(fleet, place, place.home.region, place.standby)


def _back(fleet: Fleet, place: _Place) -> tuple[str, ...]:
    return _links(fleet, place, place.standby, place.home.region)


def _uncovered(fleet: Fleet, place: _Place, links: Sequence[str]) -> tuple[str, ...]:
    if place.standby is None:
        return ()
    return tuple(sorted(place.topics - {topic for name in links for topic in fleet.mirror(name).topics}))


def _room(fleet: Fleet, place: _Place, records: Records) -> StandbyRoom | NotKnown | None:
    """All that run in the home region and would come to the same standby, and who runs there."""
    if place.standby is None:
        return None
    silent = next((one for one in records.values() if isinstance(one, NotKnown)), None)
    if silent is not None:
        return silent
    members: list[Member] = []
    others: list[Other] = []
    for name in fleet.deployments:
        there = _place(fleet, name, records[name])
        if name != place.name and not _runs(_known(records[name])):
            continue
        spec = there.spec
        if there.home.region == place.standby:
            others.append(Other(deployment=name, tier=spec.tier, parallelism=spec.parallelism))
        elif there.home.region == place.home.region and there.standby == place.standby:
            if isinstance(there.away, NotKnown) or there.away is None:
                continue  # it cannot go there: told in its own review
            at, home = str(there.away), str(there.home)
            members.append(Member(deployment=name, tier=spec.tier, parallelism=spec.parallelism, home=home, at=at))
    if not any(member.deployment == place.name for member in members):
        return place.away if isinstance(place.away, NotKnown) else None
    return StandbyRoom(place.standby, tuple(members), tuple(others))


def _runs(record: DeploymentRecord | None) -> bool:
    return record is not None and record.writer is not None and not stopped(record)


def _hosts(fleet: Fleet, region: str) -> tuple[str, ...]:
    of = fleet.region(region)
    kafka = (part.rpartition(":")[0].strip("[]") for part in of.kafka.bootstrap.split(","))
    return (urlsplit(of.s3.endpoint).hostname or "", *kafka)
