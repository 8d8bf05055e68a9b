"""What Flink says of the job, and what lies in its newest snapshot."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from tidegate.clients.flink_types import CheckpointStats
from tidegate.driver.readings import settings_view
from tidegate.errors import SnapshotError, SnapshotIncomplete
from tidegate.model.fleet import CellRef
from tidegate.model.record import Writer
from tidegate.points.model import Points
from tidegate.readiness.facts import JobFacts, NotKnown, StateFacts
from tidegate.readiness.reach import Reach, ask
from tidegate.snapshot.against import Against, against, declared_uids
from tidegate.snapshot.files import Snapshot, read_snapshot
from tidegate.snapshot.metadata import Metadata
from tidegate.snapshot.show import operator_view

TRIED: Final = 3
"""Flink removes checkpoints while one looks: the next newest will do."""


async def look_at_job(reach: Reach, writer: Writer) -> JobFacts | None:
    """The job that the record names; None: its Flink does not know it. Raises Unavailable."""
    async with reach.flink(_rest(reach, writer)) as flink:
        state = await flink.job_state(writer.job_id)
        if state is None:
            return None
        stats, config, cluster = await asyncio.gather(
            flink.checkpoints(writer.job_id), flink.checkpoint_config(writer.job_id), flink.jobmanager_config()
        )
    settings = None if config is None else settings_view(writer.job_id, config, cluster=cluster, stats=stats)
    return JobFacts(writer.job_id, state, stats or CheckpointStats(), settings)


async def look_at_state(
    reach: Reach, deployment: str, region: str, kept: Points | None, writer: Writer | None
) -> StateFacts | None:
    """The newest snapshot that can still be read. Raises SnapshotError, Unavailable."""
    points = [point for point in kept.points if point.problem is None] if kept is not None else []
    if not points:
        return None
    snapshot: Snapshot | None = None
    async with reach.store(region) as store:
        for point in points[:TRIED]:
            try:
                snapshot = await read_snapshot(store, point.snapshot)
                break
            except SnapshotIncomplete:
                continue
    if snapshot is None:
        raise SnapshotError(f"of the newest {min(TRIED, len(points))} snapshots none is there any more")
    metadata = snapshot.metadata
    result: Against | NotKnown | None = None
    if writer is not None:
        of = f"Flink in {writer.region}/{writer.cell}"
        result = await ask(of, partial(_against, reach, deployment, metadata, writer))
    views = tuple(operator_view(operator) for operator in metadata.operators)
    return StateFacts(point.id, metadata.version, views, result)


async def _against(reach: Reach, deployment: str, metadata: Metadata, writer: Writer) -> Against | None:
    async with reach.flink(_rest(reach, writer)) as flink:
        graph = await flink.job_plan(writer.job_id)
    if graph is None:
        return None
    return against(metadata, graph, declared_uids(reach.fleet.deployment(deployment)))


def _rest(reach: Reach, writer: Writer) -> str:
    return reach.fleet.cell(CellRef(writer.region, writer.cell)).flink.rest
