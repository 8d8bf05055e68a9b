"""Lag, holes and drained (X7, X19), against the logs; and what is said when a side is away."""

from __future__ import annotations

import time

import pytest

from tests.kit.mirror_world import MirrorWorld, transaction
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import NoProgress
from tidegate.mirror import status as status_module
from tidegate.mirror.control import start
from tidegate.mirror.status import drained, look, wait_drained

P0 = TopicPartition("payments", 0)


@pytest.fixture
async def world() -> MirrorWorld:
    world = await MirrorWorld.made()
    link = world.link()
    await start(link, await world.take(link))
    world.kafka["east"].now_ms = int(time.time() * 1000) - 5_000
    return world


async def test_x19_lag_falls_to_nothing_and_then_it_is_drained(world):
    link = world.link()
    east = world.kafka["east"]
    await transaction(east, "t", 0, [b"1"] * 10)
    await transaction(east, "t", 0, [b"2"] * 5, commit=False)
    await transaction(east, "t", 1, [b"3"] * 4)

    before = await look(link)
    await world.connect["west"].mirror(link, at_most=3)
    between = await look(link)
    await world.connect["west"].mirror(link)
    after = await look(link)

    assert (before.lag_records, between.lag_records, after.lag_records) == (14, 8, 0)
    assert before.lag_s == pytest.approx(5.0, abs=2.0)
    assert after.lag_s == 0.0
    assert (before.drained, between.drained, after.drained) == (False, False, True)
    assert {one.by for one in after.partitions if one.topic == "payments"} == {"connector"}
    assert (after.connector, after.tasks) == ("RUNNING", ("RUNNING",))


async def test_x19_an_open_transaction_is_not_drained(world):
    link = world.link()
    east = world.kafka["east"]
    await transaction(east, "t", 0, [b"1"] * 3)
    await world.connect["west"].mirror(link)
    producer = east.producer("open")
    await producer.init()
    await producer.write("payments", 0, [b"2", b"3"])

    seen = await look(link)

    assert (seen.lag_records, seen.partitions[-2].undecided, seen.drained) == (0, 2, False)
    await producer.abort()
    assert await drained(link)


async def test_x7_a_hole_is_named_and_never_drained(world):
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    await world.connect["west"].mirror(link, at_most=5)
    world.kafka["east"]._log(P0).start = 20

    one = next(one for one in (await look(link)).partitions if (one.topic, one.partition) == P0)

    assert (one.hole, one.lag_records, one.drained) == ((5, 20), 0, False)


async def test_without_connect_provenance_says_it(world):
    link = world.link()
    await transaction(world.kafka["east"], "t", 0, [b"1"] * 10)
    await world.connect["west"].mirror(link, at_most=6)
    world.connect["west"].down = True

    seen = await look(link)

    one = next(one for one in seen.partitions if (one.topic, one.partition) == P0)
    assert (one.mirrored, one.by, one.lag_records) == (5, "provenance", 4)
    assert seen.connector is None
    assert seen.unreachable[0].startswith("connect: ")


async def test_without_the_source_it_is_said_what_came(world):
    link = world.link()
    await transaction(world.kafka["east"], "t", 0, [b"1"] * 10)
    await world.connect["west"].mirror(link)
    world.kafka["east"].down = True

    seen = await look(link)

    one = next(one for one in seen.partitions if (one.topic, one.partition) == P0)
    assert (one.mirrored, one.lag_records, one.drained) == (9, None, False)
    assert (seen.lag_records, seen.lag_s) == (None, None)
    assert seen.unreachable[0].startswith("source: ")


async def test_a_lag_that_is_too_long_to_count_is_told_as_at_most(world, monkeypatch):
    monkeypatch.setattr(status_module, "COUNT_OFFSETS", 10)
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 30)

    one = next(one for one in (await look(link)).partitions if (one.topic, one.partition) == P0)

    assert (one.lag_records, one.lag_exact, one.drained) == (30, False, False)


async def test_what_was_dropped_is_no_lag(world):
    link = world.link(both=True)
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    await world.connect["west"].mirror(link)
    await world.kafka["west"].create_topic("balances", 2)
    back = world.link("west", "east", both=True)
    await start(back, await world.take(back), both_ways=True)
    await world.connect["east"].mirror(back)

    assert await drained(back)


async def test_i6_a_wait_ends_when_nothing_moves_and_says_what_is_behind(world):
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    beats: list[dict[str, object]] = []

    with pytest.raises(NoProgress, match="payments-0 is 9 records behind") as stuck:
        await wait_drained(link, 30.0, no_progress_s=0.3, heartbeat=beats.append)

    assert "nothing moved for 0.3 s" in stuck.value.message
    assert beats[0]["behind"] == ["payments-0 is 9 records behind"]


async def test_x19_a_task_that_died_is_revived_in_the_wait(world):
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    connector = world.connect["west"].connectors[link.connector]
    connector.task = "FAILED"
    revived = []

    async def revive():
        revived.append(connector.task)
        connector.task = "RUNNING"
        await world.connect["west"].mirror(link)

    assert (await wait_drained(link, 10.0, no_progress_s=1.0, revive=revive)).drained
    assert revived == ["FAILED"]


async def test_a_task_that_died_is_told_with_the_command_that_restarts_it(world):
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    world.connect["west"].connectors[link.connector].task = "FAILED"

    with pytest.raises(NoProgress) as stuck:
        await wait_drained(link, 30.0, no_progress_s=0.2)

    assert "other epoch" in (stuck.value.hint or "")
    assert "tidegate mirror start east-to-west" in (stuck.value.hint or "")


async def test_the_wait_ends_when_it_is_drained(world):
    link = world.link()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    looks = []

    def said(seen):
        looks.append(seen.lag_records)

    async def mirrored(*_args):
        await world.connect["west"].mirror(link, at_most=4)

    original = status_module.connector_offsets

    async def moving(of):
        await mirrored()
        return await original(of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status_module, "connector_offsets", moving)
        seen = await wait_drained(link, 10.0, said=said)

    assert seen.drained
    assert looks[-1] == 0
    assert len(looks) > 1
