"""The clients that activities share, one set a process, opened when first needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaClient, KafkaSecurity
from tidegate.clients.objects import ObjectStore
from tidegate.clients.transfer import TransferStore
from tidegate.driver.base import DeploymentDriver
from tidegate.driver.session import SessionClusterDriver
from tidegate.lineage.store import LineageStore
from tidegate.mirror.rebasing import Reach, links_by
from tidegate.model.fleet import CellRef, Fleet, KafkaAccess, S3Access
from tidegate.model.record import ArtifactRef
from tidegate.operation.site import Site
from tidegate.registry.artifacts import fetch, keep_jar, open_access
from tidegate.registry.fleet import read_current, read_digest
from tidegate.registry.keptjars import KeptJars
from tidegate.registry.records import RecordStore


@dataclass
class Sites:
    """Where a worker finds everything: the control bucket it was given, and the fleet files in it."""

    control: ObjectStore
    bucket: str
    cache: Path
    """Folder for artifacts; each is kept under its sha256."""
    _fleets: dict[str, Fleet] = field(default_factory=dict)
    _stores: dict[str, TransferStore] = field(default_factory=dict)
    _kafkas: dict[str, KafkaClient] = field(default_factory=dict)
    _drivers: dict[str, DeploymentDriver] = field(default_factory=dict)

    @property
    def records(self) -> RecordStore:
        """The deployments' records."""
        return RecordStore(self.control, self.bucket)

    async def fleet(self, digest: str | None) -> tuple[Fleet, str]:
        """The fleet file that an operation pinned, or the current one, with its digest (O21).

        Raises:
            InvalidInput: none was published, or not this one.
            Unavailable: the control bucket did not answer.
        """
        if digest is not None and digest in self._fleets:
            return self._fleets[digest], digest
        if digest is None:
            loaded = await read_current(self.control, self.bucket)
        else:
            loaded = await read_digest(self.control, self.bucket, digest)
        self._fleets[loaded.digest] = loaded.fleet
        return loaded.fleet, loaded.digest

    def site(self, fleet: Fleet, deployment: str, at: str | None = None) -> Site:
        """The deployment at a cell (``region/cell``; None: home), with clients. Raises InvalidInput."""
        home = CellRef.parse(at) if at is not None else fleet.deployment(deployment).home_ref
        region, cell = fleet.region(home.region), fleet.cell(home)
        artifacts = self._store(fleet.artifact_store(deployment))
        jars_in = fleet.deployment(deployment).home_ref.region
        return Site(
            fleet=fleet,
            deployment=deployment,
            region=home.region,
            cell=home.cell,
            driver=self._driver(cell.flink.rest),
            kafka=self._kafka(region.kafka),
            snapshots=self._store(region.s3),
            control=self.control,
            control_bucket=self.bucket,
            fetch=partial(self._fetch, artifacts, self.kept_jars(deployment), home.region != jars_in),
            artifacts=artifacts,
        )

    async def site_of(self, deployment: str, digest: str, at: str | None = None) -> Site:
        """The deployment at a cell, by the fleet file that the operation pinned."""
        fleet, _ = await self.fleet(digest)
        return self.site(fleet, deployment, at)

    def kept_jars(self, deployment: str) -> KeptJars:
        """The copies of a deployment's jars in the control bucket."""
        return KeptJars(self.control, self.bucket, deployment)

    async def _fetch(self, store: ObjectStore, kept: KeptJars, elsewhere: bool, artifact: ArtifactRef) -> Path:
        return await fetch(store, artifact.uri, artifact.sha256, self.cache, kept, kept_first=elsewhere)

    async def keep_jar(self, fleet: Fleet, deployment: str, artifact: ArtifactRef) -> bool:
        """Keep the jar that a job runs in the control bucket (``keep_jar``); False: it is kept already."""
        store = self._store(fleet.artifact_store(deployment))
        return await keep_jar(store, self.kept_jars(deployment), artifact, self.cache)

    def region_store(self, fleet: Fleet, region: str) -> TransferStore:
        """The S3 of a region. Raises InvalidInput for an unknown region or a missing secret."""
        return self._store(fleet.region(region).s3)

    def reach(self, fleet: Fleet, region: str) -> Reach:
        """How a copy for a region is made (``rebase_for``), with this process's clients; nothing is to be closed."""
        return Reach(
            self.region_store(fleet, region),
            lambda name: self._kafka(fleet.region(name).kafka),
            links_by(fleet),
            LineageStore(self.control, self.bucket),
        )

    def _store(self, access: S3Access) -> TransferStore:
        key = f"{access.endpoint} {access.access_key}"
        if key not in self._stores:
            self._stores[key] = open_access(access)
        return self._stores[key]

    def _kafka(self, access: KafkaAccess) -> KafkaClient:
        security = access.security
        key = f"{access.bootstrap} {security.username}"
        if key not in self._kafkas:
            login = None
            if security.mechanism and security.username and security.password:
                login = KafkaSecurity(
                    protocol=security.protocol,
                    mechanism=security.mechanism,
                    username=security.username,
                    password=security.password.resolve(),
                )
            self._kafkas[key] = Kafka(access.bootstrap, login)
        return self._kafkas[key]

    async def running_jobs(self, rest: str) -> set[str]:
        """The jobs of a Flink cluster, by its REST URL, that have not ended. Raises Unavailable."""
        return {job_id for job_id, state in (await self._driver(rest).list_jobs()).items() if not state.terminal}

    def driver_of(self, fleet: Fleet, at: CellRef) -> DeploymentDriver:
        """What runs the jobs of a cell. Raises InvalidInput for an unknown one."""
        return self._driver(fleet.cell(at).flink.rest)

    def _driver(self, rest: str) -> DeploymentDriver:
        if rest not in self._drivers:
            self._drivers[rest] = SessionClusterDriver(FlinkClient(rest))
        return self._drivers[rest]
