"""Positions across a mirror, against what the logs really hold (X5, X20)."""

from __future__ import annotations

import random
import struct

import pytest

from tests.kit.mirror_world import MirrorWorld, transaction
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import InvalidInput, OperationFailed
from tidegate.mirror import positions
from tidegate.mirror.control import start
from tidegate.mirror.positions import last_hop, passed, passed_position, translate
from tidegate.mirror.provenance import of_headers
from tidegate.mirror.syncs import OffsetSyncs, Sync, decode, floor

P0 = TopicPartition("payments", 0)


async def started(world: MirrorWorld, source: str = "east", target: str = "west", *, both: bool = False):
    link = world.link(source, target, both=both)
    await start(link, await world.take(link, f"start-{source}"), both_ways=both)
    return link


async def truth(world: MirrorWorld, tp: TopicPartition, source: str = "east", target: str = "west") -> dict[int, int]:
    """Source offset to target offset of every mirrored record, by a full read."""
    found = {}
    kafka = world.kafka[target]
    async for record in kafka.records(tp, 0, (await kafka.end_offsets([tp.topic]))[tp]):
        known = of_headers(record.headers)
        if known is not None and known.hop.cluster == source:
            found[known.hop.offset] = record.offset
    return found


async def noisy(world: MirrorWorld, seed: int, transactions: int = 36) -> None:
    """Transactions of all sizes, one in five aborted, and plain records between them."""
    dice = random.Random(seed)
    for number in range(transactions):
        values = [f"{number}-{i}".encode() for i in range(dice.randrange(1, 9))]
        await transaction(world.kafka["east"], f"t{number % 3}", 0, values, commit=dice.random() > 0.2)
        if dice.random() < 0.3:
            world.kafka["east"].write_plain("payments", 0, [b"plain"])


@pytest.mark.parametrize("scan", [2, 256])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_x20_every_position_is_found_exactly(seed, scan, monkeypatch):
    monkeypatch.setattr(positions, "SCAN_OFFSETS", scan)
    world = await MirrorWorld.made()
    await noisy(world, seed)
    link = await started(world)
    await world.connect["west"].mirror(link)
    known = await truth(world, P0)
    end = (await world.kafka["east"].end_offsets(["payments"]))[P0]

    drifted = sum(upstream != downstream for upstream, downstream in known.items())
    assert drifted > len(known) / 2, "a test where offsets agree proves nothing"
    for position in range(end + 3):
        found = await translate(link, P0, position)
        later = [upstream for upstream in known if upstream >= position]
        if later:
            assert (found.offset, found.beyond) == (known[min(later)], False)
        else:
            assert (found.offset, found.beyond, found.at) == (max(known.values()) + 1, True, None)
            assert found.came_to == max(known) + 1


async def test_x20_native_records_behind_the_last_mirrored_one_are_not_jumped():
    world = await MirrorWorld.made()
    await noisy(world, 5, 10)
    link = await started(world)
    await world.connect["west"].mirror(link)
    last = max((await truth(world, P0)).values())
    world.kafka["west"].write_plain("payments", 0, [b"native"] * 600)

    found = await translate(link, P0, 10_000)

    assert (found.offset, found.beyond) == (last + 1, True)


async def test_x20_a_segment_is_searched_alone():
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    link = await started(world)
    await world.connect["west"].mirror(link)
    known = await truth(world, P0)

    assert (await translate(link, P0, 5, within=(known[0], known[10]))).offset == known[5]
    outside = await translate(link, P0, 15, within=(known[0], known[10]))
    assert (outside.beyond, outside.offset) == (True, known[9] + 1)


async def test_a_log_of_two_mirrors_at_once_is_refused_and_not_searched():
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    link = await started(world)
    connector = world.connect["west"].connectors[link.connector]
    await world.connect["west"].mirror(link)
    connector.offsets[("east", "payments", 0)] = 3
    await world.connect["west"].mirror(link)

    with pytest.raises(OperationFailed, match="positions cannot be found"):
        await translate(link, P0, 25)


async def test_a_topic_that_is_not_mirrored_is_refused_by_name():
    world = await MirrorWorld.made()
    link = await started(world)
    with pytest.raises(InvalidInput, match="does not mirror topic payment"):
        await translate(link, TopicPartition("payment", 0), 1)
    with pytest.raises(InvalidInput, match="does not mirror"):
        await passed(link, {TopicPartition("other", 0): 1})


async def test_x5_passed_is_judged_at_every_offset():
    world = await MirrorWorld.made()
    await noisy(world, 7, 20)
    link = await started(world)
    await world.connect["west"].mirror(link, at_most=25)
    known = await truth(world, P0)
    east = world.kafka["east"]
    end = (await east.end_offsets(["payments"]))[P0]
    data = [record.offset async for record in east.records(P0, 0, end)]
    came = max(known)
    assert came < max(data)

    for offset in data:
        assert (await passed(link, {P0: offset}))[P0] == (offset <= came)
    for position in range(end + 1):
        expected = all(offset <= came for offset in data if offset < position)
        assert (await passed_position(link, {P0: position}))[P0] == expected


