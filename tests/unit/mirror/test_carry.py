"""The positions of a snapshot on the other region's Kafka, against what a full reading of both logs says (X20, X22)."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.kit.mirror_world import MirrorWorld, transaction
from tests.unit.mirror.test_positions import P0, noisy, started, sync_record, truth
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import InvalidInput, Refused
from tidegate.mirror import positions
from tidegate.mirror.carry import Crossing, carry, stay
from tidegate.mirror.link import MirrorLink
from tidegate.snapshot.rebase import Translated


def crossing(world: MirrorWorld, *links: MirrorLink) -> Crossing:
    return Crossing("east", "west", world.kafka["east"], world.kafka["west"], links)


async def one(over: Crossing, offset: int, **options) -> Translated:
    at = ("payments", 0, offset)
    return (await carry(over, [at], options.pop("topics", {}), **options)).translate(*at)


async def mirrored(seed: int = 5) -> tuple[MirrorWorld, MirrorLink, dict[int, int]]:
    world = await MirrorWorld.made()
    await noisy(world, seed)
    link = await started(world)
    await world.connect["west"].mirror(link)
    return world, link, await truth(world, P0)


async def with_syncs(world: MirrorWorld, known: dict[int, int], some: list[int]) -> None:
    topic = "mm2-offset-syncs.east.internal"
    if topic not in await world.kafka["west"].topics():
        await world.kafka["west"].create_topic(topic, 1)
    records = [sync_record("payments", 0, upstream, known[upstream]) for upstream in some]
    world.kafka["west"].write_plain(topic, 0, records)


async def test_x20_by_provenance_each_position_is_exact_whatever_stands_between():
    world, link, known = await mirrored()
    over, west = crossing(world, link), world.kafka["west"]
    end = (await west.end_offsets(["payments"]))[P0]
    wanted = [("payments", 0, offset) for offset in range(max(known) + 2)]
    carried = await carry(over, wanted, {})
    for at in wanted:
        found = carried.translate(*at)
        assert found.exact
        left = [downstream for upstream, downstream in known.items() if upstream >= at[2]]
        read = [record.offset async for record in west.records(P0, found.offset, end)]
        assert read == left
    assert carried.bounds[("payments", 0)] == (0, end)


@pytest.mark.parametrize("with_link", [True, False])
async def test_by_the_offset_syncs_what_is_told_to_come_again_is_what_comes_again(with_link: bool):
    world, link, known = await mirrored(11)
    synced = sorted(random.Random(3).sample(sorted(known), 9))
    await with_syncs(world, known, synced)
    over, west = crossing(world, *([link] if with_link else [])), world.kafka["west"]
    end = (await west.end_offsets(["payments"]))[P0]
    inexact = 0
    for offset in range(synced[0], max(known) + 2):
        found = await one(over, offset, by_floor=True)
        assert found.counted
        read = [record.offset async for record in west.records(P0, found.offset, end)]
        beyond = [downstream for upstream, downstream in known.items() if upstream >= offset]
        assert read[-len(beyond) :] == beyond or not beyond
        assert len(read) - len(beyond) == found.replays
        inexact += not found.exact
    assert inexact > 10
    with pytest.raises(Refused, match="no offset sync in west is that early"):
        await one(over, max(0, synced[0] - 1), by_floor=True)


async def test_a_source_that_is_gone_leaves_the_replays_at_most():
    world, link, known = await mirrored(11)
    synced = sorted(random.Random(3).sample(sorted(known), 9))
    await with_syncs(world, known, synced)
    over = crossing(world, link)
    offset = next(n for n in range(synced[2], synced[3] + 1) if n - synced[2] > 2)
    exactly = await one(over, offset, by_floor=True)
    world.kafka["east"].down = True
    told = await one(over, offset, by_floor=True)
    assert not told.counted
    assert told.replays >= exactly.replays
    assert (await one(over, offset)).exact, "by provenance the target alone is enough"


async def test_x22_what_the_snapshot_has_read_and_the_mirror_not_brought_comes_again_and_is_counted():
    world = await MirrorWorld.made()
    link = await started(world)
    await transaction(world.kafka["east"], "t", 0, [b"x"] * 6)  # 0..5, marker 6
    await world.connect["west"].mirror(link, at_most=4)
    await transaction(world.kafka["east"], "t", 0, [b"y"] * 3, commit=False)  # 7..9, marker 10
    await transaction(world.kafka["east"], "t", 0, [b"z"] * 2)  # 11..12, marker 13
    over = crossing(world, link)
    end = (await world.kafka["west"].end_offsets(["payments"]))[P0]
    ahead = await one(over, 13)
    assert (ahead.replays, ahead.counted) == (4, True)
    assert ahead.note.startswith("ahead of the mirror")
    assert ahead.offset <= end
    await world.connect["west"].mirror(link)
    assert (await one(over, 13)).exact
    assert (await one(over, 14)).exact, "behind the last record stands only a marker"
    nothing = TopicPartition("payments", 1)
    carried = await carry(over, [("payments", 1, 0)], {})
    assert carried.translate(nothing.topic, 1, 0) == Translated(0)


async def test_what_retention_took_from_the_target_is_refused_not_jumped():
    world, link, known = await mirrored()
    over, west = crossing(world, link), world.kafka["west"]
    upstreams = sorted(known)
    kept = upstreams[20]
    west.delete_before(P0, known[kept])
    with pytest.raises(Refused, match=r"begins with east's .* records of before it would be jumped") as caught:
        await one(over, upstreams[10])
    assert caught.value.hint
    assert (await one(over, kept)).offset == known[kept]
    world.kafka["east"].down = True
    with pytest.raises(Refused, match="east cannot say that it is nothing"):
        await one(over, upstreams[10])
    world.kafka["east"].down = False
    west.delete_before(P0, (await west.end_offsets(["payments"]))[P0])
    with pytest.raises(Refused, match="holds no record of it any more"):
        await one(over, upstreams[10])
    world.connect["west"].connectors[link.connector].offsets.clear()
    with pytest.raises(Refused, match="holds no record of it any more"):
        await one(over, max(known) + 1)


async def _stripped(world: MirrorWorld, link: MirrorLink, upto: int) -> None:
    world.connect["west"].connectors[link.connector].strips = True
    await world.connect["west"].mirror(link, at_most=upto)
    world.connect["west"].connectors[link.connector].strips = False


async def _by_value(world: MirrorWorld) -> dict[int, int]:
    """Source offset to target offset of every record that has come, by its value and how often that came before."""
    found: dict[str, dict[tuple[bytes | None, int], int]] = {"east": {}, "west": {}}
    for region, places in found.items():
        seen: Counter[bytes | None] = Counter()
        kafka = world.kafka[region]
        async for record in kafka.records(P0, 0, (await kafka.end_offsets(["payments"]))[P0]):
            places[record.value, seen[record.value]] = record.offset
            seen[record.value] += 1
    return {upstream: found["west"][key] for key, upstream in found["east"].items() if key in found["west"]}


@pytest.mark.parametrize("scan", [2, 256])
@pytest.mark.parametrize(("before", "stripped"), [(0, 1_000), (20, 25), (0, 30), (40, 1_000)])
async def test_x20_what_came_without_provenance_is_found_by_the_syncs_and_never_jumped(
    before: int, stripped: int, scan: int, monkeypatch: pytest.MonkeyPatch
):
    """The headers were stripped from some time on, or for a while: a position in there has no place by provenance, and
    the next record that has one stands behind what would be jumped.
    """
    monkeypatch.setattr(positions, "SCAN_OFFSETS", scan)
    world = await MirrorWorld.made()
    await noisy(world, 5)
    link = await started(world)
    await world.connect["west"].mirror(link, at_most=before)
    await _stripped(world, link, stripped)
    await world.connect["west"].mirror(link)
    known = await _by_value(world)
    assert len(known) > 60
    synced = sorted(random.Random(3).sample(sorted(known), 12))
    await with_syncs(world, known, synced)
    over, west = crossing(world, link), world.kafka["west"]
    end = (await west.end_offsets(["payments"]))[P0]
    told: set[bool] = set()
    for offset in range(synced[0], max(known) + 2):
        found = await one(over, offset)
        read = [record.offset async for record in west.records(P0, found.offset, end)]
        left = [downstream for upstream, downstream in known.items() if upstream >= offset]
        assert read[len(read) - len(left) :] == left, f"{offset}: jumped"
        assert len(read) - len(left) == found.replays
        assert found.counted
        told.add("without provenance" in found.note)
    assert True in told
    if before or stripped < 1_000:
        assert False in told, "where there is provenance it is exact"


async def test_x20_without_provenance_and_without_syncs_it_is_refused():
    world = await MirrorWorld.made()
    await noisy(world, 5)
    link = await started(world)
    await _stripped(world, link, 1_000)
    with pytest.raises(Refused, match="no offset sync") as caught:
        await one(crossing(world, link), 30)
    assert "without provenance" in caught.value.message
    assert "by-floor" not in (caught.value.hint or "")


async def test_what_cannot_be_moved_is_named_with_what_to_do():
    world, link, known = await mirrored()
    over, bare = crossing(world, link), crossing(world)
    with pytest.raises(Refused, match="no partition 7 of topic payments") as caught:
        await carry(over, [("payments", 7, 3)], {})
    assert "tidegate mirror status east-to-west" in (caught.value.hint or "")
    with pytest.raises(Refused, match="no partition 0 of topic orders") as caught:
        await carry(over, [("orders", 0, 3)], {})
    assert "--topic orders=NEW" in (caught.value.hint or "")
    with pytest.raises(InvalidInput, match="--topic payments=balances"):
        await one(over, 3, topics={"payments": "balances"})
    never = await MirrorWorld.made()
    await never.kafka["west"].create_topic("payments", 2)
    with pytest.raises(Refused, match="no mirror link of the fleet file brings the topics, and there are no offset"):
        await one(crossing(never), 3)
    # A mirror that renames: the syncs have the source's name, the log the target's.
    await world.kafka["west"].create_topic("east.payments", 2)
    world.kafka["west"].write_plain("east.payments", 0, [b"x"] * 40)
    some = sorted(known)[4]
    await with_syncs(world, known, [some])
    carried = await carry(bare, [("payments", 0, some)], {"payments": "east.payments"})
    assert carried.translate("payments", 0, some) == Translated(known[some], floor=True)
    assert carried.bounds[("east.payments", 0)] == (0, 40)


async def test_in_its_own_region_a_position_stays_and_the_bounds_are_told():
    world, _, _ = await mirrored()
    carried = await stay(world.kafka["east"], [("payments", 0, 9)])
    assert carried.translate("payments", 0, 9) == Translated(9)
    assert carried.bounds[("payments", 0)][0] == 0
    assert (await stay(world.kafka["east"], [("nowhere", 0, 9)])).bounds == {}


async def test_x20_a_log_without_provenance_is_refused_at_its_end_too():
    """All has come, so nothing is to be counted as to come: the start of the log would be told as exact."""
    world, link, known = await mirrored(11)
    for log in world.kafka["west"]._logs["payments"]:
        for at, kept in log.values.items():
            if isinstance(kept, LogRecord):
                log.values[at] = LogRecord(kept.offset, kept.timestamp_ms, kept.key, kept.value, ())
    for offset in (max(known), max(known) + 1, max(known) + 2):
        with pytest.raises(Refused):
            await one(crossing(world, link), offset)
