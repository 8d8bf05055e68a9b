"""Ship a snapshot: from one region's S3 to the other's, whole, ``_metadata`` last.

Until ``_metadata`` is there nothing lies at the target that could be taken for a snapshot. Everything before it is
named after what it is, so that a second attempt, or a second worker at the same time, finds it there and goes on (O16).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tidegate import names
from tidegate.clients.objects import Object, ObjectInfo, PreconditionFailed, S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.errors import Refused, SnapshotIncomplete, Unavailable
from tidegate.model.record import utc_now
from tidegate.snapshot.catalog import Entry
from tidegate.snapshot.files import METADATA_NAME, Snapshot, metadata_uri, referenced_files
from tidegate.snapshot.listing import Checked, Listing
from tidegate.snapshot.metadata import parse
from tidegate.snapshot.pace import Pace, Progress
from tidegate.snapshot.place import Place
from tidegate.snapshot.relocate import with_files_at
from tidegate.snapshot.shipped import FILES_NAME, SHIPPED_NAME, Shipped, ShippedFile
from tidegate.snapshot.transfer import Mover

T = TypeVar("T")
Beat = Callable[[dict[str, object]], None]

MISSES = 2
"""X6: after so many snapshots that vanished while they were copied, only a native savepoint helps."""


@dataclass(frozen=True)
class Outcome:
    """A snapshot that is whole at the target. ``progress.sent`` are the bytes that this call sent."""

    record: Shipped
    progress: Progress
    missed: tuple[tuple[str, str], ...] = ()
    """Newer snapshots that vanished meanwhile: id, and what was missing."""

    @property
    def location(self) -> S3Uri:
        """Where it lies now: what Flink is started from over there."""
        return S3Uri.parse(self.record.target)


def target_of(entry: Entry, etag: str, place: Place) -> S3Uri:
    """Where the copy of a snapshot lies: named by its id, and by the very ``_metadata`` that it is made from."""
    mark = names.derive_id(entry.location.bucket, entry.location.key, etag)[:8]
    return place.shipped_from(entry.region).join(f"{entry.id}-{mark}")


def place_of_file(found: ObjectInfo, home: S3Uri) -> S3Uri:
    """Where the copy of a file lies: the same for every snapshot that shares it, another one for other bytes."""
    directory = names.derive_id(found.uri.parent.bucket, found.uri.parent.key)[:16]
    mark = names.derive_id(found.size, found.etag)[:8]
    return home.join(FILES_NAME, directory, f"{found.uri.name}-{mark}")


async def ship(
    source: TransferStore, target: TransferStore, entry: Entry, place: Place, pace: Pace, beat: Beat | None = None
) -> Outcome:
    """Copy a snapshot of another region to ``place``. Done again, or twice at once, it ends in the same bytes.

    Raises:
        SnapshotIncomplete: files of the original are missing, or went while they were copied (X6).
        SnapshotError: the original cannot be read.
        Refused: another snapshot stands at the target under this one's name.
        Unavailable: a store did not answer; call again, it goes on at the file where it was.

    """
    original = await _original(source, entry)
    # Off the loop: a large one takes seconds, and the heartbeat must go on.
    snapshot = Snapshot(metadata_uri(entry.location), await asyncio.to_thread(parse, original.body))
    here = Listing(source)
    _require_whole(entry, await here.check(snapshot))
    home, to = place.shipped_from(entry.region), target_of(entry, original.etag, place)
    needed = sorted({ref.uri for ref in referenced_files(snapshot.metadata, snapshot.directory)})
    places = {uri: place_of_file(here.found[uri], home) for uri in needed}

    progress = Progress(of_files=len(needed), of_bytes=sum(here.found[uri].size for uri in needed))

    def tell() -> None:
        if beat is not None:
            beat({"phase": "ship", "snapshot": entry.full_id, **progress.as_details()})

    tell()
    mover = Mover(source, target, pace, tell, progress)
    there = Listing(target)
    for directory in sorted({where.parent for where in places.values()}):
        await there.below(directory)

    async def one(uri: S3Uri) -> ShippedFile:
        info, where = here.found[uri], places[uri]
        standing = there.found.get(where)
        digest = await mover.known_sum(where) if standing is not None and standing.size == info.size else None
        if digest is None:
            digest = await mover.move(info, where)
            progress.files_sent += 1
        else:
            progress.bytes += info.size
        progress.files += 1
        tell()
        return ShippedFile(source=str(uri), target=str(where), size=info.size, sha256=digest)

    files = await _all(one(uri) for uri in needed)
    content = await asyncio.to_thread(with_files_at, snapshot.metadata, snapshot.directory, places)
    record = Shipped(
        deployment=entry.deployment,
        id=entry.id,
        kind=entry.kind.value,
        epoch=entry.epoch,
        job_id=entry.job_id,
        checkpoint_id=snapshot.metadata.checkpoint_id,
        source_region=entry.region,
        source=str(entry.location),
        source_etag=original.etag,
        target=str(to),
        taken_at=original.last_modified,
        shipped_at=utc_now(),
        metadata_sha256=hashlib.sha256(content).hexdigest(),
        files=tuple(files),
    )
    record = await _create_record(target, to, record)
    copy = Snapshot(to.join(METADATA_NAME), await asyncio.to_thread(parse, content))
    checked = await Listing(target).check(copy)
    if checked.wrong:
        raise Unavailable(f"{to}: {checked.problem} though it was sent: is somebody removing files there?")
    await _create_once(target, copy.metadata_uri, content)
    return Outcome(record, progress)


@dataclass(frozen=True)
class Need:
    """What a shipment takes: all files of the snapshot, and those that are not at the target yet."""

    files: int
    bytes: int
    new_files: int
    new_bytes: int


async def look(source: TransferStore, target: TransferStore, entry: Entry, place: Place) -> Need:
    """What would be sent. Changes nothing. Raises as ``ship``."""
    original = await _original(source, entry)
    snapshot = Snapshot(metadata_uri(entry.location), await asyncio.to_thread(parse, original.body))
    here, there = Listing(source), Listing(target)
    _require_whole(entry, await here.check(snapshot))
    home = place.shipped_from(entry.region)
    infos = [here.found[uri] for uri in {ref.uri for ref in referenced_files(snapshot.metadata, snapshot.directory)}]
    places = {info.uri: place_of_file(info, home) for info in infos}
    for directory in sorted({where.parent for where in places.values()}):
        await there.below(directory)

    def is_there(info: ObjectInfo) -> bool:
        standing = there.found.get(places[info.uri])
        return standing is not None and standing.size == info.size

    new = [info for info in infos if not is_there(info)]
    return Need(len(infos), sum(info.size for info in infos), len(new), sum(info.size for info in new))


async def ship_newest(
    source: TransferStore,
    target: TransferStore,
    candidates: Callable[[], Awaitable[Sequence[Entry]]],
    place: Place,
    pace: Pace,
    beat: Beat | None = None,
) -> Outcome:
    """Ship the newest snapshot that is whole and stays so; ``candidates`` are looked up anew, newest first (X6).

    Raises:
        SnapshotIncomplete: two vanished while they were copied, or none is whole.
        Refused, Unavailable: as ``ship``.

    """
    missed: list[tuple[str, str]] = []
    while len(missed) < MISSES:
        tried = {name for name, _ in missed}
        entry = next((one for one in await candidates() if one.verified and one.id not in tried), None)
        if entry is None:
            break
        try:
            done = await ship(source, target, entry, place, pace, beat)
        except SnapshotIncomplete as error:
            missed.append((entry.id, error.message))
            continue
        return Outcome(done.record, done.progress, tuple(missed))
    told = "; ".join(f"{name}: {what}" for name, what in missed) if missed else "there is none"
    raise SnapshotIncomplete(
        f"no snapshot of {place.deployment} could be shipped to {place.region}: {told}",
        hint="Flink removes its checkpoints faster than they are copied: retain more of them (at least 5, and 3 x the "
        "time of a copy / the interval of checkpoints), or take a native savepoint and ship that"
        if missed
        else "a snapshot comes with the job's first completed checkpoint",
        details={"missed": [name for name, _ in missed]},
    )


async def _original(source: TransferStore, entry: Entry) -> Object:
    found = await source.get_or_none(metadata_uri(entry.location))
    if found is None:
        raise SnapshotIncomplete(
            f"{entry.location} has gone: it has no {METADATA_NAME} any more", details={"files": [str(entry.location)]}
        )
    return found


def _require_whole(entry: Entry, checked: Checked) -> None:
    if checked.wrong:
        raise SnapshotIncomplete(
            f"{entry.location} is incomplete: {checked.problem}",
            details={
                "files": [
                    {"uri": str(ref.uri), "expected": ref.size, "found": found} for ref, found in checked.wrong[:50]
                ]
            },
        )


async def _create_record(target: TransferStore, to: S3Uri, wanted: Shipped) -> Shipped:
    uri = to.join(SHIPPED_NAME)
    try:
        await target.create(uri, wanted.model_dump_json(indent=1).encode() + b"\n")
    except PreconditionFailed:
        found = await target.get_or_none(uri)
        if found is None:
            raise Unavailable(f"{uri} was there and is gone: is somebody removing files there?") from None
        standing = Shipped.model_validate_json(found.body)
        # When it was shipped is the first attempt's word; all else must be the same.
        if standing.model_copy(update={"shipped_at": wanted.shipped_at}) != wanted:
            raise Refused(f"{uri} is of another snapshot; nothing was changed") from None
        return standing
    return wanted


async def _create_once(target: TransferStore, uri: S3Uri, content: bytes) -> None:
    try:
        await target.create(uri, content)
    except PreconditionFailed:
        there = await target.get_or_none(uri)
        if there is None or there.body != content:
            raise Refused(f"{uri} is already there and is not this copy; nothing was changed") from None


async def _all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all; if one fails, the others are cancelled and waited for, so that nothing goes on unseen."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
