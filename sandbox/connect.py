"""A region's Kafka Connect: one distributed worker beside the region's Kafka, for the mirror links that lead there.

Exactly-once source support keeps offsets and records in one transaction, so it needs both in one cluster: a worker
stands beside the *target*. Run as a program, this module ends what a killed worker left open and then becomes Connect.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export only the client
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.java import java_argv, write_log4j
from sandbox.layout import HOST, RegionPorts, kafka_password
from sandbox.parts import cache_folder, part_folder, run
from sandbox.probes import kafka_config
from sandbox.spec import Folder, HttpProbe, ProcessSpec
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaSecurity, TxnState
from tidegate.errors import InvalidInput, TidegateError

PRINCIPAL = "mirror"
_MAIN = "org.apache.kafka.connect.cli.ConnectDistributed"
_BYTES = "org.apache.kafka.connect.converters.ByteArrayConverter"
_JAR = "tidegate-mirror.jar"
_SOURCES = Path(__file__).parents[1] / "mirror"
_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=48m",
    "-XX:MaxDirectMemorySize=64m",
)
_LEVELS = {"org.apache.kafka.connect.runtime": "INFO", "org.apache.kafka.connect.mirror": "INFO"}
_KAFKA_S = 15.0
_ACL_S = 15.0


def worker_group(region: str) -> str:
    """``group.id`` of a region's workers: its topics and transactional ids begin with it."""
    return f"connect-{region}"


def worker_properties(ports: RegionPorts, plugins: Path) -> dict[str, str]:
    """The worker's configuration; the comments say why a value is not the default."""
    group = worker_group(ports.name)
    password = kafka_password(PRINCIPAL)
    login = {
        "bootstrap.servers": ports.bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="{PRINCIPAL}" password="{password}";'
        ),
    }
    own = {
        "group.id": group,
        "listeners": f"http://{HOST}:{ports.connect_rest}",
        "rest.advertised.host.name": HOST,
        "rest.advertised.port": str(ports.connect_rest),
        "rest.advertised.listener": "http",
        "key.converter": _BYTES,
        "value.converter": _BYTES,
        "header.converter": _BYTES,
        "exactly.once.source.support": "enabled",
        "connector.client.config.override.policy": "All",
        "offset.flush.interval.ms": "1000",
        "offset.flush.timeout.ms": "5000",
        # A worker that was killed is missed after 3 s, and its tasks are given away at once.
        "session.timeout.ms": "3000",
        "heartbeat.interval.ms": "500",
        "scheduled.rebalance.max.delay.ms": "0",
        "rebalance.timeout.ms": "10000",
        "worker.sync.timeout.ms": "3000",
        "worker.unsync.backoff.ms": "1000",
        "task.shutdown.graceful.timeout.ms": "5000",
        "topic.creation.enable": "true",
        # By their service files: a scan of every class makes the start three times as long.
        "plugin.discovery": "service_load",
        "plugin.path": str(plugins),
    }
    for topic in ("config", "offset", "status"):
        own[f"{topic}.storage.topic"] = f"{group}-{topic}s" if topic != "status" else f"{group}-status"
        own[f"{topic}.storage.replication.factor"] = "1"
        if topic != "config":
            own[f"{topic}.storage.partitions"] = "1"
    for client in ("", "producer.", "consumer.", "admin."):
        own |= {f"{client}{key}": value for key, value in login.items()}
    return own


def connect_spec(folder: Folder, ports: RegionPorts, java: str, transform: Path) -> ProcessSpec:
    """Write the worker's configuration and say how it is started. ``transform``: the jar of ``build_transform``."""
    name = f"{ports.name}/connect"
    home = folder.part_path(name)
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    plugin = home / "plugins" / "tidegate-mirror"
    plugin.mkdir(parents=True, exist_ok=True)
    shutil.copy(transform, plugin / _JAR)
    log4j = home / "log4j2.properties"
    write_log4j(log4j, root="WARN", levels=_LEVELS)
    config = home / "worker.properties"
    properties = worker_properties(ports, home / "plugins")
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
    jars = part_folder("kafka")
    worker = java_argv(java, *_JVM, log4j=log4j, temporary=home / "tmp", classpath=jars, main=_MAIN)
    rest = f"http://{HOST}:{ports.connect_rest}"
    return ProcessSpec(
        name=name,
        argv=[sys.executable, "-m", "sandbox.connect", ports.bootstrap, worker_group(ports.name), *worker, str(config)],
        cwd=home,
        # Answered only by a worker that is a member of its group: REST is up before.
        ready=HttpProbe(url=f"{rest}/connectors"),
        grace_s=8.0,
        endpoint=rest,
    )


