"""A planned failover and a failback on real parts: 0/0/0, with producers that go along (X18 to X20)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.scene import Scene, other
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
ROUNDS = int(os.environ.get("TIDEGATE_ROUNDS") or "1")
"""Of there and back again."""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("failover") / "data") as made:
        yield made


async def test_x18_there_and_back_nothing_is_lost_and_nothing_comes_twice(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE)
    home = "east"
    for number in range(1, 2 * ROUNDS + 1):
        target = other(home)
        await scene.run("failover", "deployment", DEPLOYMENT, "--to", target, "--dry-run")
        done = await scene.run("failover", "deployment", DEPLOYMENT, "--to", target, "--bake", "3s", "--yes")
        assert "lost 0 · duplicated 0 · wrong 0" in done.out
        record = await scene.record()
        assert record.writer is not None
        assert record.writer.region == target
        for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
            lineage = await scene.lineage(topic)
            assert (lineage.region, lineage.turn, lineage.gate) == (target, number, "open")
        await scene.writes_in(target)
        home = target
    await scene.run("lineage", "show", OUTPUT_TOPIC)
    await scene.stage.stop_follower()
    for region in (home, other(home)):
        # The mirror brings the last of it to the other region, too.
        await scene.run("mirror", "drain", f"{home}-to-{other(home)}", "--timeout", "120", status=None)
        verdict = await scene.audit(region)
        scene.say(f"{region}: {verdict['verdict']} of {verdict['input']:,} in, {verdict['output']:,} out")
        assert verdict["verdict"] == "0/0/0"
        await scene.all_there(region)
