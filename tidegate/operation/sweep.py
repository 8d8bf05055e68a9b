"""Remove old snapshots: look, then a note of what goes, ``_metadata`` first, then the files that nobody names any more.

Cut off anywhere, no snapshot that stays has lost a file, and nothing that is half removed can be taken for a snapshot:
its ``_metadata`` is gone before its first file is. The notes in the control bucket tell the next sweep what is left.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectInfo, ObjectStore, PreconditionFailed, S3Uri
from tidegate.clients.transfer import OpenUpload, TransferStore
from tidegate.errors import Held, InvalidInput, Refused, SnapshotError
from tidegate.model.sweep import Swept, SweptFile
from tidegate.operation.guard import Lookout
from tidegate.snapshot.catalog import Entry, catalog
from tidegate.snapshot.files import METADATA_NAME, read_snapshot, referenced_files
from tidegate.snapshot.listing import Listing, directory_prefix
from tidegate.snapshot.place import SHIPPED, Place
from tidegate.snapshot.shipped import SHIPPED_NAME, read_shipped
from tidegate.snapshot.sweep import (
    COPY,
    Choice,
    Guard,
    Policy,
    Standing,
    abandoned,
    belongings,
    choose,
    leftovers,
    needed_files,
    spare,
)

AT_ONCE: Final = 8
S = TypeVar("S")
T = TypeVar("T")
Beat = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class Going:
    """A snapshot that goes, with what is removed with it. ``metadata_bytes``: of its ``_metadata``."""

    entry: Entry
    metadata_bytes: int
    files: tuple[ObjectInfo, ...]


@dataclass(frozen=True)
class Sight:
    """What lies in the region, and what of it goes, oldest first."""

    choices: tuple[Choice, ...]
    going: tuple[Going, ...]
    leftovers: tuple[ObjectInfo, ...]
    uploads: tuple[OpenUpload, ...]
    named: frozenset[S3Uri]
    """Every file that something names which is there now, gone or not afterwards."""
    guard: Guard

    @property
    def bytes(self) -> int:
        """What would be freed."""
        own = sum(one.metadata_bytes + sum(item.size for item in one.files) for one in self.going)
        return own + sum(item.size for item in self.leftovers)

    @property
    def files(self) -> int:
        """How many objects would go."""
        return sum(len(one.files) + 1 for one in self.going) + len(self.leftovers)


@dataclass
class Gone:
    """What went."""

    snapshots: int = 0
    files: int = 0
    bytes: int = 0
    leftovers: int = 0
    uploads: int = 0
    kept: tuple[tuple[str, str], ...] = ()


@dataclass
class Broom:
    """Sweeps one deployment's snapshots in one region."""

    store: TransferStore
    place: Place
    lookout: Lookout
    policy: Policy
    beat: Beat | None = None

    async def look(self, half_gone: Collection[S3Uri] = ()) -> Sight:
        """What would go. Changes nothing. ``half_gone``: locations that have lost their ``_metadata`` to a sweep.

        Raises:
            Refused: another deployment starts from something here that cannot be read: nobody knows what it needs.
            InvalidInput, Unavailable: as the stores raise them.

        """
        found = await self.lookout.look()
        seen = await catalog(self.store, self.place, found.jobs)
        standing = await each(seen.entries, self._standing)
        chosen = choose(standing, self.policy, found.guard)
        listing = Listing(self.store)
        home = await listing.below(self.place.savepoint_home)
        elsewhere = await self._named_elsewhere(found.guard, seen.entries)
        choices = spare(chosen, elsewhere)
        elsewhere |= await self._under_way(home, half_gone)
        needed = needed_files(choices, elsewhere)
        every = set(elsewhere).union(*(one.files or () for one in standing))
        return Sight(
            choices=tuple(choices),
            going=tuple([one async for one in _going(choices, needed, listing)]),
            leftovers=tuple(self._leftovers(home, choices, needed)),
            uploads=tuple(abandoned(await self._uploads(), self.policy)),
            named=frozenset(needed | every),
            guard=found.guard,
        )

    async def sweep(self) -> Gone:
        """Remove what goes, and what a sweep before this one left half done. Done again it does the rest.

        Raises:
            Held: an operation holds the deployment; nothing was removed. If it takes the deployment meanwhile, what
                has not gone stays (``Gone.kept``).
            Refused, InvalidInput, Unavailable: as ``look``.

        """
        notes = Notes(self.lookout.control, self.lookout.bucket, self.place)
        begun = [S3Uri.parse(note.location) for _, note in await notes.read()]
        held = (await self.lookout.look()).held
        if held is not None and not begun:
            raise held
        gone, kept = Gone(), list[tuple[str, str]]()
        for one in (await self.look(begun)).going:
            why = held.message if held is not None else None
            if held is None:
                try:
                    why = await self.lookout.asks_for(one.entry.location)
                except Held as error:
                    held, why = error, error.message
            if why is not None:
                kept.append((one.entry.id, why))
                continue
            await notes.write(one)
            await self.store.delete(one.entry.location.join(METADATA_NAME))
            self._tell("metadata", one.entry.id, gone)
        await self._finish(notes, gone)
        gone.kept = tuple(kept)
        return gone

    async def _finish(self, notes: Notes, gone: Gone) -> None:
        """Remove the files of all that has lost its ``_metadata``, by what is there now."""
        begun = await notes.read()
        sight = await self.look([S3Uri.parse(note.location) for _, note in begun])
        closed: list[S3Uri] = []
        told: set[str] = set()  # a sweep that was cut off, and the next one, may both have noted a snapshot or a file
        for uri, note in begun:
            at = S3Uri.parse(note.location)
            if await self.store.head(at.join(METADATA_NAME)) is not None:
                # It was not removed after all, or it was shipped here anew: it is a snapshot like any other.
                closed.append(uri)
                continue
            if _obscured(note, sight):
                continue
            files = [file for file in note.files if S3Uri.parse(file.uri) not in sight.named and file.uri not in told]
            told |= {file.uri for file in files}
            await each([file.uri for file in files], self.store.delete)
            if note.location not in told:
                told.add(note.location)
                gone.snapshots, gone.files = gone.snapshots + 1, gone.files + 1
                gone.bytes += note.metadata_bytes
            gone.files += len(files)
            gone.bytes += sum(file.size for file in files)
            self._tell("files", note.id, gone)
            closed.append(uri)
        for item in sight.leftovers:
            await self.store.delete(item.uri)
            gone.leftovers, gone.files, gone.bytes = gone.leftovers + 1, gone.files + 1, gone.bytes + item.size
            self._tell("leftovers", str(item.uri), gone)
        for upload in sight.uploads:
            await self.store.abort_upload(upload.uri, upload.upload_id)
            gone.uploads += 1
            self._tell("uploads", str(upload.uri), gone)
        # Last, so that a sweep that is killed tells again all that it has done.
        for uri in closed:
            await self.lookout.control.delete(uri)

    async def _standing(self, entry: Entry) -> Standing:
        try:
            snapshot = await read_snapshot(self.store, entry.location)
            refs = await asyncio.to_thread(referenced_files, snapshot.metadata, snapshot.directory)
        except SnapshotError:
            return Standing(entry, None)
        return Standing(entry, frozenset(ref.uri for ref in refs))

    async def _named_elsewhere(self, guard: Guard, entries: Iterable[Entry]) -> set[S3Uri]:
        """Files that snapshots need which are named or pinned and are not in the deployment's list.

        A fork's, that was made from one of these, whether it has been started or not; one that a person pinned by its
        location.
        """
        known = [directory_prefix(entry.location) for entry in entries]
        buckets = {S3Uri.parse(base).bucket for base in (self.place.savepoints, self.place.checkpoints)}
        wanted = {**guard.named, **{S3Uri.parse(pin.location): "pinned" for pin in guard.pins}}
        wanted |= {at: "a fork's copy" for at in await self._copies_of_others() if at not in wanted}
        found: set[S3Uri] = set()
        for at, why in wanted.items():
            below = directory_prefix(at)
            listed = any(one.bucket == at.bucket and one.key.startswith(below.key) for one in known)
            if listed or at.bucket not in buckets:
                continue
            metadata = [item.uri async for item in self.store.list(below) if item.uri.name == METADATA_NAME]
            for uri in metadata:
                try:
                    snapshot = await read_snapshot(self.store, uri)
                    found |= {ref.uri for ref in referenced_files(snapshot.metadata, snapshot.directory)}
                except SnapshotError as error:
                    raise Refused(
                        f"nothing is swept: {uri.parent} is asked for ({why}) and cannot be read, so nobody knows "
                        f"which files it needs: {error.message}"
                    ) from error
        return found

    async def _copies_of_others(self) -> list[S3Uri]:
        """The edited copies that lie below other deployments' names: no record need name them yet."""
        base = S3Uri.parse(self.place.savepoints)
        others = [name for name in await self.store.list_names(base) if name.endswith("/")]

        async def of(name: str) -> list[S3Uri]:
            top = base.join(name)
            there = await self.store.list_names(top) if top != self.place.savepoint_home else []
            return [top.join(one) for one in there if one.startswith(COPY) and one.endswith("/")]

        return [at for found in await each(others, of) for at in found]

    async def _under_way(self, home: Iterable[ObjectInfo], half_gone: Collection[S3Uri]) -> set[S3Uri]:
        """Files of ships that have all but their ``_metadata``, unless they were given up long ago."""
        items = list(home)
        whole = {item.uri.parent for item in items if item.uri.name == METADATA_NAME} | set(half_gone)
        found: set[S3Uri] = set()
        for item in items:
            if item.uri.name == SHIPPED_NAME and item.uri.parent not in whole:
                note = await read_shipped(self.store, item.uri.parent)
                if note is not None and item.last_modified >= self.policy.abandoned_before:
                    found |= {S3Uri.parse(file.target) for file in note.files}
        return found

    def _leftovers(self, home: list[ObjectInfo], choices: list[Choice], needed: set[S3Uri]) -> list[ObjectInfo]:
        top = directory_prefix(self.place.savepoint_home).key
        origins: dict[S3Uri, list[ObjectInfo]] = {}
        for item in home:
            first = item.uri.key.removeprefix(top).partition("/")[0]
            if first.startswith(SHIPPED):
                origins.setdefault(self.place.savepoint_home.join(first), []).append(item)
        return [
            item
            for family, items in sorted(origins.items())
            for item in leftovers(
                items, [choice for choice in choices if choice.standing.family == family], needed, self.policy
            )
        ]

    async def _uploads(self) -> list[OpenUpload]:
        home = self.place.savepoint_home
        return list(await self.store.uploads_below(S3Uri(home.bucket, f"{home.key}/{SHIPPED}", home.scheme)))

    def _tell(self, phase: str, what: str, gone: Gone) -> None:
        if self.beat is not None:
            self.beat({"phase": phase, "at": what, "files": gone.files, "bytes": gone.bytes})


