"""The ledger job on real parts, under a little traffic; and what the parts themselves say of its snapshots.

What is asked of Flink's REST, the broker, the output and the S3 listing here is what the reader's answers are compared
with: nothing in this module reads a snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

with warnings.catch_warnings():  # kafka-python reads its schemas by a deprecated function while it is imported
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.admin import KafkaAdminClient

from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import RunRequest, SavepointFormat
from tidegate.clients.s3 import S3Store

T = TypeVar("T")

JAR = Path(__file__).parents[3] / "ledger" / "target" / "ledger-v1.jar"
MAIN = "dev.tidegate.ledger.LedgerJob"
SINK_UID, SOURCE_UID = "balances-sink", "payments-source"
PARTITIONS = 4
PARALLELISM = 2
ACCOUNTS = 20
PATIENCE_S = 180.0
"""For any one wait: a fresh cluster on a machine that is busy with others takes its time."""


async def until(what: str, condition: Callable[[], Awaitable[T]], timeout_s: float = PATIENCE_S) -> T:
    """Ask again until the answer is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s; last answer {answer!r}")
        await asyncio.sleep(0.1)


@dataclass
class Places:
    """A region's parts."""

    kafka: str
    flink: str
    bucket: str
    password: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Places:
        """East, by the variables that ``tidegate sandbox env`` prints."""
        names = ("TIDEGATE_EAST_KAFKA", "TIDEGATE_EAST_FLINK", "TIDEGATE_EAST_BUCKET", "TIDEGATE_KAFKA_PASSWORD_ADMIN")
        return cls(*(environment[name] for name in names))

    @property
    def client(self) -> dict[str, Any]:
        """confluent-kafka's settings."""
        return {
            "bootstrap.servers": self.kafka,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "admin",
            "sasl.password": self.password,
        }

    def admin(self) -> KafkaAdminClient:
        """kafka-python's admin: it can describe transactions."""
        return KafkaAdminClient(
            bootstrap_servers=self.kafka,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username="admin",
            sasl_plain_password=self.password,
        )


