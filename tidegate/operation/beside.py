"""A start from another deployment's snapshot must not disturb the job that wrote it (X12)."""

from __future__ import annotations

from pydantic import ValidationError

from tidegate import names
from tidegate.errors import Refused
from tidegate.model.fleet import Deployment
from tidegate.operation.move import home_of
from tidegate.operation.site import Site
from tidegate.registry.records import RecordStore
from tidegate.snapshot.files import Snapshot
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord
from tidegate.snapshot.sinks import committables, writer_states


async def refuse_disturbing(site: Site, snapshot: Snapshot) -> None:
    """Nothing in the snapshot names another deployment's transactions; a fork's copy is started on its own ends only.

    A new writer ends what lingers under the prefix in its state, and a new committer commits what its state lists: of
    the live job beside it, if the state is that job's.

    Raises:
        Refused: it does; the message says how it can be had.
        SnapshotError, Unavailable: the snapshot cannot be read.

    """
    named = [one.prefix for one in await writer_states(site.snapshots, snapshot)]
    named += [one.transactional_id for one in await committables(site.snapshots, snapshot)]
    foreign = next((name for name in named if _is_anothers(site, name)), None)
    if foreign is not None:
        raise Refused(
            f"{snapshot.directory} names transactions of another deployment ({foreign}): a start of {site.deployment} "
            f"from it would end or commit them",
            hint=f"make a copy without them:  tidegate snapshot rebase {snapshot.directory} --to {site.region} "
            f"--as {site.deployment}",
        )
    record = await _fork_of(site, snapshot)
    live = site.fleet.deployments.get(record.deployment) if record else None
    if record is None or live is None:
        return
    stored = await RecordStore(site.control, site.control_bucket).read(record.deployment)
    if home_of(site.fleet, record.deployment, stored.record if stored else None).region != site.region:
        return
    shared = sorted(_topics(live) & _topics(site.spec))
    if shared:
        raise Refused(
            f"{site.deployment} is a fork of {record.deployment} and writes {', '.join(shared)} as well: its output "
            f"would stand among that of the live job",
            hint=f"turn its sinks to topics of their own: deployments.{site.deployment}.sinks and its args",
        )
    groups = sorted({source.group for source in live.sources} & {source.group for source in site.spec.sources})
    if groups:
        raise Refused(
            f"{site.deployment} is a fork of {record.deployment} and uses its consumer group {groups[0]}: each would "
            f"overwrite the other's positions there",
            hint=f"give it a group of its own: deployments.{site.deployment}.sources and its args",
        )


def _is_anothers(site: Site, name: str) -> bool:
    epoch = names.epoch_of_transactional_id(name)
    return epoch is not None and not name.startswith(site.prefixes(epoch))


async def _fork_of(site: Site, snapshot: Snapshot) -> RebasedRecord | None:
    found = await site.snapshots.get_or_none(snapshot.directory.join(REBASED_NAME))
    if found is None:
        return None
    try:
        record = RebasedRecord.model_validate_json(found.body)
    except ValidationError as error:
        raise Refused(f"{snapshot.directory}/{REBASED_NAME} does not say whose copy it is: {error}") from error
    return record if record.fork else None


def _topics(deployment: Deployment) -> set[str]:
    return {topic for sink in deployment.sinks for topic in sink.topics}
