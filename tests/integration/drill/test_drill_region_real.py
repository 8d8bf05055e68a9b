"""The page of a region's drill, followed on real parts: two deployments beside each other, and nothing of them left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import ledgers
from tests.integration.failover.scene_region import RegionScene, follow_page
from tests.kit.stage import stage_sandbox
from tidegate.clients.flink import FlinkClient
from tidegate.clients.objects import S3Uri
from tidegate.driver.session import SessionClusterDriver
from tidegate.registry.artifacts import open_access

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

DEPLOYMENTS = 2
PAGE = "runbooks/drill-region.md"
RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "100")
OBJECTIVES = "objectives: {rto_s: 600, rpo_s: 120, gap_s: 60}"
"""A machine that is busy with others is slow, not broken."""
FORK = "-drill-"
"""In the name of all that a fork has."""
OPEN = {"Ongoing", "PrepareCommit", "PrepareAbort"}
EVIDENCE = ("reports/", "chain/", "notices/")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("drills") / "data") as made:
        yield made


async def left(scene: RegionScene) -> list[str]:
    """All that carries the name of a fork, and jobs in the standby, where no other runs."""
    kafka = scene.stage.kafka("west")
    driver = SessionClusterDriver(FlinkClient(scene.sandbox.endpoints.regions["west"].flink, timeout_s=20.0))
    try:
        found = [topic for topic in await kafka.topics() if FORK in topic]
        open_ = [one for one in await kafka.list_transactions("tg.") if one.state.value in OPEN]
        found += [one.transactional_id for one in open_ if FORK in one.transactional_id]
        found += [job for job, state in (await driver.list_jobs()).items() if not state.terminal]
    finally:
        await kafka.aclose()
        await driver.client.aclose()
    fleet = scene.fleet
    async with open_access(fleet.region("west").s3) as west:
        found += [str(item.uri) async for item in west.list(S3Uri("west", "")) if FORK in item.uri.key]
    async with open_access(fleet.control.s3) as control:
        keys = [item.uri.key async for item in control.list(S3Uri(fleet.control.bucket, ""))]
    return [*found, *(key for key in keys if FORK in key and not key.startswith(EVIDENCE))]


async def test_x12_the_page_of_a_regions_drill_proves_both_beside_each_other_and_leaves_nothing(
    sandbox: Sandbox,
) -> None:
    scene = RegionScene(sandbox, DEPLOYMENTS, RATE)
    await scene.set_up_all()
    text = re.sub(r"objectives: \{.*\}", OBJECTIVES, scene.stage.fleet_file.read_text())
    assert text.count(OBJECTIVES) == DEPLOYMENTS
    scene.stage.fleet_file.write_text(text)
    await scene.run("fleet", "apply", str(scene.stage.fleet_file), "--yes")
    for one in ledgers(DEPLOYMENTS):
        await scene.run("points", one.name, "--keep")
    for one in ledgers(DEPLOYMENTS):
        await scene.restorable(one.name, "west")
    lived = await scene.lives()

    told = await follow_page(scene.stage, PAGE)

    for one in ledgers(DEPLOYMENTS):
        line = next(line for line in told.splitlines() if line.startswith(f"  {one.name} ") and " done " in line)
        assert re.search(r"[1-9][\d,]* records compared by record id.*: 0 missing, 0 extra, 0 differing", line), line
    assert await left(scene) == []
    assert await scene.lives() == lived, "the live deployments were only read"
    for name in ("region-east", *(one.name for one in ledgers(DEPLOYMENTS))):
        await scene.run("report", "verify", name)
