"""Steps on snapshots: thin over ``tidegate.snapshot``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.clients.objects import S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.errors import InvalidInput, SnapshotIncomplete
from tidegate.model.ship import ShipFact, ShipPlan, ShipStep
from tidegate.model.steps import ForkFact, ForkInput
from tidegate.operation.fork import ForkWish, make_fork
from tidegate.snapshot.catalog import Entry, catalog, jobs_of
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import Place, location_of, place_in
from tidegate.snapshot.ship import Outcome, look, ship, ship_newest


class SnapshotActivities:
    """look_at_snapshot, ship_snapshot, make_fork."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look_at_snapshot, self.ship_snapshot, self.make_fork]

    @activity.defn(name="look_at_snapshot")
    async def look_at_snapshot(self, request: ShipStep) -> ShipPlan:
        """What would be sent; changes nothing."""
        source, target, here, there = await self._ends(request)
        entry = _pick(await self._entries(source, here), request)
        need = await look(source, target, entry, there)
        return ShipPlan(
            id=entry.id,
            location=str(entry.location),
            taken_at=entry.at,
            files=need.files,
            bytes=need.bytes,
            new_files=need.new_files,
            new_bytes=need.new_bytes,
        )

    @activity.defn(name="ship_snapshot")
    async def ship_snapshot(self, request: ShipStep) -> ShipFact:
        """See ``tidegate.snapshot.ship``. A second attempt goes on at the part where the first one was."""
        source, target, here, there = await self._ends(request)
        pace = Pace(bytes_per_s=request.bytes_per_s)

        def beat(details: dict[str, object]) -> None:
            activity.heartbeat(details)

        if request.snapshot is None:
            done = await ship_newest(source, target, lambda: self._entries(source, here), there, pace, beat)
        else:
            done = await ship(source, target, _pick(await self._entries(source, here), request), there, pace, beat)
        return _fact(done)

    @activity.defn(name="make_fork")
    async def make_fork(self, request: ForkInput) -> ForkFact:
        """See ``tidegate.operation.fork``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        fork = request.held.deployment
        site = self._sites.site(fleet, fork, request.at)
        wish = ForkWish(fork, site.region, request.of, request.snapshot, request.held.holder.who)
        reach = self._sites.reach(fleet, site.region)
        made = await make_fork(reach, fleet, self._sites.control, self._sites.bucket, wish)
        return ForkFact(
            source=str(made.copy.source.directory),
            location=str(made.copy.location),
            dropped=len(made.copy.rebased.dropped.states),
        )

    async def _ends(self, request: ShipStep) -> tuple[TransferStore, TransferStore, Place, Place]:
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        here = place_in(fleet, request.deployment, request.region)
        there = place_in(fleet, request.deployment, request.to)
        if here.region == there.region:
            raise InvalidInput(f"to: {there.region} is where the snapshots of {request.deployment} lie already")
        return (
            self._sites.region_store(fleet, here.region),
            self._sites.region_store(fleet, there.region),
            here,
            there,
        )

    async def _entries(self, store: TransferStore, place: Place) -> Sequence[Entry]:
        stored = await self._sites.records.read(place.deployment)
        seen = await catalog(store, place, jobs_of(stored.record if stored else None))
        # What came from another region is shipped by that region.
        return [entry for entry in seen.entries if entry.shipped_from is None]


def _pick(entries: Sequence[Entry], request: ShipStep) -> Entry:
    """The snapshot that is meant. Raises InvalidInput for an unknown one, SnapshotIncomplete if none is whole."""
    if request.snapshot is None:
        found = next((entry for entry in entries if entry.verified), None)
        if found is None:
            broken = f": {entries[0].id}: {entries[0].problem}" if entries else ""
            raise SnapshotIncomplete(
                f"{request.deployment} has no whole snapshot in {request.region}{broken}",
                hint="a snapshot comes with the job's first completed checkpoint",
            )
        return found
    named = request.snapshot
    at: S3Uri | None = location_of(named) if "://" in named else None
    for entry in entries:
        if entry.location == at or named in (entry.id, entry.full_id):
            return entry
    known = ", ".join(entry.id for entry in entries[:5]) or "none"
    raise InvalidInput(
        f"snapshot: {request.deployment} has no {named} in {request.region}; newest: {known}",
        hint=f"tidegate snapshot list {request.deployment}",
    )


def _fact(done: Outcome) -> ShipFact:
    record, progress = done.record, done.progress
    return ShipFact(
        id=record.id,
        source=record.source,
        target=record.target,
        taken_at=record.taken_at,
        shipped_at=record.shipped_at,
        files=len(record.files),
        bytes=record.bytes,
        sent_files=progress.files_sent,
        sent_bytes=progress.sent,
        missed=tuple(name for name, _ in done.missed),
    )
