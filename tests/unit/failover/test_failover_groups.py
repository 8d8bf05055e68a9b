"""X25: consumer groups go on in the other region where they were; what may come again is counted, nothing is jumped."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.kit.failover_groups import B0, B1, PLANNED, UNPLANNED, groups_moved, made
from tests.kit.failover_regions import AT, BACK, BUCKET, FLEET, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake import FakeKafka
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.failover import groups as groups_module
from tidegate.failover.groups import look_at_groups
from tidegate.model.failover import Answers
from tidegate.model.fleet import Consumer
from tidegate.model.operation import ReplayRange
from tidegate.points.groups import GroupKeeper, GroupStore, KeptGroup


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    return await made(monkeypatch)


async def _keep(world: FailoverWorld, at: Any = AT) -> None:
    """As the keeper of recovery points does while home is there."""
    ledger = world.fleet.deployment("ledger")
    store = GroupStore(world.control, BUCKET)
    await GroupKeeper(world.kafka["east"], store, "ledger", "east", ledger.consumers, lambda: at).keep()


async def _reads(kafka: FakeKafka, tp: TopicPartition, first: int, end: int | None = None) -> list[bytes | None]:
    """What a plain reader gets from an offset on."""
    upto = (await kafka.end_offsets([tp.topic]))[tp] if end is None else end
    return [record.value async for record in kafka.records(tp, first, upto)]


async def _values(kafka: FakeKafka, tp: TopicPartition) -> list[LogRecord]:
    return [record async for record in kafka.records(tp, 0, (await kafka.end_offsets([tp.topic]))[tp])]


# -- planned: exact


@pytest.mark.parametrize("read", range(7))
async def test_x25_planned_each_partition_goes_on_at_the_very_record(world: FailoverWorld, read: int):
    """However far it had come: what it reads there is what it would have read at home, no more and no less."""
    east, west = world.kafka["east"], world.kafka["west"]
    records = await _values(east, B0)
    at = records[read].offset if read < len(records) else records[-1].offset + 1
    east.commit_group("shop", {B0: at, B1: 0})
    await world.through(*PLANNED)
    left = await _reads(east, B0, at)
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.exact, fact.again, fact.counted, fact.left) == (2, True, 0, True, ())
    offsets = await west.group_offsets("shop")
    assert await _reads(west, B0, offsets[B0]) == left
    assert await _reads(west, B1, offsets[B1]) == await _reads(east, B1, 0)
    assert fact.text == "shop: goes on where it stood (2 partitions); nothing comes again"


async def test_x25_both_ways_it_goes_on_where_it_was(world: FailoverWorld):
    """There and back: what it has read in both regions is every record once."""
    east, west = world.kafka["east"], world.kafka["west"]
    got: dict[TopicPartition, list[bytes | None]] = {}

    async def read(kafka: FakeKafka, tp: TopicPartition, count: int) -> None:
        first = (await kafka.group_offsets("shop")).get(tp, 0)
        end = (await kafka.last_stable_offsets([tp.topic]))[tp]
        async for record in kafka.records(tp, first, end):
            got.setdefault(tp, []).append(record.value)
            kafka.commit_group("shop", {tp: record.offset + 1})
            count -= 1
            if not count:
                return

    await read(east, B0, 4)
    await read(east, B1, 99)
    await world.through(*PLANNED)
    assert (await groups_moved(world))[0].left == ()
    await world.open(world.sides())
    await world.back(world.sides())
    sink = west.producer("tg.ledger.balances-sink.e00000008.0-7")
    for number in range(3):
        await sink.init()
        await sink.write("balances", 0, [f"west-{number}".encode()])
        await sink.commit()
    await world.mirror(BACK)
    await read(west, B0, 4)
    await world.turn_home("failover-ledger-2")

    # The way back, by the same means, from the west to the east.
    lineage = await groups_module.read_lineage(world.sides().lineage, world.fleet.deployment("ledger").consumers)
    async with groups_module.crossing_of(world.fleet, ("west", west), ("east", east), lineage, gone=False) as back:
        moving = groups_module.Moving(back, "a test")
        (consumer,) = world.fleet.deployment("ledger").consumers
        stood = await groups_module.stood_of(west, "west", None, consumer, None)
        found = await groups_module.translate(moving, consumer, consumer.topics, stood)
        fact = (await groups_module.put(moving, found)).fact()
    assert (fact.left, fact.again, fact.exact) == ((), 0, True)
    await read(east, B0, 99)
    await read(east, B1, 99)
    for tp in (B0, B1):
        wanted = [record.value for record in await _values(east, tp)]
        assert got[tp] == wanted, tp
    assert len(got[B0]) == 9


async def test_x25_groups_that_the_fleet_file_does_not_name_and_topics_that_stay_are_left(
    monkeypatch: pytest.MonkeyPatch,
):
    world = await made(
        monkeypatch,
        Consumer(group="shop", topics=("balances",)),
        Consumer(group="audit", topics=("payments", "elsewhere")),
    )
    world.kafka["east"].commit_group("shop", {B0: 2, TopicPartition("payments", 0): 1})
    world.kafka["east"].commit_group("audit", {TopicPartition("payments", 0): 3})
    world.kafka["east"].commit_group("other", {B0: 2})
    await world.through(*PLANNED)
    facts = {one.group: one for one in await groups_moved(world)}
    assert {name: one.put for name, one in facts.items()} == {"audit": 1, "shop": 1}
    west = world.kafka["west"]
    assert set(await west.group_offsets("shop")) == {B0}
    assert await west.group_offsets("audit") == {TopicPartition("payments", 0): 3}
    assert await west.group_offsets("other") == {}


async def test_x25_without_a_group_nothing_is_asked(monkeypatch: pytest.MonkeyPatch):
    ledger = FLEET.deployment("ledger").model_copy(update={"consumers": ()})
    fleet = FLEET.model_copy(update={"deployments": {"ledger": ledger}})
    world = (await FailoverWorld.made(fleet)).patch(monkeypatch)
    await world.through(*PLANNED)
    calls = len(world.kafka["east"].calls)
    assert await groups_moved(world) == ()
    assert len(world.kafka["east"].calls) == calls


async def test_x25_a_group_that_has_read_nothing_is_told(world: FailoverWorld):
    await world.through(*PLANNED)
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.left) == (0, ())
    assert fact.text == "shop: it has no offsets, so it has read nothing that would count"


async def test_x25_an_offset_says_who_put_it(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 2})
    await world.through(*PLANNED)
    await groups_moved(world)
    assert world.kafka["west"].group_notes("shop") == {B0: "tidegate failover-ledger-1/r1"}


# -- never under somebody's feet, never back


async def test_x25_who_reads_there_is_left_alone(world: FailoverWorld):
    west = world.kafka["west"]
    world.kafka["east"].commit_group("shop", {B0: 4})
    west.join_group("shop")
    west.commit_group("shop", {B0: 1})
    await world.through(*PLANNED)
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.left) == (0, ("somebody is in it in west",))
    assert await west.group_offsets("shop") == {B0: 1}
    west.leave_group("shop")
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.left) == (1, ())


async def test_x25_who_joins_at_the_last_moment_is_left_alone_by_kafka(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    west = world.kafka["west"]
    world.kafka["east"].commit_group("shop", {B0: 4})
    await world.through(*PLANNED)
    put = west.put_group_offsets

    async def late(*args: Any) -> None:
        west.join_group("shop")
        await put(*args)

    monkeypatch.setattr(west, "put_group_offsets", late)
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.left) == (0, ("somebody is in it in west",))
    assert await west.group_offsets("shop") == {}


async def test_x25_a_group_is_never_set_back(world: FailoverWorld):
    west = world.kafka["west"]
    world.kafka["east"].commit_group("shop", {B0: 2, B1: 2})
    await world.through(*PLANNED)
    west.commit_group("shop", {B0: 5})
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.further, fact.left) == (1, 1, ())
    assert (await west.group_offsets("shop"))[B0] == 5
    assert "stands further on there already on 1 partition: left" in fact.text


async def test_x25_who_still_reads_at_home_is_waited_for_and_told(world: FailoverWorld):
    """A consumer that follows the lineage commits what it has read to the end, and leaves."""
    east = world.kafka["east"]
    east.commit_group("shop", {B0: 2, B1: 2})
    await world.through(*PLANNED)
    east.join_group("shop")
    state, asked = east.group_state, 0

    async def leaves(group: str) -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            east.commit_group("shop", {B0: 6, B1: 6})
            east.leave_group("shop")
        return await state(group)

    east.group_state = leaves  # type: ignore[method-assign]
    (fact,) = await groups_moved(world)
    assert (fact.notes, fact.again) == ((), 0)
    offsets = await world.kafka["west"].group_offsets("shop")
    assert await _reads(world.kafka["west"], B0, offsets[B0]) == []


async def test_x25_who_stays_at_home_is_told_to_be_put_once_more(world: FailoverWorld):
    east = world.kafka["east"]
    east.commit_group("shop", {B0: 2, B1: 2})
    await world.through(*PLANNED)
    east.join_group("shop")
    (fact,) = await groups_moved(world)
    told = "somebody is in it in east: put it once more when its consumers have moved, and is not at the end there"
    assert (fact.put, fact.notes) == (2, (told,))


# -- unplanned


async def test_x25_unplanned_it_goes_on_from_what_was_kept_and_the_rest_is_counted(world: FailoverWorld):
    east, west = world.kafka["east"], world.kafka["west"]
    east.commit_group("shop", {B0: 2, B1: 6})
    await _keep(world)
    east.commit_group("shop", {B0: 5})
    await world.through(*UNPLANNED)
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.exact, fact.as_of, fact.left) == (2, True, AT, ())
    offsets = await west.group_offsets("shop")
    cut = (await world.lineage("balances")).partitions["0"].segments[-1].first  # type: ignore[union-attr]
    came = await _reads(west, B0, offsets[B0], cut)
    assert came == [record.value for record in await _values(west, B0) if record.offset < cut][2:]
    assert (fact.again, fact.counted) == (len(came), False), "it may have read all that came since"
    assert f"as its offsets were kept at 2026-01-02 03:04:05.000 UTC; up to {len(came)} records come again" in fact.text


async def test_x25_what_was_never_kept_is_not_guessed(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 2})
    await world.through(*UNPLANNED)
    (fact,) = await groups_moved(world)
    assert fact.put == 0
    assert "nobody knows where it stood: Kafka in east does not answer" in fact.left[0]
    assert "its offsets were not kept" in fact.left[0]
    assert await world.kafka["west"].group_offsets("shop") == {}


async def test_x25_x21_superseded_output_that_it_has_read_comes_again_and_is_counted(world: FailoverWorld):
    """Read beyond the point: those records come again. Not read: the ranges are skipped by who stands in them."""
    east, west = world.kafka["east"], world.kafka["west"]
    east.commit_group("shop", {B0: 5, B1: 3})
    await _keep(world)
    await world.through(*UNPLANNED)
    superseded = tuple(ReplayRange(topic="balances", partition=n, first=3, last=6, records=3) for n in (0, 1))
    end = {tp: (await west.last_stable_offsets(["balances"]))[tp] for tp in (B0, B1)}
    (fact,) = await groups_moved(world, *superseded)
    offsets = await west.group_offsets("shop")
    # Partition 0 stood in the middle of what does not count, partition 1 just before it: both go on behind it.
    assert offsets == {B0: 7, B1: 7}
    assert fact.ahead == 0
    read = len(await _reads(west, B0, 3, 5))
    after = len(await _reads(west, B0, 7, end[B0])) + len(await _reads(west, B1, 7, end[B1]))
    assert read == 2
    assert fact.again == read + after


async def test_x25_x21_what_does_not_count_before_a_group_is_told(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 1})
    await world.through(*PLANNED)
    (fact,) = await groups_moved(world, ReplayRange(topic="balances", partition=0, first=3, last=4, records=2))
    assert (fact.put, fact.again, fact.ahead) == (1, 0, 2)
    assert "2 before it do not count: the lineage says which" in fact.text


async def test_x25_what_it_read_and_never_crossed_is_counted_where_home_answers(world: FailoverWorld):
    """Flink is lost and Kafka is not, and its mirror had not brought all: what it read beyond comes again."""
    east, west = world.kafka["east"], world.kafka["west"]
    world.unplanned = True
    await world.place_snapshot((3, 3))
    await world.place_points(world.point(3))
    await world.traffic("east", 2)
    world.driver["east"].down = True
    world.connect["east"].connectors.pop("none", None)
    end = (await east.end_offsets(["balances"]))[B0]
    east.commit_group("shop", {B0: end})
    await world.close(world.sides())
    await world.shut(world.sides())
    await world.cut(world.sides())
    came = (await west.last_stable_offsets(["balances"]))[B0]
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.counted) == (1, True)
    assert (await west.group_offsets("shop"))[B0] <= came
    beyond = len(await _values(east, B0)) - len(await _values(west, B0))
    assert fact.again == beyond == 2


# -- what cannot be proven


async def test_x25_a_record_that_is_not_there_is_not_jumped(world: FailoverWorld):
    """Retention took what it has not read: that partition is left, and the others go on."""
    world.kafka["east"].commit_group("shop", {B0: 1, B1: 1})
    await world.through(*PLANNED)
    world.kafka["west"].delete_before(B0, 3)
    (fact,) = await groups_moved(world)
    assert (fact.put, len(fact.left)) == (1, 1)
    assert "balances-0 at 1" in fact.left[0]
    assert set(await world.kafka["west"].group_offsets("shop")) == {B1}


async def test_x25_one_group_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
):
    world = await made(
        monkeypatch, Consumer(group="shop", topics=("balances",)), Consumer(group="slow", topics=("balances",))
    )
    monkeypatch.setattr(groups_module, "GROUP_S", 0.2)
    for group in ("shop", "slow"):
        world.kafka["east"].commit_group(group, {B0: 2})
    await world.through(*PLANNED)
    ask = world.kafka["west"].group_offsets

    async def hangs(group: str) -> Any:
        if group == "slow":
            await asyncio.Event().wait()
        return await ask(group)

    monkeypatch.setattr(world.kafka["west"], "group_offsets", hangs)
    shop, slow = await groups_moved(world)
    assert (shop.put, shop.left) == (1, ())
    assert (slow.put, slow.left) == (0, ("not done within 0.2 s",))


# -- what the plan says before


async def _look(world: FailoverWorld, *, gone: bool = False) -> Any:
    sides = world.sides()
    answers = Answers(region="east", kafka="connection refused" if gone else None)
    (one,) = await look_at_groups(sides.home.site, sides.away.site, world.topics, answers)
    return one


async def test_x25_the_plan_says_how_a_group_would_go_on(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 2, B1: 3})
    assert (await _look(world)).text == "shop: 2 partitions of balances, exactly"
    world.kafka["west"].join_group("shop")
    assert (await _look(world)).text.endswith("SOMEBODY IS IN IT THERE: it is left as it is unless its consumers stop")


async def test_x25_the_plan_says_what_is_not_known(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 2})
    await _keep(world, AT + timedelta(seconds=1))
    world.kafka["east"].down = True
    one = await _look(world, gone=True)
    assert one.as_of == AT + timedelta(seconds=1)
    assert (
        one.text
        == "shop: 1 partition of balances, exactly, as kept at 2026-01-02 03:04:06.000 UTC: up to 4 records come again"
    )
    await GroupStore(world.control, BUCKET).write("ledger", "east", {"shop": KeptGroup(at=AT)})
    assert (await _look(world, gone=True)).text == "shop: it has no offsets of balances"


async def test_x25_the_keeper_keeps_what_it_last_knew_of_each_region(world: FailoverWorld):
    world.kafka["east"].commit_group("shop", {B0: 2, TopicPartition("payments", 0): 1})
    await _keep(world)
    store = GroupStore(world.control, BUCKET)
    kept = await store.read("ledger", "east")
    assert kept is not None
    assert kept.groups == {"shop": KeptGroup(at=AT, offsets={"balances/0": 2})}
    await store.write("ledger", "west", {"shop": KeptGroup(at=AT, offsets={"balances/0": 9})})
    assert await store.read("ledger", "east") == kept
    assert OUT in world.topics.links
