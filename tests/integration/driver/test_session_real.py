"""The session cluster driver on a real Flink: what the fake claims about Flink is seen here."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.layout import kafka_password
from tests.kit.eventually import eventually
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.driver.base import (
    ArtifactFile,
    BurnKind,
    CheckpointRef,
    JobView,
    Prepared,
    StartKind,
    StartOutcome,
    StartRequest,
    StopPhase,
    no_heartbeat,
)
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import InvalidInput, Refused, StartRejected, Unavailable
from tidegate.model.record import SlotMemory
from tidegate.names import derive_id

pytestmark = pytest.mark.sandbox

LEDGER = Path(__file__).parents[3] / "ledger"
ENTRY = "dev.tidegate.ledger.LedgerJob"
USER = "admin"
WAIT_S = 60.0
_RUN = count()


@dataclass
class Rig:
    driver: SessionClusterDriver
    ready: Prepared
    args: Callable[[str], list[str]]
    base: str
    tag: str

    def id(self, name: str) -> str:
        return derive_id("driver test", self.tag, name)

    async def start(self, name: str, snapshot: str | None = None, args: list[str] | None = None) -> StartOutcome:
        return await self.driver.start(
            StartRequest(
                job_id=self.id(name),
                prepared=self.ready,
                args=self.args(name) if args is None else args,
                parallelism=2,
                snapshot=snapshot,
            )
        )

    async def running(self, name: str) -> None:
        assert (await self.start(name)).kind is StartKind.ACCEPTED
        await self.driver.wait_running(self.id(name), deadline_s=WAIT_S, heartbeat=no_heartbeat)


@pytest.fixture(scope="session")
def ledger_v1() -> ArtifactFile:
    path = LEDGER / "target" / "ledger-v1.jar"
    if not path.exists():
        subprocess.run(["mvn", "-q", "-B", "package", "-DskipTests"], cwd=LEDGER, check=True)
    return ArtifactFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), name="ledger-v1")


@pytest.fixture
async def rig(east: Sandbox, ledger_v1: ArtifactFile) -> AsyncIterator[Rig]:
    region = east.endpoints.regions["east"]
    tag = f"t{next(_RUN)}-{east.layout.base_port}"
    async with Kafka(region.kafka, KafkaSecurity("SASL_PLAINTEXT", "PLAIN", USER, kafka_password(USER))) as kafka:
        for topic in (f"{tag}-in", f"{tag}-out"):
            await kafka.create_topic(topic, 2)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{login} username="{USER}" password="{kafka_password(USER)}";',
    }

    def args(name: str) -> list[str]:
        found = ["--bootstrap", region.kafka, "--input", f"{tag}-in", "--output", f"{tag}-out", "--group", tag]
        found += ["--transactional-prefix", f"tg.{tag}.balances-sink.{name}."]
        for key, value in properties.items():
            found += ["--kafka-property", f"{key}={value}"]
        return found

    async with FlinkClient(region.flink) as client:
        driver = SessionClusterDriver(client)
        ready = await driver.prepare(ledger_v1, entry_class=ENTRY, args=args("plan"), parallelism=2)
        yield Rig(driver, ready, args, f"s3://{region.bucket}/driver-test/{tag}", tag)
        for job_id, state in (await driver.list_jobs()).items():
            if not state.terminal:
                await driver.cancel(job_id)
                await driver.wait_terminal(job_id, deadline_s=WAIT_S, heartbeat=no_heartbeat)


async def test_stop_start_and_what_is_seen_of_it(rig: Rig):
    """One stop however often it is posted; a start from its snapshot; X11 read back; X14's neighbours."""
    driver, trigger = rig.driver, rig.id("trigger")
    await rig.running("old")
    for _ in range(2):
        await driver.begin_stop(rig.id("old"), trigger_id=trigger, directory=f"{rig.base}/stop")
    stop = await driver.wait_stop(rig.id("old"), trigger, deadline_s=WAIT_S, heartbeat=no_heartbeat)
    assert stop.phase is StopPhase.COMPLETED, stop
    assert await driver.state(rig.id("old")) is JobState.FINISHED
    # The same stop again, when all is over: the same answer, no second savepoint.
    await driver.begin_stop(rig.id("old"), trigger_id=trigger, directory=f"{rig.base}/elsewhere")
    assert await driver.poll_stop(rig.id("old"), trigger) == stop
    # Another stop of a job that has ended.
    await driver.begin_stop(rig.id("old"), trigger_id=rig.id("late"), directory=f"{rig.base}/late")
    late = await driver.wait_stop(rig.id("old"), rig.id("late"), deadline_s=WAIT_S, heartbeat=no_heartbeat)
    assert (late.phase, late.job_state) == (StopPhase.JOB_UNKNOWN, JobState.FINISHED)

    assert (await rig.start("new", snapshot=stop.location)).kind is StartKind.ACCEPTED
    began = await driver.wait_running(rig.id("new"), deadline_s=WAIT_S, heartbeat=no_heartbeat)
    settings = await driver.checkpoint_settings(rig.id("new"))
    assert settings.problems(min_retained=5) == []

    async def healthy() -> tuple[JobView, CheckpointRef]:
        view = await driver.observe(rig.id("new"))
        assert view.all_running
        assert view.last_checkpoint is not None
        return view, view.last_checkpoint

    view, checkpoint = await eventually(healthy, within_s=WAIT_S)
    assert checkpoint.path.startswith(f"{settings.directory}/{rig.id('new')}/chk-")
    assert (view.restored_from, view.parallelism, view.restarts, view.first_error) == (stop.location, 2, 0, None)
    assert view.started_ms <= began.running_ms <= checkpoint.completed_ms
    await rig.running("neighbour")
    neighbours = await driver.neighbours(rig.id("new"))
    shared = {tm for other in neighbours for tm in other.taskmanagers}
    assert {other.job_id for other in neighbours} <= {rig.id("neighbour")}
    assert shared <= {taskmanager.id for taskmanager in await driver.client.taskmanagers()}
    assert any((await driver.logs(rig.id("new"))).taskmanagers.values())


