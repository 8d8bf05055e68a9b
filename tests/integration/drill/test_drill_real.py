"""A drill of the live ledger on real parts: it proves, it disturbs nothing, and nothing of it is left (X12).

Listed before and after: jobs of Flink, topics, open transactions and DENY rules of Kafka, objects of S3, pins, records
and notes in the control bucket. Also when a worker and Flink are killed in the middle, and when the drill must fail.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, OUTPUT_TOPIC, execute
from tests.docs.pages import blocks
from tests.integration.failover.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.clients.flink import FlinkClient
from tidegate.clients.objects import S3Uri
from tidegate.driver.session import SessionClusterDriver
from tidegate.points.index import against
from tidegate.points.model import Point
from tidegate.points.store import PointStore
from tidegate.registry.artifacts import open_access

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
WINDOW_S = float(os.environ.get("TIDEGATE_TEST_DRILL_S") or "15")
GAP_MS = float(os.environ.get("TIDEGATE_TEST_GAP_MS") or "5000")
"""The longest pause of the live job's output that is no disturbance; idle, its commits come each second."""
OBJECTIVES = "objectives: {rto_s: 600, rpo_s: 120, gap_s: 60}"
"""A machine that is busy with others is slow, not broken."""
PAGE, PAGE_WINDOW_S = "runbooks/drill-recovery.md", 20
OTHERS = ("reports/", "chain/", "points/", "groups/", "schedules/", "notices/")
"""What reports, notices, the keeper and schedules write in the control bucket as they go on."""
SCHEDULES = """\
version: 1
schedules:
  each-minute:
    runbook: DrillRecovery
    input: {deployment: ledger, window_s: 15}
    cron: "* * * * *"
    time_zone: Europe/Berlin
"""
FORK = re.compile(r"ledger-drill-[0-9a-f]{8}")
OPEN = {"Ongoing", "PrepareCommit", "PrepareAbort"}


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("drill") / "data") as made:
        yield made


async def restorable(scene: Scene) -> None:
    async def there() -> None:
        done = await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")
        index = {one["region"]: one for one in json.loads(done.out)["index"]}
        assert index["west"]["restorable"], index["west"]["why_not"]

    await eventually(there, within_s=240.0)


async def listed(scene: Scene) -> dict[str, list[str]]:
    """All that a drill could leave; what the live job, the keeper and reports write as they go on is not it."""
    fleet = scene.fleet
    kafka = scene.stage.kafka("west")
    driver = SessionClusterDriver(FlinkClient(scene.sandbox.endpoints.regions["west"].flink, timeout_s=20.0))
    try:
        topics = await kafka.topics()
        transactions = [one.transactional_id for one in await kafka.list_transactions("tg.") if one.state.value in OPEN]
        denied = await kafka.denied_prefixes("User:ledger")
        jobs = [job for job, state in (await driver.list_jobs()).items() if not state.terminal]
    finally:
        await kafka.aclose()
        await driver.client.aclose()
    async with open_access(fleet.region("west").s3) as west:
        objects = [
            str(item.uri)
            for below in ("savepoints/", "checkpoints/")
            async for item in west.list(S3Uri("west", below))
            if "/from-east/" not in str(item.uri)
        ]
    async with open_access(fleet.control.s3) as control:
        kept = [
            item.uri.key
            async for item in control.list(S3Uri(fleet.control.bucket, ""))
            if not item.uri.key.startswith(OTHERS)
        ]
    return {
        "topics": topics, "transactions": transactions, "denied": denied, "jobs": jobs, "objects": sorted(objects),
        "control": sorted(kept),
    }  # fmt: skip


async def groups_left(scene: Scene, forks: set[str]) -> list[str]:
    kafka = scene.stage.kafka("west")
    try:
        return [fork for fork in forks if await kafka.group_offsets(fork)]
    finally:
        await kafka.aclose()


async def longest_gap_ms(scene: Scene, from_ms: int, to_ms: int) -> int:
    """The longest pause of the live job's output that is no disturbance; idle, its commits come each second."""
    kafka = scene.stage.kafka("east")
    times = [from_ms, to_ms]
    try:
        ends = await kafka.end_offsets([OUTPUT_TOPIC])
        for tp, first in (await kafka.offsets_at([OUTPUT_TOPIC], from_ms)).items():
            batches = await kafka.batch_headers(tp, first, ends[tp]) if first < ends[tp] else []
            times += [min(batch.max_timestamp_ms, to_ms) for batch in batches if not batch.is_control]
    finally:
        await kafka.aclose()
    return max(later - earlier for earlier, later in pairwise(sorted(times)))


async def points_in_west(scene: Scene) -> list[Point]:
    async with open_access(scene.fleet.control.s3) as control:
        kept = (await PointStore(control, scene.fleet.control.bucket).read(DEPLOYMENT, "west")).points
    assert kept is not None
    return [point for point in kept.points if against(kept, point) is None]


