"""Every snapshot of a deployment in a region: savepoints, retained checkpoints of all its epochs, shipped copies.

Whose checkpoints a job's directory holds is read from the snapshots themselves: the transactional prefix in the state
of their Kafka writers names deployment and epoch (X13). What the record knows of jobs saves that reading.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from tidegate.clients.objects import ObjectInfo, ObjectStore, S3Uri
from tidegate.errors import SnapshotError
from tidegate.model.record import DeploymentRecord, StartIntent, StopIntent
from tidegate.snapshot.files import METADATA_NAME, Snapshot
from tidegate.snapshot.listing import Listing
from tidegate.snapshot.place import SHIPPED, Place, epoch_of_directory, read_prefix, short_id
from tidegate.snapshot.reads import SnapshotReads
from tidegate.snapshot.shipped import FILES_NAME

_AT_ONCE: Final = 8
_COPY: Final = re.compile(r"e(?P<epoch>\d+)-chk-(?P<number>\d+)-")
COPIED: Final = "e"
"""So the directories of copied checkpoints begin; that of their files does not."""
_A_PAGE: Final = 300
"""Copies in one answer of a listing (1,000 objects; a copy has two or three), with room to spare."""


class Kind(StrEnum):
    """What a snapshot was written as."""

    SAVEPOINT = "savepoint"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Entry:
    """A snapshot that lies in a region. ``files`` and ``bytes`` (with ``_metadata``) are None if it cannot be read."""

    id: str
    deployment: str
    region: str
    kind: Kind
    location: S3Uri
    at: datetime
    """When it was written (a copy: when its original was), by S3's clock."""
    epoch: int | None
    job_id: str | None
    checkpoint_id: int | None = None
    files: int | None = None
    bytes: int | None = None
    problem: str | None = None
    """Why it cannot be used; None: verified just now (I3)."""
    shipped_from: str | None = None
    """The region that it was copied from."""

    @property
    def verified(self) -> bool:
        """Whether ``_metadata`` was read and every file that it names was seen at its size."""
        return self.problem is None

    @property
    def full_id(self) -> str:
        """``ledger/e7-chk-12``: what the command line takes."""
        return f"{self.deployment}/{self.id}"


@dataclass(frozen=True)
class Catalog:
    """What was found, newest first. ``unknown_jobs``: job ids whose checkpoints do not say whose they are."""

    entries: tuple[Entry, ...]
    unknown_jobs: tuple[str, ...] = ()


def jobs_of(record: DeploymentRecord | None) -> dict[str, int]:
    """The jobs that a record knows, with their epochs."""
    if record is None:
        return {}
    found = {kept.job_id: kept.epoch for kept in (record.pinned, record.base) if kept is not None}
    for intent in record.intents:
        if isinstance(intent, StartIntent | StopIntent):
            found[intent.job_id] = intent.epoch
    if record.writer is not None:
        found[record.writer.job_id] = record.writer.epoch
    return found


async def catalog(
    store: ObjectStore,
    place: Place,
    jobs: Mapping[str, int] | None = None,
    *,
    shipped_at_most: int | None = None,
    shipped_too: Collection[S3Uri] = (),
    reads: SnapshotReads | None = None,
) -> Catalog:
    """Every snapshot of the deployment at a place, each one verified by listing.

    ``jobs``: epochs of the job ids that are known to be the deployment's. A call for a thousand objects and a few for
    each snapshot. ``shipped_at_most``: of the checkpoints that were shipped here from a region only so many, the newest
    by epoch and number, beside those of ``shipped_too``, and ``reads``, what was read before: for who looks every few
    seconds, however many there are.
    Raises what the store raises.
    """
    reads = reads or SnapshotReads(store)
    listing = Listing(store)
    found = await _savepoints(store, place, listing, shipped_at_most, shipped_too)
    job_ids = [name.rstrip("/") for name in await store.list_names(place.checkpoints) if name.endswith("/")]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def of(job_id: str) -> tuple[str, list[ObjectInfo], int | None, bool]:
        async with gate:
            epoch = (jobs or {}).get(job_id)
            base = S3Uri.parse(place.checkpoints).join(job_id)
            completed = [
                item
                async for item in store.list(base.join("chk-"))
                if item.uri.name == METADATA_NAME and item.uri.parent.parent == base
            ]
            if epoch is not None or not completed:
                return job_id, completed, epoch, True
            owner = await owner_of(reads, completed)
            if owner is None:
                return job_id, [], None, False
            return job_id, completed if owner[0] == place.deployment else [], owner[1], True

    unknown: list[str] = []
    for job_id, completed, epoch, known in await asyncio.gather(*map(of, job_ids)):
        if not known:
            unknown.append(job_id)
        if completed:
            await listing.below(S3Uri.parse(place.checkpoints).join(job_id))
        for item in completed:
            found.append(_Found(item, Kind.CHECKPOINT, epoch, job_id))
    entries = await asyncio.gather(*(_entry(reads, place, listing, one) for one in found))
    return Catalog(tuple(sorted(entries, key=_age, reverse=True)), tuple(unknown))


