"""The connector's configuration, from the fleet file: MirrorMaker 2's source connector, exactly once, our transform.

Of MirrorMaker's three connectors only the source connector is used. Group offsets are translated by provenance (X25),
not by its checkpoints; and what a heartbeat would say, the connector's offsets say exactly.
"""

from __future__ import annotations

import re
from typing import Final

from tidegate import names
from tidegate.model.fleet import Fleet, KafkaAccess, Mirror

CONNECTOR_CLASS: Final = "org.apache.kafka.connect.mirror.MirrorSourceConnector"
TRANSFORM_CLASS: Final = "dev.tidegate.mirror.ProvenanceTransform"
BYTES: Final = "org.apache.kafka.connect.converters.ByteArrayConverter"
LOGIN: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def connector_config(fleet: Fleet, link: str) -> dict[str, str]:
    """The configuration of a link's connector, ``name`` in it. Holds secrets.

    Source: connect-mirror 4.3 (MirrorSourceConfig, MirrorConnectorConfig); the comments say why a value is not the
    default. Raises InvalidInput for a secret that is not there.
    """
    mirror = fleet.mirror(link)
    return {
        "name": names.mirror_connector(link),
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": str(mirror.tasks),
        "source.cluster.alias": mirror.source,
        "target.cluster.alias": mirror.target,
        **_cluster("source", fleet.region(mirror.source).kafka, mirror),
        **_cluster("target", fleet.region(mirror.target).kafka, mirror),
        # Each is a regular expression.
        "topics": ",".join(re.escape(topic).replace(r"\-", "-") for topic in mirror.topics),
        "topics.exclude": "__.*",
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "replication.factor": "-1",  # the broker's default
        "key.converter": BYTES,
        "value.converter": BYTES,
        "header.converter": BYTES,
        # On the target, where they are needed when the source is gone; a sync for as many records as it can (0).
        "offset-syncs.topic.location": "target",
        "offset-syncs.topic.replication.factor": "-1",
        "offset.lag.max": "0",
        "emit.checkpoints.enabled": "false",
        "emit.heartbeats.enabled": "false",
        "heartbeats.replication.enabled": "false",
        "sync.group.offsets.enabled": "false",
        "sync.topic.acls.enabled": "false",
        "sync.topic.configs.enabled": "true",
        "sync.topic.configs.interval.seconds": "30",
        "refresh.topics.interval.seconds": "5",
        # Exactly once: committed records only; offsets and records in one transaction per poll.
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
        "source.consumer.isolation.level": "read_committed",
        "source.consumer.fetch.max.wait.ms": "50",
        "source.consumer.max.poll.records": "2000",
        "consumer.poll.timeout.ms": "100",
        # What a dead task leaves open holds back readers of the target, and its own successor, for this long.
        "producer.override.transaction.timeout.ms": str(mirror.transaction_timeout_ms),
        "producer.override.linger.ms": "0",
        "producer.override.acks": "all",
        "transforms": "provenance",
        "transforms.provenance.type": TRANSFORM_CLASS,
        "transforms.provenance.target.cluster": mirror.target,
    }


def _cluster(end: str, kafka: KafkaAccess, mirror: Mirror) -> dict[str, str]:
    """How the connector's own clients log in to a cluster: the region's protocol, the mirror's principal."""
    security = kafka.security
    settings = {
        f"{end}.cluster.bootstrap.servers": kafka.bootstrap,
        f"{end}.cluster.security.protocol": security.protocol,
    }
    if security.mechanism is not None and mirror.principal is not None and mirror.principal_password is not None:
        settings |= {
            f"{end}.cluster.sasl.mechanism": security.mechanism,
            f"{end}.cluster.sasl.jaas.config": jaas(
                security.mechanism, mirror.principal, mirror.principal_password.resolve()
            ),
        }
    return settings


def jaas(mechanism: str, username: str, password: str) -> str:
    """A login for Kafka's Java clients."""
    return f"{LOGIN[mechanism]} required username={_quoted(username)} password={_quoted(password)};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
