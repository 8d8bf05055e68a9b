"""The snapshots that a deployment can go on from, each with its price. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput, Refused, SnapshotError
from tidegate.model.appraisal import Appraisal, SnapshotPrice
from tidegate.model.record import ArtifactRef, DeploymentRecord, IntentState, starts_of
from tidegate.operation.price import (
    Wanted,
    completed_at,
    epoch_of,
    inputs_after,
    name_of,
    outputs_since,
    price,
)
from tidegate.operation.restore import pick
from tidegate.operation.site import Site
from tidegate.operation.timers import timers_in
from tidegate.registry.records import RecordStore
from tidegate.snapshot.files import METADATA_NAME, Verified, verify
from tidegate.snapshot.place import SHIPPED, location_of

CHOICES = 10
"""So many are appraised: Flink retains fewer checkpoints, and older savepoints are asked for by location."""


@dataclass(frozen=True)
class Found:
    """A snapshot as it was found. ``by_itself``: the deployment would go on from it without its being named."""

    location: str
    kind: str
    completed_at: datetime
    verified: Verified | None = None
    epoch: int = 0
    problem: str = ""
    by_itself: bool = False

    @property
    def checkpoint_id(self) -> int:
        """The number of the checkpoint; -1 if it could not be read."""
        return self.verified.metadata.checkpoint_id if self.verified else -1


async def appraise(site: Site, records: RecordStore, source: str, as_of: datetime | None = None) -> Appraisal:
    """The newest snapshots of the deployment, and the one at ``source`` if that is a location, with their prices.

    Of the one that is meant it is told which timers and windows are in it (X28).

    Raises:
        InvalidInput: there is no snapshot at ``source``.
        Unavailable: S3 or Kafka did not answer.

    """
    stored = await records.read(site.deployment)
    record = stored.record if stored else DeploymentRecord(deployment=site.deployment)
    found = await find_snapshots(site, record, source)
    usable = [
        Wanted(one.verified.snapshot, one.epoch, one.completed_at) for one in found if one.verified and not one.problem
    ]
    outputs = await outputs_since(site, usable) if usable else None
    newest = next((one.location for one in found if one.by_itself), "")
    choices: list[SnapshotPrice] = []
    for one in found:
        told = _told(record, one, newest=one.location == newest)
        if one.verified is not None and not one.problem and outputs is not None:
            try:
                cost = await price(site, Wanted(one.verified.snapshot, one.epoch, one.completed_at), outputs)
                told = told.model_copy(
                    update={
                        "transactions": dict(sorted(cost.words.items())),
                        "lost": cost.lost,
                        "lost_uncounted": cost.uncounted,
                        "lost_ids": cost.named_ids,
                        "replayed": cost.replayed,
                        "inputs_again": await inputs_after(site, one.verified.snapshot),
                        "problem": "its own output was superseded: consumers were told to skip it"
                        if cost.superseded
                        else "",
                    }
                )
            except (Refused, SnapshotError) as error:
                told = told.model_copy(update={"problem": error.message})
        choices.append(told)
    return Appraisal(choices=await _with_timers(site, tuple(choices), source, as_of))


async def _with_timers(
    site: Site, choices: tuple[SnapshotPrice, ...], source: str, as_of: datetime | None
) -> tuple[SnapshotPrice, ...]:
    try:
        meant = pick(choices, source, as_of) if choices else None
    except InvalidInput:
        return choices  # the plan says what is wrong with it
    if meant is None or meant.problem:
        return choices
    timers = await timers_in(site.snapshots, meant.location, meant.name, meant.completed_at)
    return tuple(one.model_copy(update={"timers": timers}) if one is meant else one for one in choices)


async def find_snapshots(site: Site, record: DeploymentRecord, source: str = "newest") -> list[Found]:
    """The newest snapshots of the deployment, in the order in which they count, each verified.

    Raises:
        InvalidInput: there is no snapshot at ``source``.
        Unavailable: S3 did not answer.

    """
    found = [await _read(site, record, one) for one in await _locations(site, record, source)]
    base = record.base
    base_id = next((one.checkpoint_id for one in found if base and one.location == base.location), None)
    judged = sorted((_judged(record, one, base_id) for one in found), key=lambda one: _order(record, one), reverse=True)
    return [replace(one, by_itself=_goes_on_from(site, record, one)) for one in judged]


async def _locations(site: Site, record: DeploymentRecord, source: str) -> list[Found]:
    """Where snapshots of the deployment lie: its jobs' checkpoints, its savepoints, what the record names."""
    jobs = {record.writer.job_id} if record.writer else set()
    jobs |= {known.job_id for known in (record.base, record.pinned) if known and known.job_id}
    jobs |= {start.job_id for start in starts_of(record.intents) if start.state is not IntentState.VOID}
    found: dict[str, Found] = {}
    checkpoints = [(S3Uri.parse(site.checkpoints).join(job, "chk-"), "checkpoint") for job in sorted(jobs)]
    savepoints = S3Uri.parse(site.savepoints).join(site.deployment)
    for prefix, kind in [*checkpoints, (S3Uri(savepoints.bucket, f"{savepoints.key}/"), "savepoint")]:
        async for info in site.snapshots.list(prefix):
            location = str(info.uri.parent)
            if info.uri.name == METADATA_NAME and not _not_ours(info.uri.parent):
                found[location] = Found(location, kind, info.last_modified)
    newest = sorted(found.values(), key=lambda one: one.completed_at, reverse=True)[:CHOICES]
    named = [known.location for known in (record.base, record.pinned) if known]
    if source.startswith(("s3://", "s3a://", "s3p://")):
        named.append(str(location_of(source)))
    # One that is named is looked at however old it is: lists show it, too.
    named += [location for location in found if source.endswith(f"-{S3Uri.parse(location).name}")]
    for location in named:
        if all(S3Uri.parse(one.location) != S3Uri.parse(location) for one in newest):
            at = await completed_at(site, location)
            if at is not None:
                kind = "checkpoint" if _number(location) >= 0 else "savepoint"
                newest.append(Found(location, kind, at))
            elif location not in {known.location for known in (record.base, record.pinned) if known}:
                raise InvalidInput(f"source: there is no snapshot at {location}")
    return newest


