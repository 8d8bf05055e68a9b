"""A fork's copy: of another deployment's snapshot, for a job beside that one which must not be disturbed (X12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.clients.objects import ObjectStore
from tidegate.errors import InvalidInput, Refused
from tidegate.mirror.rebasing import Made, Reach, Wanted, place_rebased, rebase_for
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord
from tidegate.registry.records import RecordStore
from tidegate.snapshot.catalog import Entry, Kind, catalog, jobs_of
from tidegate.snapshot.place import location_of, place_in


@dataclass(frozen=True)
class ForkWish:
    """Which fork. ``region``: where it lives; ``of``: the deployment that it is made of, with a snapshot there.

    ``snapshot``: its id or location; None: the newest that lasts.
    """

    fork: str
    region: str
    of: str
    snapshot: str | None
    who: str


async def make_fork(reach: Reach, fleet: Fleet, control: ObjectStore, bucket: str, wish: ForkWish) -> Made:
    """Make the copy and place it; the original is pinned. Done again for the same snapshot it is found done (I4).

    Raises:
        InvalidInput: no such deployment or snapshot.
        Refused: nothing that lasts, or a start from it would read input a second time.
        SnapshotError, Unavailable: as ``rebase_for``.

    """
    if wish.of == wish.fork:
        raise InvalidInput(f"fork_of: {wish.fork} cannot be a fork of itself")
    place = place_in(fleet, wish.of, wish.region)
    stored = await RecordStore(control, bucket).read(wish.of)
    record = stored.record if stored else None
    entries = (await catalog(reach.store, place, jobs_of(record))).entries
    chosen = choose(entries, record, wish)
    made = await rebase_for(reach, Wanted(chosen.location, place, fork=wish.fork))
    if made.replays:
        at_most = "" if made.copy.rebased.counted else "at most "
        raise Refused(
            f"a fork from {chosen.full_id} would read {at_most}{made.replays:,} input records a second time",
            hint=f"to have it so, make the copy by hand:  tidegate snapshot rebase {chosen.full_id} --to {wish.region} "
            f"--as {wish.fork} --accept-replay {made.replays}",
        )
    await place_rebased(reach, control, bucket, made, wish.who)
    return made


def choose(entries: Sequence[Entry], record: DeploymentRecord | None, wish: ForkWish) -> Entry:
    """The snapshot that is meant: the newest of those that last, or the one that is named.

    A checkpoint of the job that ran last does not: Flink removes it, and with it files that the copy names.

    Raises InvalidInput, Refused as ``make_fork``.
    """
    of = wish.of
    take = f"take one that lasts:  tidegate snapshot take {of}"
    lasting = [one for one in entries if one.verified and one.epoch is not None and not _goes(one, record)]
    if wish.snapshot is None:
        if not lasting:
            raise Refused(f"{of} has no whole snapshot in {wish.region} that lasts", hint=take)
        return lasting[0]
    at = location_of(wish.snapshot) if "://" in wish.snapshot else None
    named = next((one for one in entries if one.location == at or wish.snapshot in {one.id, one.full_id}), None)
    if named is None:
        known = ", ".join(one.id for one in lasting[:5]) or "none"
        raise InvalidInput(
            f"snapshot: {of} has no {wish.snapshot} in {wish.region}; those that last: {known}",
            hint=f"tidegate snapshot list {of} --region {wish.region}",
        )
    if _goes(named, record):
        raise Refused(f"{named.full_id} is a checkpoint of the job that ran last: Flink may remove it", hint=take)
    return named  # one with a problem is refused by what is wrong with it, as it is verified


def _goes(entry: Entry, record: DeploymentRecord | None) -> bool:
    writer = record.writer if record is not None else None
    return (
        entry.kind is Kind.CHECKPOINT
        and entry.shipped_from is None
        and writer is not None
        and entry.job_id == writer.job_id
    )
