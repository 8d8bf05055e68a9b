"""A mirror link with everything that is needed to ask and to act: its two clusters and its Connect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tidegate import names
from tidegate.clients.connect import ConnectClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaClient, KafkaSecurity, TopicPartition
from tidegate.errors import InvalidInput
from tidegate.mirror.configuration import connector_config
from tidegate.model.fleet import Fleet, KafkaAccess, Mirror
from tidegate.model.nearest import did_you_mean


@dataclass(frozen=True)
class MirrorLink:
    """One direction between two regions. The clients are the caller's to close (``open_link`` does)."""

    name: str
    source: str
    target: str
    topics: tuple[str, ...]
    group: str
    """``group.id`` of the Connect workers."""
    config: Mapping[str, str]
    """The connector's configuration. Holds secrets: it goes to Connect and nowhere else."""
    source_kafka: KafkaClient
    target_kafka: KafkaClient
    connect: ConnectClient
    principal: str | None = None
    """Whom its tasks are for Kafka, without ``User:``."""
    login: KafkaSecurity | None = None
    """Its principal's log-in to the target's Kafka, to see what it is refused; None: not known."""
    returns: Mapping[str, ConnectClient] = field(default_factory=dict)
    """Links of the other direction that share topics, with their Connect: what they brought is dropped here."""

    @property
    def connector(self) -> str:
        """The connector's name."""
        return names.mirror_connector(self.name)

    @property
    def task_prefix(self) -> str:
        """What the transactional ids of its tasks begin with."""
        return names.connect_task_prefix(self.group, self.connector)

    @property
    def syncs_topic(self) -> str:
        """Where MirrorMaker writes its offset syncs (on the target)."""
        return syncs_topic(self.source)


def syncs_topic(source: str) -> str:
    """MirrorMaker's topic of offset syncs, where it is kept on the target: it carries the source's alias."""
    return f"mm2-offset-syncs.{source}.internal"


def pick(fleet: Fleet, name: str | None) -> str:
    """The link that is meant; None: the only one. Raises InvalidInput with the names that there are."""
    if name is not None:
        fleet.mirror(name)
        return name
    if len(fleet.mirrors) == 1:
        return next(iter(fleet.mirrors))
    known = ", ".join(fleet.mirrors)
    if not known:
        raise InvalidInput("no mirror link in the fleet file", hint="describe one under `mirrors:`")
    raise InvalidInput(f"which mirror link? there are {len(fleet.mirrors)}", hint=f"name one of: {known}")


def returning(fleet: Fleet, name: str) -> tuple[str, ...]:
    """The links that mirror topics of this one the other way."""
    own = fleet.mirror(name)
    return tuple(
        other
        for other, mirror in fleet.mirrors.items()
        if (mirror.source, mirror.target) == (own.target, own.source) and set(mirror.topics) & set(own.topics)
    )


@asynccontextmanager
async def open_link(
    fleet: Fleet, name: str, timeout_s: float = 5.0, *, source_timeout_s: float | None = None
) -> AsyncIterator[MirrorLink]:
    """The link with its clients; nothing is asked yet. ``source_timeout_s``: less patience with a source that is gone.
    Raises InvalidInput for a name or a secret that is missing.
    """
    mirror = fleet.mirror(name)
    async with AsyncExitStack() as stack:
        source = Kafka(*_access(fleet.region(mirror.source).kafka), source_timeout_s or timeout_s)
        stack.push_async_callback(source.aclose)
        target = Kafka(*_access(fleet.region(mirror.target).kafka), timeout_s)
        stack.push_async_callback(target.aclose)
        connect = await stack.enter_async_context(ConnectClient(mirror.connect.rest, timeout_s=max(10.0, timeout_s)))
        yield MirrorLink(
            name=name,
            source=mirror.source,
            target=mirror.target,
            topics=mirror.topics,
            group=mirror.connect.group,
            config=connector_config(fleet, name),
            source_kafka=source,
            target_kafka=target,
            connect=connect,
            principal=mirror.principal,
            login=_login(fleet, mirror),
            returns={
                other: await stack.enter_async_context(ConnectClient(fleet.mirror(other).connect.rest))
                for other in returning(fleet, name)
            },
        )


def access_of(fleet: Fleet, region: str) -> tuple[str, KafkaSecurity | None]:
    """Where a region's Kafka is, and how to log in. Raises InvalidInput for a secret that is missing."""
    return _access(fleet.region(region).kafka)


@asynccontextmanager
async def open_kafka(fleet: Fleet, region: str, timeout_s: float) -> AsyncIterator[Kafka]:
    """A region's Kafka, with a patience of its own. Raises InvalidInput for a secret that is missing."""
    client = Kafka(*_access(fleet.region(region).kafka), timeout_s)
    try:
        yield client
    finally:
        await client.aclose()


def _login(fleet: Fleet, mirror: Mirror) -> KafkaSecurity | None:
    security = fleet.region(mirror.target).kafka.security
    if security.mechanism is None or mirror.principal is None or mirror.principal_password is None:
        return None
    return KafkaSecurity(security.protocol, security.mechanism, mirror.principal, mirror.principal_password.resolve())


def _access(kafka: KafkaAccess) -> tuple[str, KafkaSecurity | None]:
    security = kafka.security
    if security.protocol == "PLAINTEXT" or security.username is None or security.password is None:
        return kafka.bootstrap, None
    login = KafkaSecurity(
        security.protocol, security.mechanism or "PLAIN", security.username, security.password.resolve()
    )
    return kafka.bootstrap, login


def parse_partition(text: str) -> TopicPartition:
    """From ``topic/partition``, as records have it. Raises InvalidInput."""
    topic, slash, number = text.rpartition("/")
    if not (topic and slash and number.isdecimal()):
        raise InvalidInput(f"not a partition: {text!r}; expected TOPIC/PARTITION")
    return TopicPartition(topic, int(number))


def partition_text(tp: TopicPartition) -> str:
    """``topic/partition``."""
    return f"{tp.topic}/{tp.partition}"


def check_mirrored(link: MirrorLink, tp: TopicPartition) -> None:
    """Raise InvalidInput unless the link mirrors the topic."""
    if tp.topic not in link.topics:
        raise InvalidInput(
            f"mirror link {link.name} does not mirror topic {tp.topic}{did_you_mean(tp.topic, link.topics)}",
            hint=f"it mirrors: {', '.join(link.topics)}",
        )
