"""X21: which outputs in the standby no longer count, found by where each of them stood at home."""

from __future__ import annotations

import random

import pytest

from tests.kit.failover_regions import BACK, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake import FakeKafka
from tidegate.clients.kafka_types import TopicPartition
from tidegate.mirror.provenance import of_headers
from tidegate.model.operation import ReplayRange
from tidegate.points.model import OutputCut
from tidegate.points.superseded import (
    OutputEnd,
    count_superseded,
    ends_of,
    older_than_the_turn,
    superseded,
)

B0, B1 = TopicPartition("balances", 0), TopicPartition("balances", 1)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    await made.place_snapshot((3, 3))
    return made


async def _hops(kafka: FakeKafka, tp: TopicPartition, home: str = "east") -> dict[int, int]:
    """The standby's offset to home's, by reading all of it."""
    found = {}
    async for record in kafka.records(tp, 0, (await kafka.end_offsets([tp.topic]))[tp]):
        known = of_headers(record.headers)
        if known is not None and known.hop.cluster == home:
            found[record.offset] = known.hop.offset
    return found


def _offsets(ranges: tuple[ReplayRange, ...], tp: TopicPartition, of: dict[int, int]) -> set[int]:
    """The standby's offsets that the ranges cover."""
    mine = [one for one in ranges if (one.topic, one.partition) == (tp.topic, tp.partition)]
    return {offset for offset in of if any(one.first <= offset <= one.last for one in mine)}


# -- what belongs to a point


@pytest.mark.parametrize(
    ("offset", "counts"), [(0, True), (1, True), (2, False), (3, False), (4, True), (5, False), (9, False)]
)
def test_x4_below_its_end_a_record_counts_unless_it_is_later(offset: int, counts: bool):
    end = OutputEnd(5, ((2, 3),))
    assert end.counts(offset) is counts
    assert end.first == 2


def test_the_first_that_may_be_superseded_is_the_end_if_nothing_is_later():
    assert OutputEnd(5).first == 5


async def test_the_ends_are_those_of_the_point(world: FailoverWorld):
    point = world.point(
        3, outputs={"balances/0": OutputCut(upto=9, last=8, first_later=4, later=((4, 5),)),
                    "balances/1": OutputCut(upto=0, last=None, first_later=None)},
    )  # fmt: skip
    assert ends_of(point) == {B0: OutputEnd(9, ((4, 5),)), B1: OutputEnd(0)}
    assert ends_of(world.point(3, outputs=None)) == {}


# -- ranges


async def test_x21_what_the_mirror_brought_beyond_the_point_is_one_range(world: FailoverWorld):
    west = world.kafka["west"]
    found = await superseded(world.site("west"), "east", {B0: OutputEnd(4)})
    hops = await _hops(west, B0)
    assert _offsets(found, B0, hops) == {here for here, there in hops.items() if there >= 4}
    assert [one.records for one in found] == [2]


async def test_x21_with_all_of_it_in_the_point_nothing_is_superseded(world: FailoverWorld):
    assert await superseded(world.site("west"), "east", {B0: OutputEnd(7), B1: OutputEnd(7)}) == ()


async def test_x21_a_point_before_the_first_output_supersedes_all(world: FailoverWorld):
    found = await superseded(world.site("west"), "east", {B0: OutputEnd(0), B1: OutputEnd(6)})
    assert [(one.partition, one.records) for one in found] == [(0, 6)]


async def test_x21_later_output_between_the_points_own_is_a_range_of_its_own(world: FailoverWorld):
    found = await superseded(world.site("west"), "east", {B0: OutputEnd(5, ((1, 2), (4, 4)))})
    hops = await _hops(world.kafka["west"], B0)
    assert {hops[offset] for offset in _offsets(found, B0, hops)} == {1, 2, 4, 5}
    assert [one.records for one in found] == [2, 2], "no range holds a record that counts"


async def test_what_has_not_crossed_is_not_superseded_there(world: FailoverWorld):
    await world.traffic("east", 5)
    assert sum(one.records for one in await superseded(world.site("west"), "east", {B0: OutputEnd(4)})) == 2
    await world.mirror(OUT)
    assert sum(one.records for one in await superseded(world.site("west"), "east", {B0: OutputEnd(4)})) == 7