async def test_x5_the_same_by_provenance_when_connect_is_gone():
    world = await MirrorWorld.made()
    await noisy(world, 7, 20)
    link = await started(world)
    await world.connect["west"].mirror(link, at_most=25)
    came = max(await truth(world, P0))
    world.connect["west"].down = True

    assert (await passed(link, {P0: came}))[P0]
    assert not (await passed(link, {P0: came + 3}))[P0]


async def test_x5_idle_partitions_and_no_output_do_not_block():
    world = await MirrorWorld.made()
    link = await started(world)

    assert all((await passed(link, {TopicPartition("balances", 1): -1, P0: -1})).values())
    assert all((await passed_position(link, {P0: 0})).values())


async def test_x5_markers_at_the_end_do_not_block_and_an_open_transaction_does():
    world = await MirrorWorld.made()
    east = world.kafka["east"]
    await transaction(east, "t", 0, [b"1", b"2"])
    link = await started(world)
    await world.connect["west"].mirror(link)
    await transaction(east, "t", 0, [b"3"], commit=False)
    end = (await east.end_offsets(["payments"]))[P0]

    assert (await passed_position(link, {P0: end}))[P0], "only markers and aborted records are left"
    open_one = east.producer("open")
    await open_one.init()
    await open_one.write("payments", 0, [b"4"])
    assert not (await passed_position(link, {P0: end + 1}))[P0]


async def test_x5_a_log_that_lost_what_had_not_come_is_not_passed():
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    link = await started(world)
    await world.connect["west"].mirror(link, at_most=5)
    world.kafka["east"]._log(P0).start = 10

    assert not (await passed_position(link, {P0: 12}))[P0]


async def test_x20_what_comes_back_is_dropped_and_counts_as_passed():
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    there = await started(world, both=True)
    await world.connect["west"].mirror(there)
    await world.kafka["west"].create_topic("balances", 2)
    back = await started(world, "west", "east", both=True)
    before = await world.kafka["east"].end_offsets(["payments"])
    end = (await world.kafka["west"].last_stable_offsets(["payments"]))[P0]

    assert await world.connect["east"].mirror(back) == 0
    assert await world.kafka["east"].end_offsets(["payments"]) == before
    assert (await passed_position(back, {P0: end}))[P0]
    world.kafka["west"].write_plain("payments", 0, [b"native"])
    assert not (await passed_position(back, {P0: end + 1}))[P0]


async def test_the_last_mirrored_record_is_found_behind_many_native_ones():
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 9)
    link = await started(world)
    await world.connect["west"].mirror(link)
    world.kafka["west"].write_plain("payments", 0, [b"native"] * 2_000)

    last = await last_hop(world.kafka["west"], "east", P0)

    assert last is not None
    assert last.source_offset == 8
    assert await last_hop(world.kafka["west"], "north", P0) is None


# Offset syncs


def sync_record(topic: str, partition: int, upstream: int, downstream: int) -> LogRecord:
    name = topic.encode()
    key = struct.pack(">h", len(name)) + name + struct.pack(">i", partition)
    return LogRecord(0, 0, key, struct.pack(">qq", upstream, downstream))


async def test_the_floor_is_never_behind_the_exact_place_and_exact_at_a_sync():
    world = await MirrorWorld.made()
    await noisy(world, 11)
    link = await started(world)
    await world.connect["west"].mirror(link)
    known = await truth(world, P0)
    synced = sorted(random.Random(1).sample(sorted(known), 12))
    await world.kafka["west"].create_topic(link.syncs_topic, 1)
    world.kafka["west"].write_plain(link.syncs_topic, 0, [sync_record("payments", 0, u, known[u]) for u in synced])
    syncs = await OffsetSyncs.read(link)

    for position in range(max(known) + 1):
        found = await floor(link, P0, position, syncs)
        if position < synced[0]:
            assert found is None
            continue
        assert found is not None
        exact = (await translate(link, P0, position)).offset
        assert found.offset <= exact
        assert found.exact == (position in synced)
        if found.exact:
            assert found.offset == exact
    assert await floor(link, TopicPartition("payments", 1), 10) is None


async def test_without_syncs_topic_it_is_said():
    world = await MirrorWorld.made()
    with pytest.raises(InvalidInput, match="no such topic"):
        await floor(world.link(), P0, 3)


def test_a_sync_is_read_as_mirrormaker_writes_it_and_nothing_else_is():
    assert decode(sync_record("töpic", 3, 7, 9)) == (TopicPartition("töpic", 3), Sync(7, 9))
    for bad in (
        LogRecord(0, 0, None, None),
        LogRecord(0, 0, b"\0\2a", b"x" * 16),
        LogRecord(0, 0, b"\0\1a\0\0\0\0!", b"x" * 16),
        LogRecord(0, 0, b"\0\1a\0\0\0\0", b"x" * 15),
    ):
        with pytest.raises(OperationFailed, match="offset sync"):
            decode(bad)
