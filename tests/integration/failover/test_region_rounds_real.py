"""A region with four deployments lost whole, and the other one, in turn, without a reset (X14 to X23).

Two of the deployments share their input. Two rounds, or so many as TIDEGATE_ROUNDS says (TIDEGATE_SEED: when the kills
come), TIDEGATE_TEST_RATE events a second in each of the three input topics. In each round every process of the region
where all run is killed -9 at a random moment, the region goes on in the other one by one command, and what was lost is
returned.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import input_topics, ledgers
from tests.integration.failover.scene import LINKS, other
from tests.integration.failover.scene_region import RegionScene
from tests.integration.failover.test_rounds_real import BETWEEN_S, SEED
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(9_000)]

DEPLOYMENTS = 4
RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "100")
ROUNDS = int(os.environ.get("TIDEGATE_ROUNDS") or "2")
FIGURES = ("rto_s", "rto_detected_s", "rpo_s")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("region-rounds") / "data") as made:
        yield made


async def _lost(scene: RegionScene, home: str, rng: random.Random) -> list[dict[str, Any]]:
    """The home region is lost, and all of it goes on in the other; what each deployment's report says of it."""
    target = other(home)
    for name, record in (await scene.records()).items():
        await scene.restorable(name, target, record.epoch)
    await asyncio.sleep(rng.uniform(0, BETWEEN_S))  # a random moment between two checkpoints, not a wait
    killed = datetime.now(UTC)
    scene.sandbox.kill(home, for_good=True)
    scene.say(f"{home} is gone")
    done = await scene.run(
        *("failover", "region", home, "--to", target, "--unplanned"),
        *("--detected-at", killed.isoformat(), "--bake", "2s", "--yes", "-o", "json"),
    )
    members = json.loads(done.out)["members"]
    assert {one["deployment"] for one in members} == {one.name for one in ledgers(DEPLOYMENTS)}
    told = []
    for one in members:
        assert one["outcome"] == "done", one
        verdict = one["verdict"]
        assert verdict["audited"]
        assert (verdict["lost"], verdict["duplicated"], verdict["wrong"], verdict["unexpected"]) == (0, 0, 0, 0), one
        shown = await scene.run("report", "show", one["operation"], "-o", "json")
        facts: dict[str, Any] = json.loads(shown.out)["failover"]
        told.append({"deployment": one["deployment"], **facts})
    assert set((await scene.lives()).values()) == {target}
    return told


async def _returned(scene: RegionScene, home: str) -> list[tuple[int, int]]:
    """The lost region comes back; by deployment how many inputs had never crossed, and how many of these were fed."""
    scene.sandbox.start(home)
    await scene.sandbox.wait_ready(home, 240.0)
    done = await scene.run("return", "region", home, "--yes")
    told = re.findall(r"([\d,]+) inputs that never crossed: fed ([\d,]+)", done.out)
    assert told, done.out
    return [(int(never.replace(",", "")), int(fed.replace(",", ""))) for never, fed in told]


async def test_x23_whole_regions_are_lost_and_returned_and_nothing_acknowledged_is_lost(sandbox: Sandbox) -> None:
    scene, rng = RegionScene(sandbox, DEPLOYMENTS, RATE), random.Random(SEED)
    await scene.set_up_all()
    for one in ledgers(DEPLOYMENTS):
        await scene.run("points", one.name, "--keep")
    home, told, tails = "east", [], []
    for number in range(1, ROUNDS + 1):
        told += await _lost(scene, home, rng)
        for topic in input_topics(DEPLOYMENTS):
            await scene.writes_in(other(home), topic=topic)
        tails += await _returned(scene, home)
        home = other(home)
        figures = {name: [one[name] for one in told] for name in FIGURES}
        scene.say(
            f"after {number} rounds of {DEPLOYMENTS}: "
            + " · ".join(f"{name} median {median(seen):.1f}, worst {max(seen):.1f}" for name, seen in figures.items())
            + f" · superseded {sum(one['superseded'] for one in told):,}"
            + f" · never crossed {sum(never for never, _ in tails):,}, fed {sum(fed for _, fed in tails):,}"
        )
    for topic in input_topics(DEPLOYMENTS):
        await scene.stage.stop_follower(topic)
    await scene.run("mirror", "drain", LINKS[home], "--timeout", "180", status=None)
    for one in ledgers(DEPLOYMENTS):
        verdict = await scene.audit_by_lineage(None, one)
        scene.say(f"{one.name}, by lineage, over both regions: {verdict}")
        assert verdict["verdict"] == "0/0/0"
        assert verdict["unexpected"] == 0
        assert verdict["input"] > 0
    for topic in input_topics(DEPLOYMENTS):
        await scene.all_there(home, topic)
