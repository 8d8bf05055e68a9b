"""Giving a region up with whatever of it answers, and what is gone on from (X14, X15, X17, X21)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.failover_regions import OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tests.kit.temporal_world_facts import AT, artifact, pinned, writer
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition, TxnState
from tidegate.errors import OperationFailed, Refused, Superseded
from tidegate.model.failover import HomeFact
from tidegate.model.mirror import LinkState
from tidegate.model.record import DeploymentRecord, IntentState, StartIntent
from tidegate.model.recovery import Strength
from tidegate.names import transactional_prefix
from tidegate.points.model import OutputCut, Settlement

JOB = writer("v1", 7).job_id
SINK = transactional_prefix("ledger", "balances-sink", 7)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    made.unplanned = True
    await made.place_snapshot((3, 3))
    await made.place_points(made.point(3))
    return made


def _silence(world: FailoverWorld, *parts: str) -> None:
    world.kafka["east"].down = "kafka" in parts
    world.driver["east"].down = "flink" in parts
    if "connect" in parts:
        world.connect["east"].down = True


async def _shut(world: FailoverWorld) -> HomeFact:
    await world.close(world.sides())
    fact: HomeFact = await world.shut(world.sides())
    return fact


def _start(epoch: int, region: str) -> StartIntent:
    return StartIntent(
        id=f"start-{epoch}", step="start", n=1, job_id=f"{epoch:032x}", epoch=epoch, region=region, cell="cell-1",
        artifact=artifact("v1"), parallelism=2, snapshot="s3://x/1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("silent", "strength", "cancelled", "denied"),
    [
        ((), Strength.STOPPED, True, True),
        (("kafka",), Strength.STOPPED, True, False),
        (("flink",), Strength.SHUT_OUT, False, True),
        (("flink", "kafka"), Strength.SUPERSEDED, False, False),
    ],
)
async def test_x14_whatever_answers_is_used(
    world: FailoverWorld, silent: tuple[str, ...], strength: Strength, cancelled: bool, denied: bool
):
    _silence(world, *silent)
    fact = await _shut(world)
    assert fact.strength is strength
    assert (world.driver["east"].jobs[JOB] is JobState.CANCELED) is cancelled
    assert (("User:ledger", SINK) in world.kafka["east"]._denied) is denied
    assert ((await world.record()).denied_epochs == (7,)) is denied
    told = {part: any(part.lower() in note.lower() for note in fact.notes) for part in ("flink", "kafka")}
    assert {part for part, said in told.items() if said} >= set(silent)


async def test_x14_a_job_that_flink_does_not_know_is_not_said_to_be_stopped(world: FailoverWorld):
    _silence(world, "kafka")
    world.driver["east"].jobs.clear()
    assert (await _shut(world)).strength is Strength.SUPERSEDED


async def test_x14_a_job_that_has_ended_already_is_stopped(world: FailoverWorld):
    _silence(world, "kafka")
    world.driver["east"].jobs[JOB] = JobState.FAILED
    assert (await _shut(world)).strength is Strength.STOPPED


async def test_x14_an_act_that_is_refused_is_said_and_the_next_weaker_strength_stands(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    async def refuses(_: str) -> None:
        raise OperationFailed("no right to cancel")

    monkeypatch.setattr(world.driver["east"], "cancel", refuses)
    fact = await _shut(world)
    assert fact.strength is Strength.SHUT_OUT
    assert "Flink in east answered, and could not be made to cancel: no right to cancel" in fact.notes


async def test_x15_what_the_old_job_had_open_is_ended_and_it_commits_nothing_more(world: FailoverWorld):
    _silence(world, "flink")
    sink = world.kafka["east"].producer(f"{SINK}0-9")
    await sink.init()
    await sink.write("balances", 0, [b"late"])
    await _shut(world)
    state = (await world.kafka["east"].describe_transactions([sink.transactional_id]))[sink.transactional_id]
    assert state.state is TxnState.COMPLETE_ABORT
    with pytest.raises(Denied):
        await sink.commit()
    assert b"late" not in world.kafka["east"].committed_values("balances", 0)


async def test_x14_every_job_that_may_exist_there_is_shut_out(world: FailoverWorld):
    await world.change(epoch=8, intents=(_start(8, "east"),))
    world.driver["east"].jobs[f"{8:032x}"] = JobState.RUNNING
    await _shut(world)
    assert (await world.record()).denied_epochs == (7, 8)
    assert world.driver["east"].jobs[f"{8:032x}"] is JobState.CANCELED


async def test_x17_the_mirror_is_shut_before_the_point_is_chosen(world: FailoverWorld):
    _silence(world, "flink", "kafka")
    await _shut(world)
    link = await world.link(OUT)
    assert link is not None
    assert link.mirror is LinkState.STOPPED


async def test_where_home_answers_the_mirror_brings_what_it_can(world: FailoverWorld):
    _silence(world, "flink")
    await world.traffic("east", 2)
    await world.mirror(OUT)
    fact = await _shut(world)
    assert "the mirror has brought everything that home has committed" in fact.notes


async def test_what_it_cannot_bring_in_time_is_tail(world: FailoverWorld):
    _silence(world, "flink")
    await world.traffic("east", 2)
    fact = await _shut(world)
    assert any(note.startswith("the mirror did not bring everything, what is left is tail") for note in fact.notes)
    link = await world.link(OUT)
    assert link is not None
    assert link.mirror is LinkState.STOPPED


async def test_x21_the_record_says_what_is_gone_on_from_and_what_is_not_part_of_it(world: FailoverWorld):
    later = {"balances/0": OutputCut(upto=4, last=3, first_later=1, later=((1, 2),))}
    await _replace_points(world, outputs=later)
    _silence(world, "flink", "kafka")
    fact = await _shut(world)
    record = await world.record()
    assert record.pinned is not None
    left = record.pinned.left
    assert left is not None
    assert (left.region, left.strength, left.point, left.snapshot) == ("west", "superseded", fact.point, fact.snapshot)
    assert left.later == {"balances/0": ((1, 2),)}
    assert record.pinned.output_ends == {"balances/0": 4}
    assert (record.pinned.epoch, record.pinned.job_id) == (7, JOB)
    assert fact.taken_at == AT


async def test_o5_what_was_begun_at_home_is_void_and_what_was_begun_there_is_not(world: FailoverWorld):
    await world.change(epoch=9, intents=(_start(8, "east"), _start(9, "west")))
    _silence(world, "flink", "kafka")
    await _shut(world)
    states = {one.id: one.state for one in (await world.record()).intents}
    assert states == {"start-8": IntentState.VOID, "start-9": IntentState.OPEN}


async def test_x5_the_newest_that_holds_is_chosen(world: FailoverWorld):
    older = world.point(3)
    broken = world.point(3, number=13, snapshot="s3://west/checkpoints/gone", taken_at=AT.replace(second=9))
    unsafe = world.point(
        3, number=14, taken_at=AT.replace(second=10),
        settlements=(Settlement(transactional_id="tg-1", producer_id=1, producer_epoch=0, word="aborted", safe=False,
                                at=AT),),
    )  # fmt: skip
    await _put_points(world, older, broken, unsafe)
    _silence(world, "flink", "kafka")
    assert (await _shut(world)).point == "e7-chk-12"


async def test_x5_without_one_it_is_refused_and_each_is_named(world: FailoverWorld):
    broken = world.point(3, number=13, snapshot="s3://west/checkpoints/gone")
    await _put_points(world, broken, world.point(3, outputs=None))
    _silence(world, "flink", "kafka")
    with pytest.raises(Refused, match=r"e7-chk-13: .*; e7-chk-12: its outputs are not recorded"):
        await _shut(world)
    record = await world.record()
    assert record.pinned is None


async def test_x14_one_that_flink_does_not_know_is_not_stopped_because_another_was(world: FailoverWorld):
    """A start that was begun: its submit may be on its way, and Kafka cannot be asked to refuse it."""
    _silence(world, "kafka")
    begun = StartIntent(
        id="s", step="switch", n=1, job_id="f" * 32, epoch=8, region="east", cell="cell-1", artifact=artifact("v1"),
        parallelism=2, snapshot="s3://east/x",
    )  # fmt: skip
    await world.change(intents=(begun,))
    assert (await _shut(world)).strength is Strength.SUPERSEDED
    assert world.driver["east"].jobs[JOB] is JobState.CANCELED


async def test_o16_done_again_what_was_chosen_stands(world: FailoverWorld):
    _silence(world, "flink", "kafka")
    first = await _shut(world)
    await world.place_snapshot((6, 6), number=15)
    await _put_points(world, world.point(6, number=15, taken_at=AT.replace(second=30)), world.point(3))
    _silence(world)
    again = await world.shut(world.sides())
    assert (again.point, again.strength) == (first.point, Strength.SUPERSEDED)
    assert world.driver["east"].jobs[JOB] is JobState.RUNNING, "nothing is done a second time"


async def test_o6_who_takes_over_chooses_anew(world: FailoverWorld):
    _silence(world, "flink", "kafka")
    await _shut(world)
    await world.take("failover-ledger-2", take_over=True)
    await world.close(world.sides(), take_over=True)
    _silence(world, "flink")
    fact = await world.shut(world.sides())
    assert fact.strength is Strength.SHUT_OUT
    record = await world.record()
    assert record.pinned is not None
    assert record.pinned.left is not None
    assert record.pinned.left.operation == "failover-ledger-2/r1"


async def test_an_older_stop_is_not_taken_for_how_this_region_was_left(world: FailoverWorld):
    await world.change(pinned=pinned(epoch=6))
    _silence(world, "flink", "kafka")
    await _shut(world)
    record = await world.record()
    assert record.pinned is not None
    assert record.pinned.epoch == 7


async def test_o8_who_loses_the_fence_in_the_middle_writes_nothing(world: FailoverWorld):
    await world.close(world.sides())
    late = world.sides()
    real = world.driver["east"].cancel

    async def lost(job_id: str) -> None:
        await real(job_id)
        await world.take("failover-ledger-2", take_over=True)

    world.driver["east"].cancel = lost  # type: ignore[method-assign]
    with pytest.raises(Superseded):
        await world.shut(late)
    record: DeploymentRecord = await world.record()
    assert record.pinned is None


async def test_what_never_ran_is_refused(world: FailoverWorld):
    await world.change(writer=None)
    with pytest.raises(Refused, match="has never run"):
        await _shut(world)


async def test_x21_what_came_beyond_the_point_is_cut_off_where_it_ends(world: FailoverWorld):
    _silence(world, "flink", "kafka")
    await _shut(world)
    await world.cut(world.sides())
    known = await world.lineage("balances")
    assert known is not None
    assert known.turns[-1].planned is False
    east, west = known.partitions["0"].segments
    assert east.end == 3, "the point's own output"
    assert west.first == (await world.kafka["west"].end_offsets(["balances"]))[TopicPartition("balances", 0)]
    payments = await world.lineage("payments")
    assert payments is not None
    assert payments.partitions["0"].segments[0].end == 6, "of the input all that has crossed counts"


async def test_x21_given_up_after_a_planned_cut_what_the_point_lacks_of_it_does_not_count(world: FailoverWorld):
    """Escalated, or taken over, behind the cut: the cut stands where it is, and its end is not the point's."""
    world.unplanned = False
    await world.close(world.sides())
    await world.stop()
    await world.cut(world.sides())
    await world.place_snapshot((3, 3))
    world.unplanned = True
    _silence(world, "flink", "kafka")
    await _shut(world)
    for _ in range(2):
        await world.cut(world.sides())
    known = await world.lineage("balances")
    assert known is not None
    partition = known.partitions["0"]
    assert [(one.region, one.first, one.end) for one in partition.segments] == [("east", 0, 7), ("west", 7, None)]
    assert [(one.region, one.first, one.last) for one in partition.excluded] == [("east", 3, 6)]
    payments = await world.lineage("payments")
    assert payments is not None
    assert payments.partitions["0"].excluded == (), "all of the input had crossed"


async def _replace_points(world: FailoverWorld, **changes: Any) -> None:
    await _put_points(world, world.point(3, **changes))


async def _put_points(world: FailoverWorld, *points: Any) -> None:
    for uri in [uri for uri in world.control.objects if uri.key.startswith("points/")]:
        await world.control.delete(uri)
    await world.place_points(*points)
