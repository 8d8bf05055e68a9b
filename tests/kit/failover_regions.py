"""Two regions in memory and what they share: clients, links, the record of ``ledger`` and the lineage of its topics.

Each call to Kafka, S3, Connect and Flink passes one gate, where the process that makes it may die.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from tests.kit.failover_clients import Driver, GatedConnect, OpenKafka
from tests.kit.kafka_fake import FakeKafka
from tests.kit.mirror_world import holder
from tests.kit.objects import MemoryStore
from tests.kit.world_gate import Gate, GatedStore
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.failover import groups, look, rebasing
from tidegate.failover import sides as sides_module
from tidegate.failover.sides import Sides
from tidegate.lineage import gate as lineage_gate
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.mirror import rebasing as mirror_rebasing
from tidegate.mirror.link import MirrorLink
from tidegate.model.failover import Topics
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.mirror import LinkRecord
from tidegate.model.record import DeploymentRecord
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.registry.links import LinkStore
from tidegate.registry.ownership import Takeover, Tenure, take
from tidegate.registry.records import RecordStore

BUCKET = "tidegate"
FLEET = load_fleet(Path(__file__).parents[2] / "runbooks" / "fleet-sandbox.yaml").fleet
OUT, BACK = "east-to-west", "west-to-east"
TOPICS = Topics(turn=("balances", "payments"), links=(OUT,), back=(BACK,))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FailoverRegions:
    """Nothing runs in them yet, and nobody holds ``ledger``."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        self.fleet = fleet
        self.gate = Gate()
        self.kafka = {"east": FakeKafka(), "west": FakeKafka()}
        self.connect = {"east": GatedConnect(self.gate), "west": GatedConnect(self.gate)}
        self.control = MemoryStore()
        self.snapshots = {"east": MemoryStore(), "west": MemoryStore()}
        self.driver = {"east": Driver(self.gate), "west": Driver(self.gate)}
        self.records = RecordStore(self._store("control", self.control), BUCKET, control_wait_s=1.0)
        self.tenure: Tenure | None = None
        self.topics = TOPICS
        self.attempts = 0
        self.written = 0
        self.stops: dict[str, int] = {}
        self.shipped = ""
        self.unplanned = False

    def _store(self, part: str, store: MemoryStore) -> Any:
        return GatedStore(part, store, self.gate)

    # -- clients

    @property
    def links(self) -> LinkStore:
        return LinkStore(self._store("control", self.control), BUCKET, control_wait_s=1.0)

    @asynccontextmanager
    async def open_link(
        self, fleet: Fleet, name: str, timeout_s: float = 5.0, *, source_timeout_s: float | None = None
    ) -> AsyncIterator[MirrorLink]:
        """In place of ``mirror.link.open_link``."""
        mirror = fleet.mirror(name)
        returns = {
            other: self.connect[one.target].client()
            for other, one in fleet.mirrors.items()
            if (one.source, one.target) == (mirror.target, mirror.source) and set(one.topics) & set(mirror.topics)
        }
        yield MirrorLink(
            name=name,
            source=mirror.source,
            target=mirror.target,
            topics=mirror.topics,
            group=mirror.connect.group,
            config={"name": f"tidegate-{name}", "connector.class": "M", "tasks.max": "1"},
            source_kafka=OpenKafka(self.kafka[mirror.source], self.gate),  # type: ignore[arg-type]
            target_kafka=OpenKafka(self.kafka[mirror.target], self.gate),  # type: ignore[arg-type]
            connect=self.connect[mirror.target].client(),
            principal="mirror",
            login=KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "mirror", "x"),
            returns=returns,
        )

    @asynccontextmanager
    async def open_kafka(self, _: Fleet, region: str, timeout_s: float) -> AsyncIterator[OpenKafka]:
        """In place of ``mirror.link.open_kafka``."""
        assert timeout_s > 0
        yield OpenKafka(self.kafka[region], self.gate)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> Self:
        """The library finds this world's links, and waits for nothing that stands still anyway."""
        for module in (sides_module, look, rebasing, mirror_rebasing):
            monkeypatch.setattr(module, "open_link", self.open_link)
        for module in (rebasing, groups):
            monkeypatch.setattr(module, "open_kafka", self.open_kafka)
        monkeypatch.setattr(lineage_gate, "STANDS_S", 0.0)
        return self

    def site(self, region: str) -> Site:
        return Site(
            fleet=self.fleet,
            deployment="ledger",
            region=region,
            cell="cell-1",
            driver=self.driver[region],  # type: ignore[arg-type]
            kafka=OpenKafka(self.kafka[region], self.gate),  # type: ignore[arg-type]
            snapshots=self._store("snapshots", self.snapshots[region]),
            control=self._store("control", self.control),
            control_bucket=BUCKET,
            fetch=_no_fetch,
        )

    def sides(self, claim: Tenure | None = None) -> Sides:
        """A fresh process of the operation: it knows nothing but the claim."""
        self.attempts += 1
        known = claim or self.tenure
        assert known is not None
        tenure = Tenure(self.records, known.claim, attempt=self.attempts)
        return Sides(Run(site=self.site("east"), tenure=tenure, n=1), Run(site=self.site("west"), tenure=tenure, n=1))

    # -- who holds it

    async def take(self, operation: str, *, take_over: bool = False) -> Tenure:
        found = await self.records.read("ledger")
        self.tenure = await take(
            self.records,
            "ledger",
            holder(operation, "FailoverDeployment"),
            expected_fence=found.record.fence if found else 0,
            takeover=Takeover("eve", "faster") if take_over else None,
        )
        return self.tenure

    async def change(self, **update: Any) -> DeploymentRecord:
        """The record, changed by a step that is not under test."""
        assert self.tenure is not None
        claim = Tenure(self.records, self.tenure.claim)
        await claim.read()
        return await claim.change("test", 0, lambda record: record.model_copy(update=update))

    async def record(self) -> DeploymentRecord:
        found = await self.records.read("ledger")
        assert found is not None
        return found.record

    async def lineage(self, topic: str) -> TopicLineage | None:
        return await LineageStore(self.control, BUCKET).read(topic)

    async def link(self, name: str) -> LinkRecord | None:
        return await LinkStore(self.control, BUCKET).read(name)


async def _no_fetch(_: object) -> Path:
    raise AssertionError("no artifact is wanted")