async def test_what_the_standby_wrote_itself_is_never_superseded(world: FailoverWorld):
    world.kafka["west"].write_plain("balances", 0, [b"native"] * 3)
    found = await superseded(world.site("west"), "east", {B0: OutputEnd(4)})
    assert [one.records for one in found] == [2]


async def test_home_is_not_asked(world: FailoverWorld):
    world.kafka["east"].down = True
    assert await count_superseded(world.site("west"), "east", world.point(4)) == 4


@pytest.mark.parametrize("seed", range(8))
async def test_x21_against_a_full_reading_of_logs_with_gaps_and_aborts(seed: int, monkeypatch: pytest.MonkeyPatch):
    dice = random.Random(seed)
    world = (await FailoverWorld.made()).patch(monkeypatch)
    east, west = world.kafka["east"], world.kafka["west"]
    for number in range(40):
        sink = east.producer(f"t-{number % 3}")
        await sink.init()
        await sink.write("balances", 0, [f"{seed}-{number}-{n}".encode() for n in range(dice.randrange(1, 9))])
        await (sink.commit() if dice.random() > 0.25 else sink.abort())
        if dice.random() < 0.3:
            await world.mirror(OUT, at_most=dice.randrange(1, 12))
    await world.mirror(OUT)
    hops = await _hops(west, B0)
    last = max(hops.values())
    upto = dice.randrange(last)
    later = tuple((at, at + dice.randrange(4)) for at in sorted(dice.sample(range(upto), 3)) if at < upto)
    end = OutputEnd(upto, later)
    found = await superseded(world.site("west"), "east", {B0: end})
    gone = {here for here, there in hops.items() if not end.counts(there)}
    assert _offsets(found, B0, hops) == gone
    assert sum(one.records for one in found) == len(gone)
    assert all(one.first <= one.last for one in found)


# -- a topic that was turned


async def _turned(world: FailoverWorld, *, back: bool = True) -> None:
    for step in ("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open", "back"):
        if step == "back" and not back:
            return
        act = getattr(world, step)
        await (act() if step in {"stop", "started", "traffic_of_the_job"} else act(world.sides()))


async def test_x21_after_a_turn_only_what_came_since_is_looked_at(world: FailoverWorld):
    """West is home now: the east's own old output, and what came before the cut, is out of the question."""
    await _turned(world)
    await world.traffic("west", 4, epoch=8)
    await world.mirror(BACK)
    known = await world.lineage("balances")
    assert known is not None
    cut = known.partitions["0"].segments[-1].first
    found = await superseded(world.site("east"), "west", {B0: OutputEnd(cut + 2)})
    hops = await _hops(world.kafka["east"], B0, "west")
    assert _offsets(found, B0, hops) == {here for here, there in hops.items() if there >= cut + 2}
    assert sum(one.records for one in found) == 3 + 4 - 2


async def test_x21_several_turns(world: FailoverWorld):
    """East, west, and east again: what is superseded in the west is of the east's second segment only."""
    await _turned(world)
    await world.traffic("west", 4, epoch=8)
    await world.mirror(BACK)
    await world.turn_home("failover-ledger-2")
    await world.traffic("east", 5, epoch=9)
    await world.mirror(OUT)
    known = await world.lineage("balances")
    assert known is not None
    first = known.partitions["0"].segments[-1].first
    assert [one.region for one in known.partitions["0"].segments] == ["east", "west", "east"]
    found = await superseded(world.site("west"), "east", {B0: OutputEnd(first + 2)})
    hops = await _hops(world.kafka["west"], B0)
    assert _offsets(found, B0, hops) == {here for here, there in hops.items() if there >= first + 2}
    assert sum(one.records for one in found) == 5 - 2


async def test_x20_a_point_of_before_the_turn_is_told(world: FailoverWorld):
    assert await older_than_the_turn(world.site("west"), "east", world.point(3)) is False, "never turned"
    await _turned(world)
    known = await world.lineage("balances")
    assert known is not None
    cut = known.partitions["0"].segments[-1].first
    there = world.site("east")
    fresh = {"balances/0": OutputCut(upto=cut, last=cut - 1, first_later=None)}
    assert await older_than_the_turn(there, "west", world.point(3, outputs=fresh)) is False
    assert await older_than_the_turn(there, "west", world.point(3)) is True
    empty = {"balances/0": OutputCut(upto=0, last=None, first_later=None)}
    assert await older_than_the_turn(there, "west", world.point(3, outputs=empty)) is False, "it has no output"
