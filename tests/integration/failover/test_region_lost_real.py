"""A region's failover is terminated in the middle, planned and unplanned: one command ends it (O6, X18, X23, X24).

Four deployments, two of which share their input. What was lost is taken over from where each of them stands, and over
both regions nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client

from sandbox.api import Sandbox
from sandbox.fleet import input_topics, ledgers
from tests.integration.failover.scene import LINKS, other
from tests.integration.failover.scene_region import RegionScene
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.lineage.model import Gate
from tidegate.model.record import Writer

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

DEPLOYMENTS = 4
RATE = 100
"""Of each input topic, in events per second."""
LOOK_S = 0.2


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("region-lost") / "data") as made:
        yield made


async def _lost(scene: RegionScene, home: str, when: Callable[[], Awaitable[None]], *arguments: str) -> None:
    """A failover of all that lives in a region, terminated when a condition holds."""
    operation = await scene.begin(
        *("failover", "region", home, "--to", other(home), "--bake", "2s", "--yes"), *arguments
    )
    await eventually(when, within_s=300.0, every_s=LOOK_S)
    client = await Client.connect(scene.sandbox.endpoints.temporal)
    await client.get_workflow_handle(operation).terminate("somebody pressed the wrong button")
    scene.say(f"{operation} is terminated")


async def _writers(scene: RegionScene) -> dict[str, Writer | None]:
    return {name: record.writer for name, record in (await scene.records()).items()}


async def _taken_over(scene: RegionScene, home: str, *arguments: str) -> list[dict[str, Any]]:
    """Refused without a word of who and why; told by a dry run; ended by one command. What it says of each."""
    target = other(home)
    command = ("failover", "region", home, "--to", target, *arguments)
    refused = await scene.run(*command, "--yes", status=4)
    assert "--take-over --why" in refused.out + refused.err
    before = await _writers(scene)
    taking = (*command, "--take-over", "--why", "it was terminated", "--bake", "2s")
    planned = await scene.run(*taking, "--dry-run")
    for one in ledgers(DEPLOYMENTS):
        assert any(line.startswith(f"  {one.name} ") for line in planned.out.splitlines()), one.name
    assert await _writers(scene) == before
    done = await scene.run(*taking, "--yes", "-o", "json")
    members: list[dict[str, Any]] = json.loads(done.out)["members"]
    assert {one["deployment"]: one["outcome"] for one in members} == {one.name: "done" for one in ledgers(DEPLOYMENTS)}
    assert set((await scene.lives()).values()) == {target}
    for one in ledgers(DEPLOYMENTS):
        for topic in (one.input, one.output):
            lineage = await scene.lineage(topic)
            assert (lineage.region, lineage.gate) == (target, Gate.OPEN), topic
    for topic in input_topics(DEPLOYMENTS):
        await scene.writes_in(target, topic=topic)
    again = await scene.run(*taking, "--yes", "-o", "json")
    told = {one["summary"].split(":")[0] for one in json.loads(again.out)["members"]}
    assert told == {"is done already, and left alone"}
    return members


async def test_o6_a_terminated_failover_of_a_region_is_ended_by_one_command(sandbox: Sandbox) -> None:
    scene = RegionScene(sandbox, DEPLOYMENTS, RATE)
    await scene.set_up_all()
    for one in ledgers(DEPLOYMENTS):
        await scene.run("points", one.name, "--keep")
    first, last = ledgers(DEPLOYMENTS)[0], ledgers(DEPLOYMENTS)[-1]

    async def first_turned() -> None:
        assert (await scene.lineage(first.input)).region == "west"

    await _lost(scene, "east", first_turned)
    assert (await scene.lineage(last.input)).region == "east" or (await scene.lineage(last.input)).gate is Gate.CLOSED
    for one in await _taken_over(scene, "east"):
        if one["verdict"] is not None:
            assert (one["verdict"]["lost"], one["verdict"]["duplicated"]) == (0, 0), one

    for name, record in (await scene.records()).items():
        await scene.restorable(name, "east", record.epoch)
    killed = datetime.now(UTC)
    sandbox.kill("west", for_good=True)

    async def first_open() -> None:
        known = await scene.lineage(first.input)
        assert (known.region, known.gate) == ("east", Gate.OPEN)

    gone = ("--unplanned", "--detected-at", killed.isoformat())
    await _lost(scene, "west", first_open, *gone)
    writer = (await _writers(scene))[last.name]
    assert writer is not None
    assert writer.region == "west", "all were through before it was terminated"
    for one in await _taken_over(scene, "west", *gone):
        if one["verdict"] is not None:
            assert (one["verdict"]["lost"], one["verdict"]["duplicated"]) == (0, 0), one

    sandbox.start("west")
    await sandbox.wait_ready("west", 240.0)
    await scene.run("return", "region", "west", "--yes")
    for topic in input_topics(DEPLOYMENTS):
        await scene.stage.stop_follower(topic)
    await scene.run("mirror", "drain", LINKS["east"], "--timeout", "180", status=None)
    for one in ledgers(DEPLOYMENTS):
        verdict = await scene.audit_by_lineage(None, one)
        scene.say(f"{one.name}, by lineage, over both regions: {verdict}")
        assert verdict["verdict"] == "0/0/0"
        assert verdict["unexpected"] == 0
        assert verdict["input"] > 0
    for topic in input_topics(DEPLOYMENTS):
        await scene.all_there("east", topic)
