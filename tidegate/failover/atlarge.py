"""A job that was given up and could not be shut out may still commit where it ran: nothing is mirrored there before it
is in quarantine (X23).

What it commits beside records that the mirror brings could not be told from what counts in that log: a tail is excluded
as the range before the first record that was brought back.
"""

from __future__ import annotations

from tidegate.failover.sides import Sides
from tidegate.failover.turning import outputs_of
from tidegate.mirror.link import MirrorLink
from tidegate.model.record import DeploymentRecord, Left
from tidegate.model.recovery import Strength
from tidegate.registry.records import RecordStore


def left_in(record: DeploymentRecord, region: str) -> Left | None:
    """How a deployment was given up in a region; None: it was not, or was left as planned."""
    gone = record.gone.get(region)
    if gone is not None:
        return gone.left
    pinned, writer = record.pinned, record.writer
    if pinned is None or writer is None or writer.region != region or pinned.epoch != writer.epoch:
        return None
    return pinned.left


def is_at_large(record: DeploymentRecord, region: str) -> bool:
    """Whether the job that was given up there may commit there still: superseded only, and not denied since."""
    left = left_in(record, region)
    if left is None or left.strength != Strength.SUPERSEDED.value or left.epoch is None:
        return False
    return left.epoch not in record.denied_epochs


async def at_large(sides: Sides, link: MirrorLink) -> tuple[str, ...]:
    """Deployments that write what the link brings, and whose old job may still commit where it leads.

    Raises Unavailable.
    """
    records = RecordStore(sides.away.site.control, sides.away.site.control_bucket)
    found: list[str] = []
    for name, spec in sorted(sides.fleet.deployments.items()):
        if outputs_of(spec) & set(link.topics):
            stored = await records.read(name)
            if stored is not None and is_at_large(stored.record, link.target):
                found.append(name)
    return tuple(found)
