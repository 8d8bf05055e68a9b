"""A lost region comes back, with all it had: quarantined, its tail fed, mirrored to, and failed back to (X23).

Over everything that any producer got an acknowledgement for nothing is lost in the end, and all values are right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC
from tests.integration.failover.scene import Scene
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("return") / "data") as made:
        yield made


async def test_x23_a_lost_region_returns_and_nothing_acknowledged_is_lost(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    # The mirror stands still before the east goes: what is written meanwhile is acknowledged and never crosses.
    sandbox.pause("west/connect")
    await scene.writes_in("east", count=2 * RATE)
    sandbox.kill("east", for_good=True)
    sandbox.resume("west/connect")
    scene.say("east is gone")
    await scene.run("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--bake", "2s", "--yes")
    await scene.writes_in("west")

    sandbox.start("east")
    await sandbox.wait_ready("east", 240.0)
    scene.say("east is back")
    await scene.run("return", "region", "east", "--dry-run")
    done = await scene.run("return", "region", "east", "--yes")
    told = re.search(r"([\d,]+) inputs that never crossed: fed ([\d,]+)", done.out)
    assert told is not None
    tail, fed = (int(number.replace(",", "")) for number in told.groups())
    assert tail > 0
    assert fed > 0
    before = await scene.lineage(INPUT_TOPIC)
    done = await scene.run("failover", "deployment", DEPLOYMENT, "--to", "east", "--bake", "2s", "--yes")
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    assert (await scene.lineage(INPUT_TOPIC)).turn == before.turn + 1
    await scene.writes_in("east")
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", "east-to-west", "--timeout", "120", status=None)
    for within in (None, "west"):
        verdict = await scene.audit_by_lineage(within)
        scene.say(f"by lineage, in {within or 'both'}: {verdict}")
        assert verdict["verdict"] == "0/0/0"
    west = await scene.all_there("west")
    scene.say(f"{len(west):,} payments in the west")
