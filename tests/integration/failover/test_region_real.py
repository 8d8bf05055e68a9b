"""A region with four deployments, two of which share their input: planned there and back, 0/0/0 each (X18 to X20)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import input_topics, ledgers
from tests.integration.failover.scene import LINKS, REGIONS, Scene
from tests.integration.failover.scene_region import RegionScene, follow_page
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

DEPLOYMENTS = 4
PAGE = "runbooks/failover-region.md"
RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "100")
"""Of each input topic, in events per second."""
ROUNDS = int(os.environ.get("TIDEGATE_ROUNDS") or "1")
"""Of there and back again."""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("region") / "data") as made:
        yield made


async def on(scene: Scene, home: str, target: str) -> str:
    return (await scene.run("failover", "region", home, "--to", target, "--bake", "3s", "--yes")).out


async def test_x18_a_region_there_and_back_nothing_is_lost_and_nothing_comes_twice(sandbox: Sandbox) -> None:
    scene = RegionScene(sandbox, DEPLOYMENTS, RATE)
    await scene.set_up_all()
    topics = {topic for one in ledgers(DEPLOYMENTS) for topic in (one.input, one.output)}
    for number, (home, target) in enumerate((("east", "west"), ("west", "east")) * ROUNDS, 1):
        # There as the page says, and back.
        told = await follow_page(scene.stage, PAGE) if number == 1 else await on(scene, home, target)
        for one in ledgers(DEPLOYMENTS):
            line = next(line for line in told.splitlines() if line.startswith(f"  {one.name} ") and " done " in line)
            assert "0/0/0" in line, line
            assert "gap " in line, line
            assert "RTO " in line, line
        assert set((await scene.lives()).values()) == {target}, home
        for topic in sorted(topics):
            lineage = await scene.lineage(topic)
            assert (lineage.region, lineage.turn, lineage.gate) == (target, number, "open"), topic
        await asyncio.sleep(2.0)
    for topic in input_topics(DEPLOYMENTS):
        await scene.stage.stop_follower(topic)
    await scene.run("mirror", "drain", LINKS["east"], "--timeout", "120", status=None)
    for region in REGIONS:
        for one in ledgers(DEPLOYMENTS):
            verdict = await scene.verdict(region, one)
            scene.say(
                f"{region} {one.name}: {verdict['verdict']} of {verdict['input']:,} in, {verdict['output']:,} out"
            )
            assert verdict["verdict"] == "0/0/0"
            assert verdict["input"] > 0


async def test_x21_a_lost_region_goes_on_from_its_newest_points(sandbox: Sandbox) -> None:
    scene = RegionScene(sandbox, DEPLOYMENTS, RATE)
    await scene.set_up_all()
    for one in ledgers(DEPLOYMENTS):
        await scene.run("points", one.name, "--keep")
    for one in ledgers(DEPLOYMENTS):
        await scene.restorable(one.name, "west")
    killed = datetime.now(UTC)
    sandbox.kill("east", for_good=True)
    refused = await scene.run("failover", "region", "east", "--to", "west", "--yes", status=4)
    assert "--unplanned" in refused.out + refused.err
    done = await scene.run(
        *("failover", "region", "east", "--to", "west", "--unplanned"),
        *("--detected-at", killed.isoformat(), "--bake", "3s", "--yes"),
    )
    for one in ledgers(DEPLOYMENTS):
        line = next(line for line in done.out.splitlines() if line.startswith(f"  {one.name} ") and " done " in line)
        assert "0/0/0" in line, line
        for topic in (one.input, one.output):
            lineage = await scene.lineage(topic)
            assert (lineage.region, lineage.turn, lineage.gate) == ("west", 1, "open"), topic
            assert not lineage.turns[-1].planned
    assert "waits: west-to-east" in done.out
    assert set((await scene.lives()).values()) == {"west"}
