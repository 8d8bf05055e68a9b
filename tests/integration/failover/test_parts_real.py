"""A part of the machinery killed in the middle of a failover, and brought back after a while: it ends, proven all the
same (X17, X18, I4).

One sandbox; each failover goes on from where the one before it ended, and has one part killed as one of its steps
begins. Two of the cases, by a seed that is printed (TIDEGATE_SEED); all of them with TIDEGATE_MATRIX=1.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sandbox.api import Sandbox
from sandbox.stage import CONTROL_WORKERS, DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.scene import LINKS, REGIONS, Scene, other
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.rotation import EVERY_CASE, SEED
from tests.kit.stage import stage_sandbox
from tidegate.mirror.provenance import of_headers

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(5_400)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
DOWN_S = float(os.environ.get("TIDEGATE_DOWN_S") or "6")
"""How long a part is away. It is what the case is about, and no wait for anything."""
UP_S = 240.0
HALTED, UNREACHABLE = 3, 5


@dataclass(frozen=True)
class Case:
    """``parts``: what is killed; {target} is the region that it goes on in. ``step``: as it begins."""

    parts: tuple[str, ...]
    step: str
    bake: str = "3s"
    """How long it is watched: what is to be killed while it is must be found out in time."""

    def named(self, target: str) -> tuple[str, ...]:
        return tuple(part.format(target=target) for part in self.parts)


CASES = (
    Case((*CONTROL_WORKERS, "{target}/worker"), "stop"),
    Case(("control/temporal",), "cut"),
    Case(("{target}/flink/jobmanager",), "start"),
    Case(("{target}/flink/jobmanager",), "prove", "30s"),
    Case(("{target}/s3",), "stop"),
    Case(("{target}/kafka",), "close"),
    Case(("{target}/kafka",), "start"),
    Case(("control/s3",), "cut"),
    Case(("control/s3",), "open"),
)


def chosen() -> tuple[Case, ...]:
    return CASES if EVERY_CASE else tuple(random.Random(SEED).sample(CASES, 2))


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("parts") / "data") as made:
        yield made


async def away_for_a_while(scene: Scene, parts: tuple[str, ...]) -> None:
    for part in parts:
        scene.sandbox.kill(part, for_good=True)
    scene.say(f"{', '.join(parts)}: killed")
    await asyncio.sleep(DOWN_S)
    for part in parts:
        scene.sandbox.start(part)
    for part in parts:
        await scene.sandbox.wait_ready(part, UP_S)
    scene.say(f"{', '.join(parts)}: back")


async def ended(scene: Scene, operation: str) -> str:
    """What it printed at its end. Where it stands halted, a person sees to it that all is up, and resumes it; where
    Temporal is not to be reached, it is asked again.
    """
    for _ in range(4):
        done = await scene.run("ops", "watch", operation, status=None)
        if done.status not in {HALTED, UNREACHABLE}:
            break
        for place in ("control", *REGIONS):
            await scene.sandbox.wait_ready(place, UP_S)
        if done.status == UNREACHABLE:
            continue
        await scene.run("ops", "resume", operation, "--why", "what had failed is back")
    assert done.status in {0, 1}, done.out
    return done.out


async def test_x18_a_part_is_killed_in_each_failover_and_each_ends_proven(sandbox: Sandbox) -> None:
    scene, cases = Scene(sandbox), chosen()
    scene.say(f"seed {SEED}: {', '.join(f'{one.parts[-1]} at {one.step}' for one in cases)}")
    await scene.set_up(RATE)
    home, undone = "east", 0
    for case in cases:
        target = other(home)
        turn = (await scene.lineage(INPUT_TOPIC)).turn
        operation = await scene.begin(
            "failover", "deployment", DEPLOYMENT, "--to", target, "--bake", case.bake, "--yes", "--drain", "60s"
        )
        await scene.until_begun(operation, case.step)
        back = asyncio.create_task(away_for_a_while(scene, case.named(target)))
        out = await ended(scene, operation)
        await back
        assert "lost 0 · duplicated 0 · wrong 0" in out
        record = await scene.record()
        assert record.writer is not None
        assert record.holder is None
        assert not record.open_intents()
        went = record.writer.region == target
        scene.say(f"{case.parts[-1]} killed at {case.step}: {'done' if went else 'undone'}, 0/0/0")
        undone += not went
        home = record.writer.region
        for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
            lineage = await scene.lineage(topic)
            assert (lineage.region, lineage.gate) == (home, "open")
            assert lineage.turn == (turn + 1 if went else turn)
        await scene.writes_in(home, count=RATE)
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS[home], "--timeout", "120")
    verdict = await scene.audit_by_lineage()
    scene.say(f"{len(cases)} failovers, {undone} of them undone; by lineage, over both regions: {verdict}")
    assert verdict["verdict"] == "0/0/0"
    await scene.all_there(home)


async def brought_from(scene: Scene, source: str, region: str) -> int:
    """How many records of both topics in a region's log the mirror from the other one has brought."""
    count = 0
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        for records in (await scene.everything(region, topic)).values():
            for record in records:
                came = of_headers(record.headers)
                count += came is not None and came.hop.cluster == source
    return count


async def test_x17_a_connect_worker_that_slept_through_the_failover_brings_nothing_after_it(sandbox: Sandbox) -> None:
    """Its link was shut out while nobody could ask it. Both of it and the source come back: it would go on."""
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    sandbox.kill("west/connect", for_good=True)
    await scene.writes_in("east", count=2 * RATE)
    sandbox.kill("east", for_good=True)
    scene.say("east is gone, and so is the worker of the mirror to the west")
    done = await scene.run(
        *("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--bake", "3s", "--yes")
    )
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    brought = await brought_from(scene, "east", "west")

    sandbox.start("west/connect")
    sandbox.start("east")
    await sandbox.wait_ready("west/connect", UP_S)
    await sandbox.wait_ready("east", UP_S)
    scene.say("the worker is back, and east is")
    await scene.run("mirror", "status", LINKS["east"], status=None)
    await scene.writes_in("west", count=10 * RATE)
    assert await brought_from(scene, "east", "west") == brought
    await scene.run("return", "region", "east", "--yes")
    done = await scene.run("failover", "deployment", DEPLOYMENT, "--to", "east", "--bake", "3s", "--yes")
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    await scene.writes_in("east")
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["east"], "--timeout", "120")
    for within in (None, "west"):
        verdict = await scene.audit_by_lineage(within)
        scene.say(f"by lineage, in {within or 'both'}: {verdict}")
        assert verdict["verdict"] == "0/0/0"
    await scene.all_there("west")
