"""East's Flink killed, its Kafka alive, and one topic of the mirror behind the other (X5, X21, X22).

Inputs held back while outputs come: the state is ahead of what came, and the outputs beyond it are orphans, for their
inputs never came. Outputs held back while inputs come: the newest points are none, and an older one is gone on from.
Either way the plan says it before, the counts are the same after, and over both regions' logs all values are right.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, FOLLOWER, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.holding import behind, held_back
from tests.integration.failover.scene import LINKS, Scene
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.clients.kafka_types import ControlType
from tidegate.mirror.provenance import of_headers
from tidegate.operation.note import notes_that_count
from tidegate.points.model import Point
from tidegate.points.store import PointStore
from tidegate.points.superseded import ends_of
from tidegate.registry.artifacts import open_access

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
UP_S = 240.0
HELD_S = float(os.environ.get("TIDEGATE_HELD_S") or "30")
ASKED = ("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--drain", "3s", "--bake", "3s")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("orphans") / "data") as made:
        yield made


def number(pattern: str, text: str) -> int:
    """The number that a text tells."""
    found = re.search(pattern, text)
    assert found is not None, f"{pattern}: {text}"
    return int(found.group(1).replace(",", ""))


async def planned_from(scene: Scene, plan: str) -> Point:
    """The point that a plan names. To be asked before it is gone on from: the index is of the new home then."""
    name = re.search(r"from (e\d+-chk-\d+), rebased", plan)
    assert name is not None, plan
    async with open_access(scene.fleet.control.s3) as control:
        kept = (await PointStore(control, scene.fleet.control.bucket).read(DEPLOYMENT, "west")).points
    assert kept is not None
    return next(one for one in kept.points if one.id == name[1])


async def lies_beyond(scene: Scene, point: Point) -> set[tuple[int, int]]:
    """The outputs in the west, by partition and offset there, that are not the point's: by each record's own word."""
    ends = ends_of(point)
    return {
        (tp.partition, record.offset)
        for tp, records in (await scene.everything("west", OUTPUT_TOPIC)).items()
        for record in records
        if (came := of_headers(record.headers)) is not None and not ends[tp].counts(came.hop.offset)
    }


async def manifest(scene: Scene) -> set[tuple[int, int]]:
    """The same by the manifests: the records that lie in their ranges, where a commit's marker takes an offset, too."""
    there = {
        (tp.partition, record.offset)
        for tp, records in (await scene.everything("west", OUTPUT_TOPIC)).items()
        for record in records
    }
    async with open_access(scene.fleet.control.s3) as control:
        notes = await notes_that_count(control, scene.fleet.control.bucket, DEPLOYMENT)
    return {
        (part.partition, offset)
        for note in notes
        for part in note.superseded
        for offset in range(part.first, part.last + 1)
    } & there


async def report_of(scene: Scene, out: str) -> dict[str, Any]:
    operation = re.search(r"operation\s+(\S+)", out)
    assert operation is not None
    shown = await scene.run("report", "show", operation.group(1), "-o", "json")
    found: dict[str, Any] = json.loads(shown.out)
    return found


async def hidden(scene: Scene) -> int:
    """Committed outputs in the east that no reader and no mirror gets yet: they stand behind what was left open."""
    kafka = scene.stage.kafka("east")
    try:
        stable, ends = await kafka.last_stable_offsets([OUTPUT_TOPIC]), await kafka.end_offsets([OUTPUT_TOPIC])
        count = 0
        for tp, end in ends.items():
            waiting: dict[int, int] = {}
            for batch in await kafka.batch_headers(tp, stable[tp], end) if stable[tp] < end else []:
                if not batch.is_control:
                    waiting[batch.producer_id] = waiting.get(batch.producer_id, 0) + batch.records
                elif batch.control_type is ControlType.COMMIT:
                    count += waiting.pop(batch.producer_id, 0)
        return count
    finally:
        await kafka.aclose()


async def flink_gone(scene: Scene) -> None:
    """East's Flink is gone, and who writes there stands still for as long as it is planned: so figures stay.

    Nobody keeps points any more before: so outputs cross that are newer than the newest point, and it stays the newest.
    """
    await scene.run("ops", "abort", f"keep-points-{DEPLOYMENT}", "--why", "no newer point shall cross")
    await scene.writes_in("east", count=4 * RATE)
    scene.sandbox.kill("east/flink", for_good=True)
    scene.sandbox.pause(FOLLOWER)
    scene.say("Flink in the east is gone, its Kafka answers")


async def go_on(scene: Scene, *, status: int | None = 0) -> tuple[str, Point, str]:
    """What the plan says, the point that it names, and what the failover says after it; the traffic goes on once it is
    closed at home.
    """
    plan = (await scene.run(*ASKED, "--dry-run")).out
    point = await planned_from(scene, plan)
    operation = await scene.begin(*ASKED, "--yes")
    await scene.until_begun(operation, "cut")
    scene.sandbox.resume(FOLLOWER)
    return plan, point, (await scene.run("ops", "watch", operation, status=status)).out