def _not_ours(directory: S3Uri) -> bool:
    """An edited copy is looked at only if the record names it; what was shipped here is of another Kafka."""
    return directory.name.startswith("copy-") or f"/{SHIPPED}" in directory.key


async def _read(site: Site, record: DeploymentRecord, one: Found) -> Found:
    try:
        verified = await verify(site.snapshots, one.location)
        epoch = await epoch_of(site, verified.snapshot)
    except (SnapshotError, Refused) as error:
        return replace(one, problem=error.message, epoch=_epoch_by_place(record, one) or 0)
    epoch = epoch or _epoch_by_place(record, one)
    problem = "" if epoch else f"nothing in it says which job of {site.deployment} wrote it"
    return replace(one, verified=verified, epoch=epoch or 0, problem=problem)


def _epoch_by_place(record: DeploymentRecord, one: Found) -> int | None:
    """The epoch of a snapshot by where it lies, where no writer's state says it (an edited copy, a damaged one)."""
    for known in (record.base, record.pinned):
        if known is not None and S3Uri.parse(known.location) == S3Uri.parse(one.location):
            return known.epoch
    job_id = S3Uri.parse(one.location).parent.name
    if record.writer is not None and record.writer.job_id == job_id:
        return record.writer.epoch
    return next((start.epoch for start in starts_of(record.intents) if start.job_id == job_id), None)


def _judged(record: DeploymentRecord, one: Found, base_id: int | None) -> Found:
    """Between what the writer began from and its own epoch all is superseded: it went on from elsewhere (X26)."""
    base, writer = record.base, record.writer
    if one.problem or base is None or writer is None or one.epoch >= writer.epoch:
        return one
    beyond = one.epoch > base.epoch or (one.epoch == base.epoch and base_id is not None and one.checkpoint_id > base_id)
    if beyond:
        return replace(
            one, problem=f"superseded: {record.deployment} went on from {name_of(base.location, base.epoch)} instead"
        )
    return one


def _order(record: DeploymentRecord, one: Found) -> tuple[int, int, bool]:
    is_base = record.base is not None and record.base.location == one.location
    number = one.checkpoint_id if one.verified else _number(one.location)
    return one.epoch, number, is_base


def _number(location: str) -> int:
    name = S3Uri.parse(location).name
    number = name.removeprefix("chk-")
    return int(number) if number != name and number.isdigit() else -1


def _goes_on_from(site: Site, record: DeploymentRecord, one: Found) -> bool:
    """Whether the deployment would go on from it by itself: one that counts, and was not taken from a live job (X2)."""
    superseded = one.problem.startswith("superseded")
    taken = str(S3Uri.parse(one.location)).startswith(f"{site.savepoints.rstrip('/')}/{site.deployment}/t")
    return one.epoch > 0 and not superseded and not taken


def _told(record: DeploymentRecord, one: Found, *, newest: bool) -> SnapshotPrice:
    return SnapshotPrice(
        location=one.location,
        name=name_of(one.location, one.epoch),
        checkpoint_id=max(one.checkpoint_id, _number(one.location), 0),
        kind=one.kind,
        epoch=one.epoch,
        artifact=artifact_of(record, one.epoch),
        completed_at=one.completed_at,
        problem=one.problem,
        newest=newest,
    )


def artifact_of(record: DeploymentRecord, epoch: int) -> ArtifactRef | None:
    """The artifact of an epoch, if the record still knows it."""
    for known in (record.writer, record.base, record.pinned):
        if known is not None and known.epoch == epoch:
            return known.artifact
    return next((start.artifact for start in starts_of(record.intents) if start.epoch == epoch), None)
