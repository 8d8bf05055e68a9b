"""The fleet file's model: regions, cells, deployments, artifacts, objectives. Desired state, as a person wrote it.

Read a file with ``tidegate.model.fleetfile.load_fleet``: it adds file, line and column to every mistake. What must hold
between the parts is checked by ``tidegate.model.fleetcheck``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidegate.errors import InvalidInput
from tidegate.model import fleetcheck, placeholders
from tidegate.model.fleetfields import (
    Bootstrap,
    Bucket,
    Days,
    HomeCell,
    JarLocation,
    JavaClass,
    Name,
    S3Location,
    Seconds,
    Text,
    Topic,
    Uid,
    Url,
)
from tidegate.model.fleetnotices import NoticeTarget
from tidegate.model.fleetpart import Announce
from tidegate.model.fleetpart import Part as _Part
from tidegate.model.nearest import did_you_mean
from tidegate.model.secret import Secret

__all__ = [
    "Announce",
    "Artifact",
    "Audit",
    "Cell",
    "CellRef",
    "ConnectAccess",
    "Consumer",
    "Control",
    "Deployment",
    "Fleet",
    "FlinkAccess",
    "KafkaAccess",
    "KafkaSecurity",
    "Mirror",
    "NoticeTarget",
    "Objectives",
    "Prove",
    "RecordId",
    "Region",
    "S3Access",
    "Secret",
    "Sink",
    "Source",
    "render_args",
    "render_audit",
]


class S3Access(_Part):
    """How to reach one S3 server."""

    endpoint: Url = Field(description="the S3 server's URL")
    access_key: Text = Field(description="the access key's id")
    secret_key: Secret = Field(description="a secret: {env: NAME}, {file: PATH} or {literal: VALUE}")
    region_name: Text = Field(default="us-east-1", description="the region's name in S3 signatures")


class KafkaSecurity(_Part):
    """How Tidegate itself (not the jobs) logs in to a Kafka cluster. TLS trusts the system's authorities."""

    protocol: Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"] = Field(description="security.protocol")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="sasl.mechanism"
    )
    username: Text | None = Field(default=None, description="the SASL user name")
    password: Secret | None = Field(default=None, description="a secret: {env: NAME}, {file: PATH} or {literal: VALUE}")


class KafkaAccess(_Part):
    """How to reach one Kafka cluster. Without ``security``: plain text, nobody logs in."""

    bootstrap: Bootstrap = Field(description="HOST:PORT, several with commas")
    security: KafkaSecurity = Field(default=KafkaSecurity(protocol="PLAINTEXT"), description="how to log in")


class FlinkAccess(_Part):
    """How to reach one Flink cluster. ``session``: a session cluster, jars by REST."""

    driver: Literal["session"] = Field(description="the deployment driver")
    rest: Url = Field(description="the URL of the JobManager's REST API")


class Cell(_Part):
    """One fault-isolated part of a region, with a Flink cluster of its own."""

    flink: FlinkAccess = Field(description="{driver: session, rest: URL}")
    savepoints: S3Location = Field(description="where stops write their savepoints, s3://BUCKET/KEY")
    checkpoints: S3Location = Field(description="where Flink keeps its checkpoints, s3://BUCKET/KEY")


class Region(_Part):
    """A failure domain: its Kafka, its S3, its cells."""

    kafka: KafkaAccess = Field(description="{bootstrap: …, security: …}")
    s3: S3Access = Field(description="{endpoint: …, access_key: …, secret_key: …}")
    cells: dict[Name, Cell] = Field(min_length=1, description="cells by name")


class Control(_Part):
    """The registry's bucket, outside the regions that it protects."""

    s3: S3Access = Field(description="{endpoint: …, access_key: …, secret_key: …}")
    bucket: Bucket = Field(description="the control bucket's name")


class ConnectAccess(_Part):
    """The Kafka Connect cluster that runs a mirror: beside the target Kafka, exactly-once source support enabled."""

    rest: Url = Field(description="the URL of its REST API")
    group: Text = Field(description="its workers' group.id: transactional ids of its tasks begin with it")


