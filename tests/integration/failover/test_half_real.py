"""The region lost while the commit of checkpoint N is half done: of one subtask it is committed, of the other it is not
(X3, X4, X5).

N is no recovery point then, whatever of it has crossed: an older one is gone on from, and what crossed of N is
superseded, record for record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.layout import HOST, S3_ACCESS_KEY, S3_SECRET_KEY
from sandbox.proxy import FaultProxy, KafkaMatch
from sandbox.stage import DEPLOYMENT
from tests.integration.failover.scene import LINKS, Scene
from tests.integration.failover.test_orphans_real import lies_beyond, manifest, planned_from, report_of
from tests.integration.failover.test_unplanned_real import restorable_in_west
from tests.kit.eventually import eventually
from tests.kit.late import END_TXN
from tests.kit.stage import stage_sandbox
from tidegate.clients.kafka_types import TxnState
from tidegate.clients.s3 import open_store
from tidegate.points.store import PointStore
from tidegate.registry.artifacts import open_access
from tidegate.snapshot.checkpoints import completed_checkpoints
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.sinks import committables

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3_600)]

RATE = int(os.environ.get("TIDEGATE_TEST_RATE") or "200")
HELD_SUBTASK = 0
ASKED = ("failover", "deployment", DEPLOYMENT, "--to", "west", "--unplanned", "--bake", "3s")


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with stage_sandbox(tmp_path_factory.mktemp("half") / "data") as made:
        yield made


async def half_done(scene: Scene) -> int:
    """The newest checkpoint, once its commit is done of every subtask but the one; its number."""
    record = await scene.record()
    assert record.writer is not None
    job_id = record.writer.job_id
    kafka = scene.stage.kafka("east")
    store = open_store(scene.sandbox.endpoints.regions["east"].s3, S3_ACCESS_KEY, S3_SECRET_KEY, timeout_s=5.0)
    async with store as snapshots:

        async def stands() -> int:
            newest = (await completed_checkpoints(snapshots, "s3://east/checkpoints", job_id))[0]
            own = await committables(snapshots, await read_snapshot(snapshots, str(newest.location)))
            states = await kafka.describe_transactions([one.transactional_id for one in own])
            held = {states[one.transactional_id].state for one in own if one.subtask == HELD_SUBTASK}
            rest = {states[one.transactional_id].state for one in own if one.subtask != HELD_SUBTASK}
            assert (held, rest) == ({TxnState.ONGOING}, {TxnState.COMPLETE_COMMIT}), (newest.id, held, rest)
            return newest.id

        try:
            return await eventually(stands, within_s=120.0, every_s=0.1)
        finally:
            await kafka.aclose()


async def is_in_west(scene: Scene, checkpoint: int) -> str:
    """Wait until a checkpoint has been shipped and looked at; what stands against it."""

    async def there() -> str:
        async with open_access(scene.fleet.control.s3) as control:
            kept = (await PointStore(control, scene.fleet.control.bucket).read(DEPLOYMENT, "west")).points
        found = [one for one in kept.points if one.checkpoint_id == checkpoint] if kept is not None else []
        assert found
        return ", ".join(f"{one.transactional_id} is {one.word}" for one in found[0].settlements if not one.safe)

    return await eventually(there, within_s=120.0, every_s=0.5)


async def test_x3_a_commit_that_is_half_done_when_the_region_is_lost_is_no_recovery_point(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    region = sandbox.layout.region("east")
    advertised = region.kafka_proxied_advertised

    async with FaultProxy(HOST, region.kafka_proxied, "kafka", port=advertised) as proxy:
        await scene.set_up(RATE, keep=True, fleet=lambda text: text.replace(f":{region.kafka}", f":{advertised}"))
        await restorable_in_west(scene)
        held = proxy.hold(KafkaMatch(END_TXN, f".-{HELD_SUBTASK}-".encode()), times=None)
        number = await half_done(scene)
        against = await is_in_west(scene, number)
        scene.say(f"chk-{number} is half committed: {against}")
        assert "ongoing" in against.lower()
        sandbox.kill("east", for_good=True)
        scene.say("east is gone")
        plan = (await scene.run(*ASKED, "--dry-run")).out
        assert f"e1-chk-{number}: its outputs are not all committed" in plan
        older = await planned_from(scene, plan)
        done = await scene.run(*ASKED, "--yes")
        assert "lost 0 · duplicated 0 · wrong 0" in done.out
        facts = (await report_of(scene, done.out))["failover"]
        assert facts["point"] == older.id
        assert older.checkpoint_id is not None
        assert older.checkpoint_id < number
        beyond = await lies_beyond(scene, older)
        scene.say(f"gone on from {older.id}; {len(beyond):,} outputs of later ones had crossed")
        assert len(beyond) == facts["superseded"]
        assert await manifest(scene) == beyond

        held.release()
        sandbox.start("east")
        await sandbox.wait_ready("east", 240.0)
        await scene.run("return", "region", "east", "--yes")
        await scene.writes_in("west")
        await scene.stage.stop_follower()
        await scene.run("mirror", "drain", LINKS["west"], "--timeout", "120")
        for within in (None, "west"):
            verdict = await scene.audit_by_lineage(within)
            scene.say(f"by lineage, in {within or 'both'}: {verdict}")
            assert verdict["verdict"] == "0/0/0"
        await scene.all_there("west")
