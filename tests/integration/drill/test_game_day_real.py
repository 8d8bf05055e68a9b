"""A game day on real parts: there and back, 0/0/0; a rule that trips half way, and an abort, leave it as it was."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, execute
from tests.docs.pages import ROOT, blocks, missing_lines
from tests.integration.drill.test_drill_real import restorable
from tests.integration.failover.scene import LINKS, REGIONS, Scene
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.clients.flink import FlinkClient
from tidegate.driver.session import SessionClusterDriver
from tidegate.registry.artifacts import open_access
from tidegate.registry.links import LinkStore

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "300")
PAGE = "runbooks/game-day.md"
GAME_DAY = ("drill", "game-day", "east", "--to", "west", "--deployment", DEPLOYMENT, "--bake", "3s", "--yes")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("game-day") / "data") as made:
        yield made


async def as_it_was(scene: Scene) -> None:
    """It runs at home and nowhere else, its topics live there, the mirror runs from there; nobody holds anything."""
    record = await scene.record()
    assert record.writer is not None
    assert (record.writer.region, record.holder) == ("east", None)
    for region, count in (("east", 1), ("west", 0)):
        driver = SessionClusterDriver(FlinkClient(scene.sandbox.endpoints.regions[region].flink, timeout_s=20.0))
        try:
            running = [job for job, state in (await driver.list_jobs()).items() if not state.terminal]
        finally:
            await driver.client.aclose()
        assert len(running) == count, region
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        lineage = await scene.lineage(topic)
        assert (lineage.region, lineage.gate, lineage.holder) == ("east", "open", None), topic
    async with open_access(scene.fleet.control.s3) as control:
        links = LinkStore(control, scene.fleet.control.bucket)
        known = {name: await links.read(name) for name in LINKS.values()}
    assert {name: one.mirror.value for name, one in known.items() if one is not None} == {
        "east-to-west": "RUNNING",
        "west-to-east": "STOPPED",
    }
    assert all(one is None or one.holder is None for one in known.values())
    await scene.writes_in("east", 50)


async def follow_page(scene: Scene) -> str:
    """The page's commands as they stand there; what they print."""
    said = ""
    for block in (block for block in blocks(PAGE) if block.is_test):
        argv = ["bash", "-euo", "pipefail", "-c", block.body]
        done = await execute(argv, ROOT, {**scene.stage.environment, "TIDEGATE_WHO": "ana"}, 900.0)
        scene.say(f"{block.where}\n$ {block.body}{done.out}{done.err[-2_000:]}")
        assert done.status == block.exit, f"{block.where} ended with {done.status}: {done.out}{done.err}"
        missing = list(missing_lines(block.shown, done.out))
        assert not missing, f"{block.where} did not print {missing[0]!r}"
        said += done.out
    return said


async def begin(scene: Scene, *options: str) -> str:
    """Start one and leave it; its id."""
    started = await scene.run(*GAME_DAY, *options, "--no-follow")
    found = re.search(r"started\s+(\S+)", started.out)
    assert found is not None
    return found.group(1)


async def reached(scene: Scene, operation: str, step: str) -> None:
    """Wait until this step of it runs."""

    async def there() -> None:
        shown = await scene.stage.tidegate("ops", "show", operation, "-o", "json")
        status = json.loads(shown.out)["status"] or {}
        states = {row["name"]: row["state"] for row in status.get("steps", ())}
        assert states.get(step) == "running", states

    await eventually(there, within_s=400.0)


async def test_i7_a_rule_that_trips_half_way_leaves_it_as_it_was(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable(scene)

    # A TaskManager is killed while it is in the standby: its job restarts, which is one too many.
    operation = await begin(scene, "--stay", "10m", "--max-restarts", "0")
    await reached(scene, operation, "watch")
    for number in (1, 2):
        scene.sandbox.kill(f"west/flink/taskmanager-{number}")
    scene.say("killed: both TaskManagers of the west")
    ended = await scene.run("ops", "watch", operation, status=1)
    told = " ".join((ended.out + ended.err).split())
    assert "rule restarts: ledger restarted" in told, told
    assert "game day stopped: rule restarts; back as it was: 0/0/0" in told, told
    await as_it_was(scene)
    report = await scene.run("report", "show", operation)
    assert "rule restarts: ledger restarted" in report.out

    # The page, from top to bottom: there and back.
    await restorable(scene)
    said = await follow_page(scene)
    assert f"{DEPLOYMENT} ran in west for 10 s and is back in east: gap " in said
    assert "0/0/0" in said
    await as_it_was(scene)

    # One command stops it and goes back, here on the way there: the job is stopped, no topic has turned.
    await restorable(scene)
    operation = await begin(scene, "--stay", "10m")
    await reached(scene, operation, "fail over")
    await scene.run("ops", "abort", operation, "--why", "somebody needs the machine")
    ended = await scene.run("ops", "watch", operation, status=1)
    assert "game day stopped: abort; back as it was: " in " ".join((ended.out + ended.err).split())
    await as_it_was(scene)
    await scene.run("report", "verify", "region-east")

    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["east"], "--timeout", "120", status=None)
    for region in REGIONS:
        verdict = await scene.audit(region)
        scene.say(f"{region}: {verdict['verdict']} of {verdict['input']:,} in, {verdict['output']:,} out")
        assert verdict["verdict"] == "0/0/0"
        await scene.all_there(region)
