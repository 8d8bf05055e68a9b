"""Where a consumer group goes on in the other region, against what a full reading of both logs says (X25)."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from tests.kit.mirror_world import MirrorWorld
from tests.unit.mirror.test_carry import crossing, mirrored, with_syncs
from tests.unit.mirror.test_positions import P0
from tidegate.clients.kafka_types import LogRecord
from tidegate.errors import OperationFailed, Unavailable
from tidegate.mirror.groups import Moved, Moving, Outcome, Stood, put, translate
from tidegate.mirror.link import MirrorLink
from tidegate.model.fleet import Consumer
from tidegate.model.operation import ReplayRange

SHOP = Consumer(group="shop", topics=("payments",))
AT = datetime(2026, 1, 2, tzinfo=UTC)


async def _find(world: MirrorWorld, link: MirrorLink, offset: int, *superseded: ReplayRange) -> Outcome:
    moving = Moving(crossing(world, link), "a test", superseded)
    return await translate(moving, SHOP, SHOP.topics, Stood({P0: offset}))


def _one(outcome: Outcome) -> Moved:
    assert outcome.left == ()
    (moved,) = outcome.moved
    return moved


async def _left(world: MirrorWorld, offset: int) -> list[int]:
    """What a plain reader gets in the west from there on, by its offsets there."""
    west = world.kafka["west"]
    end = (await west.end_offsets(["payments"]))[P0]
    return [record.offset async for record in west.records(P0, offset, end)]


def _without_provenance(world: MirrorWorld) -> None:
    """As a mirror that puts no headers on what it brings."""
    for log in world.kafka["west"]._logs["payments"]:
        for at, kept in log.values.items():
            if isinstance(kept, LogRecord):
                log.values[at] = LogRecord(kept.offset, kept.timestamp_ms, kept.key, kept.value, ())


@pytest.mark.parametrize("seed", [5, 11, 23])
async def test_x25_of_every_offset_it_reads_on_what_it_has_not_read(seed: int):
    world, link, known = await mirrored(seed)
    for offset in range(max(known) + 2):
        moved = _one(await _find(world, link, offset))
        assert (moved.exact, moved.again, moved.ahead) == (True, 0, 0)
        assert await _left(world, moved.target) == [at for upstream, at in known.items() if upstream >= offset]


async def test_x25_without_provenance_the_floor_jumps_nothing_and_what_comes_again_is_counted():
    world, link, known = await mirrored(11)
    synced = sorted(random.Random(3).sample(sorted(known), 9))
    await with_syncs(world, known, synced)
    _without_provenance(world)
    floors = 0
    for offset in range(synced[0], max(known) + 2):
        moved = _one(await _find(world, link, offset))
        left = await _left(world, moved.target)
        wanted = [at for upstream, at in known.items() if upstream >= offset]
        assert left[len(left) - len(wanted) :] == wanted, "none is jumped"
        assert moved.again == len(left) - len(wanted), "and what it has read is counted"
        floors += not moved.exact
    assert floors > 5


async def test_x25_with_neither_it_is_left_where_it_was():
    world, link, known = await mirrored(11)
    _without_provenance(world)
    for offset in (sorted(known)[3], max(known), max(known) + 1):
        found = await _find(world, link, offset)
        assert (found.moved, len(found.left)) == ((), 1)


async def test_x25_a_place_that_the_log_has_lost_is_no_place():
    """The reader would be set to wherever its client says, and may jump what is there."""
    world, link, known = await mirrored(5)
    offset = sorted(known)[3]
    west = world.kafka["west"]
    west.delete_before(P0, known[sorted(known)[6]])
    found = await _find(world, link, offset)
    assert found.moved == ()
    assert len(found.left) == 1
    assert "payments-0" in found.left[0]


@pytest.mark.parametrize("inside", [0, 1, 3])
async def test_x25_x21_a_place_in_what_does_not_count_is_left_for_the_one_behind_it(inside: int):
    world, link, known = await mirrored(5)
    order = sorted(known)
    first, last = known[order[2]], known[order[5]]
    gone = ReplayRange(topic="payments", partition=0, first=first, last=last, records=4)
    moved = _one(await _find(world, link, order[2 + inside], gone))
    assert moved.target == last + 1
    assert (moved.again, moved.ahead) == (inside, 0), "those that it has read of it come again"
    before = _one(await _find(world, link, order[1], gone))
    assert (before.target, before.again, before.ahead) == (known[order[1]], 0, 4)
    behind = _one(await _find(world, link, order[6], gone))
    assert (behind.again, behind.ahead) == (4, 0)


async def test_x25_ranges_that_overlap_are_counted_once():
    world, link, known = await mirrored(5)
    order = sorted(known)
    ranges = [
        ReplayRange(topic="payments", partition=0, first=known[order[a]], last=known[order[b]], records=0)
        for a, b in ((1, 3), (2, 4))
    ]
    assert _one(await _find(world, link, order[7], *ranges)).again == 4


async def test_x25_of_offsets_that_were_kept_all_that_came_since_may_come_again():
    world, link, known = await mirrored(5)
    order = sorted(known)
    stood = Stood({P0: order[3]}, AT)
    found = await translate(Moving(crossing(world, link), ""), SHOP, SHOP.topics, stood)
    moved = _one(found)
    assert (moved.exact, moved.again, moved.counted) == (True, len(order) - 3, False)
    text = found.fact().text
    assert f"as its offsets were kept at 2026-01-02 00:00:00.000 UTC; up to {len(order) - 3} records" in text


async def _to_put(seed: int = 5) -> tuple[MirrorWorld, Moving, Outcome]:
    world, link, known = await mirrored(seed)
    moving = Moving(crossing(world, link), "a test")
    return world, moving, await translate(moving, SHOP, SHOP.topics, Stood({P0: sorted(known)[3]}))


@pytest.mark.parametrize("acted", [True, False])
async def test_o3_x25_a_lost_answer_is_looked_for(acted: bool, monkeypatch: pytest.MonkeyPatch):
    world, moving, found = await _to_put()
    west = world.kafka["west"]
    real = west.put_group_offsets

    async def lost(*args) -> None:
        if acted:
            await real(*args)
        raise Unavailable("the connection broke before it answered: it may have acted")

    monkeypatch.setattr(west, "put_group_offsets", lost)
    if acted:
        assert (await put(moving, found)).fact().put == 1
    else:
        with pytest.raises(Unavailable):
            await put(moving, found)


async def test_x25_what_was_put_and_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch):
    world, moving, found = await _to_put()

    async def nothing(*_) -> None:
        return

    monkeypatch.setattr(world.kafka["west"], "put_group_offsets", nothing)
    with pytest.raises(OperationFailed, match="offsets of consumer group shop were put in west, and are not there"):
        await put(moving, found)


async def test_x25_what_moved_meanwhile_is_not_set_back():
    world, moving, found = await _to_put()
    far = found.moved[0].target + 2
    world.kafka["west"].commit_group("shop", {P0: far})
    await put(moving, found)
    assert await world.kafka["west"].group_offsets("shop") == {P0: far}
