"""A rebased copy where it lies: named by what it is, so that the same request twice ends in one place (I4).

Its name begins with ``copy-``: nothing goes on from it unless it is named. ``_metadata`` comes last.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final, Literal

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.record import Frozen
from tidegate.snapshot.edit import copy_bytes, place_copy
from tidegate.snapshot.files import Snapshot, metadata_uri
from tidegate.snapshot.place import Place
from tidegate.snapshot.rebase import Rebased, RebaseWish, rebase

REBASED_NAME: Final = "rebased.json"
"""The record beside a copy: what was moved and dropped. For people; and a fork's start looks there whose copy it is."""


class RebasedRecord(Frozen):
    """``rebased.json``: written before the copy's ``_metadata``, create-only."""

    version: Literal[1] = 1
    deployment: str
    fork: bool
    source: str
    """Location of the original, whose files the copy names: they must outlive what is started from it (X10)."""
    source_region: str
    """The region whose Kafka the original's positions are of."""
    region: str
    """The region whose Kafka the copy's positions are of."""
    replays: int
    moved: tuple[dict[str, object], ...]
    dropped: tuple[dict[str, object], ...]
    operators_cut: tuple[str, ...]
    metadata_sha256: str


@dataclass(frozen=True)
class Copy:
    """A copy that is made and not yet placed. ``there``: the very same one lies there already."""

    source: Snapshot
    rebased: Rebased
    location: S3Uri
    content: bytes
    there: bool


async def make_copy(store: ObjectStore, source: Snapshot, wish: RebaseWish, place: Place) -> Copy:
    """Rebase a snapshot, and say where the copy will lie; only reads. ``store``: where the original's files are.

    ``place``: of the deployment that it is for. Raises as `rebase`.
    """
    rebased = await rebase(store, source, wish)
    content = copy_bytes(source, rebased.data)
    at = source.directory
    mark = names.derive_id(at.bucket, at.key, hashlib.sha256(content).hexdigest())[:8]
    location = place.savepoint_home.join(f"copy-{at.name}-{mark}")
    standing = await store.get_or_none(metadata_uri(location))
    return Copy(source, rebased, location, content, standing is not None and standing.body == content)


def record_of(copy: Copy, deployment: str, source_region: str, region: str, *, fork: bool) -> RebasedRecord:
    """What stands beside the copy."""
    done = copy.rebased
    return RebasedRecord(
        deployment=deployment,
        fork=fork,
        source=str(copy.source.directory),
        source_region=source_region,
        region=region,
        replays=done.replays,
        moved=tuple(asdict(one) for one in done.moved if one.offset is not None),
        dropped=tuple(asdict(one) for one in done.dropped.states),
        operators_cut=done.dropped.operators,
        metadata_sha256=hashlib.sha256(copy.content).hexdigest(),
    )


async def place(store: ObjectStore, copy: Copy, record: RebasedRecord) -> S3Uri:
    """Write the record and then ``_metadata``; the copy's location. Done again it is found done.

    Raises Refused if another snapshot stands there, and what the store raises.
    """
    body = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
    # If an attempt before this one wrote it, it says the same: the place is named after what the copy is.
    with suppress(PreconditionFailed):
        await store.create(copy.location.join(REBASED_NAME), body)
    return await place_copy(store, copy.source, copy.location, copy.rebased.data)


def place_for(place: Place, fork: str | None) -> Place:
    """The place of a copy: beside the deployment's savepoints, or below those of a fork's own name.

    Raises InvalidInput for a name that a deployment cannot have, or its own.
    """
    if fork is None:
        return place
    if names.DEPLOYMENT_NAME.fullmatch(fork) is None:
        raise InvalidInput(f"--as {fork}: expected a deployment's name: {names.DEPLOYMENT_NAME.pattern}")
    if fork == place.deployment:
        raise InvalidInput(f"--as {fork}: a fork has a name of its own; {fork} is the deployment itself")
    return Place(fork, place.region, place.savepoints, place.checkpoints)
