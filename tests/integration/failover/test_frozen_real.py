"""East frozen (SIGSTOP) and given up, then woken with its job still in it: what the old epoch commits (X14, X16, X23).

A frozen region is the one that a kill is not: its job knows of nothing, and goes on where it stood. Where its Kafka
could be reached it is shut out, and commits nothing more; where it could not, what it commits is superseded: nobody who
goes by the lineage takes it, the mirror does not bring it, and once the region has returned it is excluded by range.

So long as TIDEGATE_WOKEN_S says the woken region is left on. Two cases; all of them with TIDEGATE_MATRIX=1.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT
from tests.integration.failover.old_epoch import (
    Late,
    beyond_the_cut,
    came_over,
    committed_since,
    records_of,
    that_count,
)
from tests.integration.failover.scene import LINKS, Scene
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.eventually import eventually
from tests.kit.rotation import EVERY_CASE
from tests.kit.stage import stage_sandbox
from tidegate.clients.flink import FlinkClient
from tidegate.driver.session import SessionClusterDriver
from tidegate.names import transactional_prefix

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
WOKEN_S = float(os.environ.get("TIDEGATE_WOKEN_S") or "30")
LOOK_EVERY_S = 2.0
CASES = [("midway", False), ("after", True)] + ([("midway", True), ("after", False)] if EVERY_CASE else [])
"""When it wakes, and whether its Flink is highly available. Flink restarts its jobs without end in either."""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("frozen") / "data") as made:
        yield made


def wake(scene: Scene, part: str) -> int:
    """It goes on; when, in milliseconds."""
    now_ms = time.time_ns() // 1_000_000
    scene.sandbox.resume(part)
    scene.say(f"{part} is awake")
    return now_ms


async def late_in(scene: Scene, region: str, epoch: int, since_ms: int) -> list[Late]:
    kafka = scene.stage.kafka(region)
    try:
        return await committed_since(kafka, epoch, since_ms)
    finally:
        await kafka.aclose()


async def still_runs(scene: Scene, region: str) -> str:
    """The old job's state: it is not at its end, and would commit if it could."""
    async with FlinkClient(scene.sandbox.endpoints.regions[region].flink) as client:
        jobs = await SessionClusterDriver(client).list_jobs()
    live = [state.value for state in jobs.values() if not state.terminal]
    assert len(live) == 1, jobs
    return live[0]


async def left_on(scene: Scene, epoch: int, since_ms: int) -> list[Late]:
    """The woken region is left on; what its old epoch has committed by then. At no moment does any of it count."""
    until = time.monotonic() + WOKEN_S
    while True:
        late = await late_in(scene, "east", epoch, since_ms)
        assert not await that_count(scene, "east", late, in_its_log=False)
        assert await came_over(scene, "east", "west", late) == 0
        assert not await late_in(scene, "west", epoch, 0)
        if time.monotonic() > until:
            return late
        await asyncio.sleep(LOOK_EVERY_S)


async def returned(scene: Scene) -> str:
    """East is quarantined and a standby again; then nothing of it commits, over all nothing is lost nor comes twice."""
    done = await scene.run("return", "region", "east", "--yes")
    since_ms = time.time_ns() // 1_000_000
    await scene.writes_in("west", count=5 * RATE)
    assert not await late_in(scene, "east", (await scene.record()).epoch - 1, since_ms)
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["west"], "--timeout", "120")
    for within in (None, "west"):
        verdict = await scene.audit_by_lineage(within)
        scene.say(f"by lineage, in {within or 'both'}: {verdict}")
        assert verdict["verdict"] == "0/0/0"
    await scene.all_there("west")
    return done.out


@pytest.mark.parametrize(("wakes", "ha"), CASES)
async def test_x16_a_region_that_froze_whole_commits_what_counts_nowhere(
    sandbox: Sandbox, wakes: str, *, ha: bool
) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True, ha=ha)
    await restorable_in_west(scene)
    epoch = (await scene.record()).epoch
    sandbox.pause("east")
    scene.say("all of east stands still")
    asked = ("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--bake", "3s", "--yes")
    operation = await scene.begin(*asked)
    await scene.until_begun(operation, "start")
    woken_ms = wake(scene, "east") if wakes == "midway" else 0
    done = await scene.run("ops", "watch", operation)
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    assert "old job superseded" in done.out
    woken_ms = woken_ms or wake(scene, "east")
    await sandbox.wait_ready("east", 240.0)

    async def commits() -> None:
        """Else nothing that follows proves anything: the old job lives, and its Kafka takes what it commits."""
        assert await late_in(scene, "east", epoch, woken_ms)

    await eventually(commits, within_s=180.0, every_s=1.0)
    late = await left_on(scene, epoch, woken_ms)
    scene.say(f"epoch {epoch} has committed {records_of(late):,} records after it was given up; none of them counts")
    told = re.search(r"committed there after the cut ([\d,]+)", await returned(scene))
    late = await late_in(scene, "east", epoch, woken_ms)
    assert told is not None
    assert int(told.group(1).replace(",", "")) == await beyond_the_cut(scene, "east", late)
    assert not await that_count(scene, "east", late, in_its_log=True)


async def test_x14_a_job_that_was_shut_out_commits_nothing_and_does_if_the_deny_is_left_out(sandbox: Sandbox) -> None:
    """Only Flink stands still. The second half is the proof of the first: it fails as soon as the DENY is gone."""
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    epoch = (await scene.record()).epoch
    sandbox.pause("east/flink")
    scene.say("Flink in the east stands still, its Kafka answers")
    asked = ("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--bake", "3s", "--yes")
    operation = await scene.begin(*asked)
    await scene.until_begun(operation, "cut")
    woken_ms = wake(scene, "east/flink")
    done = await scene.run("ops", "watch", operation)
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    assert "old job shut out" in done.out
    late = await left_on(scene, epoch, woken_ms)
    state = await still_runs(scene, "east")
    scene.say(f"epoch {epoch} is {state} and has committed {records_of(late):,} records since it was shut out")
    assert not late

    east = scene.stage.kafka("east")
    prefix = transactional_prefix(DEPLOYMENT, "balances-sink", epoch)
    try:
        await east.lift_denied_prefix("User:ledger", prefix)
    finally:
        await east.aclose()

    async def commits() -> list[Late]:
        late = await late_in(scene, "east", epoch, woken_ms)
        assert late
        return late

    late = await eventually(commits, within_s=120.0, every_s=1.0)
    scene.say(f"without the DENY epoch {epoch} has committed {records_of(late):,} records")
    assert not await that_count(scene, "east", late, in_its_log=False)
    await returned(scene)
    east = scene.stage.kafka("east")
    try:
        assert prefix in await east.denied_prefixes("User:ledger"), (
            "the record said so, and Kafka was asked all the same"
        )
    finally:
        await east.aclose()
