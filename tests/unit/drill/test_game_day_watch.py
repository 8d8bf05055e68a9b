"""A watch reads what is there, trips when a rule is broken, and goes on where its last attempt was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.gameday import GameDayActivities
from activities.sites import Sites
from tests.kit.eventually import eventually
from tests.kit.failover_world import FailoverWorld
from tests.unit.drill.test_game_day_look import members
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.drill import gameday_watch
from tidegate.drill.gameday_watch import Ends, Memories, Watcher, watch
from tidegate.drill.rules import Memory
from tidegate.driver.base import JobView
from tidegate.model.gameday import Rule, Rules
from tidegate.model.gamedaysteps import GameDayWatched, GameDayWatchStep
from tidegate.model.record import utc_now

GROUP = "ledger"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    """The ledger has gone to the west and runs there, with four checkpoints; it has read all of its input."""
    monkeypatch.setattr(gameday_watch, "LOOK_EVERY_S", 0.01)
    made = (await FailoverWorld.made()).patch(monkeypatch)
    await made.started()
    await caught_up(made)
    show(made)
    return made


def show(world: FailoverWorld, **fields: Any) -> None:
    """What the west's Flink says of the job."""
    told = {"job_id": job_of(world), "state": JobState.RUNNING, "checkpoints_completed": 4} | fields

    async def observe(_: str) -> JobView:
        return await world.driver["west"]._ask("observe", lambda: JobView(**told))

    world.driver["west"].observe = observe  # type: ignore[attr-defined]


def job_of(world: FailoverWorld) -> str:
    (job,) = world.driver["west"].jobs
    return job


async def caught_up(world: FailoverWorld) -> None:
    ends = await world.kafka["west"].end_offsets(["payments"])
    for source in world.fleet.deployment("ledger").sources:
        await world.kafka["west"].put_group_offsets(source.group, ends, "")


def watcher(world: FailoverWorld, *, moving: bool = False) -> Watcher:
    (member,) = members(world)
    job = None if moving else job_of(world)
    return Watcher(member=member, home=world.site("east"), away=world.site("west"), records=world.records, job=job)


async def watched(
    world: FailoverWorld, *, seconds: float = 0.2, moving: bool = False, before: Memories | None = None, **rules: Any
) -> tuple[GameDayWatched, Memories]:
    one = watcher(world, moving=moving)
    now = utc_now()
    step = GameDayWatchStep(
        fleet_digest="f", members=(one.member,), rules=Rules(**rules), began=now,
        until=now + timedelta(seconds=seconds), jobs=None if moving else {"ledger": job_of(world)},
    )  # fmt: skip
    last: list[Memories] = []
    fact = await watch([one], step, before, lambda _, known: last.append(known))
    return fact, last[-1]


async def test_all_is_well_until_the_time_is_up(world: FailoverWorld) -> None:
    fact, _ = await watched(world, max_gap_s=60, max_lag_records=0, max_lag_s=60)
    assert fact.trip is None
    assert fact.watched_s == 0.2
    assert {(one.state, one.lag, one.lag_s, one.checkpoints) for one in fact.samples} == {("RUNNING", 0, 0.0, 4)}


@pytest.mark.parametrize(
    ("seen", "rule", "said"),
    [
        ({"restarts": 3}, Rule.RESTARTS, "restarted 3 times (limit 2)"),
        ({"checkpoints_failed": 4}, Rule.CHECKPOINTS, "4 failed checkpoints (limit 3)"),
        ({"state": JobState.FAILED, "first_error": "java.io.IOException: x"}, Rule.JOB, "FAILED. java.io.IOException"),
        ({"state": None}, Rule.JOB, "not known to Flink any more"),
    ],
)
async def test_what_flink_says_breaks_a_rule_at_once(world: FailoverWorld, seen: Any, rule: Rule, said: str) -> None:
    _, known = await watched(world)
    show(world, **seen)
    fact, _ = await watched(world, seconds=60, before=known)
    assert fact.trip is not None
    assert (fact.trip.rule, said in fact.trip.what) == (rule, True), fact.trip


async def test_lag_in_records_is_by_the_positions_that_are_committed(world: FailoverWorld) -> None:
    world.kafka["west"].write_plain("payments", 0, [b"x"] * 7, "User:producer")
    fact, _ = await watched(world, seconds=60, max_lag_records=6)
    assert fact.trip is not None
    assert "7 records behind (limit 6)" in fact.trip.what


async def test_before_its_first_checkpoint_there_the_group_is_that_of_an_earlier_stay(world: FailoverWorld) -> None:
    world.kafka["west"].write_plain("payments", 0, [b"x"] * 7, "User:producer")
    show(world, checkpoints_completed=0)
    fact, _ = await watched(world, max_lag_records=6, max_lag_s=0.01)
    assert fact.trip is None
    assert {one.lag for one in fact.samples} == {None}


async def test_lag_in_time_is_how_long_the_oldest_has_been_there(world: FailoverWorld) -> None:
    fact, _ = await watched(world, max_lag_s=0.05, max_gap_s=None)
    assert fact.trip is None
    world.kafka["west"].write_plain("payments", 0, [b"x"], "User:producer")
    fact, _ = await watched(world, seconds=60, max_lag_s=0.1, max_gap_s=None)
    assert fact.trip is not None
    assert fact.trip.rule is Rule.LAG
    assert "s behind its input (limit 0.1 s)" in fact.trip.what