@dataclass
class Ledger:
    """One set of topics, and jobs on it."""

    places: Places
    store: S3Store
    flink: FlinkClient
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    sent: int = 0
    jobs: list[str] = field(default_factory=list)

    @property
    def payments(self) -> str:
        return f"payments-{self.tag}"

    @property
    def balances(self) -> str:
        return f"balances-{self.tag}"

    @property
    def group(self) -> str:
        return f"ledger-{self.tag}"

    @property
    def checkpoints(self) -> str:
        return f"s3://{self.places.bucket}/checkpoints"

    @property
    def savepoints(self) -> str:
        return f"s3://{self.places.bucket}/savepoints/{self.tag}"

    def prefix(self, epoch: int) -> str:
        return f"tg.ledger-{self.tag}.{SINK_UID}.e{epoch:08d}."

    async def create_topics(self) -> None:
        def create() -> None:
            with contextlib.closing(self.places.admin()) as admin:
                admin.create_topics(
                    {
                        t: {"num_partitions": PARTITIONS, "replication_factor": 1}
                        for t in (self.payments, self.balances)
                    },
                    wait_for_metadata=True,
                )

        await asyncio.to_thread(create)

    @contextlib.asynccontextmanager
    async def traffic(self, per_second: int = 200) -> AsyncIterator[None]:
        """Payments on every partition until the end of the block; all are acknowledged then."""
        producer = Producer({**self.places.client, "enable.idempotence": True, "linger.ms": 5})
        stop = asyncio.Event()
        failed: list[str] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(str(error))

        async def led() -> bool:
            topic = (await asyncio.to_thread(producer.list_topics, self.payments, 10)).topics[self.payments]
            return len(topic.partitions) == PARTITIONS and all(p.leader >= 0 for p in topic.partitions.values())

        # A record for a partition that this client does not know of yet is dropped, not held.
        await until("a leader for every partition", led)

        async def send() -> None:
            while not stop.is_set():
                for _ in range(max(per_second // 20, 1)):
                    account, sequence = f"a{self.sent % ACCOUNTS:05d}", self.sent // ACCOUNTS + 1
                    value = f"{account}:{sequence},{account},{sequence},100"
                    partition = self.sent % ACCOUNTS % PARTITIONS
                    producer.produce(self.payments, value, account, partition=partition, on_delivery=delivered)
                    self.sent += 1
                producer.poll(0)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)

        task = asyncio.create_task(send())
        try:
            yield
        finally:
            stop.set()
            await task
            assert await asyncio.to_thread(producer.flush, 60) == 0
            assert failed == []

    async def start(
        self, epoch: int, snapshot: str | None = None, config: dict[str, str] | None = None, group: str | None = None
    ) -> str:
        """Start v1; returns the job's id once all of its tasks run."""
        jaas = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="admin" password="{self.places.password}";'
        )
        kafka = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": jaas,
        }
        args = {
            "--bootstrap": self.places.kafka,
            "--input": self.payments,
            "--output": self.balances,
            "--group": group or self.group,
            "--transactional-prefix": self.prefix(epoch),
        }
        flat = [part for pair in args.items() for part in pair]
        flat += [part for key, value in kafka.items() for part in ("--kafka-property", f"{key}={value}")]
        jar = await self.flink.upload_jar(JAR, JAR.name)
        job_id = uuid.uuid4().hex
        self.jobs.append(job_id)
        request = RunRequest(
            job_id=job_id,
            entry_class=MAIN,
            args=flat,
            parallelism=PARALLELISM,
            savepoint_path=snapshot,
            flink_configuration=config or {},
        )
        outcome = await self.flink.run_jar(jar, request)
        assert outcome.kind.name == "ACCEPTED", outcome
        await self.flink.delete_jar(jar)

        async def running() -> bool:
            jobs = {job.id: job for job in await self.flink.jobs()}
            return jobs[job_id].state.name == "RUNNING"

        await until("the job to run", running)
        return job_id

    async def completed(self, job_id: str, count: int) -> None:
        """Wait for that many completed checkpoints."""

        async def enough() -> bool:
            stats = await self.flink.checkpoints(job_id)
            return stats is not None and stats.counts.completed >= count

        await until(f"{count} checkpoints", enough)

    async def stop(self, job_id: str, kind: SavepointFormat = SavepointFormat.NATIVE) -> str:
        """Stop with savepoint; returns its location."""
        trigger = uuid.uuid4().hex
        await self.flink.stop_with_savepoint(
            job_id, trigger_id=trigger, directory=self.savepoints, savepoint_format=kind
        )

        async def ended() -> str:
            status = await self.flink.savepoint_status(job_id, trigger)
            assert status.phase.name != "FAILED", status
            return status.location or ""

        return await until("the savepoint", ended)

    async def cancel(self, job_id: str) -> None:
        """Cancel and wait for the end."""
        await self.flink.cancel(job_id)

        async def ended() -> bool:
            state = await self.flink.job_state(job_id)
            return state is not None and state.name == "CANCELED"

        await until("the cancel", ended)

    async def end(self) -> None:
        """Cancel what still runs."""
        for job_id in self.jobs:
            state = await self.flink.job_state(job_id)
            if state is not None and not state.terminal:
                await self.cancel(job_id)

    async def broker_transactions(self, epoch: int) -> dict[str, dict[str, Any]]:
        """The broker's word on every transactional id of an epoch."""

        def ask() -> dict[str, dict[str, Any]]:
            with contextlib.closing(self.places.admin()) as admin:
                names = [name for name in _names(admin.list_transactions()) if name.startswith(self.prefix(epoch))]
                return {
                    name: {
                        "producer_id": found.producer_id,
                        "producer_epoch": found.producer_epoch,
                        "state": str(getattr(found.state, "value", found.state)),
                    }
                    for name, found in admin.describe_transactions(names).items()
                }

        return await asyncio.to_thread(ask)

    async def end_open_transactions(self, epoch: int) -> None:
        """Abort what a dead job left open, by taking its ids over: readers of committed output wait otherwise."""

        def take_over(name: str) -> None:
            producer = Producer({**self.places.client, "transactional.id": name})
            producer.init_transactions(30)

        for name, found in (await self.broker_transactions(epoch)).items():
            if found["state"] == "Ongoing":
                await asyncio.to_thread(take_over, name)

    async def effects(self) -> dict[int, int]:
        """How many payments of each input partition have a committed output now: the next offset, if each came once."""
        ids = await self._read(lambda ids: True, quiet_s=0.5)
        return dict(sorted(Counter(_account(name) % PARTITIONS for name in ids.elements()).items()))

    async def listing(self, *directories: str) -> dict[str, int]:
        """Every object below directories: size by uri."""
        found: dict[str, int] = {}
        for directory in directories:
            async for item in self.store.list(f"{directory.rstrip('/')}/"):
                found[str(item.uri)] = item.size
        return found

    async def checkpoint_json(self, job_id: str, checkpoint_id: int) -> dict[str, Any]:
        """Flink's REST on one checkpoint, as it is."""
        async with httpx.AsyncClient(base_url=self.places.flink, trust_env=False) as http:
            answer = await http.get(f"/jobs/{job_id}/checkpoints/details/{checkpoint_id}")
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

    async def output_ids(self) -> Counter[str]:
        """Ids of the committed output, once every payment has come out and nothing has come for 3 s after."""
        return await self._read(lambda ids: len(ids) >= self.sent, quiet_s=3)

    async def _read(
        self, enough: Callable[[Counter[str]], bool], quiet_s: float, timeout_s: float = PATIENCE_S
    ) -> Counter[str]:
        def read() -> Counter[str]:
            consumer = Consumer(
                {
                    **self.places.client,
                    "group.id": f"audit-{uuid.uuid4().hex}",
                    "isolation.level": "read_committed",
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                }
            )
            ids: Counter[str] = Counter()
            ended: set[int] = set()
            last, deadline = time.monotonic(), time.monotonic() + timeout_s
            try:
                consumer.assign([TopicPartition(self.balances, p, 0) for p in range(PARTITIONS)])
                while time.monotonic() < deadline:
                    message = consumer.poll(0.1)
                    if message is not None and message.error() is None:
                        ids[message.value().decode().split(",")[0]] += 1
                        last = time.monotonic()
                    elif message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    if len(ended) == PARTITIONS and enough(ids) and time.monotonic() - last > quiet_s:
                        return ids
            finally:
                consumer.close()
            raise TimeoutError(f"{len(ids)} of {self.sent} payments have come out within {timeout_s:g} s")

        return await asyncio.to_thread(read)

    def expected_ids(self) -> Counter[str]:
        """What must come out, once each."""
        return Counter(f"a{n % ACCOUNTS:05d}:{n // ACCOUNTS + 1}" for n in range(self.sent))


def _account(name: str) -> int:
    return int(name.partition(":")[0][1:])


def _names(listed: Any) -> list[str]:
    """kafka-python's list of transactions, whose form differs by version."""
    entries = [entry for group in listed.values() for entry in group] if isinstance(listed, dict) else listed
    return [entry.transactional_id for entry in entries]
