"""What a drill starts from, and what refuses or fails it before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.failover_regions import AT, BUCKET
from tests.kit.failover_world import FailoverWorld
from tests.kit.mirror_world import holder
from tests.kit.temporal_world_facts import artifact
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import S3Uri
from tidegate.drill.copy import copy_for_drill
from tidegate.drill.forking import forked
from tidegate.drill.look import look
from tidegate.drill.notes import BaseNote, Notes
from tidegate.drill.watch import GivesWay
from tidegate.errors import BasisChanged, Held, InvalidInput, NoProgress, Refused, SnapshotIncomplete
from tidegate.mirror import rebasing as mirror_rebasing
from tidegate.mirror.rebasing import Reach, links_by
from tidegate.model.drill import DrillLook, DrillStep
from tidegate.model.fleet import CellRef
from tidegate.model.steps import Held as HeldFact
from tidegate.operation.run import Run
from tidegate.points.model import Point, Points
from tidegate.points.store import PointStore
from tidegate.registry.ownership import Claim, Tenure, take
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.pins import read_pins
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.rebased import REBASED_NAME

FORK = "ledger-drill-1a2b3c4d"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    """The ledger runs in the east and nobody holds it; a recovery point at 4 of each partition is in the west."""
    made = (await FailoverWorld.made()).patch(monkeypatch)
    monkeypatch.setattr(mirror_rebasing, "open_link", made.open_link)
    assert made.tenure is not None
    await Tenure(made.records, made.tenure.claim).release()
    await made.place_snapshot((4, 4))
    await place(made, made.point(4))
    return made


async def place(world: FailoverWorld, *points: Point) -> None:
    """These are the recovery points from now on."""
    store = PointStore(world.control, BUCKET)
    wanted = Points(deployment="ledger", region="west", home="east", updated_at=AT, points=points)
    await store.write(await store.read("ledger", "west"), wanted)


async def looked(world: FailoverWorld, **fields: Any):
    asked = DrillLook(deployment="ledger", fleet_digest="f", fork=FORK, home="east/cell-1", standby="west", **fields)
    return await look(world.site("east"), world.site("west"), world.records, asked)


async def test_the_newest_good_point_is_taken_and_rpo_is_what_has_not_crossed(world: FailoverWorld):
    seen = await looked(world)
    assert (seen.point, seen.snapshot, seen.at) == ("e7-chk-12", world.shipped, "west/cell-1")
    assert (seen.artifact, seen.parallelism) == (artifact("v1"), 2)
    assert seen.rpo_s == 0.0
    world.kafka["east"].advance(2_500)
    await world.traffic("east", 1)
    assert (await looked(world)).rpo_s == 2.5
    assert any("nobody has looked after the recovery points" in note for note in seen.notes)


async def test_x28_what_the_forks_timers_will_do_is_said(world: FailoverWorld):
    await world.place_snapshot((4, 4), head=w.keyed_head(*w.timers("user-timers", "processing")))
    notes = (await looked(world)).notes
    assert any(note.startswith("balance may have processing-time timers: ") for note in notes)
    assert any("timers write may differ from the live job's" in note for note in notes)
    await world.place_snapshot((4, 4), head=w.keyed_head(w.keyed_state("balance")))
    assert not any("X28" in note for note in (await looked(world)).notes)


async def test_a_named_point_and_one_that_is_not_good(world: FailoverWorld):
    bad = world.point(4, number=13, problem="s3://west/f is missing", snapshot="s3://west/other")
    await place(world, bad, world.point(4))
    seen = await looked(world)
    assert seen.point == "e7-chk-12"
    assert "the newest, e7-chk-13, is no recovery point: s3://west/f is missing" in seen.notes
    assert (await looked(world, point=world.shipped)).point == "e7-chk-12"
    with pytest.raises(SnapshotIncomplete, match="e7-chk-13 in west cannot be restored from: s3://west/f is missing"):
        await looked(world, point="e7-chk-13")
    with pytest.raises(InvalidInput, match="ledger has no e9-chk-1 in west; newest: e7-chk-13, e7-chk-12"):
        await looked(world, point="e9-chk-1")
    await place(world, bad)
    with pytest.raises(SnapshotIncomplete, match="ledger cannot be restored in west: e7-chk-13: s3://west/f is miss"):
        await looked(world)


async def test_held_not_running_and_without_room_it_is_refused(world: FailoverWorld):
    world.driver["west"].slots = (1, 8)
    with pytest.raises(Refused, match="no room in west/cell-1: a fork of ledger needs 2 slots, 1 of 8 are free"):
        await looked(world)
    world.driver["west"].slots = (4, 8)
    job = next(iter(world.driver["east"].jobs))
    world.driver["east"].jobs[job] = JobState.FAILED
    with pytest.raises(Refused, match="does not run in east"):
        await looked(world)
    world.driver["east"].jobs[job] = JobState.RUNNING
    await world.take("failover-1")
    with pytest.raises(Held, match="failover-1"):
        await looked(world)


async def test_slots_that_the_fork_before_it_has_left_are_waited_for(world: FailoverWorld):
    """Its job is gone, and Flink says a moment later that its slots are free."""
    west, asked = world.driver["west"], 0
    ask = west.capacity

    async def capacity() -> Any:
        nonlocal asked
        asked += 1
        west.slots = (1, 8) if asked < 3 else (2, 8)
        return await ask()

    west.capacity = capacity  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no room"):
        await looked(world)
    assert (await looked(world, room_wait_s=20.0)).slots_free == 2
    assert asked == 3


async def test_slots_that_an_earlier_drill_has_left_taken_are_no_reason_to_refuse_until_it_is_gone(
    world: FailoverWorld,
):
    world.driver["west"].slots = (1, 8)
    asked = DrillLook(deployment="ledger", fleet_digest="f", fork=FORK, home="east/cell-1", standby="west")
    seen = await look(world.site("east"), world.site("west"), world.records, asked, ("ledger-drill-00000000",))
    assert (seen.left, seen.slots_free) == (("ledger-drill-00000000",), 1)
    with pytest.raises(Refused, match="no room in west/cell-1"):
        await looked(world)


async def test_the_drill_gives_way_when_the_live_deployment_is_taken_or_runs_as_another_job(world: FailoverWorld):
    job = (await world.record()).writer
    assert job is not None
    await GivesWay(world.records, "ledger", job.job_id).look()
    with pytest.raises(BasisChanged, match="another job"):
        await GivesWay(world.records, "ledger", "x").look()
    await world.take("failover-1")
    with pytest.raises(BasisChanged, match="taken by failover-1"):
        await GivesWay(world.records, "ledger", job.job_id).look()


async def copied(world: FailoverWorld):
    records = world.records
    tenure = await take(records, FORK, holder("drill-1", "DrillRecovery"), expected_fence=0)
    west = world.site("west")
    fleet = forked(world.fleet, "ledger", FORK, CellRef("west", "cell-1"))
    site = west.__class__(
        **{**{n: getattr(west, n) for n in west.__dataclass_fields__}, "fleet": fleet, "deployment": FORK}
    )
    run = Run(site=site, tenure=Tenure(records, tenure.claim))
    claim: Claim = tenure.claim
    step = DrillStep(
        held=HeldFact(deployment=FORK, holder=claim.holder, fence=claim.fence), fleet_digest="f", at="west/cell-1",
        deployment="ledger", home="east/cell-1", epoch=7, job_id="j", artifact=artifact("v1"), parallelism=2,
        snapshot=world.shipped, point="e7-chk-12", began=AT,
    )  # fmt: skip
    kafkas = {name: world.site(name).kafka for name in ("east", "west")}
    reach = Reach(site.snapshots, kafkas.__getitem__, links_by(world.fleet))
    return await copy_for_drill(run, reach, step)


async def test_x20_the_copy_has_the_standbys_positions_and_scratch_topics_are_made_like_the_live_ones(
    world: FailoverWorld,
):
    live = await world.record()
    fact = await copied(world)
    assert fact.location.startswith(f"s3://west/savepoints/{FORK}/copy-")
    copy = await read_snapshot(world.snapshots["west"], fact.location)
    positions = (await kafka_positions(world.snapshots["west"], copy))["payments-source"]
    assert set(positions) == {("payments", 0), ("payments", 1)}
    topics = await world.kafka["west"].describe_topics([f"{FORK}.balances", "balances"])
    assert topics[f"{FORK}.balances"].partitions == topics["balances"].partitions
    note = await Notes(world.control, BUCKET, FORK).read("base", BaseNote)
    assert note is not None
    assert note.begins == {f"payments/{n}": positions["payments", n] for n in (0, 1)}
    (pin,) = await read_pins(world.control, BUCKET, "ledger")
    assert f"/{FORK}/" in pin.why
    assert S3Uri.parse(fact.location).join(REBASED_NAME) in world.snapshots["west"].objects
    assert await world.record() == live


async def test_a_recovery_point_with_a_missing_file_fails_by_its_name(world: FailoverWorld):
    gone = S3Uri.parse(world.shipped).join("keyed-meta")
    assert gone in world.snapshots["west"].objects
    await world.snapshots["west"].delete(gone)
    with pytest.raises(SnapshotIncomplete, match=f"1 of . files: {gone} is missing"):
        await copied(world)


async def test_x22_what_the_point_has_read_and_the_mirror_not_brought_is_waited_for_and_named(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    await world.traffic("east", 3)
    await world.place_snapshot((8, 8))
    await place(world, world.point(8))
    monkeypatch.setattr("tidegate.drill.copy.COME_S", 0.2)
    with pytest.raises(NoProgress, match="4 input records that e7-chk-12 has read are not in west yet"):
        await copied(world)
