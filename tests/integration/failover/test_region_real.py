"""A region with four deployments, two of which share their input: planned there and back, 0/0/0 each (X18 to X20)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import Ledger, input_topics, ledgers
from sandbox.stage import Stage, execute, kafka_properties
from tests.docs.pages import blocks, missing_lines
from tests.integration.failover.scene import LINKS, REGIONS, Scene
from tests.kit.eventually import eventually
from tests.kit.sandbox import UP_S
from tests.kit.stage import ROOT, publish, stage_sandbox
from tidegate.registry.artifacts import open_access
from tidegate.registry.records import RecordStore

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


class RegionScene(Scene):
    """Four ledgers behind one mirror link."""

    async def set_up_all(self) -> None:
        await self.sandbox.up(REGIONS, 2, print, UP_S, mirror=True)
        await self.stage.build_ledger()
        await self.stage.create_topics(*REGIONS, deployments=DEPLOYMENTS)
        await self.stage.publish(("v1",), deployments=DEPLOYMENTS)
        await publish(self.stage)
        await self.stage.add_workers(*REGIONS)
        await self.run("lineage", "begin")
        await self.run("mirror", "start", LINKS["east"], "--yes", "--timeout", "240")
        for number, topic in enumerate(input_topics(DEPLOYMENTS), 1):
            self.stage.follow_lineage(RATE, seed=number, topic=topic)
        for one in ledgers(DEPLOYMENTS):
            await self.run("start", one.name, "v1", "--from-empty", "--bake", "2s", "--yes")

    async def restorable(self, deployment: str, region: str) -> None:
        """Wait until a recovery point of it can be gone on from there."""

        async def there() -> None:
            done = await self.stage.tidegate("points", deployment, "-o", "json")
            index = {one["region"]: one for one in json.loads(done.out)["index"]}
            assert index[region]["restorable"], index[region]["why_not"]

        await eventually(there, within_s=120.0)

    async def lives(self) -> dict[str, str]:
        """The region of each deployment, by its record."""
        found = {}
        async with open_access(self.fleet.control.s3) as control:
            for one in ledgers(DEPLOYMENTS):
                stored = await RecordStore(control, self.fleet.control.bucket).read(one.name)
                assert stored is not None
                assert stored.record.writer is not None
                assert stored.record.holder is None
                found[one.name] = stored.record.writer.region
        return found

    async def verdict(self, region: str, one: Ledger) -> dict[str, Any]:
        """The auditor's word on what a ledger has made of its input, in a region's log."""
        argv = [
            *("python", "-m", "ledger.auditor", "--bootstrap", self.sandbox.endpoints.regions[region].kafka),
            *("--input", one.input, "--output", one.output, "--until-caught-up", "--timeout-s", "200", "-o", "json"),
            *kafka_properties("admin"),
        ]
        done = await execute(argv, self.stage.root, self.stage.environment, 300.0)
        assert done.status in {0, 7}, done.err[-1_000:]
        found: dict[str, Any] = json.loads(done.out)
        return found


async def follow_page(stage: Stage) -> str:
    """The blocks of the runbook's page, from top to bottom; what they print."""
    told = ""
    for block in (block for block in blocks(PAGE) if block.is_test):
        argv = ["bash", "-euo", "pipefail", "-c", block.body]
        done = await execute(argv, ROOT, {**stage.environment, "TIDEGATE_WHO": "ana"}, 600.0)
        print(f"{block.where}\n$ {block.body}{done.out}{done.err}", flush=True)
        assert done.status == block.exit, f"{block.where}: {done.err}"
        missing = list(missing_lines(block.shown, done.out))
        assert not missing, f"{block.where} did not print {missing[0]!r}"
        told += done.out
    return told


async def on(scene: Scene, home: str, target: str) -> str:
    return (await scene.run("failover", "region", home, "--to", target, "--bake", "3s", "--yes")).out


async def test_x18_a_region_there_and_back_nothing_is_lost_and_nothing_comes_twice(sandbox: Sandbox) -> None:
    scene = RegionScene(sandbox)
    await scene.set_up_all()
    topics = {topic for one in ledgers(DEPLOYMENTS) for topic in (one.input, one.output)}
    for number, (home, target) in enumerate((("east", "west"), ("west", "east")) * ROUNDS, 1):
        # There as the page says, and back.
        told = await follow_page(scene.stage) if number == 1 else await on(scene, home, target)
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
    scene = RegionScene(sandbox)
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
