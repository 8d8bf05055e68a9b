"""With high availability a job outlives its JobManager: what an operator of the other region must reckon with (X23)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.flink import jobmanager_name
from sandbox.stage import INPUT_TOPIC, OUTPUT_TOPIC, Stage
from tests.kit.eventually import eventually
from tests.kit.sandbox import UP_S, running_sandbox
from tests.kit.stage import ROOT
from tidegate.clients.flink import FlinkClient
from tidegate.driver.base import ArtifactFile, StartKind, StartRequest, no_heartbeat
from tidegate.driver.session import SessionClusterDriver
from tidegate.model.fleet import render_args
from tidegate.model.fleetfile import load_fleet
from tidegate.names import derive_id

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

ENTRY = "dev.tidegate.ledger.LedgerJob"
WAIT_S = 180.0


@pytest.fixture(scope="module")
def available(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("ha") / "data", "east", taskmanagers=1, ha=True) as made:
        yield made


async def test_x23_a_job_comes_back_by_itself_when_its_jobmanager_was_killed(available: Sandbox):
    assert "east/zookeeper" in {one.name for one in available.status()}
    stage = Stage(available, ROOT, print)
    await stage.build_ledger()
    await stage.create_topics()
    await stage.publish(())
    args = render_args(load_fleet(stage.fleet_file).fleet, "ledger", "east", "cell-1", 1)
    assert args[args.index("--input") + 1 :: 2][:2] == [INPUT_TOPIC, OUTPUT_TOPIC]
    jar = stage.jar("v1")
    artifact = ArtifactFile(path=jar, sha256=hashlib.sha256(jar.read_bytes()).hexdigest(), name="ledger-v1")
    job = derive_id("ha test", str(available.layout.base_port))
    async with FlinkClient(available.endpoints.regions["east"].flink) as client:
        driver = SessionClusterDriver(client)
        ready = await driver.prepare(artifact, entry_class=ENTRY, args=args, parallelism=2)
        asked = StartRequest(job_id=job, prepared=ready, args=args, parallelism=2, snapshot=None)
        assert (await driver.start(asked)).kind is StartKind.ACCEPTED
        await driver.wait_running(job, deadline_s=WAIT_S, heartbeat=no_heartbeat)

        async def has_a_checkpoint() -> int:
            seen = await driver.observe(job)
            assert seen.last_checkpoint is not None
            return seen.last_checkpoint.id

        before = await eventually(has_a_checkpoint, within_s=WAIT_S)
        began = time.monotonic()
        available.kill(jobmanager_name("east"))
        await available.wait_ready("east/flink", UP_S)
        await driver.wait_running(job, deadline_s=WAIT_S, heartbeat=no_heartbeat)

        async def goes_on() -> None:
            seen = await driver.observe(job)
            assert seen.all_running
            assert seen.last_checkpoint is not None
            assert seen.last_checkpoint.id > before

        await eventually(goes_on, within_s=WAIT_S)
        print(f"nobody asked for it, and it goes on {time.monotonic() - began:.1f} s after the kill")
        await driver.cancel(job)
        await driver.wait_terminal(job, deadline_s=WAIT_S, heartbeat=no_heartbeat)
