"""Temporal killed and the east with it, while an operation holds the deployment; on in the west all the same (O22).

The page of break-glass is followed on the way. Then the lost Temporal is brought back with the old operation in it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, Finished, execute
from tests.docs.pages import ROOT, Block, blocks, missing_lines
from tests.integration.failover.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.model.record import RecordState

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
PAGE = "runbooks/break-glass.md"
TEMPORAL = "control/temporal"


class HeldScene(Scene):
    """The job is started by an operation that holds the deployment for an hour: it proves the job that long."""

    starter = ""

    async def run(self, *arguments: str, status: int | None = 0) -> Finished:
        if arguments[0] != "start":
            return await super().run(*arguments, status=status)
        at = arguments.index("--bake") + 1
        done = await super().run(*arguments[:at], "3600s", *arguments[at + 1 :], "--no-follow", status=status)
        found = re.search(r"start-ledger-[0-9a-f]{8}", done.out)
        assert found is not None
        self.starter = found.group(0)
        return done


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("glass") / "data") as made:
        yield made


async def _restorable_in_west(scene: Scene) -> None:
    async def there() -> None:
        done = await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")
        index = {one["region"]: one for one in json.loads(done.out)["index"]}
        assert index["west"]["restorable"], index["west"]["why_not"]

    await eventually(there, within_s=180.0)


async def _follow(scene: Scene, block: Block, state: Path) -> str:
    """A block of the page, as it stands there."""
    argv = ["bash", "-euo", "pipefail", "-c", block.body]
    environment = {**scene.stage.environment, "TIDEGATE_WHO": "ana", "XDG_STATE_HOME": str(state)}
    done = await execute(argv, ROOT, environment, 600.0)
    scene.say(f"{block.where}\n$ {block.body}{done.out}{done.err}")
    assert done.status == block.exit, done.err
    assert not list(missing_lines(block.shown, done.out))
    return done.out


def _kept(state: Path) -> list[Path]:
    """Folders of operations that did not end."""
    return list(state.glob("tidegate/*"))


async def test_o22_with_temporal_and_a_region_lost_it_goes_on_and_what_temporal_brings_back_is_superseded(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    scene = HeldScene(sandbox)
    await scene.set_up(RATE, keep=True)
    await _restorable_in_west(scene)
    refused, plan, do, reports = (block for block in blocks(PAGE) if block.is_test)
    await _follow(scene, refused, tmp_path)
    record = await scene.record()
    assert (record.state, record.holder is not None) == (RecordState.HELD, True)

    sandbox.kill(TEMPORAL, for_good=True)
    sandbox.kill("east", for_good=True)
    scene.say(f"Temporal and the east are gone; {scene.starter} holds {DEPLOYMENT}")
    assert "nothing was changed" in await _follow(scene, plan, tmp_path)
    assert (await scene.record()).holder == record.holder
    out = await _follow(scene, do, tmp_path)
    assert "lost 0 · duplicated 0 · wrong 0" in out
    assert not _kept(tmp_path)
    after = await scene.record()
    assert after.writer is not None
    assert (after.writer.region, after.fence, after.holder) == ("west", record.fence + 1, None)
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        lineage = await scene.lineage(topic)
        assert (lineage.region, lineage.turn, lineage.gate) == ("west", 1, "open")
    await scene.writes_in("west")
    assert "break-glass-ledger-" in await _follow(scene, reports, tmp_path)

    sandbox.start(TEMPORAL)
    await sandbox.wait_ready(TEMPORAL)
    scene.say("Temporal is back, and the old operation with it")

    async def superseded() -> None:
        shown = await scene.stage.tidegate("ops", "show", scene.starter, "-o", "json")
        assert shown.status == 0, shown.err
        status = json.loads(shown.out)["status"] or {}
        assert status.get("phase") == "superseded", shown.out

    await eventually(superseded, within_s=180.0, every_s=1.0)
    await scene.run("ops", "show", scene.starter)
    assert await scene.record() == after
    await scene.stage.stop_follower()
    verdict = await scene.audit_by_lineage("west")
    scene.say(f"west by lineage: {verdict}")
    assert verdict["verdict"] == "0/0/0"
