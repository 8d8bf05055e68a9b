"""A region's S3 and Kafka, and the control bucket, as the command line reaches them: by the fleet file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from tidegate.cli import output
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.clients.s3 import S3Store
from tidegate.errors import InvalidInput, SnapshotIncomplete
from tidegate.model.fleet import CellRef, Fleet, KafkaAccess
from tidegate.model.record import DeploymentRecord
from tidegate.operation.move import home_of, standby_of
from tidegate.registry import artifacts
from tidegate.registry.records import RecordStore
from tidegate.snapshot.catalog import Catalog, Entry, catalog, jobs_of, owner_of
from tidegate.snapshot.files import metadata_uri
from tidegate.snapshot.place import Place, location_of, place_in, region_of
from tidegate.snapshot.reads import SnapshotReads

TIMEOUT_S = 10.0
NEWEST = "newest"
"""In place of an id: the newest snapshot that is whole. No id looks so."""
NEWEST_TRIES = 5
"""So often the newest may be deleted while it is read: Flink retains few checkpoints, and takes one every second."""
T = TypeVar("T")


def open_kafka(access: KafkaAccess, timeout_s: float = TIMEOUT_S) -> Kafka:
    """A Kafka client by the fleet file; the caller closes it. Raises InvalidInput for a missing secret."""
    security = access.security
    login = None
    if security.mechanism and security.username and security.password:
        login = KafkaSecurity(security.protocol, security.mechanism, security.username, security.password.resolve())
    return Kafka(access.bootstrap, login, timeout_s)


async def read_record(fleet: Fleet, deployment: str) -> DeploymentRecord | None:
    """The deployment's record; None if it was never taken. Raises Unavailable."""
    async with artifacts.open_access(fleet.control.s3, TIMEOUT_S) as store:
        found = await RecordStore(store, fleet.control.bucket).read(deployment)
    return found.record if found else None


async def lives_in(fleet: Fleet, deployment: str) -> CellRef:
    """Where a deployment lives, by its record. Raises InvalidInput for an unknown one, Unavailable."""
    fleet.deployment(deployment)
    return home_of(fleet, deployment, await read_record(fleet, deployment))


async def read_catalog(fleet: Fleet, deployment: str, region: str | None) -> tuple[Place, Catalog]:
    """The snapshots of a deployment in a region (default: where it lives). Raises InvalidInput, Unavailable."""
    fleet.deployment(deployment)
    record = await read_record(fleet, deployment)
    place = place_in(fleet, deployment, region or home_of(fleet, deployment, record).region)
    async with artifacts.open_access(fleet.region(place.region).s3, TIMEOUT_S) as store:
        return place, await catalog(store, place, jobs_of(record))


@dataclass(frozen=True)
class Found:
    """A snapshot that a person named. ``entry`` is there if it was named by its id, or as the newest."""

    region: str
    location: str
    entry: Entry | None = None
    passed_over: tuple[Entry, ...] = ()
    """Of the newest: what is newer there, and not whole."""


async def find(fleet: Fleet, named: str, region: str | None) -> Found:
    """The snapshot behind ``DEPLOYMENT/ID``, ``DEPLOYMENT/newest`` or a location on S3.

    Raises InvalidInput: no such snapshot, or not told in which region.
    """
    if "://" in named:
        location = location_of(named)
        return Found(region or region_of(fleet, location), str(location))
    deployment, slash, short = named.partition("/")
    if not slash or not short:
        raise InvalidInput(
            f"{named!r} is no snapshot; expected DEPLOYMENT/ID or s3://BUCKET/KEY",
            hint="the ids:  tidegate snapshot list DEPLOYMENT",
        )
    if region:
        regions = [region]
    else:
        home = (await lives_in(fleet, deployment)).region
        standby = standby_of(fleet, deployment, home)
        regions = [home, *([standby] if standby else [])]
    known: list[str] = []
    for at in regions:
        _, seen = await read_catalog(fleet, deployment, at)
        for number, entry in enumerate(seen.entries):
            if entry.id == short or (short == NEWEST and entry.verified):
                return Found(at, str(entry.location), entry, seen.entries[:number] if short == NEWEST else ())
        known += [entry.full_id for entry in seen.entries]
    if short == NEWEST and known:
        raise InvalidInput(
            f"no snapshot of {deployment} in {' or '.join(regions)} is whole; there are {len(known)} that are not",
            hint=f"what is wrong with each:  tidegate snapshot list {deployment}",
        )
    there = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "") if known else "none"
    raise InvalidInput(
        f"no such snapshot: {named} in {' or '.join(regions)}; there are {there}",
        hint=f"tidegate snapshot list {deployment}",
    )


async def look_into(
    fleet: Fleet, named: str, region: str | None, read: Callable[[Found], Awaitable[T]]
) -> tuple[Found, T]:
    """Find a snapshot and read it. The newest may go while it is read: then the newest of that moment is read.

    Which one was taken for the newest is said. Raises what ``find`` and ``read`` do; SnapshotIncomplete for the newest
    only when ``NEWEST_TRIES`` in a row have gone.
    """
    newest = named.endswith(f"/{NEWEST}") and "://" not in named
    tries = 0
    while True:
        found = await find(fleet, named, region)
        try:
            answer = await read(found)
        except SnapshotIncomplete as error:
            tries += 1
            if newest and tries < NEWEST_TRIES:
                continue
            if newest:
                error.message += f" ({NEWEST_TRIES} in a row have gone while they were read)"
            raise
        if newest and found.entry is not None:
            broken = "".join(f"; not whole, and passed over: {one.full_id}" for one in found.passed_over)
            output.note(f"{named} is {found.entry.full_id}, in {found.region}{broken}")
        return found, answer


async def deployment_of(fleet: Fleet, found: Found) -> str:
    """Whose a snapshot is: by its id, by where it lies, or by the names in its sinks' state (X13).

    Raises InvalidInput if none of these tells.
    """
    if found.entry is not None:
        return found.entry.deployment
    at = location_of(found.location)
    for deployment in fleet.deployments:
        home = place_in(fleet, deployment, found.region).savepoint_home
        if at.bucket == home.bucket and at.key.startswith(f"{home.key}/"):
            return deployment
    async with open_store_of(fleet, found.region) as store:
        head = await store.head(metadata_uri(found.location))
        owner = await owner_of(SnapshotReads(store), [head]) if head is not None else None
    if owner is None or owner[0] not in fleet.deployments:
        raise InvalidInput(
            f"{found.location}: cannot tell whose snapshot that is",
            hint="name it by its id:  tidegate snapshot list DEPLOYMENT",
        )
    return owner[0]


@asynccontextmanager
async def open_store_of(fleet: Fleet, region: str) -> AsyncIterator[S3Store]:
    """The S3 of a region. Raises InvalidInput for an unknown region or a missing secret."""
    async with artifacts.open_access(fleet.region(region).s3, TIMEOUT_S) as store:
        yield store
