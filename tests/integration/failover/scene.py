"""Two regions with a mirror each way, the ledger under traffic that follows the lineage, and what tests ask of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.api import Sandbox
from sandbox.fleet import Ledger, ledgers
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, Finished, Stage, execute, kafka_properties
from tests.kit.eventually import eventually
from tests.kit.sandbox import UP_S
from tests.kit.stage import AUDIT_TRIES, AUDIT_UNAVAILABLE, ROOT, publish
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import DeploymentRecord
from tidegate.registry.artifacts import open_access
from tidegate.registry.records import RecordStore

REGIONS = ("east", "west")
FIRST = ledgers(1)[0]
LINKS = {"east": "east-to-west", "west": "west-to-east"}
"""The link that leads away from a region."""


def other(region: str) -> str:
    return "west" if region == "east" else "east"


class Scene:
    """The stage of a failover."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.stage = Stage(sandbox, ROOT, lambda line: print(line, flush=True))
        self.began = time.monotonic()

    @property
    def fleet(self) -> Fleet:
        return load_fleet(self.stage.fleet_file).fleet

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    async def run(self, *arguments: str, status: int | None = 0) -> Finished:
        """A command, as a person types it, and how it must end (None: in whatever way)."""
        began = time.monotonic()
        done = await self.stage.tidegate(*arguments, timeout_s=900.0)
        took = time.monotonic() - began
        ended = f"-> {done.status} after {took:.1f} s"
        self.say(f"$ tidegate {' '.join(arguments)}  {ended}\n{done.out[-3_500:]}{done.err[-2_000:]}")
        if status is not None:
            assert done.status == status, f"{done.out}\n{done.err}"
        return done

    async def begin(self, *arguments: str) -> str:
        """Start an operation and leave it running; its id."""
        done = await self.run(*arguments, "--no-follow", "-o", "json")
        return str(json.loads(done.out)["operation"])

    async def steps(self, operation: str) -> dict[str, str]:
        """The state of each of its steps, by the first word of its name; none while no worker answers."""
        shown = await self.stage.tidegate("ops", "show", operation, "-o", "json")
        status = json.loads(shown.out)["status"] if shown.status == 0 else None
        return {one["name"].split()[0]: one["state"] for one in status["steps"]} if status is not None else {}

    async def until_begun(self, operation: str, step: str) -> None:
        """Wait until a step has begun."""

        async def begun() -> None:
            steps = await self.steps(operation)
            assert steps.get(step, "pending") != "pending", f"{operation} has not come to {step}: {steps}"

        await eventually(begun, within_s=240.0)

    async def set_up(
        self, rate: int, *, keep: bool = False, ha: bool = False, fleet: Callable[[str], str] | None = None
    ) -> None:
        """Everything under way: both regions, the mirror, traffic, the job in the east. ``fleet`` changes the file."""
        await self.sandbox.up(REGIONS, 2, print, UP_S, mirror=True, ha=ha)
        await self.stage.build_ledger()
        await self.stage.create_topics(*REGIONS)
        await self.stage.publish(("v1",))
        await publish(self.stage)
        if fleet is not None:
            self.stage.fleet_file.write_text(fleet(self.stage.fleet_file.read_text()))
            await self.run("fleet", "apply", str(self.stage.fleet_file), "--yes")
        await self.stage.add_workers(*REGIONS)
        await self.run("lineage", "begin")
        await self.run("mirror", "start", LINKS["east"], "--yes", "--timeout", "240")
        self.stage.follow_lineage(rate)
        await self.run("start", DEPLOYMENT, "v1", "--from-empty", "--bake", "2s", "--yes")
        if keep:
            await self.run("points", DEPLOYMENT, "--keep")

    async def record(self) -> DeploymentRecord:
        async with open_access(self.fleet.control.s3) as control:
            stored = await RecordStore(control, self.fleet.control.bucket).read(DEPLOYMENT)
        assert stored is not None
        return stored.record

    async def lineage(self, topic: str) -> TopicLineage:
        async with open_access(self.fleet.control.s3) as control:
            known = await LineageStore(control, self.fleet.control.bucket).read(topic)
        assert known is not None
        return known

    async def everything(self, region: str, topic: str) -> dict[TopicPartition, list[LogRecord]]:
        """All committed records of a topic in a region's log."""
        kafka = self.stage.kafka(region)
        try:
            ends = await kafka.last_stable_offsets([topic])
            starts = await kafka.start_offsets([topic])
            return {tp: [one async for one in kafka.records(tp, starts[tp], end)] for tp, end in ends.items()}
        finally:
            await kafka.aclose()

    async def audit(self, region: str, manifests: tuple[Path, ...] = ()) -> dict[str, Any]:
        """The auditor's word on a region's log: what was mirrored and what was written there."""
        argv = [
            "python", "-m", "ledger.auditor",
            "--bootstrap", self.sandbox.endpoints.regions[region].kafka,
            "--input", FIRST.input, "--output", FIRST.output,
            "--until-caught-up", "--timeout-s", "200", "-o", "json",
            *(word for path in manifests for word in ("--manifest", str(path))),
            *kafka_properties("admin"),
        ]  # fmt: skip
        return await self._verdict(argv)

    async def _verdict(self, argv: list[str]) -> dict[str, Any]:
        """What an auditor says. One that could not read on (5) gives no verdict: it is asked again."""
        for _ in range(AUDIT_TRIES):
            done = await execute(argv, self.stage.root, self.stage.environment, 300.0)
            if done.status != AUDIT_UNAVAILABLE:
                break
            self.say(f"no verdict: {done.err[-300:]}")
        assert done.status in {0, 7}, done.err[-1_000:]
        found: dict[str, Any] = json.loads(done.out)
        return found

    async def audit_by_lineage(self, within: str | None = None, one: Ledger = FIRST) -> dict[str, Any]:
        """The auditor's word by the lineage: over both regions' logs, or (``within``) by one region's alone."""
        regions = self.sandbox.endpoints.regions
        argv = [
            "python", "-m", "ledger.auditor", "--lineage",
            *(word for name in REGIONS for word in ("--region", f"{name}={regions[name].kafka}")),
            *(("--in", within) if within else ()),
            "--input", one.input, "--output", one.output,
            "--until-caught-up", "--timeout-s", "200", "-o", "json",
            *kafka_properties("admin"),
        ]  # fmt: skip
        found = await self._verdict(argv)
        return {name: value for name, value in found.items() if name not in {"rate", "checked_to"}}

    def acked(self, topic: str = INPUT_TOPIC) -> dict[str, str]:
        """Every payment that was acknowledged, and where."""
        found = {}
        for line in self.stage.acked_of(topic).read_text().splitlines():
            words = line.split(",")
            if len(words) == 5:
                found[words[0]] = words[1]
        return found

    async def writes_in(self, region: str, count: int = 1, topic: str = INPUT_TOPIC) -> None:
        """Producers are there: so many payments more are acknowledged in the region."""
        before = sum(where == region for where in self.acked(topic).values())

        async def more() -> None:
            there = sum(where == region for where in self.acked(topic).values())
            assert there >= before + count, "\n".join(self.sandbox.logs("control/generator"))

        await eventually(more, within_s=60.0)

    async def all_there(self, region: str, topic: str = INPUT_TOPIC) -> Counter[str]:
        """The payments of a region's log by id; each must stand there once, and all that were acknowledged.

        What does not count there by the lineage is left out: a tail that never crossed, and came back by the mirror.
        """
        known = await self.lineage(topic)
        found: Counter[str] = Counter()
        for tp, records in (await self.everything(region, topic)).items():
            gone = [one for one in known.partitions[str(tp.partition)].excluded if one.region == region]
            found.update(
                (record.value or b"").split(b",", 1)[0].decode()
                for record in records
                if not any(one.first <= record.offset <= one.last for one in gone)
            )
        missing = [one for one in self.acked(topic) if one not in found]
        twice = [one for one, times in found.items() if times > 1]
        self.say(
            f"{region}: {topic}: {len(found):,} payments, {len(missing)} acknowledged ones missing, {len(twice)} twice"
        )
        assert not missing, missing[:5]
        assert not twice, twice[:5]
        return found
