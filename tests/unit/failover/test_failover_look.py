"""What both regions say before a failover, and which recovery points can be gone on from now (X5, X14)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.failover_regions import AT, BACK, OUT, TOPICS
from tests.kit.failover_world import FailoverWorld
from tests.kit.snapshots import Job
from tests.kit.temporal_world_facts import writer
from tidegate.clients.objects import S3Uri
from tidegate.errors import Refused, Unavailable
from tidegate.failover import look as look_module
from tidegate.failover.crossing import unproven
from tidegate.failover.look import POINTS_SHOWN, against_now, answers_of, judged, lives_now, look
from tidegate.model.failover import PointChoice, RegionsSeen, Topics
from tidegate.model.record import Gone, Left, SlotMemory
from tidegate.points.model import OutputCut, Point, Points


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    await made.place_snapshot((3, 3))
    return made


async def _look(world: FailoverWorld, **asked: Any) -> RegionsSeen:
    told: dict[str, Any] = {"unplanned": True, "wanted": None, "together": (), **asked}
    together = told.pop("together")
    return await look(world.site("east"), world.site("west"), world.records, together, **told)


async def _judged(
    world: FailoverWorld, *points: Point, topics: Topics = TOPICS, wanted: str | None = None, **kept: Any
) -> tuple[PointChoice, ...]:
    told: dict[str, Any] = {
        "deployment": "ledger", "region": "west", "home": "east", "updated_at": AT, "points": points,
    }  # fmt: skip
    ask_home = not world.kafka["east"].down
    return await judged(world.site("west"), Points(**{**told, **kept}), topics, wanted, ask_home=ask_home, count=True)


async def _problem(world: FailoverWorld, point: Point, topics: Topics = TOPICS) -> str:
    (choice,) = await _judged(world, point, topics=topics)
    assert choice.problem is not None
    return choice.problem


# -- what answers


async def test_x14_a_part_that_does_not_answer_is_part_of_the_answer(world: FailoverWorld):
    assert (await answers_of(world.site("east"))).all
    world.kafka["east"].down = True
    found = await answers_of(world.site("east"))
    assert (found.flink, found.s3, found.all) == (None, None, False)
    assert found.silent[0].startswith("Kafka in east: Kafka (fake) did not answer")


async def test_x14_a_part_that_hangs_is_not_waited_for(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    async def hangs(op: str, uri: S3Uri) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(look_module, "LOOK_S", 0.05)
    world.snapshots["east"].before = hangs
    assert (await answers_of(world.site("east"))).s3 == "no answer within 0.05 s"


async def test_both_regions_are_told(world: FailoverWorld):
    await world.place_points(world.point(3))
    await world.place_points(world.point(3, number=13), region="east")
    seen = await _look(world)
    assert seen.home.all
    assert (seen.slots_free, seen.slots_total, seen.parallelism) == (4, 8, 2)
    assert seen.topics == TOPICS
    assert [one.id for one in seen.points] == ["e7-chk-12"]
    assert seen.newest == "e7-chk-13"
    assert seen.mirror_lag == {OUT: 0}
    assert seen.warnings == ()


async def test_x28_the_timers_of_the_point_and_of_the_job_that_runs_are_told(world: FailoverWorld):
    await world.place_points(world.point(3))
    await world.place_snapshot((3, 3), head=w.keyed_head(*w.timers("user-timers", "processing")))
    seen = await _look(world)
    assert seen.timers is not None
    assert (seen.timers.name, seen.timers.taken_at) == ("e7-chk-12", seen.points[0].taken_at)
    assert [(one.operator, one.processing, one.event) for one in seen.timers.operators] == [("balance", None, False)]

    job = Job(job_id=writer("v1", 7).job_id)
    for number, service in ((3, "old"), (12, "new")):
        head = w.keyed_head(*w.timers(service, "event"))
        await job.checkpoint(world.snapshots["east"], number, sink=False, head=head)
    await job.checkpoint(world.snapshots["east"], 13, sink=False)
    await world.snapshots["east"].delete(f"{job.location(13)}/_metadata")  # not complete
    planned = await _look(world, unplanned=False)
    assert planned.timers is not None
    assert (planned.timers.name, planned.timers.taken_at) == ("e7-chk-12", None)
    assert [(one.processing, one.event) for one in planned.timers.operators] == [(False, None)]
    assert planned.tail == world.site("west").spec.tail


async def test_x28_a_job_without_a_checkpoint_stops_no_look(world: FailoverWorld):
    seen = await _look(world, unplanned=False)
    assert seen.timers is not None
    assert "has no checkpoint in east" in seen.timers.unknown[0]


async def test_planned_no_point_is_looked_at(world: FailoverWorld):
    await world.place_points(world.point(3))
    assert (await _look(world, unplanned=False)).points == ()


async def test_without_any_points_there_is_none(world: FailoverWorld):
    assert (await _look(world)).points == ()
    assert (await _look(world)).newest is None


async def test_what_the_mirror_has_still_to_bring_is_counted(world: FailoverWorld):
    await world.traffic("east", 3)
    assert (await _look(world)).mirror_lag == {OUT: 12}


async def test_a_lost_home_says_no_lag_and_is_no_error(world: FailoverWorld):
    await world.place_points(world.point(3))
    world.kafka["east"].down = world.driver["east"].down = True
    seen = await _look(world)
    assert seen.mirror_lag == {OUT: None}
    assert len(seen.home.silent) == 2
    assert seen.points[0].problem is None, "its outputs have come, and the standby itself says so"


async def test_a_mirror_that_does_not_run_is_warned_of(world: FailoverWorld):
    world.connect["west"].connectors["tidegate-east-to-west"].target = "STOPPED"
    assert (await _look(world)).warnings == ("mirror link east-to-west is STOPPED",)


@pytest.mark.parametrize("part", ["flink", "kafka"])
async def test_a_standby_that_is_silent_cannot_be_gone_on_in(world: FailoverWorld, part: str):
    (world.driver if part == "flink" else world.kafka)["west"].down = True
    with pytest.raises(Unavailable):
        await _look(world)


async def test_o1_where_each_deployment_lives_is_the_records_word(world: FailoverWorld):
    assert await lives_now(world.fleet, world.records) == {"ledger": "east"}
    await world.change(writer=writer("v1", 8).model_copy(update={"region": "west"}))
    assert await lives_now(world.fleet, world.records) == {"ledger": "west"}


async def test_topics_that_cannot_turn_refuse_it(world: FailoverWorld):
    world.fleet = world.fleet.model_copy(update={"mirrors": {}})
    with pytest.raises(Refused, match="no mirror link brings"):
        await _look(world)


# -- what crossed without saying where it stood


async def test_x20_what_the_mirror_brings_without_provenance_is_named(world: FailoverWorld):
    assert (await _look(world)).unproven == ()
    world.kafka["west"].write_plain("payments", 1, [b"x"], "User:mirror")
    assert (await _look(world)).unproven == ("payments-1",)
    assert (await _look(world, returning=True)).unproven == ()
    await world.traffic("east", 1)
    await world.mirror(OUT)
    assert (await _look(world)).unproven == (), "the transform is there again"


async def test_x20_a_topic_that_is_not_there_yet_says_nothing(world: FailoverWorld):
    assert await unproven(world.site("west"), "east", ["nobody-has-made-it"]) == ()


async def test_x20_what_a_region_wrote_itself_before_it_was_left_says_nothing_of_the_mirror(world: FailoverWorld):
    for step in ("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open", "back"):
        act = getattr(world, step)
        await (act() if step in {"stop", "started", "traffic_of_the_job"} else act(world.sides()))
    assert await unproven(world.site("east"), "west", TOPICS.turn) == (), "its own, and nothing has come yet"
    assert await unproven(world.site("west"), "east", TOPICS.turn) == (), "the topics live there"
    await world.mirror(BACK)
    assert await unproven(world.site("east"), "west", TOPICS.turn) == ()
    world.kafka["east"].write_plain("balances", 0, [b"x"], "User:mirror")
    assert await unproven(world.site("east"), "west", TOPICS.turn) == ("balances-0",)


# -- recovery points


async def test_x22_what_a_state_has_read_and_what_has_not_come_is_counted(world: FailoverWorld):
    await world.traffic("east", 3)
    (choice,) = await _judged(world, world.point(3, inputs={"payments-source": {"payments/0": 8, "payments/1": 5}}))
    assert (choice.problem, choice.ahead, choice.ahead_exact) == (None, 2, True)
    (choice,) = await _judged(world, world.point(3))
    assert choice.ahead == 0
    world.kafka["east"].down = True
    (choice,) = await _judged(world, world.point(3, inputs={"payments-source": {"payments/0": 8}}))
    assert (choice.ahead, choice.ahead_exact) == (2, False)


async def test_x5_the_newest_that_holds_ends_the_search_and_says_what_it_costs(world: FailoverWorld):
    newer = world.point(3, number=13, snapshot="s3://west/checkpoints/gone", taken_at=AT.replace(second=9))
    older = world.point(3, number=11, taken_at=AT.replace(second=1))
    found = await _judged(world, older, world.point(3), newer)
    assert [(one.id, one.problem is None) for one in found] == [("e7-chk-13", False), ("e7-chk-12", True)]
    assert found[-1].superseded == 6, "three of six outputs a partition are beyond it"


async def test_only_the_one_that_was_asked_for_is_looked_at(world: FailoverWorld):
    older = world.point(3, number=11, taken_at=AT.replace(second=1))
    assert [one.id for one in await _judged(world, world.point(3), older, wanted="e7-chk-11")] == ["e7-chk-11"]
    assert await _judged(world, world.point(3), wanted="e7-chk-9") == ()


async def test_of_many_that_do_not_hold_the_last_that_was_looked_at_is_shown(world: FailoverWorld):
    broken = [
        world.point(3, number=20 + n, snapshot=f"s3://west/gone/{n}", taken_at=AT.replace(second=10 + n))
        for n in range(POINTS_SHOWN + 3)
    ]
    found = await _judged(world, world.point(3), *broken)
    assert len(found) == POINTS_SHOWN
    assert found[-1].id == "e7-chk-12"
    assert found[0].id == f"e7-chk-{20 + POINTS_SHOWN + 2}"


async def test_i3_a_file_that_is_missing_now_is_seen_now(world: FailoverWorld):
    point = world.point(3)
    assert await against_now(world.site("west"), _kept(point), point, TOPICS, ask_home=True) is None
    gone = next(uri for uri in world.snapshots["west"].objects if uri.name == "keyed-meta")
    await world.snapshots["west"].delete(gone)
    assert "keyed-meta is missing" in await _problem(world, point)


async def test_x5_what_the_index_says_is_old_and_is_asked_anew(world: FailoverWorld):
    stale = world.point(3, outputs_there=False, verified_at=None, problem="a file was missing when it was looked at")
    (choice,) = await _judged(world, stale, holes=("payments-0 lost 3 to 4",))
    assert choice.problem is None


async def test_x5_outputs_that_have_not_crossed_stand_against_it(world: FailoverWorld):
    await world.traffic("east", 3)
    ends = await world.kafka["east"].end_offsets(["balances"])
    upto = min(ends.values())
    point = world.point(upto)
    assert f"its outputs have not all come from east: balances-0 up to {upto:,} has not" in await _problem(world, point)
    await world.mirror(OUT)
    (choice,) = await _judged(world, point)
    assert choice.problem is None


async def test_x5_where_home_cannot_be_asked_what_came_must_reach_it_by_itself(world: FailoverWorld):
    await world.traffic("east", 3)
    upto = min((await world.kafka["east"].end_offsets(["balances"])).values()) - 1
    world.kafka["east"].down = True
    assert "its outputs have not all come from east" in await _problem(world, world.point(upto))
    world.kafka["east"].down = False
    await world.mirror(OUT)
    world.kafka["east"].down = True
    (choice,) = await _judged(world, world.point(upto))
    assert choice.problem is None


async def test_x5_the_very_first_output_is_enough_if_it_is_all(world: FailoverWorld):
    world.connect["west"].connectors["tidegate-east-to-west"].offsets["east", "balances", 1] = 0
    world.kafka["east"].down = True
    outputs = {"balances/1": OutputCut(upto=1, last=0, first_later=None)}
    (choice,) = await _judged(world, world.point(3, outputs=outputs))
    assert choice.problem is None


async def test_x4_outputs_and_positions_must_be_known(world: FailoverWorld):
    assert "its outputs are not recorded" in await _problem(world, world.point(3, outputs=None))
    assert "its positions could not be read" in await _problem(world, world.point(3, inputs=None))


async def test_x7_one_of_before_new_topics_is_none(world: FailoverWorld):
    (choice,) = await _judged(world, world.point(3), topics_since=AT)
    assert choice.problem is not None
    assert "before the topics were taken for new ones" in choice.problem


async def test_x5_an_output_that_no_link_brings_is_named(world: FailoverWorld):
    strange = world.point(3, outputs={"alerts/0": OutputCut(upto=3, last=2, first_later=None)})
    assert await _problem(world, strange) == "no mirror link from east brings alerts"


async def test_x20_one_of_before_the_last_switch_home_is_none(world: FailoverWorld):
    for step in ("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open", "back"):
        act = getattr(world, step)
        await (act() if step in {"stop", "started", "traffic_of_the_job"} else act(world.sides()))
    point = world.point(3)
    there = world.site("east")
    kept = Points(deployment="ledger", region="east", home="west", updated_at=AT, points=(point,))
    topics = Topics(turn=TOPICS.turn, links=TOPICS.back, back=TOPICS.links)
    world.snapshots["east"].objects = dict(world.snapshots["west"].objects)
    problem = await against_now(there, kept, point, topics, ask_home=True)
    assert problem == "it is older than the last switch to west: what was written since would come again"


def _kept(*points: Point) -> Points:
    return Points(deployment="ledger", region="west", home="east", updated_at=AT, points=points)


# -- memory


async def test_slots_with_less_memory_over_there_are_warned_of_in_the_plan(world: FailoverWorld):
    world.driver["west"].memory = SlotMemory(managed_mib=32.0, heap_mib=128.0)
    seen = await _look(world, unplanned=False)
    (warning,) = seen.warnings
    assert warning.startswith("ledger: the slots in west/cell-1 have less memory than those in east/cell-1")
    assert "managed memory 32 MiB instead of 64 MiB" in warning


async def test_with_home_gone_the_record_says_how_much_it_had(world: FailoverWorld):
    began = SlotMemory(managed_mib=256.0, heap_mib=128.0)
    await world.change(writer=writer("v1", 7).model_copy(update={"slot_memory": began}))
    world.driver["east"].down = world.kafka["east"].down = True
    seen = await _look(world)
    assert any("managed memory 64 MiB instead of 256 MiB" in one for one in seen.warnings)
    await world.change(writer=writer("v1", 7))
    seen = await _look(world)
    assert any("its record does not say what its job was started in" in one for one in seen.warnings)


async def test_x23_what_was_given_up_and_not_returned_is_seen(world: FailoverWorld):
    left = Left(
        region="east", strength="superseded", point="e7-chk-12", snapshot="s", operation="failover-ledger-0/r1",
        taken_at=AT,
    )  # fmt: skip
    gone = Gone(to="east", snapshots=("s",), left=left, at=AT)
    assert (await _look(world)).not_returned is None
    await world.change(gone={"west": gone})
    assert (await _look(world)).not_returned == "failover-ledger-0"
    await world.change(gone={"west": gone.model_copy(update={"returned": "return-ledger-1"})})
    assert (await _look(world)).not_returned is None
    await world.change(gone={"west": gone.model_copy(update={"left": None})})
    assert (await _look(world)).not_returned is None, "it was left as planned"
