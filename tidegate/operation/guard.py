"""What stands against removing snapshots of a deployment in a region: records, pins, recovery points, running jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import Held, Unavailable
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord
from tidegate.points.index import against
from tidegate.points.store import PointStore
from tidegate.registry.records import RecordStore
from tidegate.snapshot.catalog import jobs_of
from tidegate.snapshot.pins import named_by, protection, read_pins
from tidegate.snapshot.place import Place, location_of
from tidegate.snapshot.sweep import Guard

RunningJobs = Callable[[str], Awaitable[set[str]]]
"""The ids of the jobs of a Flink cluster, by its REST URL, that have not ended. Raises Unavailable."""


@dataclass(frozen=True)
class Found:
    """The guard, the jobs that the deployment's record knows, and who holds the deployment."""

    guard: Guard
    jobs: Mapping[str, int]
    held: Held | None


@dataclass(frozen=True)
class Lookout:
    """Reads the guard of one deployment in one region."""

    fleet: Fleet
    place: Place
    control: ObjectStore
    bucket: str
    running: RunningJobs

    async def look(self) -> Found:
        """All of it, as it is now. Raises Unavailable, InvalidInput for what is damaged in the control bucket."""
        own = await self._record()
        named = dict(named_by(own))
        records = RecordStore(self.control, self.bucket)
        async for item in self.control.list(S3Uri(self.bucket, "own/")):
            other = item.uri.name.removesuffix(".json")
            stored = await records.read(other) if other != self.place.deployment else None
            if stored is not None:
                named |= {at: f"{other}: {why}" for at, why in named_by(stored.record).items() if at not in named}
        points = (await PointStore(self.control, self.bucket).read(self.place.deployment, self.place.region)).points
        living = set(own.job_ids()) if own is not None else set()
        silent = None
        for cell in self.fleet.region(self.place.region).cells.values():
            try:
                living |= await self.running(cell.flink.rest)
            except Unavailable as error:
                silent = error.message
        guard = Guard(
            named=named,
            pins=tuple(await read_pins(self.control, self.bucket, self.place.deployment)),
            points={
                location_of(point.snapshot): f"a recovery point in {self.place.region}"
                for point in (points.points if points is not None else ())
                if points is not None and against(points, point) is None
            },
            living=frozenset(living),
            silent=silent,
        )
        return Found(guard, jobs_of(own), _held(own))

    async def asks_for(self, location: S3Uri) -> str | None:
        """Why this snapshot must stay now, by what may have changed while others went; None: nothing.

        Raises Held, Unavailable.
        """
        record = await self._record()
        held = _held(record)
        if held is not None:
            raise held
        pins = await read_pins(self.control, self.bucket, self.place.deployment)
        return protection(location, named_by(record), pins)

    async def _record(self) -> DeploymentRecord | None:
        stored = await RecordStore(self.control, self.bucket).read(self.place.deployment)
        return stored.record if stored is not None else None


def _held(record: DeploymentRecord | None) -> Held | None:
    holder = record.holder if record is not None else None
    if record is None or holder is None:
        return None
    return Held(
        f"{record.deployment} is held by {holder.operation} ({holder.runbook}, claimed by {holder.who}): "
        "what it may start from is not swept meanwhile",
        hint=f"watch it:  tidegate ops watch {holder.operation}",
        details={"operation": holder.operation, "who": holder.who, "since": holder.since.isoformat()},
    )