async def build_transform(say: Callable[[str], None]) -> Path:
    """The transform's jar, built by Maven once for its sources and kept in the cache.

    Raises:
        InvalidInput: Maven is not installed.
        OperationFailed: the build failed.

    """
    sources = [_SOURCES / "pom.xml", *sorted(path for path in (_SOURCES / "src/main").rglob("*") if path.is_file())]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    jar = cache_folder() / f"mirror-{digest}" / _JAR
    if await asyncio.to_thread(jar.exists):
        return jar
    maven = shutil.which("mvn")
    if maven is None:
        raise InvalidInput("Maven is not installed", hint="install Maven 3.8 or newer (apt install maven)")
    say("mirror: building the transform (Maven)")
    await asyncio.to_thread(jar.parent.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jar.parent) as scratch:
        await asyncio.to_thread(shutil.copytree, _SOURCES / "src/main", Path(scratch) / "src/main")
        await asyncio.to_thread(shutil.copy, _SOURCES / "pom.xml", scratch)
        await run("building the transform", maven, "-q", "-B", "-f", f"{scratch}/pom.xml", "package", "-DskipTests")
        (Path(scratch) / "target" / _JAR).replace(jar)
    return jar


async def allow_worker(ports: RegionPorts) -> None:
    """Give the worker's principal what is its own, and nobody else but super users: its topics, group, transactions.

    All else the broker allows to everyone who has logged in. Safe to repeat.
    """
    group = worker_group(ports.name)
    own = (
        (ResourceType.TOPIC, f"{group}-", ResourcePatternType.PREFIXED),
        (ResourceType.GROUP, group, ResourcePatternType.LITERAL),
        (ResourceType.TRANSACTIONAL_ID, f"{group}-", ResourcePatternType.PREFIXED),
    )
    bindings = [
        AclBinding(kind, name, pattern, f"User:{PRINCIPAL}", "*", AclOperation.ALL, AclPermissionType.ALLOW)
        for kind, name, pattern in own
    ]
    admin = AdminClient({**kafka_config(ports.bootstrap), "log_level": 2}, logger=None)
    futures = admin.create_acls(bindings, request_timeout=_ACL_S)
    await asyncio.gather(*(asyncio.wrap_future(future) for future in futures.values()))


async def end_left_open(bootstrap: str, group: str) -> list[str]:
    """Abort what tasks of a dead worker left open; their transactional ids.

    The new worker reads its offsets up to an end that counts them in, and would wait until they time out.
    """
    login = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "admin", kafka_password("admin"))
    ended: list[str] = []
    async with Kafka(bootstrap, login, _KAFKA_S) as kafka:
        for found in await kafka.list_transactions(f"{group}-"):
            if found.state is TxnState.ONGOING:
                await kafka.end_transaction(
                    found.transactional_id, found.producer_id, found.producer_epoch, commit=False
                )
                ended.append(found.transactional_id)
    return ended


def become(bootstrap: str, group: str, command: list[str]) -> NoReturn:
    """End what is open, then be the command. Ends with 1 if Kafka does not answer: it is started again."""
    try:
        ended = asyncio.run(end_left_open(bootstrap, group))
    except TidegateError as error:
        sys.exit(error.message)
    for transactional_id in ended:
        sys.stderr.write(f"ended the transaction that {transactional_id} had left open\n")
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    become(sys.argv[1], sys.argv[2], sys.argv[3:])