async def returned(scene: Scene) -> str:
    """Flink is up again in the east, with nothing that it knew; the region comes back. What that says."""
    scene.sandbox.start("east/flink")
    await scene.sandbox.wait_ready("east/flink", UP_S)
    return (await scene.run("return", "region", "east", "--yes")).out


async def over_both(scene: Scene) -> dict[str, Any]:
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["west"], "--timeout", "120")
    verdict = await scene.audit_by_lineage()
    scene.say(f"by lineage, over both regions: {verdict}")
    return verdict


async def test_x22_inputs_that_were_held_back_are_told_before_and_their_outputs_are_orphans(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    async with held_back(scene, "east", INPUT_TOPIC):

        async def held() -> None:
            assert await behind(scene, "east", INPUT_TOPIC) > HELD_S * RATE * 0.7
            assert await behind(scene, "east", OUTPUT_TOPIC) < 5 * RATE

        await eventually(held, within_s=4 * HELD_S, every_s=1.0)
        await flink_gone(scene)

        async def outputs_came() -> None:
            assert await behind(scene, "east", OUTPUT_TOPIC) == 0

        await eventually(outputs_came, within_s=30.0, every_s=0.5)
        more = await hidden(scene)
        # Its inputs are not in the west, so an audit there alone lacks them, as the plan says.
        plan, point, out = await go_on(scene, status=None)
    ahead = number(r"has read ([\d,]+) input records that have not come", plan)
    to_come = number(r"mirror link east-to-west: ([\d,]+) records to come", plan)
    superseded = number(r"([\d,]+) outputs there are superseded", plan)
    report = await report_of(scene, out)
    after = report["failover"]["superseded"]
    scene.say(
        f"the plan: {point.id}, ahead {ahead:,}, to come {to_come:,}, superseded {superseded:,} and {more:,} hidden; "
        f"after: {report['failover']['point']}, superseded {after:,}; {report['verdict']}"
    )
    assert ahead > 0
    assert superseded > 0
    assert (await scene.audit_by_lineage("west"))["orphans"] == after, "no input of theirs has come"
    assert "input records that its state has read have not come" in out
    assert report["failover"]["point"] == point.id
    assert superseded <= after <= superseded + more
    assert "old job shut out" in out
    beyond = await lies_beyond(scene, point)
    assert len(beyond) == after
    assert await manifest(scene) == beyond

    said = await returned(scene)
    assert number(r"([\d,]+) inputs that never crossed", said) == to_come
    assert number(r"read before ([\d,]+)", said) == ahead
    verdict = await over_both(scene)
    assert verdict["verdict"] == "0/0/0"
    assert verdict["unexpected"] == 0
    assert verdict["orphans"] == 0, "their inputs have been fed or counted where they stand: none is an orphan any more"


async def test_x5_outputs_that_were_held_back_keep_the_newest_points_from_being_any(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    async with held_back(scene, "east", OUTPUT_TOPIC):

        async def held() -> None:
            assert await behind(scene, "east", OUTPUT_TOPIC) > HELD_S * RATE * 0.7
            assert await behind(scene, "east", INPUT_TOPIC) < 5 * RATE

        await eventually(held, within_s=4 * HELD_S, every_s=1.0)
        await flink_gone(scene)

        async def inputs_came() -> None:
            assert await behind(scene, "east", INPUT_TOPIC) == 0

        await eventually(inputs_came, within_s=30.0, every_s=0.5)
        to_come = await behind(scene, "east", OUTPUT_TOPIC)
        plan, point, out = await go_on(scene)
    assert "newer, and cannot be gone on from" in plan
    assert "its outputs have not all come from east" in plan
    assert number(r"mirror link east-to-west: ([\d,]+) records to come", plan) == to_come
    superseded = number(r"([\d,]+) outputs there are superseded", plan) if "are superseded" in plan else 0
    facts = (await report_of(scene, out))["failover"]
    assert (facts["point"], facts["superseded"]) == (point.id, superseded)
    beyond = await lies_beyond(scene, point)
    assert len(beyond) == superseded
    assert await manifest(scene) == beyond
    assert "lost 0 · duplicated 0 · wrong 0" in out

    said = await returned(scene)
    assert number(r"([\d,]+) inputs that never crossed", said) == 0
    gone = number(r"(?m)([\d,]+) outputs(?::|;|$)", said)
    assert gone >= to_come, "they are excluded where they stand: others have been written in their place"
    verdict = await over_both(scene)
    assert verdict["verdict"] == "0/0/0"
    assert (await scene.audit_by_lineage("west"))["verdict"] == "0/0/0"