async def owner_of(reads: SnapshotReads, completed: Iterable[ObjectInfo]) -> tuple[str, int] | None:
    """Deployment and epoch of a job, from the newest of its snapshots that says so; None if none does.

    Raises what the store raises.
    """
    for item in sorted(completed, key=lambda one: one.last_modified, reverse=True):
        try:
            states = await reads.writers(item.uri, item.etag)
        except SnapshotError:
            continue  # an older one may be readable, and it is of the same job
        for state in states:
            prefix = read_prefix(state.prefix)
            if prefix is not None:
                return prefix.deployment, prefix.epoch
    return None


@dataclass(frozen=True)
class _Found:
    item: ObjectInfo
    kind: Kind
    epoch: int | None
    job_id: str | None
    shipped: bool = False


def _age(entry: Entry) -> tuple[datetime, int, str]:
    return entry.at, entry.checkpoint_id or 0, entry.id


def _newest(names: Iterable[str], at_most: int | None, too: Collection[str]) -> list[str]:
    """The copies to be looked at: all, or the newest checkpoints, those asked for, and whatever else there is."""
    copies = [name for name in names if name.endswith("/") and name.rstrip("/") != FILES_NAME]
    if at_most is None:
        return copies
    told = {name: match for name in copies if (match := _COPY.match(name))}
    numbers = {name: (int(match["epoch"]), int(match["number"])) for name, match in told.items()}
    ordered = sorted(numbers, key=lambda name: numbers[name], reverse=True)
    asked = [name for name in ordered[at_most:] if name.rstrip("/") in too]
    return [*ordered[:at_most], *asked, *(name for name in copies if name not in numbers)]


async def _savepoints(
    store: ObjectStore, place: Place, listing: Listing, at_most: int | None, too: Collection[S3Uri]
) -> list[_Found]:
    home = place.savepoint_home
    found: list[_Found] = []
    # Of what was shipped here only the directories of snapshots: their files, many, are listed as they are needed.
    for name in await store.list_names(home):
        if not name.endswith("/"):
            continue
        top = home.join(name)
        if not name.startswith(SHIPPED):
            metadata = [item for item in await listing.below(top) if item.uri.name == METADATA_NAME]
            found += [_Found(item, Kind.SAVEPOINT, epoch_of_directory(top.name), None) for item in metadata]
            continue
        gate = asyncio.Semaphore(_AT_ONCE)

        async def below(directory: S3Uri, gate: asyncio.Semaphore = gate) -> list[ObjectInfo]:
            async with gate:
                return await listing.below(directory)

        names = await store.list_names(top)
        chosen = _newest(names, at_most, {one.name for one in too if one.parent.key == top.key.rstrip("/")})
        if len(names) <= _A_PAGE * len(chosen):
            # All copies of checkpoints in a page or a few, never their files: of these an older page could say less.
            await listing.beginning_with(S3Uri(top.bucket, f"{top.key.rstrip('/')}/{COPIED}", top.scheme))
        copies = [top.join(inner) for inner in chosen]
        for items in await asyncio.gather(*map(below, copies)):
            metadata = [item for item in items if item.uri.name == METADATA_NAME]
            found += [_Found(item, Kind.SAVEPOINT, None, None, shipped=True) for item in metadata]
    return found


async def _entry(reads: SnapshotReads, place: Place, listing: Listing, found: _Found) -> Entry:
    location, etag = found.item.uri.parent, found.item.etag
    snapshot: Snapshot | None = None
    problem: str | None = None
    try:
        snapshot = await reads.read(location, etag)
    except SnapshotError as error:
        problem = error.message
    shipped = await reads.shipped(location, etag) if found.shipped else None
    epoch, job_id, at, kind = found.epoch, found.job_id, found.item.last_modified, found.kind
    if shipped is not None:
        epoch, job_id, at, kind = shipped.epoch, shipped.job_id, shipped.taken_at, Kind(shipped.kind)
    name = shipped.id if shipped is not None else short_id(location, epoch, job_id)
    entry = Entry(
        name, place.deployment, place.region, kind, location, at, epoch, job_id,
        problem=problem, shipped_from=shipped.source_region if shipped else None,
    )  # fmt: skip
    if snapshot is None:
        return entry
    try:
        checked = await listing.check(snapshot)
    except SnapshotError as error:
        return replace(entry, problem=error.message)
    return replace(
        entry,
        checkpoint_id=snapshot.metadata.checkpoint_id,
        files=checked.files,
        bytes=checked.bytes,
        problem=checked.problem,
    )
