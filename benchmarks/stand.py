"""Where the measurement takes place: a sandbox of its own with one ledger under traffic, handed from way to way.

All three ways upgrade the *same* job, one after another: the same state, the same topics, the same warm JVMs. What an
operation outside Tidegate did is written into the record afterwards (`Stand.adopt`), as an operator would have to.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, Stage, execute, kafka_properties
from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.s3 import S3Store
from tidegate.errors import NoProgress, OperationFailed
from tidegate.model.fleet import Fleet, render_args
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import ArtifactRef, DeploymentRecord, Writer, utc_now
from tidegate.registry.artifacts import inspect, open_access
from tidegate.registry.ownership import new_holder, take
from tidegate.registry.records import RecordStore

REGION, CELL = "east", "cell-1"
ARTIFACTS = ("v1", "v2")
PARALLELISM = 2
SETTLED_CHECKPOINTS = 5
"""Completed ones of a job before it is upgraded again: the first after a start is full and loads classes."""
_SETTLE_TIMEOUT_S = 240.0
_SETTLE_POLL_S = 0.25


@dataclass(frozen=True)
class Job:
    """The job that runs now."""

    job_id: str
    epoch: int
    artifact: str

    @property
    def other(self) -> str:
        """The artifact that an upgrade from here goes to."""
        return ARTIFACTS[1 - ARTIFACTS.index(self.artifact)]


class Stand:
    """The stage with the clients that the measurement needs. Close it."""

    def __init__(self, stage: Stage, rate: int) -> None:
        self.stage = stage
        self.rate = rate
        self.fleet: Fleet = load_fleet(stage.fleet_file).fleet
        endpoints = stage.sandbox.endpoints
        self.kafka: Kafka = stage.kafka()
        self.flink = FlinkClient(endpoints.regions[REGION].flink)
        self.control: S3Store = open_access(self.fleet.control.s3)
        self.store: S3Store = open_access(self.fleet.region(REGION).s3)
        self.control_bucket = self.fleet.control.bucket
        self._records = RecordStore(self.control, self.control_bucket)
        self._artifacts: dict[str, ArtifactRef] = {}

    async def aclose(self) -> None:
        """Close the clients; the sandbox is left as it is."""
        await self.kafka.aclose()
        await self.flink.aclose()
        self.control.close()
        self.store.close()

    def args(self, epoch: int) -> list[str]:
        """The job's arguments, with a transactional prefix of the epoch's own."""
        return render_args(self.fleet, DEPLOYMENT, REGION, CELL, epoch)

    @property
    def entry_class(self) -> str:
        """The class with main()."""
        return self.fleet.deployment(DEPLOYMENT).entry_class

    async def record(self) -> DeploymentRecord:
        """The deployment's record as it stands."""
        return (await self._records.read_or_create(DEPLOYMENT)).record

    async def job(self) -> Job:
        """The job of the record.

        Raises:
            OperationFailed: none was ever started.
        """
        writer = (await self.record()).writer
        if writer is None:
            raise OperationFailed("the record names no job")
        return Job(writer.job_id, writer.epoch, writer.artifact.name)

    async def adopt(self, job: Job, started_from: str) -> None:
        """Write into the record that this job, started by other means, is the writer now."""
        record = await self.record()
        holder = new_holder(
            operation=f"bench-adopt-{job.epoch}",
            run_id=job.job_id,
            runbook="benchmark",
            cluster_id="none",
            namespace="none",
            who="bench",
            why="the job was upgraded by hand, for comparison",
        )
        tenure = await take(self._records, DEPLOYMENT, holder, expected_fence=record.fence)
        writer = Writer(
            region=REGION,
            cell=CELL,
            job_id=job.job_id,
            epoch=job.epoch,
            artifact=await self._artifact(job.artifact),
            parallelism=PARALLELISM,
            started_from=started_from,
            since=utc_now(),
        )
        await tenure.change(
            "adopt", 1, lambda current: current.model_copy(update={"writer": writer, "epoch": job.epoch})
        )
        await tenure.release()

    async def settle(self, job: Job) -> None:
        """Wait until the job is warm and has caught up, so that every sample begins alike.

        Raises:
            NoProgress: it did not come to that.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        seen = "nothing"
        while True:
            stats = await self.flink.checkpoints(job.job_id)
            completed = stats.counts.completed if stats else 0
            lag = sum((await self.kafka.lag(DEPLOYMENT, [INPUT_TOPIC])).values())
            seen = f"{completed} checkpoints, {lag:,} records behind"
            if completed >= SETTLED_CHECKPOINTS and lag <= 2 * self.rate:
                return
            if time.monotonic() > deadline:
                raise NoProgress(f"job {job.job_id} did not settle within {_SETTLE_TIMEOUT_S:.0f} s: {seen}")
            await asyncio.sleep(_SETTLE_POLL_S)

    async def audit(self) -> dict[str, object]:
        """The auditor's verdict over everything since the topics were made: that no way was fast by being wrong.

        Raises:
            OperationFailed: it could not be given.
        """
        bootstrap = self.stage.sandbox.endpoints.regions[REGION].kafka
        argv = [
            *(sys.executable, "-m", "ledger.auditor", "--bootstrap", bootstrap),
            *(
                "--input",
                INPUT_TOPIC,
                "--output",
                OUTPUT_TOPIC,
                "--until-caught-up",
                "--timeout-s",
                "600",
                "-o",
                "json",
            ),
            *kafka_properties("admin"),
        ]
        done = await execute(argv, self.stage.root, self.stage.environment, 660.0)
        if not done.out.lstrip().startswith("{"):
            raise OperationFailed(f"the auditor ended with {done.status}: {done.err[-500:]}")
        verdict: dict[str, object] = json.loads(done.out)
        return {name: value for name, value in verdict.items() if name != "rate"}

    async def _artifact(self, name: str) -> ArtifactRef:
        if name not in self._artifacts:
            info = await inspect(self.store, name, self.fleet.artifact(DEPLOYMENT, name).jar)
            if info.sha256 is None:
                raise OperationFailed(f"artifact {name} is not in S3")
            self._artifacts[name] = ArtifactRef(name=name, sha256=info.sha256, uri=info.uri)
        return self._artifacts[name]


async def set_up(stage: Stage, rate: int) -> None:
    """The sandbox with workers and traffic, and its fleet file as the measurement needs it; no job yet."""
    await stage.set_up(ARTIFACTS, rate=0)
    await asyncio.to_thread(_fit_fleet_file, stage.fleet_file)
    await stage.must("fleet", "apply", str(stage.fleet_file), "--yes")
    stage.add_generator(rate)


def _fit_fleet_file(path: Path) -> None:
    """No audit at each upgrade (one is made at the end, over all); patience.

    What is measured is the gap, not whether a loaded machine is quick enough for the proof's defaults.
    """
    fleet = yaml.safe_load(path.read_text())
    deployment = fleet["deployments"][DEPLOYMENT]
    del deployment["audit"]
    deployment["prove"]["no_progress_s"] = 60
    path.write_text(yaml.safe_dump(fleet, sort_keys=False, width=1000))