@dataclass(frozen=True)
class Notes:
    """``sweeps/<deployment>/<region>/``: snapshots that are half removed."""

    control: ObjectStore
    bucket: str
    place: Place

    @property
    def _prefix(self) -> str:
        return f"sweeps/{self.place.deployment}/{self.place.region}/"

    async def write(self, one: Going) -> None:
        """Write down what goes with a snapshot, create-only: the very same note may stand there already."""
        note = Swept(
            deployment=self.place.deployment,
            region=self.place.region,
            id=one.entry.id,
            location=str(one.entry.location),
            metadata_bytes=one.metadata_bytes,
            files=tuple(SweptFile(uri=str(item.uri), size=item.size) for item in one.files),
        )
        body = note.model_dump_json(indent=1).encode() + b"\n"
        name = names.derive_id(note.location, hashlib.sha256(body).hexdigest())
        with suppress(PreconditionFailed):
            await self.control.create(S3Uri(self.bucket, f"{self._prefix}{name}.json"), body)

    async def read(self) -> list[tuple[S3Uri, Swept]]:
        """All of them. Raises InvalidInput for one that is damaged."""
        found = []
        for item in [item async for item in self.control.list(S3Uri(self.bucket, self._prefix))]:
            there = await self.control.get_or_none(item.uri)
            if there is None:
                continue  # a twin has finished it
            try:
                found.append((item.uri, Swept.model_validate_json(there.body)))
            except ValidationError as error:
                raise InvalidInput(f"{item.uri}: damaged: {error.errors()[0]['msg']}") from error
        return found