def test_a_position_has_waited_since_the_end_passed_it() -> None:
    at, tp = datetime(2026, 1, 1, tzinfo=UTC), TopicPartition("payments", 0)
    ends = Ends()
    for second, end in enumerate((10, 20, 30, 30)):
        ends.add(at + timedelta(seconds=second), {tp: end})
    now = at + timedelta(seconds=3)
    assert [ends.waited_s(tp, position, now) for position in (5, 10, 19, 20, 30)] == [3.0, 3.0, 3.0, 2.0, 0.0]


async def test_offsets_that_hold_no_records_are_nobodys_lag(world: FailoverWorld, monkeypatch: Any) -> None:
    """The marker of a transaction of producers stands behind the last record for ever."""
    monkeypatch.setattr(gameday_watch, "SURE_S", 0.05)
    sink = world.kafka["west"].producer("somebody-1")
    await sink.init()
    await sink.write("payments", 0, [b"x"])
    position = (await world.kafka["west"].end_offsets(["payments"]))[TopicPartition("payments", 0)]
    await sink.commit()
    await caught_up(world)
    group = world.fleet.deployment("ledger").sources[0].group
    await world.kafka["west"].put_group_offsets(group, {TopicPartition("payments", 0): position}, "")
    fact, _ = await watched(world, seconds=0.4, max_lag_s=0.1)
    assert fact.trip is None
    assert max(one.lag or 0 for one in fact.samples) == 1


async def test_a_part_that_is_away_is_waited_for_within_the_rule(world: FailoverWorld) -> None:
    world.driver["west"].down = True
    fact, _ = await watched(world, seconds=60, max_away_s=0.2)
    assert fact.trip is not None
    assert fact.trip.rule is Rule.AWAY
    assert "Flink does not answer" in fact.trip.what
    fact, _ = await watched(world, max_away_s=60)
    assert fact.trip is None
    assert fact.samples == ()


async def test_o8_what_somebody_else_has_moved_is_left_to_them(world: FailoverWorld) -> None:
    job = job_of(world)
    await world.take("restore-9", take_over=True)
    record = await world.record()
    assert record.writer is not None
    await world.change(writer=record.writer.model_copy(update={"job_id": "b" * 32, "region": "east"}))
    one = watcher(world)
    one.job = job
    reading = await one.read()
    assert reading.taken is not None
    assert "by restore-9" in reading.taken
    assert f"job {'b' * 32} in east now" in reading.taken


async def test_on_the_way_output_of_either_region_counts(world: FailoverWorld) -> None:
    first = await watcher(world, moving=True).read()
    await world.traffic("east", 2)
    second = await watcher(world, moving=True).read()
    await world.traffic_of_the_job()
    third = await watcher(world, moving=True).read()
    assert first.outputs < second.outputs < third.outputs

    async def silence() -> GameDayWatched:
        return (await watched(world, seconds=60, moving=True, max_gap_s=0.2))[0]

    silent = asyncio.create_task(silence())
    await asyncio.sleep(0.1)
    await world.traffic("east", 2)
    fact = await silent
    assert fact.trip is not None
    assert fact.trip.rule is Rule.GAP
    assert fact.samples == ()


class _Sites:
    """What the activity reaches the world by."""

    def __init__(self, world: FailoverWorld) -> None:
        self._world = world
        self.records = world.records

    async def fleet(self, digest: str) -> tuple[Any, str]:
        return self._world.fleet, digest

    def site(self, _fleet: Any, _name: str, cell: str) -> Any:
        return self._world.site(cell.partition("/")[0])


async def test_stopped_by_its_operation_it_tells_what_it_has_seen_and_by_its_worker_it_does_not(
    world: FailoverWorld,
) -> None:
    """A stay that a worker's restart has cut short would count as one that went well."""
    (member,) = members(world)
    now = utc_now()
    step = GameDayWatchStep(
        fleet_digest="f", members=(member,), rules=Rules(), began=now, until=now + timedelta(seconds=600),
        jobs={"ledger": job_of(world)},
    )  # fmt: skip
    watches = GameDayActivities(cast("Sites", _Sites(world)), cast("Client", object())).watch_game_day
    for details in (
        ActivityCancellationDetails(cancel_requested=True),
        ActivityCancellationDetails(worker_shutdown=True),
    ):
        environment = ActivityEnvironment()
        beats: list[Any] = []
        environment.on_heartbeat = lambda *told, beats=beats: beats.append(told)
        task = asyncio.create_task(environment.run(watches, step))

        async def seen(beats: list[Any] = beats) -> None:
            assert any(told[1].of for told in beats)

        await eventually(seen)
        environment.cancel(details)
        if details.worker_shutdown:
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            fact = await task
            assert fact.trip is None
            assert fact.samples
            assert fact.watched_s < 600


async def test_a_watch_whose_worker_died_goes_on_with_what_it_knew(world: FailoverWorld) -> None:
    fact, known = await watched(world)
    assert fact.samples
    later = Memories.model_validate(known.model_dump(mode="json"))
    again, _ = await watched(world, before=later)
    assert again.samples[: len(fact.samples) - 1] == fact.samples[:-1]
    assert len(again.samples) >= len(fact.samples)
    # A region that was away before the worker died has been away since then, not since the next attempt.
    long_ago = utc_now() - timedelta(seconds=59.9)
    memory = Memory(inputs=0, outputs=0, outputs_at=long_ago, away_since=long_ago)
    world.driver["west"].down = True
    fact, _ = await watched(world, seconds=60, before=Memories(of={"ledger": memory}), max_away_s=60)
    assert fact.trip is not None
    assert fact.trip.rule is Rule.AWAY
