"""How a cluster and its topics are set up: brokers, replicas, settings. Wire level: see ``KafkaClient.shape``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tidegate.clients.kafka_messages import DescribeConfigsRequest
from tidegate.clients.kafka_types import ClusterShape, TopicShape
from tidegate.clients.kafka_wire import Wire, error_of

# org.apache.kafka.common.config.ConfigResource.Type
TOPIC: Final = 2
BROKER: Final = 4

BROKER_SETTINGS: Final = ("transaction.max.timeout.ms", "min.insync.replicas", "default.replication.factor")
TOPIC_SETTINGS: Final = ("retention.ms", "retention.bytes", "min.insync.replicas", "message.timestamp.type")


async def shape(wire: Wire, topics: Collection[str]) -> ClusterShape:
    """By ``Metadata`` and ``DescribeConfigs``. Raises Again, Refused for a right that is missing."""
    answer = await wire.metadata(sorted(set(topics)))
    nodes = sorted(broker.node_id for broker in answer.brokers)
    found: dict[str, tuple[int, int]] = {}
    for row in answer.topics:
        if error_of(row.error_code) == "UnknownTopicOrPartitionError":
            continue
        wire.check(row.error_code, f"topic {row.name}")
        replicas = min((len(partition.replica_nodes) for partition in row.partitions), default=0)
        found[row.name] = (len(row.partitions), replicas)
    settings = await _settings(wire, BROKER, [str(node) for node in nodes[:1]], BROKER_SETTINGS)
    of_topics = await _settings(wire, TOPIC, sorted(found), TOPIC_SETTINGS)
    return ClusterShape(
        brokers=len(nodes),
        settings=settings.get(str(nodes[0]), {}) if nodes else {},
        topics={
            name: TopicShape(name, partitions, replicas, of_topics.get(name, {}))
            for name, (partitions, replicas) in found.items()
        },
    )


async def _settings(wire: Wire, kind: int, names: list[str], keys: tuple[str, ...]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resource = DescribeConfigsRequest.DescribeConfigsResource
    wanted = [resource(resource_type=kind, resource_name=name, configuration_keys=list(keys)) for name in names]
    # Only a broker itself tells its own settings.
    node = int(names[0]) if kind == BROKER else None
    answer = await wire.ask(DescribeConfigsRequest(resources=wanted, include_synonyms=False), node)
    told: dict[str, dict[str, str]] = {}
    for row in answer.results:
        wire.check(row.error_code, f"settings of {'broker' if kind == BROKER else 'topic'} {row.resource_name}")
        told[row.resource_name] = {one.name: one.value for one in row.configs if one.value is not None}
    return told
