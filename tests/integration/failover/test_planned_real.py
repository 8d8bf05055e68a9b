"""A planned failover and a failback on real parts: 0/0/0, with producers that go along (X18 to X20)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import ledgers
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.aftermath import read_by_a_new_group, restore_from_long_ago
from tests.integration.failover.scene import LINKS, Scene, other
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
ROUNDS = int(os.environ.get("TIDEGATE_ROUNDS") or "1")
"""Of there and back again."""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("failover") / "data") as made:
        yield made


async def test_x18_there_and_back_nothing_is_lost_and_nothing_comes_twice(sandbox: Sandbox, tmp_path: Path) -> None:
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

    # Back to two epochs ago, and then away: what was written since does not count, here nor in its copy there.
    record = await scene.record()
    await restore_from_long_ago(scene, DEPLOYMENT, home, record.epoch)
    away = other(home)
    done = await scene.run("failover", "deployment", DEPLOYMENT, "--to", away, "--bake", "3s", "--yes")
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    await scene.writes_in(away)
    await scene.stage.stop_follower()
    # The mirror brings the last of it to the other region, too.
    await scene.run("mirror", "drain", LINKS[away], "--timeout", "120")
    for within in (None, away):
        verdict = await scene.audit_by_lineage(within)
        scene.say(f"by lineage, in {within or 'both'}: {verdict}")
        assert verdict["verdict"] == "0/0/0"
        assert verdict["excluded"] + verdict["superseded"] > 0
    for region in (home, away):
        payments = await scene.all_there(region)
    read = await read_by_a_new_group(scene, ledgers(1)[0], away, tmp_path)
    assert read.keys() == payments.keys()
    assert max(read.values()) == 1
