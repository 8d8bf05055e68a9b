"""A region's Kafka broker: one KRaft node with principals and an authorizer, quick to come back after a kill."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export only the client
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.java import java_argv, write_log4j
from sandbox.layout import HOST, KAFKA_USERS, RegionPorts, kafka_password
from sandbox.parts import part_folder, run
from sandbox.probes import kafka_config
from sandbox.spec import Folder, KafkaProbe, ProcessSpec

_MAIN = "kafka.Kafka"
_FORMAT = "kafka.tools.StorageTool"
_META = "meta.properties"
_CHECKPOINT = "bootstrap.checkpoint"
_ACL_S = 15.0
_BROKER_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=48m",
    "-XX:MaxDirectMemorySize=64m",
)


def _jaas() -> str:
    users = " ".join(f'user_{user}="{kafka_password(user)}"' for user in KAFKA_USERS)
    admin = f'username="admin" password="{kafka_password("admin")}"'
    return f"org.apache.kafka.common.security.plain.PlainLoginModule required {admin} {users};"


def server_properties(ports: RegionPorts, log_folder: Path) -> str:
    """The broker's configuration.

    The second listener (PROXIED) advertises a port where nothing listens: a test puts a fault proxy there.
    """
    controller = f"{HOST}:{ports.kafka_controller}"
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "listeners": (
            f"SASL_PLAINTEXT://{HOST}:{ports.kafka},PROXIED://{HOST}:{ports.kafka_proxied},CONTROLLER://{controller}"
        ),
        "advertised.listeners": (
            f"SASL_PLAINTEXT://{HOST}:{ports.kafka},PROXIED://{HOST}:{ports.kafka_proxied_advertised}"
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,PROXIED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": _jaas(),
        "listener.name.proxied.plain.sasl.jaas.config": _jaas(),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # ANONYMOUS is the controller talking to itself over its plain listener; clients cannot be it.
        "super.users": "User:admin;User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
        "log.dirs": log_folder,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "num.partitions": 1,
        "num.recovery.threads.per.data.dir": 1,
        "background.threads": 2,
        "num.replica.fetchers": 1,
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 2,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.max.timeout.ms": 900_000,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
        "transactional.id.expiration.ms": 604_800_000,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 2_000,
        "group.coordinator.threads": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "log.segment.bytes": 67_108_864,
        "log.cleaner.dedupe.buffer.size": 8_388_608,
        "log.cleaner.io.buffer.size": 262_144,
        "log.retention.check.interval.ms": 60_000,
        "metadata.log.max.record.bytes.between.snapshots": 1_048_576,
        "controlled.shutdown.enable": "true",
        "broker.heartbeat.interval.ms": 300,
        # With the default of 9 s a broker that was killed needs 12 s to come back, with 2 s it needs 4.
        "broker.session.timeout.ms": 2_000,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


async def kafka_spec(folder: Folder, ports: RegionPorts, java: str) -> ProcessSpec:
    """Write the broker's configuration, format its storage the first time, and say how it is started.

    Raises:
        OperationFailed: the storage could not be formatted.

    """
    name = f"{ports.name}/kafka"
    home = folder.part_path(name)
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    log4j = home / "log4j2.properties"
    write_log4j(
        log4j, root="WARN", levels={"kafka.server.KafkaRaftServer": "INFO", "kafka.server.BrokerServer": "INFO"}
    )
    config = home / "server.properties"
    config.write_text(server_properties(ports, home / "data"), encoding="utf-8")
    jars = part_folder("kafka")
    if not (home / "data" / _META).exists():
        formatter = java_argv(java, "-Xmx128m", log4j=log4j, temporary=temporary, classpath=jars, main=_FORMAT)
        await _format(name, home / "data", [*formatter, "format", "-t", _new_id(), "-c", str(config)])
    return ProcessSpec(
        name=name,
        argv=[
            *java_argv(java, *_BROKER_JVM, log4j=log4j, temporary=temporary, classpath=jars, main=_MAIN),
            str(config),
        ],
        cwd=home,
        ready=KafkaProbe(bootstrap=ports.bootstrap),
        endpoint=ports.bootstrap,
    )


async def _format(name: str, data: Path, formatter: list[str]) -> None:
    """Format a new storage, from the seed that an earlier one left in the cache if there is one.

    Formatting by Kafka's own tool takes a JVM's start. All that it writes beside the ids is a checkpoint of feature
    levels, the same for every broker of a version.
    """
    seed = part_folder("kafka") / "seed" / _CHECKPOINT
    if await asyncio.to_thread(seed.exists):
        await asyncio.to_thread(_format_from, seed, data)
    else:
        await run(f"{name}: formatting its storage", *formatter)
        await asyncio.to_thread(_keep_seed, data, seed)


def _format_from(seed: Path, data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    shutil.copy(seed, data / _CHECKPOINT)
    # Written last: it is what says that the storage is formatted.
    meta = data / f"{_META}.new"
    meta.write_text(f"version=1\nnode.id=1\ncluster.id={_new_id()}\ndirectory.id={_new_id()}\n", encoding="utf-8")
    meta.replace(data / _META)


def _keep_seed(data: Path, seed: Path) -> None:
    seed.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=seed.parent) as temporary:
        Path(shutil.copy(data / _CHECKPOINT, temporary)).replace(seed)


def _new_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


async def allow_everyone(bootstrap: str, topics: Sequence[str]) -> None:
    """A rule for each topic that allows everybody who has logged in what no other rule denies. Safe to repeat."""
    bindings = [
        AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:*",
            "*",
            AclOperation.ALL,
            AclPermissionType.ALLOW,
        )
        for topic in topics
    ]
    admin = AdminClient({**kafka_config(bootstrap), "log_level": 2}, logger=None)
    futures = admin.create_acls(bindings, request_timeout=_ACL_S)
    await asyncio.gather(*(asyncio.wrap_future(future) for future in futures.values()))
