"""O6, X24: a failover that another operation has ended is over: what comes after it turns the topics as ever."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import BUCKET, TOPICS
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tidegate.errors import Refused, Superseded
from tidegate.failover.sides import Sides
from tidegate.failover.unfinished import unfinished_in
from tidegate.lineage.model import Gate
from tidegate.lineage.store import LineageStore

LATER = "failover-ledger-3/run-3"


async def _ended_by_another(monkeypatch: pytest.MonkeyPatch) -> tuple[FailoverWorld, Sides]:
    """Lost behind its start, and opened by who took it over. Also what the lost one would act by."""
    world = (await FailoverWorld.made()).patch(monkeypatch)
    await world.close(world.sides())
    await world.stop()
    for step in (world.cut, world.rebase):
        await step(world.sides())
    await world.started()
    lost = world.sides()
    await world.take("failover-ledger-2", take_over=True)
    world.unplanned = True
    await world.close(world.sides(), take_over=True)
    await world.open(world.sides())
    await world.back(world.sides())
    return world, lost


async def test_x24_what_was_ended_by_another_is_turned_back_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failback that is broken off would take back the turn of long ago: what was written since would not count."""
    world, _ = await _ended_by_another(monkeypatch)
    store = LineageStore(world.control, BUCKET)
    world.kafka["west"].write_plain("payments", 0, [b"acknowledged"], "User:producer")
    for topic in TOPICS.turn:
        before = (await store.close(topic, LATER)).partitions
        after = await store.unturn(topic, LATER)
        assert (after.region, after.turn, after.partitions) == ("west", 1, before)
        await store.leave(topic, LATER)


async def test_x20_what_was_ended_by_another_turns_home_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await _ended_by_another(monkeypatch)
    store = LineageStore(world.control, BUCKET)
    for topic in TOPICS.turn:
        await store.close(topic, LATER)
    assert await unfinished_in(store, world.fleet, "ledger", "west") is None
    for topic in TOPICS.turn:
        ends, cuts = ({0: 90, 1: 90}, {0: 80, 1: 80})
        turned = await store.turn(topic, LATER, "east", planned=True, ends=ends, cuts=cuts)
        assert (turned.region, turned.turn) == ("east", 2)


async def test_o6_who_was_lost_has_no_more_to_say_when_another_has_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world, lost = await _ended_by_another(monkeypatch)
    for late in (world.close, world.cut, world.open, world.reopen):
        with pytest.raises(Superseded):
            await late(lost)
    for topic in TOPICS.turn:
        known = await world.lineage(topic)
        assert known is not None
        assert (known.region, known.gate, known.turn) == ("west", Gate.OPEN, 1)


async def _half_open(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    """Lost behind its start, and the payments were opened since: by itself, or by who ended another that reads them."""
    world = (await FailoverWorld.made()).patch(monkeypatch)
    await world.close(world.sides())
    await world.stop()
    for step in (world.cut, world.rebase):
        await step(world.sides())
    await world.started()
    await LineageStore(world.control, BUCKET).open("payments", world.sides().operation)
    await world.kafka["west"].lift_topic_writes("User:producer", "payments")
    await world.take("failover-ledger-2", take_over=True)
    world.unplanned = True
    return world


async def test_x18_a_topic_that_lives_there_and_is_open_is_not_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its producers would be shut out for as long as what is left takes, or stands halted."""
    world = await _half_open(monkeypatch)
    await world.close(world.sides(), take_over=True)
    world.kafka["west"].write_plain("payments", 0, [b"acknowledged"], "User:producer")
    known = await world.lineage("balances")
    assert known is not None
    assert (known.gate, known.holder) == (Gate.CLOSED, world.sides().operation)
    with pytest.raises(Denied):
        world.kafka["east"].write_plain("payments", 0, [b"stray"], "User:producer")


async def test_x20_who_ends_the_rest_turns_and_opens_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads what another has opened is moved behind it: the topic lives there already."""
    world = await _half_open(monkeypatch)
    await world.close(world.sides(), take_over=True)
    opened = await world.lineage("payments")
    for _ in range(2):
        for step in (world.cut, world.open, world.back):
            await step(world.sides())
        assert await world.lineage("payments") == opened
        known = await world.lineage("balances")
        assert known is not None
        assert (known.region, known.gate, known.turn) == ("west", Gate.OPEN, 1)


async def test_x18_who_has_lost_the_topics_closes_none_that_another_has_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await _half_open(monkeypatch)
    store, second = LineageStore(world.control, BUCKET), world.sides().operation
    for topic in TOPICS.turn:
        await store.close(topic, second, take_over=True)
        await store.open(topic, second)
    with pytest.raises(Superseded):
        await store.close("balances", "failover-ledger-1/r1", target="west")
    with pytest.raises(Refused, match="comes too late"):
        await store.close("balances", second, target="west")
