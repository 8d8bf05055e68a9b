"""A region lost, and the other one, in turn, without a reset: what is lost in the end, RTO and RPO over all rounds.

Two rounds, or so many as TIDEGATE_ROUNDS says (TIDEGATE_SEED: when the kills come). In each one the region where the
job runs is killed -9, all of it, at a random moment; the job goes on in the other, and what was lost is returned.
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
from sandbox.stage import DEPLOYMENT
from tests.integration.failover.scene import LINKS, Scene, other
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(7_200)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
ROUNDS = int(os.environ.get("TIDEGATE_ROUNDS") or "2")
SEED = int(os.environ.get("TIDEGATE_SEED") or f"{datetime.now(UTC):%Y%m%d}")
BETWEEN_S = 5.0
"""The kill comes within so long after the standby was found restorable; a checkpoint is taken each second."""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("rounds") / "data") as made:
        yield made


async def _index_age_s(scene: Scene, region: str, epoch: int) -> float:
    """Wait until the epoch's job can be gone on from in the region; the index's word on its age, in seconds."""

    async def there() -> float:
        done = await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")
        assert done.status == 0, done.err
        found = json.loads(done.out)
        line = next(one for one in found["index"] if one["region"] == region)
        assert line["restorable"], line["why_not"]
        assert f"e{epoch}-" in json.dumps(line), line
        return float(line["age_s"])

    return await eventually(there, within_s=180.0)


async def _lost(scene: Scene, home: str, rng: random.Random) -> dict[str, Any]:
    """The home region is lost, and the job goes on in the other; what the report says of it."""
    target = other(home)
    before = await scene.record()
    age_s = await _index_age_s(scene, target, before.epoch)
    await asyncio.sleep(rng.uniform(0, BETWEEN_S))  # a random moment between two checkpoints, not a wait
    killed = datetime.now(UTC)
    scene.sandbox.kill(home, for_good=True)
    scene.say(f"{home} is gone")
    done = await scene.run(
        *("failover", "deployment", DEPLOYMENT, "--to", target, "--unplanned"),
        *("--detected-at", killed.isoformat(), "--bake", "2s", "--yes"),
    )
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    operation = re.search(r"operation\s+(\S+)", done.out)
    assert operation is not None
    shown = await scene.run("report", "show", operation.group(1), "-o", "json")
    facts: dict[str, Any] = json.loads(shown.out)["failover"]
    return {**facts, "index_age_s": age_s}


async def _returned(scene: Scene, home: str) -> tuple[int, int]:
    """The lost region comes back; how many inputs had never crossed, and how many of these were fed."""
    scene.sandbox.start(home)
    await scene.sandbox.wait_ready(home, 240.0)
    done = await scene.run("return", "region", home, "--yes")
    told = re.search(r"([\d,]+) inputs that never crossed: fed ([\d,]+)", done.out)
    assert told is not None, done.out
    never, fed = (int(number.replace(",", "")) for number in told.groups())
    return never, fed


async def test_x23_region_after_region_is_lost_and_returned_and_nothing_acknowledged_is_lost(sandbox: Sandbox) -> None:
    scene, rng = Scene(sandbox), random.Random(SEED)
    await scene.set_up(RATE, keep=True)
    home, told, tails = "east", [], []
    for number in range(1, ROUNDS + 1):
        told.append(await _lost(scene, home, rng))
        await scene.writes_in(other(home))
        tails.append(await _returned(scene, home))
        home = other(home)
        figures = {name: [one[name] for one in told] for name in ("rto_s", "rto_detected_s", "rpo_s", "index_age_s")}
        scene.say(
            f"after {number} rounds: "
            + " · ".join(f"{name} median {median(seen):.1f}, worst {max(seen):.1f}" for name, seen in figures.items())
            + f" · superseded {[one['superseded'] for one in told]} · (never crossed, fed) {tails}"
        )
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS[home], "--timeout", "120", status=None)
    verdict = await scene.audit_by_lineage()
    scene.say(f"by lineage, over both regions: {verdict}")
    assert verdict["verdict"] == "0/0/0"
    await scene.all_there(home)
