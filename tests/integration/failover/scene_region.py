"""A region with several deployments, some of which share their input, and what tests ask of them."""

from __future__ import annotations

import json
from typing import Any

from sandbox.api import Sandbox
from sandbox.fleet import Ledger, input_topics, ledgers
from sandbox.stage import Stage, execute, kafka_properties
from tests.docs.pages import blocks, missing_lines
from tests.integration.failover.scene import LINKS, REGIONS, Scene
from tests.kit.eventually import eventually
from tests.kit.sandbox import UP_S
from tests.kit.stage import ROOT, publish
from tidegate.model.record import DeploymentRecord
from tidegate.registry.artifacts import open_access
from tidegate.registry.records import RecordStore


class RegionScene(Scene):
    """Several ledgers behind one mirror link, ``rate`` events per second in each input topic."""

    def __init__(self, sandbox: Sandbox, deployments: int, rate: int) -> None:
        super().__init__(sandbox)
        self.deployments, self.rate = deployments, rate

    async def set_up_all(self) -> None:
        await self.sandbox.up(REGIONS, 2, print, UP_S, mirror=True)
        await self.stage.build_ledger()
        await self.stage.create_topics(*REGIONS, deployments=self.deployments)
        await self.stage.publish(("v1",), deployments=self.deployments)
        await publish(self.stage)
        await self.stage.add_workers(*REGIONS)
        await self.run("lineage", "begin")
        await self.run("mirror", "start", LINKS["east"], "--yes", "--timeout", "240")
        for number, topic in enumerate(input_topics(self.deployments), 1):
            self.stage.follow_lineage(self.rate, seed=number, topic=topic)
        for one in ledgers(self.deployments):
            await self.run("start", one.name, "v1", "--from-empty", "--bake", "2s", "--yes")

    async def restorable(self, deployment: str, region: str, epoch: int = 1) -> None:
        """Wait until a recovery point of an epoch of it can be gone on from there."""

        async def there() -> None:
            done = await self.stage.tidegate("points", deployment, "-o", "json")
            index = {one["region"]: one for one in json.loads(done.out)["index"]}
            assert index[region]["restorable"], index[region]["why_not"]
            assert f"e{epoch}-" in json.dumps(index[region]), index[region]

        await eventually(there, within_s=120.0)

    async def records(self) -> dict[str, DeploymentRecord]:
        """The record of each deployment."""
        found = {}
        async with open_access(self.fleet.control.s3) as control:
            for one in ledgers(self.deployments):
                stored = await RecordStore(control, self.fleet.control.bucket).read(one.name)
                assert stored is not None
                found[one.name] = stored.record
        return found

    async def lives(self) -> dict[str, str]:
        """The region of each deployment, by its record; nothing holds one any more."""
        found = {}
        for name, record in (await self.records()).items():
            assert record.writer is not None
            assert record.holder is None
            found[name] = record.writer.region
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


async def follow_page(stage: Stage, page: str) -> str:
    """The blocks of a page, from top to bottom; what they print."""
    told = ""
    for block in (block for block in blocks(page) if block.is_test):
        argv = ["bash", "-euo", "pipefail", "-c", block.body]
        done = await execute(argv, ROOT, {**stage.environment, "TIDEGATE_WHO": "ana"}, 600.0)
        print(f"{block.where}\n$ {block.body}{done.out}{done.err}", flush=True)
        assert done.status == block.exit, f"{block.where}: {done.err}"
        missing = list(missing_lines(block.shown, done.out))
        assert not missing, f"{block.where} did not print {missing[0]!r}"
        told += done.out
    return told