class Mirror(_Part):
    """One direction of a mirror between two regions. Topics keep their names."""

    source: Name = Field(description="the region that is mirrored")
    target: Name = Field(description="the region that is mirrored to")
    connect: ConnectAccess = Field(description="{rest: URL, group: …}, beside the target's Kafka")
    topics: tuple[Topic, ...] = Field(min_length=1, description="the topics that it mirrors")
    principal: Text | None = Field(default=None, description="the mirror's Kafka principal, without 'User:'")
    principal_password: Secret | None = Field(
        default=None, description="a secret: {env: NAME}, {file: PATH} or {literal: VALUE}"
    )
    tasks: int = Field(default=1, ge=1, description="tasks at most")
    transaction_timeout_ms: int = Field(
        default=10_000, ge=1000, description="how long a dead task's transaction may hold readers back, ms"
    )


class Source(_Part):
    """One Kafka source of the job, by its operator's uid."""

    uid: Uid = Field(description="the operator's uid")
    topics: tuple[Topic, ...] = Field(min_length=1, description="the topics that it reads")
    group: Text = Field(description="its consumer group")


class Sink(_Part):
    """One exactly-once Kafka sink of the job, by its operator's uid."""

    uid: Uid = Field(description="the operator's uid")
    topics: tuple[Topic, ...] = Field(min_length=1, description="the topics that it writes")


class Artifact(_Part):
    """One built version of the job. ``readable_by``: artifacts that can read the state this one writes (X27)."""

    jar: JarLocation = Field(description="the jar, s3://BUCKET/KEY.jar, on the S3 of the home region")
    readable_by: tuple[Name, ...] = Field(default=(), description="artifacts that can read this one's state")


class Audit(_Part):
    """The command that gives the verdict on values: JSON out, exit status by verdict."""

    command: tuple[str, ...] = Field(min_length=1, description="the command and its arguments, placeholders allowed")
    across: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="the command once the topics have been turned between regions: it goes by their lineage",
    )
    timeout_s: Seconds = Field(default=120.0, description="seconds")


class Consumer(_Part):
    """A consumer group that follows the deployment's topics from region to region (X25)."""

    group: Text = Field(description="its consumer group")
    topics: tuple[Topic, ...] = Field(
        min_length=1, description="the topics that it reads: outputs of the deployment, or inputs"
    )


class RecordId(_Part):
    """Where a record of the input carries its id: a header, or a column of a value that is text (X23)."""

    header: Text | None = Field(default=None, description="name of the header that holds the id")
    column: int | None = Field(default=None, ge=0, description="column of the value that holds the id, from 0")
    separator: Text = Field(default=",", description="what separates the columns of the value")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.header is None) == (self.column is None):
            raise PydanticCustomError("fleet", "expected header or column, and not both")
        return self


class Objectives(_Part):
    """What is promised, in seconds, and how often it is drilled; None: nothing is."""

    rto_s: Seconds | None = Field(default=None, description="seconds")
    rpo_s: Seconds | None = Field(default=None, description="seconds")
    gap_s: Seconds | None = Field(default=None, description="seconds")
    drill_days: Days | None = Field(default=None, description="days within which it must have been drilled")


class Prove(_Part):
    """What a job must show after a start, and how long each wait may last."""

    checkpoints: int = Field(default=3, ge=1, description="completed checkpoints after the first")
    max_restarts: int = Field(default=2, ge=0, description="restarts at most")
    lag_bound: int = Field(default=5000, ge=0, description="records that the lag may grow between start and end")
    no_progress_s: Seconds = Field(default=10.0, description="seconds without progress that fail the proof")
    start_timeout_s: Seconds = Field(default=120.0, description="seconds from submit until every task runs")
    stop_timeout_s: Seconds = Field(default=300.0, description="seconds from the stop's request until COMPLETED")


