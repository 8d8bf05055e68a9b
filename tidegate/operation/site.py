"""One deployment at one cell: what the fleet file says of it, and the clients that reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tidegate import names
from tidegate.clients.kafka_types import KafkaClient
from tidegate.clients.objects import ObjectStore
from tidegate.driver.base import ArtifactFile, DeploymentDriver
from tidegate.model.fleet import CellRef, Deployment, Fleet, render_args
from tidegate.model.record import ArtifactRef
from tidegate.registry.keptjars import KeptJars

Fetch = Callable[[ArtifactRef], Awaitable[Path]]
"""Brings an artifact's jar to this machine, its sha256 checked."""


@dataclass(frozen=True)
class Site:
    """One deployment at one cell: what the fleet file says of it, and the clients that reach it."""

    fleet: Fleet
    deployment: str
    region: str
    cell: str
    driver: DeploymentDriver
    kafka: KafkaClient
    snapshots: ObjectStore
    """The region's S3, where its Flink writes."""
    control: ObjectStore
    control_bucket: str
    fetch: Fetch
    artifacts: ObjectStore | None = None
    """Where jars are; None: in the region's S3."""

    @property
    def jars(self) -> ObjectStore:
        """The store of the artifacts."""
        return self.artifacts or self.snapshots

    @property
    def kept_jars(self) -> KeptJars:
        """The copies of its jars in the control bucket."""
        return KeptJars(self.control, self.control_bucket, self.deployment)

    @property
    def spec(self) -> Deployment:
        """The deployment as the fleet file has it."""
        return self.fleet.deployment(self.deployment)

    @property
    def savepoints(self) -> str:
        """Where stops write."""
        return self.fleet.cell(CellRef(self.region, self.cell)).savepoints

    @property
    def checkpoints(self) -> str:
        """Where Flink keeps checkpoints, one directory a job."""
        return self.fleet.cell(CellRef(self.region, self.cell)).checkpoints

    @property
    def input_topics(self) -> list[str]:
        """Each topic that the deployment reads, once."""
        return sorted({topic for source in self.spec.sources for topic in source.topics})

    @property
    def output_topics(self) -> list[str]:
        """Each topic that the deployment writes, once."""
        return sorted({topic for sink in self.spec.sinks for topic in sink.topics})

    def prefixes(self, epoch: int) -> tuple[str, ...]:
        """The transactional prefixes of an epoch, one a sink (X13)."""
        return tuple(names.transactional_prefix(self.deployment, sink.uid, epoch) for sink in self.spec.sinks)

    def args(self, epoch: int) -> list[str]:
        """The job's arguments for an epoch; they hold secrets and go to Flink only."""
        return render_args(self.fleet, self.deployment, self.region, self.cell, epoch)

    async def artifact_file(self, artifact: ArtifactRef) -> ArtifactFile:
        """The artifact's jar on this machine, its digest checked."""
        return ArtifactFile(path=await self.fetch(artifact), sha256=artifact.sha256, name=artifact.name)
