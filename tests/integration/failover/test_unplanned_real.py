"""Drilled, then the east killed -9, all of it, under traffic; on in the west, on real parts (X12, X14 to X22).

Nothing that reached the west is lost; what is superseded there is exactly what the manifest says; all values are right
once it is applied.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
OBJECTIVES = "objectives: {rto_s: 600, rpo_s: 120, gap_s: 120}"
"""A machine that is busy with others is slow, not broken."""
SEED = int(os.environ.get("TIDEGATE_SEED") or f"{datetime.now(UTC):%Y%m%d}")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("lost") / "data") as made:
        yield made


async def restorable_in_west(scene: Scene) -> None:
    async def there() -> None:
        done = await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")
        index = {one["region"]: one for one in json.loads(done.out)["index"]}
        assert index["west"]["restorable"], index["west"]["why_not"]

    await eventually(there, within_s=120.0)


def unhurried(fleet: str) -> str:
    changed = re.sub(r"objectives: \{.*\}", OBJECTIVES, fleet)
    assert OBJECTIVES in changed
    return changed


async def drilled(scene: Scene) -> None:
    """The night before (X12): the fork proves, and the live job goes on as it was."""
    live = await scene.record()
    done = await scene.run("drill", "recovery", DEPLOYMENT, "--window", "5s", "--yes")
    told = re.search(r"([\d,]+) records compared by record id.*: 0 missing, 0 extra, 0 differing", done.out)
    assert told is not None, done.out
    assert int(told.group(1).replace(",", "")) >= RATE
    assert "nothing of it is left" in done.out
    assert await scene.record() == live


async def test_x21_a_lost_region_is_gone_on_from_the_newest_point_and_all_values_are_right(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True, fleet=unhurried)
    await restorable_in_west(scene)
    await drilled(scene)
    await asyncio.sleep(random.Random(SEED).uniform(0, 4))  # a random moment between two checkpoints, not a wait
    killed = datetime.now(UTC)
    sandbox.kill("east", for_good=True)
    scene.say("east is gone")
    refused = await scene.run("failover", "deployment", DEPLOYMENT, "--to", "west", "--yes", status=4)
    assert "--unplanned" in refused.out + refused.err
    done = await scene.run(
        "failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned",
        "--detected-at", killed.isoformat(), "--bake", "3s", "--yes",
    )  # fmt: skip
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    assert "superseded" in done.out
    record = await scene.record()
    assert record.writer is not None
    assert record.writer.region == "west"
    await scene.writes_in("west")
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        lineage = await scene.lineage(topic)
        assert (lineage.region, lineage.turn, lineage.gate) == ("west", 1, "open")
        assert not lineage.turns[-1].planned
    await scene.run("lineage", "show", OUTPUT_TOPIC)
    await scene.stage.stop_follower()
    verdict = await scene.audit_by_lineage("west")
    scene.say(f"west by lineage: {verdict}")
    assert verdict["verdict"] == "0/0/0"
    operation = re.search(r"operation\s+(\S+)", done.out)
    assert operation is not None
    await scene.run("report", "list", DEPLOYMENT)