class Deployment(_Part):
    """One Flink job with a lasting identity."""

    home: HomeCell = Field(description="REGION/CELL")
    standby: Name | None = Field(default=None, description="the region to fail over to")
    tier: int = Field(default=1, ge=0, description="0 matters the most")
    parallelism: int = Field(ge=1, description="subtasks of the job")
    entry_class: JavaClass = Field(description="the class with main()")
    principal: Text = Field(description="the job's Kafka principal, without 'User:'")
    principal_password: Secret | None = Field(
        default=None, description="a secret: {env: NAME}, {file: PATH} or {literal: VALUE}"
    )
    args: tuple[str, ...] = Field(default=(), description="the job's arguments, placeholders allowed")
    sources: tuple[Source, ...] = Field(description="a list of {uid, topics, group}")
    sinks: tuple[Sink, ...] = Field(description="a list of {uid, topics}")
    producers: tuple[Text, ...] = Field(
        default=(), description="Kafka principals that write its input topics, without 'User:'; closed at a switch"
    )
    consumers: tuple[Consumer, ...] = Field(default=(), description="a list of {group, topics}, downstream")
    record_id: RecordId | None = Field(
        default=None, description="where an input record carries its id: {header: NAME} or {column: N}"
    )
    tail: Literal["feed", "hold", "by-hand"] = Field(
        default="by-hand", description="what becomes of input that never crossed: feed, hold or by-hand"
    )
    artifacts: dict[Name, Artifact] = Field(min_length=1, description="artifacts by name")
    stale_state: Literal["refuse", "keep"] = Field(default="refuse", description="refuse or keep")
    audit: Audit | None = Field(default=None, description="{command: […], timeout_s: …}")
    objectives: Objectives = Field(default=Objectives(), description="{rto_s, rpo_s, gap_s, drill_days}")
    prove: Prove = Field(default=Prove(), description="what a job must show after a start")
    transaction_timeout_ms: int = Field(default=600_000, ge=1000, description="the sinks' transaction timeout, ms")
    approval: Literal["none", "required"] = Field(default="none", description="none or required")

    @property
    def home_ref(self) -> CellRef:
        """The home cell, parsed."""
        return CellRef.parse(self.home)

    def sink(self, uid: str) -> Sink:
        """The sink of that uid. Raises InvalidInput."""
        return _find({sink.uid: sink for sink in self.sinks}, uid, "sink")


@dataclass(frozen=True, slots=True, order=True)
class CellRef:
    """A cell by region and name; as text ``east/cell-1``."""

    region: str
    cell: str

    @classmethod
    def parse(cls, text: str) -> CellRef:
        """From ``REGION/CELL``. Raises InvalidInput."""
        region, slash, cell = text.partition("/")
        if not (region and slash and cell) or "/" in cell:
            msg = f"not a cell: {text!r}; expected REGION/CELL"
            raise InvalidInput(msg)
        return cls(region, cell)

    def __str__(self) -> str:
        return f"{self.region}/{self.cell}"


