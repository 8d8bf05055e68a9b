"""Which regions a deployment has left, and what it was started from since: kept with the record, start after start.

What a state had read in a region that was lost is told by the copy that crossed. Once the deployment has been started
again where it went on, nothing else names that copy (X22).
"""

from __future__ import annotations

from tidegate.clients.objects import S3Uri
from tidegate.model.record import DeploymentRecord, Gone, utc_now
from tidegate.operation.move import lives_elsewhere
from tidegate.snapshot.sweep import COPY


def gone_since(record: DeploymentRecord, region: str, snapshot: str | None) -> dict[str, Gone]:
    """What ``record.gone`` is once a job of this region runs that was started from this snapshot (None: from empty).

    A snapshot that the deployment took itself since descends from one that is named already.
    """
    found = {name: gone for name, gone in record.gone.items() if name != region}
    if record.writer is not None and lives_elsewhere(record, region):
        pinned = record.pinned
        left = pinned.left if pinned is not None and pinned.epoch == record.writer.epoch else None
        found[record.writer.region] = Gone(to=region, snapshots=(snapshot,), left=left, at=utc_now())
        return found
    if snapshot is not None and not S3Uri.parse(snapshot).name.startswith(COPY):
        return found
    return {
        name: gone.model_copy(update={"snapshots": (*gone.snapshots, snapshot)})
        if snapshot not in gone.snapshots
        else gone
        for name, gone in found.items()
    }
