"""Where everything of a sandbox listens, and with which credentials: a pure function of the base port.

A sandbox owns the 300 ports from its base port on. The first hundred belong to control, the second to ``east``, the
third to ``west``. Helper ports (controller, RPC, gRPC) are fixed as well: SeaweedFS would otherwise put its gRPC ports
10,000 higher, where the kernel hands out ports of outgoing connections. (Only three inner ports of the Temporal server
cannot be set: it takes free ones.)

    base+0    Temporal gRPC        +1 its UI      +2 its HTTP API    +3 its metrics      +4 receiver of notices
    base+10   control S3           +11..+17 helpers of SeaweedFS
    base+100  east Kafka           +101 its controller               +102 its second listener (see below)
    base+110  east S3              +111..+117 helpers of SeaweedFS
    base+120  east Flink REST      +121 RPC       +122 blobs         +124 metric queries
    base+130  what the second Kafka listener advertises: nothing listens there unless a fault proxy is put there
    base+132  east Kafka Connect's REST (only with mirrors)
    base+134  east ZooKeeper (only with --ha)
    base+140  TaskManager 1 (RPC, data, metric queries), TaskManager 2 at +144, and so on
    base+200  west, the same

A Kafka client that bootstraps at the second listener's real port is told to go on at base+130: so a test that starts a
proxy at base+130 towards base+102 has the client's whole traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from tidegate.errors import InvalidInput

HOST = "127.0.0.1"
DEFAULT_BASE_PORT = 27000
PORTS = 300
REGIONS = ("east", "west")
MAX_TASKMANAGERS = 12
SLOTS_PER_TASKMANAGER = 2

S3_ACCESS_KEY = "tidegate"
S3_SECRET_KEY = "tidegate-sandbox"  # noqa: S105  # fixed, for servers that listen on loopback only
S3_REGION = "us-east-1"
CONTROL_BUCKET = "tidegate"
NOTICE_TARGET = "sandbox"
NOTICE_SECRET = "tidegate-sandbox"  # noqa: S105  # the same: it signs what is sent on loopback
KAFKA_USERS = ("admin", "ledger", "mirror", "producer", "consumer")
SEARCH_ATTRIBUTES = (
    "TidegateRunbook",
    "TidegateDeployment",
    "TidegateRegion",
    "TidegateCell",
    "TidegatePhase",
    "TidegateIncident",
)
"""Registered on the Temporal server, all of type Keyword: a workflow that sets one that is unknown is stuck."""

# Above this Linux hands out ports for outgoing connections (net.ipv4.ip_local_port_range): one of them may sit on ours.
_EPHEMERAL_FROM = 32768
_LOWEST = 1024


def kafka_password(user: str) -> str:
    """The fixed password of a Kafka principal of the sandbox.

    Raises:
        InvalidInput: there is no such principal.

    """
    if user not in KAFKA_USERS:
        raise InvalidInput(f"no Kafka principal {user!r} in the sandbox", hint=f"there are {', '.join(KAFKA_USERS)}")
    return f"{user}-secret"


@dataclass(frozen=True)
class S3Ports:
    """The ports of one SeaweedFS process: S3 and what it needs beside it."""

    s3: int
    master: int
    volume: int
    filer: int
    s3_grpc: int
    master_grpc: int
    volume_grpc: int
    filer_grpc: int

    @classmethod
    def at(cls, first: int) -> S3Ports:
        """Eight ports from ``first`` on."""
        return cls(*range(first, first + 8))

    @property
    def endpoint(self) -> str:
        """URL for S3 clients (path style)."""
        return f"http://{HOST}:{self.s3}"


@dataclass(frozen=True)
class TaskManagerPorts:
    """The ports of one TaskManager."""

    rpc: int
    data: int
    metrics: int


@dataclass(frozen=True)
class RegionPorts:
    """The ports of one region."""

    name: str
    kafka: int
    kafka_controller: int
    kafka_proxied: int
    kafka_proxied_advertised: int
    flink_rest: int
    flink_rpc: int
    flink_blob: int
    flink_metrics: int
    connect_rest: int
    zookeeper: int
    s3: S3Ports
    taskmanagers_first: int

    @classmethod
    def at(cls, name: str, first: int) -> RegionPorts:
        """The region ``name`` in the hundred ports from ``first`` on."""
        return cls(
            name=name,
            kafka=first,
            kafka_controller=first + 1,
            kafka_proxied=first + 2,
            s3=S3Ports.at(first + 10),
            flink_rest=first + 20,
            flink_rpc=first + 21,
            flink_blob=first + 22,
            flink_metrics=first + 24,
            kafka_proxied_advertised=first + 30,
            connect_rest=first + 32,
            zookeeper=first + 34,
            taskmanagers_first=first + 40,
        )

    def taskmanager(self, number: int) -> TaskManagerPorts:
        """Ports of TaskManager ``number``, counted from 1.

        Raises:
            InvalidInput: there is no room for so many.

        """
        if not 1 <= number <= MAX_TASKMANAGERS:
            raise InvalidInput(f"taskmanager {number}: expected 1 to {MAX_TASKMANAGERS}")
        first = self.taskmanagers_first + 4 * (number - 1)
        return TaskManagerPorts(rpc=first, data=first + 1, metrics=first + 2)

    @property
    def bucket(self) -> str:
        """The bucket of the region's S3: named as the region."""
        return self.name

    @property
    def flink_url(self) -> str:
        """Flink's REST API."""
        return f"http://{HOST}:{self.flink_rest}"

    @property
    def connect_url(self) -> str:
        """Kafka Connect's REST API."""
        return f"http://{HOST}:{self.connect_rest}"

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap server."""
        return f"{HOST}:{self.kafka}"


@dataclass(frozen=True)
class Layout:
    """All ports of a sandbox."""

    base_port: int

    def __post_init__(self) -> None:
        if not _LOWEST <= self.base_port <= _EPHEMERAL_FROM - PORTS:
            raise InvalidInput(
                f"base port {self.base_port}: expected {_LOWEST} to {_EPHEMERAL_FROM - PORTS}",
                hint=f"a sandbox takes the {PORTS} ports from its base port on, below those of outgoing connections",
            )

    @property
    def temporal(self) -> int:
        """Temporal's gRPC port."""
        return self.base_port

    @property
    def temporal_ui(self) -> int:
        """Temporal's web page."""
        return self.base_port + 1

    @property
    def temporal_http(self) -> int:
        """Temporal's HTTP API."""
        return self.base_port + 2

    @property
    def temporal_metrics(self) -> int:
        """Temporal's metrics page."""
        return self.base_port + 3

    @property
    def notices(self) -> int:
        """The receiver of notices."""
        return self.base_port + 4

    @property
    def control_s3(self) -> S3Ports:
        """The S3 of the control bucket."""
        return S3Ports.at(self.base_port + 10)

    def region(self, name: str) -> RegionPorts:
        """The ports of a region.

        Raises:
            InvalidInput: there is no such region.

        """
        if name not in REGIONS:
            raise InvalidInput(f"no region {name!r} in the sandbox", hint=f"there are {', '.join(REGIONS)}")
        return RegionPorts.at(name, self.base_port + 100 * (REGIONS.index(name) + 1))

    def control_ports(self) -> Iterator[int]:
        """Every port on which a part of control listens."""
        yield from (self.temporal, self.temporal_ui, self.temporal_http, self.temporal_metrics, self.notices)
        yield from _values(self.control_s3)

    def region_ports(self, name: str, taskmanagers: int) -> Iterator[int]:
        """Every port on which a part of the region listens."""
        region = self.region(name)
        yield from (region.kafka, region.kafka_controller, region.kafka_proxied)
        yield from (region.connect_rest, region.zookeeper)
        yield from (region.flink_rest, region.flink_rpc, region.flink_blob, region.flink_metrics)
        yield from _values(region.s3)
        for number in range(1, taskmanagers + 1):
            yield from _values(region.taskmanager(number))


def _values(ports: S3Ports | TaskManagerPorts) -> Iterator[int]:
    return (getattr(ports, field.name) for field in fields(ports))
