"""What an unplanned failover costs is said before, and is so after: a mirror that was far behind; a state ahead of it;
a mirror without provenance, which is refused before anything is given up (X5, X20, X22).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import httpx
import pytest

from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC
from tests.integration.failover.holding import behind, held_back
from tests.integration.failover.scene import LINKS, Scene
from tests.integration.failover.test_orphans_real import lies_beyond, manifest, number, planned_from, report_of
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.eventually import eventually
from tests.kit.stage import stage_sandbox
from tidegate.names import mirror_connector

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
BEHIND_S = float(os.environ.get("TIDEGATE_BEHIND_S") or "60")
ASKED = ("failover", "deployment", DEPLOYMENT, "--to", "west", "--bake", "3s")
REFUSED = 4


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("plan") / "data") as made:
        yield made


async def returned(scene: Scene) -> str:
    """The east comes back, and over all that was acknowledged nothing is lost."""
    scene.sandbox.start("east")
    await scene.sandbox.wait_ready("east", 240.0)
    done = await scene.run("return", "region", "east", "--yes")
    await scene.writes_in("west")
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["west"], "--timeout", "120")
    verdict = await scene.audit_by_lineage()
    scene.say(f"by lineage, over both regions: {verdict}")
    assert verdict["verdict"] == "0/0/0"
    assert verdict["unexpected"] == 0
    return done.out


async def test_x5_a_mirror_that_is_a_minute_behind_is_told_before_and_the_counts_are_so_after(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    sandbox.pause("west/connect")
    scene.say("the mirror to the west stands still")

    async def far_behind() -> None:
        index = json.loads((await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")).out)["index"]
        west = next(one for one in index if one["region"] == "west")
        assert west["restorable"], west["why_not"]
        assert west["age_s"] > BEHIND_S, west

    await eventually(far_behind, within_s=3 * BEHIND_S, every_s=1.0)
    sandbox.kill("east", for_good=True)
    sandbox.resume("west/connect")
    scene.say("east is gone")
    plan = (await scene.run(*ASKED, "--unplanned", "--dry-run")).out
    assert number(r"was taken ([\d,]+)(?:\.\d)? s ago", plan) >= BEHIND_S
    assert "mirror link east-to-west: lag not known" in plan
    superseded = number(r"([\d,]+) outputs there are superseded", plan) if "are superseded" in plan else 0
    point = await planned_from(scene, plan)
    done = await scene.run(*ASKED, "--unplanned", "--yes")
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    facts = (await report_of(scene, done.out))["failover"]
    scene.say(f"the plan: {point.id}, superseded {superseded:,}; it was {facts['superseded']:,}, RPO {facts['rpo_s']}")
    assert facts["point"] == point.id
    assert facts["superseded"] >= superseded, "what the worker still had in hand came before it was shut"
    beyond = await lies_beyond(scene, point)
    assert len(beyond) == facts["superseded"]
    assert await manifest(scene) == beyond
    assert facts["rpo_s"] >= BEHIND_S * 0.9
    told = await returned(scene)
    assert number(r"([\d,]+) inputs that never crossed", told) >= BEHIND_S * RATE * 0.5
    assert number(r"fed ([\d,]+)", told) > 0


async def test_x22_a_state_ahead_of_a_lost_mirror_is_told_as_so_many_at_most(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    async with held_back(scene, "east", INPUT_TOPIC):

        async def ahead() -> None:
            assert await behind(scene, "east", INPUT_TOPIC) > 8 * RATE

        await eventually(ahead, within_s=60.0, every_s=1.0)
        await restorable_in_west(scene)
        # With its clients' rules still in force, so that nothing more comes on the way.
        sandbox.kill("east", for_good=True)
        scene.say("east is gone, its inputs never came")
        plan = (await scene.run(*ASKED, "--unplanned", "--dry-run")).out
        most = number(r"has read up to ([\d,]+) input records that have not come", plan)
        done = await scene.run(*ASKED, "--unplanned", "--yes", status=None)
        sandbox.start("east")
        await sandbox.wait_ready("east", 240.0)
    told = await returned(scene)
    read = number(r"read before ([\d,]+)", told)
    scene.say(f"ahead: at most {most:,} by the plan, {read:,} when it could be counted; {done.out[-800:]}")
    assert 0 < read <= most


async def test_x20_without_provenance_it_is_refused_before_anything_is_given_up(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    await scene.set_up(RATE, keep=True)
    await restorable_in_west(scene)
    rest = sandbox.endpoints.regions["west"].connect
    at = f"{rest}/connectors/{mirror_connector(LINKS['east'])}/config"
    async with httpx.AsyncClient(timeout=30.0) as client:
        config = (await client.get(at)).raise_for_status().json()
        bare = {key: value for key, value in config.items() if not key.startswith("transforms")}
        assert bare != config
        (await client.put(at, json=bare)).raise_for_status()
    scene.say("somebody has taken the transform out of the connector")
    before = await scene.record()

    async def refused() -> str:
        done = await scene.stage.tidegate(*ASKED, "--dry-run")
        assert done.status == REFUSED, done.out
        return done.out + done.err

    out = await eventually(refused, within_s=60.0, every_s=1.0)
    scene.say(out)
    assert "does not say where it stood in east" in out
    assert "tidegate mirror start east-to-west" in out
    for way in ((), ("--unplanned",)):
        done = await scene.run(*ASKED, *way, "--yes", status=REFUSED)
        assert "nothing was changed" in done.out
    after = await scene.record()
    assert (after.epoch, after.writer, after.holder) == (before.epoch, before.writer, None)
    for topic in (INPUT_TOPIC, OUTPUT_TOPIC):
        lineage = await scene.lineage(topic)
        assert (lineage.region, lineage.gate, lineage.turn) == ("east", "open", 0)

    await scene.run("mirror", "start", LINKS["east"], "--yes", "--timeout", "240")

    async def planned() -> None:
        done = await scene.stage.tidegate(*ASKED, "--dry-run")
        assert done.status == 0, done.out + done.err

    await eventually(planned, within_s=60.0, every_s=1.0)
    done = await scene.run(*ASKED, "--yes")
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    await scene.writes_in("west")
    await scene.stage.stop_follower()
    await scene.run("mirror", "drain", LINKS["west"], "--timeout", "120")
    for within in (None, "west"):
        assert (await scene.audit_by_lineage(within))["verdict"] == "0/0/0"
    await scene.all_there("west")