async def _going(choices: list[Choice], needed: set[S3Uri], listing: Listing) -> AsyncIterator[Going]:
    taken: set[S3Uri] = set()
    for choice in reversed(choices):
        if choice.stays is not None:
            continue
        standing, at = choice.standing, choice.entry.location
        await listing.below(standing.family)
        own = await listing.below(at)
        metadata = listing.found.get(at.join(METADATA_NAME))
        if metadata is None:
            continue  # Flink was faster
        files = [
            item
            for item in belongings(standing, listing.found, own)
            if item.uri not in needed and item.uri not in taken
        ]
        taken |= {item.uri for item in files}
        yield Going(choice.entry, metadata.size, tuple(files))


def _obscured(note: Swept, sight: Sight) -> bool:
    """Whether a snapshot that cannot be read, or whose job may run, may share files with this one by now."""
    return any(
        (choice.standing.files is None or (choice.standing.flinks_own and choice.entry.job_id in sight.guard.living))
        and note.location.startswith(f"{choice.standing.family}/")
        for choice in sight.choices
    )


async def each(items: Iterable[S], act: Callable[[S], Awaitable[T]]) -> list[T]:
    """Do it to all, some at once; if one fails, the others are cancelled and waited for: nothing goes on unseen."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: S) -> T:
        async with gate:
            return await act(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
