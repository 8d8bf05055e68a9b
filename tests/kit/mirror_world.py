"""Two regions' Kafka and Connect in memory, and links between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.kit.connect_fake import FakeConnect
from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.mirror.control import fresh_record
from tidegate.mirror.link import MirrorLink
from tidegate.model.record import Holder
from tidegate.registry.links import BY_HAND, LinkStore, LinkTenure, take_link
from tidegate.registry.ownership import new_holder

TOPICS = ("payments", "balances")


@dataclass
class MirrorWorld:
    """``kafka`` and ``connect`` by region. A Connect stands beside the target: west's runs east -> west."""

    kafka: dict[str, FakeKafka] = field(default_factory=lambda: {"east": FakeKafka(), "west": FakeKafka()})
    connect: dict[str, FakeConnect] = field(default_factory=lambda: {"east": FakeConnect(), "west": FakeConnect()})
    store: MemoryStore = field(default_factory=lambda: MemoryStore("control"))

    @classmethod
    async def made(cls, partitions: int = 2) -> MirrorWorld:
        world = cls()
        for topic in TOPICS:
            await world.kafka["east"].create_topic(topic, partitions)
        return world

    @property
    def links(self) -> LinkStore:
        return LinkStore(self.store, "control", control_wait_s=0.5)

    def link(self, source: str = "east", target: str = "west", *, both: bool = False) -> MirrorLink:
        name = f"{source}-to-{target}"
        returns = {f"{target}-to-{source}": self.connect[source].client()} if both else {}
        return MirrorLink(
            name=name,
            source=source,
            target=target,
            topics=TOPICS,
            group=f"connect-{target}",
            config={"name": f"tidegate-{name}", "connector.class": "M", "tasks.max": "1"},
            source_kafka=self.kafka[source],
            target_kafka=self.kafka[target],
            connect=self.connect[target].client(),
            principal="mirror",
            login=KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "mirror", "x"),
            returns=returns,
        )

    async def take(self, link: MirrorLink, operation: str = "mirror-by-hand", runbook: str = BY_HAND) -> LinkTenure:
        return await take_link(self.links, fresh_record(link), holder(operation, runbook))


def holder(operation: str, runbook: str = BY_HAND) -> Holder:
    return new_holder(
        operation=operation, run_id="r1", runbook=runbook, cluster_id="c", namespace="n", who="ana", why="x"
    )


async def transaction(
    kafka: FakeKafka, name: str, partition: int, values: list[object], *, commit: bool = True
) -> None:
    """One transaction of one producer on one partition of payments."""
    producer = kafka.producer(name)
    await producer.init()
    await producer.write("payments", partition, values)
    await (producer.commit() if commit else producer.abort())