class Fleet(_Part):
    """All of it."""

    version: Literal[1] = Field(description="1")
    control: Control = Field(description="{s3: …, bucket: …}")
    regions: dict[Name, Region] = Field(min_length=1, description="regions by name")
    mirrors: dict[Name, Mirror] = Field(default={}, description="mirror links by name")
    deployments: dict[Name, Deployment] = Field(default={}, description="deployments by name")
    announce: tuple[Announce, ...] = Field(default=(), description="a list of {url, secret}, told when a topic turns")
    notices: tuple[NoticeTarget, ...] = Field(default=(), description="a list of {name, kind, url, …}, told of events")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = fleetcheck.problems(self.model_dump())
        if problems:
            raise ValidationError.from_exception_data(
                "Fleet",
                [
                    InitErrorDetails(
                        type=PydanticCustomError("fleet", "{what}", {"what": problem.what}),
                        loc=problem.path,
                        input=None,
                    )
                    for problem in problems
                ],
            )
        self._tell_secrets_their_fields()
        return self

    def _tell_secrets_their_fields(self) -> None:
        self.control.s3.secret_key.is_field("control.s3.secret_key")
        for name, region in self.regions.items():
            region.s3.secret_key.is_field(f"regions.{name}.s3.secret_key")
            if region.kafka.security.password is not None:
                region.kafka.security.password.is_field(f"regions.{name}.kafka.security.password")
        for name, mirror in self.mirrors.items():
            if mirror.principal_password is not None:
                mirror.principal_password.is_field(f"mirrors.{name}.principal_password")
        for number, receiver in enumerate(self.announce):
            receiver.secret.is_field(f"announce[{number}].secret")
        for target in self.notices:
            for field, secret in (
                ("url", target.url),
                ("secret", target.secret),
                ("routing_key", target.routing_key),
            ):
                if secret is not None:
                    secret.is_field(f"notices.{target.name}.{field}")
        for name, deployment in self.deployments.items():
            if deployment.principal_password is not None:
                deployment.principal_password.is_field(f"deployments.{name}.principal_password")

    def deployment(self, name: str) -> Deployment:
        """The deployment of that name. Raises InvalidInput with the names that there are."""
        return _find(self.deployments, name, "deployment")

    def mirror(self, name: str) -> Mirror:
        """The mirror link of that name. Raises InvalidInput with the names that there are."""
        return _find(self.mirrors, name, "mirror link")

    def region(self, name: str) -> Region:
        """The region of that name. Raises InvalidInput with the names that there are."""
        return _find(self.regions, name, "region")

    def cell(self, ref: CellRef | str) -> Cell:
        """The cell, by ``CellRef`` or ``"east/cell-1"``. Raises InvalidInput with the names that there are."""
        at = CellRef.parse(ref) if isinstance(ref, str) else ref
        return _find(self.region(at.region).cells, at.cell, f"cell in {at.region}")

    def artifact(self, deployment: str, name: str) -> Artifact:
        """An artifact of a deployment. Raises InvalidInput with the names that there are."""
        return _find(self.deployment(deployment).artifacts, name, f"artifact of {deployment}")

    def home_of(self, deployment: str) -> tuple[CellRef, Region, Cell]:
        """Where a deployment lives: reference, region, cell. Raises InvalidInput."""
        ref = self.deployment(deployment).home_ref
        return ref, self.region(ref.region), self.cell(ref)

    def artifact_store(self, deployment: str) -> S3Access:
        """Where a deployment's jars are: the S3 of its home region. Raises InvalidInput."""
        return self.home_of(deployment)[1].s3

    def readers_of(self, deployment: str, artifact: str) -> frozenset[str]:
        """The artifacts that can read the state that ``artifact`` writes: itself and those declared (X27)."""
        return frozenset({artifact, *self.artifact(deployment, artifact).readable_by})


T = TypeVar("T")


def _find(among: Mapping[str, T], name: str, kind: str) -> T:
    found = among.get(name)
    if found is None:
        what = f"no such {kind}: {name}{did_you_mean(name, among)}"
        names = ", ".join(among) if among else "none"
        raise InvalidInput(what, hint=f"known: {names}", details={"known": list(among)})
    return found


def render_args(fleet: Fleet, deployment: str, region: str, cell: str, epoch: int) -> list[str]:
    """The job's arguments for one start in a cell.

    The result may hold secrets: it goes to Flink and nowhere else (no record, no history, no log).
    Raises InvalidInput for an unknown name or a secret that is not there.
    """
    templates = fleet.deployment(deployment).args
    return _render(fleet, templates, deployment, CellRef(region, cell), epoch)


def render_audit(
    fleet: Fleet, deployment: str, region: str, cell: str, epoch: int, *, turned: bool = False
) -> list[str] | None:
    """The audit's command for what runs in a cell, or None where the fleet file names no audit. As ``render_args``.

    ``turned``: its topics have been turned between regions.
    """
    audit = fleet.deployment(deployment).audit
    if audit is None:
        return None
    command = audit.across if turned and audit.across is not None else audit.command
    return _render(fleet, command, deployment, CellRef(region, cell), epoch)


def _render(fleet: Fleet, templates: Iterable[str], deployment: str, at: CellRef, epoch: int) -> list[str]:
    fleet.cell(at)
    of = fleet.deployment(deployment)
    kafka = fleet.region(at.region).kafka
    values = placeholders.Values(
        deployment=deployment,
        region=at.region,
        cell=at.cell,
        epoch=epoch,
        principal=of.principal,
        transaction_timeout_ms=of.transaction_timeout_ms,
        kafka_bootstrap=kafka.bootstrap,
        kafka_username=kafka.security.username,
        secrets={"principal_password": of.principal_password, "kafka.password": kafka.security.password},
    )
    return [placeholders.render(template, values) for template in templates]