async def set_up(scene: Scene) -> None:
    await scene.set_up(RATE, keep=True)
    text = scene.stage.fleet_file.read_text()
    changed = re.sub(r"objectives: \{.*\}", OBJECTIVES, text)
    assert OBJECTIVES in changed
    scene.stage.fleet_file.write_text(changed)
    await scene.run("fleet", "apply", str(scene.stage.fleet_file), "--yes")
    await restorable(scene)


async def test_x12_a_drill_proves_disturbs_nothing_and_leaves_nothing(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await set_up(scene)
    live, before = await scene.record(), await listed(scene)
    drill = ("drill", "recovery", DEPLOYMENT, "--window", f"{WINDOW_S:g}s", "--yes")

    began_ms = time.time_ns() // 1_000_000
    said = await fired(scene) + await followed(scene)
    ended_ms = time.time_ns() // 1_000_000
    told = re.findall(r"([\d,]+) records compared by record id.*: 0 missing, 0 extra, 0 differing", said)
    assert len(told) >= 3, said
    assert int(told[1].replace(",", "")) >= RATE * PAGE_WINDOW_S / 2
    gap_ms = await longest_gap_ms(scene, began_ms, ended_ms)
    scene.say(f"the live job's longest pause: {gap_ms:,} ms")
    await nothing_left(scene, before, said)
    assert await scene.record() == live, "the live deployment was only read"
    assert gap_ms <= GAP_MS
    await scene.run("report", "list", DEPLOYMENT)

    # One that must fail: the recovery point is damaged. State this small lies in _metadata, there is no other file.
    newest = (await points_in_west(scene))[0]
    async with open_access(scene.fleet.region("west").s3) as west:
        await west.put(S3Uri.parse(newest.snapshot).join("_metadata"), b"damaged")
    failed = await scene.run("drill", "recovery", DEPLOYMENT, "--from", newest.id, "--yes", status=7)
    assert "_metadata" in failed.out + failed.err, failed.out
    await nothing_left(scene, before, failed.out)

    # A worker and Flink are killed in the middle: it goes on and proves, or it says why not; nothing is left of it.
    started = await scene.run(*drill, "--no-follow")
    found = re.search(r"started\s+(\S+)", started.out)
    assert found is not None

    async def watched() -> None:
        shown = await scene.stage.tidegate("ops", "show", found.group(1), "-o", "json")
        assert re.search(r'"(catch_up_drill|watch_drill)"', shown.out), shown.out[-500:]

    await eventually(watched, within_s=400.0)
    for part in ("west/worker", "control/worker-1", "west/flink/jobmanager"):
        scene.sandbox.kill(part)
    scene.say("killed: the west's worker, a control worker, the west's JobManager")
    ended = await scene.run("ops", "watch", found.group(1), status=None)
    assert ended.status in {0, 1, 7}, ended.out
    await nothing_left(scene, before, ended.out)
    assert await scene.record() == live
    verdict = await scene.audit("east")
    assert verdict["verdict"] == "0/0/0", verdict


async def fired(scene: Scene) -> str:
    """A schedule fires within the test and starts a drill, which proves; what it prints."""
    file = scene.sandbox.folder.path / "schedules.yaml"
    file.write_text(SCHEDULES)
    await scene.run("schedules", "apply", "--file", str(file), "--yes")

    async def under_way() -> str:
        shown = await scene.stage.tidegate("ops", "list", "--running", "--deployment", DEPLOYMENT)
        found = re.search(r"(drill-ledger-\S+)\s+DrillRecovery", shown.out)
        assert found is not None, shown.out
        return found.group(1)

    operation = await eventually(under_way, within_s=120.0, every_s=1.0)
    await scene.run("schedules", "pause", "each-minute", "--why", "once is enough here")
    scene.say(f"a schedule has started {operation}")
    done = await scene.run("ops", "watch", operation)
    shown = await scene.run("report", "show", operation)
    assert "schedule each-minute" in shown.out
    return done.out


async def followed(scene: Scene) -> str:
    """The page's commands as they stand there, one drill by each of its ways to start one; all that they print."""
    said = ""
    environment = {**scene.stage.environment, "TIDEGATE_WHO": "ana"}
    for block in (block for block in blocks(PAGE) if block.is_test):
        argv = ["bash", "-euo", "pipefail", "-c", block.body]
        done = await execute(argv, scene.stage.root, environment, 900.0)
        scene.say(f"{block.where}\n$ {block.body}{done.out}{done.err[-2_000:]}")
        assert done.status == block.exit, f"{block.where} ended with {done.status}: {done.out}{done.err}"
        said += done.out
    return said


async def nothing_left(scene: Scene, before: dict[str, list[str]], said: str) -> None:
    """List before = list after. What Flink or Kafka are still busy with after a kill is waited for."""
    forks = set(FORK.findall(said))

    async def same() -> None:
        after = await listed(scene)
        changed = {name: sorted(set(after[name]) ^ set(before[name])) for name in after if after[name] != before[name]}
        assert not changed, changed
        assert await groups_left(scene, forks) == []

    await eventually(same, within_s=60.0)
