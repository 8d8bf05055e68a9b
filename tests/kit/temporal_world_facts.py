"""What the worlds of workflow tests begin with: names, artifacts, writers, points; and a call that waits."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.model.appraisal import SnapshotPrice
from tidegate.model.failover import (
    PointChoice,
    Topics,
)
from tidegate.model.record import ArtifactRef, Pinned, Writer
from tidegate.model.review import Checked, DeploymentReview, Finding, Severity

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FLEET = "f" * 64
SAVEPOINT = "s3://east/savepoints/ledger/e00000007-x/savepoint-1"
TOPICS = Topics(turn=("balances", "payments"), links=("east-to-west",), back=("west-to-east",))
REVIEW = DeploymentReview(
    deployment="ledger",
    tier=1,
    home="east/cell-1",
    standby="west",
    score=76,
    findings=(
        Finding(
            id="ready/no-room",
            severity=Severity.BREACH,
            deployment="ledger",
            subject="west",
            what="it would not fit into west: no room in west",
            why="if east is lost, it waits until there are slots",
            mend=("more TaskManagers in west",),
        ),
        Finding(
            id="ready/one-broker",
            severity=Severity.WARNING,
            deployment="ledger",
            subject="west",
            what="Kafka in west is one broker",
            why="its restart stops all that runs there",
            mend=("more brokers in west",),
        ),
    ),
    passed=(Checked(check="restorable in west", subject="west", fact="from e7-chk-12, 2.1 s old"),),
)
"""Of a deployment that has no room in the standby."""
POINT = PointChoice(
    id="e7-chk-12",
    snapshot="s3://west/savepoints/ledger/from-east/e7-chk-12-1a2b3c4d",
    source="s3://east/checkpoints/5bfb/chk-12",
    epoch=7,
    taken_at=AT,
    superseded=4,
)
"""The newest recovery point in the west."""


def artifact(name: str) -> ArtifactRef:
    return ArtifactRef(
        name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), uri=f"s3://east/artifacts/ledger-{name}.jar"
    )


def writer(name: str, epoch: int) -> Writer:
    return Writer(
        region="east",
        cell="cell-1",
        job_id=f"{epoch:032x}",
        epoch=epoch,
        artifact=artifact(name),
        parallelism=2,
        started_from=None,
        since=AT,
    )


def pinned(**changes: Any) -> Pinned:
    """What a stop of epoch 7 left."""
    known: dict[str, Any] = {
        "location": SAVEPOINT, "epoch": 7, "job_id": f"{7:032x}", "artifact": artifact("v1"), "parallelism": 2,
        "output_ends": {"balances/0": 40}, "committed": True, "at": AT,
    }  # fmt: skip
    return Pinned.model_validate(known | changes)


def choice(number: int, **fields: Any) -> SnapshotPrice:
    """A checkpoint of epoch 7, complete so many seconds after ``AT``."""
    told = {
        "location": f"s3://east/checkpoints/{7:032x}/chk-{number}",
        "name": f"e7-chk-{number}",
        "checkpoint_id": number,
        "kind": "checkpoint",
        "epoch": 7,
        "artifact": artifact("v1"),
        "completed_at": AT + timedelta(seconds=number),
        "transactions": {"committed": 2},
    }
    return SnapshotPrice.model_validate({**told, **fields})


class Block:
    """A call that waits until the test releases it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        self.entered.set()
        await self.released.wait()