async def test_an_id_is_used_once(rig: Rig):
    """O6: duplicate, burn, burn of a running one, rejected and still free, burn that does not take."""
    driver = rig.driver
    await rig.running("one")
    again = await rig.start("one")
    assert (again.kind, again.state) == (StartKind.DUPLICATE, JobState.RUNNING)
    burn = await driver.burn(rig.id("one"), rig.ready, args=rig.args("one"))
    assert (burn.kind, burn.state) == (BurnKind.EXISTS, JobState.RUNNING)
    assert await driver.state(rig.id("one")) is JobState.RUNNING
    burn = await driver.burn(rig.id("two"), rig.ready, args=rig.args("two"))
    assert (burn.kind, burn.state) == (BurnKind.BURNED, JobState.FAILED)
    late = await rig.start("two")
    assert (late.kind, late.state) == (StartKind.DUPLICATE, JobState.FAILED)
    with pytest.raises(StartRejected, match=r"FAILED before all of its tasks ran: .*FileNotFoundException"):
        await driver.wait_running(rig.id("two"), deadline_s=WAIT_S, heartbeat=no_heartbeat)

    refused = await rig.start("three", snapshot=f"{rig.base}/nothing-here")
    assert (refused.kind, refused.burned, refused.state) == (StartKind.REJECTED, True, JobState.FAILED)
    refused = await rig.start("four", args=["--no-such-argument", "1"])
    assert (refused.kind, refused.burned, refused.state) == (StartKind.REJECTED, False, None)
    await driver.cancel(rig.id("one"))
    assert await driver.wait_terminal(rig.id("one"), deadline_s=WAIT_S, heartbeat=no_heartbeat) is JobState.CANCELED
    again = await rig.start("one")
    assert (again.kind, again.state) == (StartKind.DUPLICATE, JobState.CANCELED)


async def test_what_cannot_be_prepared(rig: Rig):
    """A main method that throws, too few slots; a jar that is there is not uploaded twice."""
    artifact = rig.ready.artifact
    with pytest.raises(InvalidInput, match="gives no job graph"):
        await rig.driver.prepare(artifact, entry_class=ENTRY, args=["--no-such-argument", "1"], parallelism=2)
    with pytest.raises(Refused, match="100 slots are needed"):
        await rig.driver.prepare(artifact, entry_class=ENTRY, args=rig.args("x"), parallelism=100)
    again = await rig.driver.prepare(artifact, entry_class=ENTRY, args=rig.args("x"), parallelism=2)
    assert again.handle == rig.ready.handle
    assert await rig.driver.client.delete_jar(again.handle)
    await rig.running("put there again")


async def test_the_memory_of_a_slot_is_what_its_taskmanager_was_configured_with(rig: Rig):
    """64 MiB managed memory and 192 MiB task heap (sandbox/flink.py), for two slots."""
    assert await rig.driver.slot_memory() == SlotMemory(managed_mib=32.0, heap_mib=96.0)


async def test_a_jobmanager_that_restarts_forgets(rig: Rig, east: Sandbox):
    """Without high availability: jobs, triggers and burns are gone, and the waits say so."""
    driver = rig.driver
    await rig.running("lost")
    await driver.burn(rig.id("burned"), rig.ready, args=rig.args("burned"))
    await driver.begin_stop(rig.id("none"), trigger_id=rig.id("t"), directory=f"{rig.base}/x")
    await asyncio.to_thread(east.kill, "east/flink/jobmanager")
    with pytest.raises(Unavailable):
        await driver.state(rig.id("lost"))
    with pytest.raises(StartRejected, match="is not known"):
        await driver.wait_running(rig.id("lost"), deadline_s=WAIT_S, heartbeat=no_heartbeat)
    assert (await driver.poll_stop(rig.id("none"), rig.id("t"))).phase is StopPhase.UNKNOWN
    await east.wait_ready("east/flink")

    async def slots_are_back() -> None:
        assert (await driver.capacity()).slots_free >= 2

    await eventually(slots_are_back, within_s=WAIT_S)
    assert (await rig.start("burned")).kind is StartKind.ACCEPTED
