"""Whether a deployment may go on in another region from a copy that lies there. Reads only."""

from __future__ import annotations

from pydantic import ValidationError

from tidegate.errors import InvalidInput, SnapshotError
from tidegate.mirror.link import open_link, parse_partition, partition_text
from tidegate.mirror.positions import passed_position
from tidegate.model.appraisal import Crossing
from tidegate.model.record import DeploymentRecord, Pinned
from tidegate.operation.price import name_of
from tidegate.operation.site import Site
from tidegate.operation.timers import timers_in
from tidegate.registry.records import RecordStore
from tidegate.snapshot.files import verify
from tidegate.snapshot.place import location_of
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord
from tidegate.snapshot.shipped import read_shipped

LINK_TIMEOUT_S = 20.0


async def look_across(site: Site, records: RecordStore, source: str) -> Crossing:
    """The copy at ``source``, and what stands against a start from it in the site's region.

    Raises:
        InvalidInput: ``source`` is no location.
        Unavailable: S3, Kafka or Connect did not answer.

    """
    stored = await records.read(site.deployment)
    record = stored.record if stored else DeploymentRecord(deployment=site.deployment)
    found = await crossing_at(site, record, source)
    if found.problem or record.pinned is None:
        return found
    name = name_of(record.pinned.location, record.pinned.epoch)
    timers = await timers_in(site.snapshots, found.location, name, record.pinned.at)
    return found.model_copy(update={"timers": timers})


async def crossing_at(site: Site, record: DeploymentRecord, source: str) -> Crossing:
    """As ``look_across``, for a record that is known."""
    if "://" not in source:
        return Crossing(location=source, problem="expected its whole location, s3://BUCKET/KEY")
    location = location_of(source)
    found = Crossing(location=str(location))
    writer, pinned = record.writer, record.pinned
    if writer is None or pinned is None or pinned.epoch != writer.epoch:
        return found.model_copy(update={"problem": f"{site.deployment} was not stopped with a savepoint"})
    copy = await _copy(site, str(location))
    if isinstance(copy, str):
        return found.model_copy(update={"problem": copy})
    found = found.model_copy(update={"replays": copy.replays})
    shipped = await read_shipped(site.snapshots, copy.source)
    original = shipped.source if shipped is not None else copy.source
    problem = (
        _not_this(site, copy, pinned, original)
        or await _not_whole(site, str(location))
        or await _not_crossed(site, writer.region, pinned)
    )
    return found.model_copy(update={"original": original, "problem": problem})


async def _copy(site: Site, location: str) -> RebasedRecord | str:
    """The record beside a rebased copy; or why there is none."""
    beside = location_of(location).join(REBASED_NAME)
    found = await site.snapshots.get_or_none(beside)
    if found is None:
        return (
            f"it is no copy that was rebased for {site.region} (there is no {beside}), so its positions are of another "
            f"Kafka"
        )
    try:
        return RebasedRecord.model_validate_json(found.body)
    except ValidationError as error:
        raise InvalidInput(f"{beside}: damaged: {error.errors()[0]['msg']}") from error


def _not_this(site: Site, copy: RebasedRecord, pinned: Pinned, original: str) -> str:
    """Why the copy is not one of the stop's savepoint for this deployment and region; empty: it is."""
    if copy.fork or copy.deployment != site.deployment:
        return f"it was made for {copy.deployment}{', as a fork' if copy.fork else ''}"
    if copy.region != site.region:
        return f"its positions are of the Kafka in {copy.region}"
    if original != pinned.location:
        return f"it is of {original}, and {site.deployment} was stopped with {pinned.location}: output would come twice"
    return ""


async def _not_whole(site: Site, location: str) -> str:
    try:
        await verify(site.snapshots, location)
    except SnapshotError as error:
        return error.message
    return ""


async def _not_crossed(site: Site, home: str, pinned: Pinned) -> str:
    """Why its outputs are not all there (X5): nothing after them may be written before them. Empty: they are."""
    wanted = {parse_partition(name): end for name, end in pinned.output_ends.items()}
    topics = {tp.topic for tp in wanted}
    name = next(
        (
            name
            for name, mirror in site.fleet.mirrors.items()
            if (mirror.source, mirror.target) == (home, site.region) and topics <= set(mirror.topics)
        ),
        None,
    )
    if name is None:
        return (
            f"no mirror link brings {', '.join(sorted(topics))} from {home}: nothing shows that its outputs are there"
        )
    async with open_link(site.fleet, name, LINK_TIMEOUT_S) as link:
        passed = await passed_position(link, wanted)
    missing = sorted(tp for tp, there in passed.items() if not there)
    if not missing:
        return ""
    return (
        f"its outputs have not all come through the mirror: {partition_text(missing[0])} up to {wanted[missing[0]]:,} "
        f"has not (wait for it:  tidegate mirror drain {name})"
    )
