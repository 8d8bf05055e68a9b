"""O16, X25: moving consumer groups is killed at each call, done twice and done late; nobody is set back or jumped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.failover_groups import B0, B1, PLANNED, groups_moved, made
from tests.kit.failover_world import FailoverWorld
from tests.kit.world_gate import Fault
from tidegate.errors import Superseded


async def _stands(world: FailoverWorld) -> Any:
    west = world.kafka["west"]
    return await west.group_offsets("shop"), west.group_notes("shop")


async def _begin(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    world = await made(monkeypatch)
    world.kafka["east"].commit_group("shop", {B0: 2, B1: 4})
    await world.through(*PLANNED)
    return world


@pytest.mark.parametrize("how", [how for how in Fault if how is not Fault.NONE], ids=lambda how: how.name)
async def test_o16_x25_killed_at_each_call_and_done_again_it_stands_where_it_was(
    how: Fault, monkeypatch: pytest.MonkeyPatch
):
    world = await _begin(monkeypatch)
    sides = world.sides()
    await world.go("victim", lambda: world.groups(sides))
    wanted = await _stands(world)
    calls = world.gate.of("victim")
    assert [call.name for call in calls if call.mutating][-1].startswith("put_group_offsets")
    for call in calls:
        world = await _begin(monkeypatch)
        if how in {Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.DIE_HELD}:
            await world.die_in(world.groups, call.n, how)
        else:
            await world.disturb(world.groups, call.n, how)
        (fact,) = await groups_moved(world)
        assert fact.left == (), f"{how.name} at {call}"
        for late in world.gate.late:
            await late.deliver()
        assert await _stands(world) == wanted, f"{how.name} at {call}"


async def test_x25_done_twice_it_is_done_once(monkeypatch: pytest.MonkeyPatch):
    world = await _begin(monkeypatch)
    await groups_moved(world)
    calls = len([one for one in world.kafka["west"].calls if one == "put_group_offsets"])
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.there) == (0, 2)
    assert len([one for one in world.kafka["west"].calls if one == "put_group_offsets"]) == calls


async def test_x25_an_attempt_that_comes_again_sets_nobody_back(monkeypatch: pytest.MonkeyPatch):
    """The gate is open, its consumers have come and read on: a second attempt finds them further."""
    world = await _begin(monkeypatch)
    await groups_moved(world)
    world.kafka["west"].commit_group("shop", {B0: 6, B1: 6})
    (fact,) = await groups_moved(world)
    assert (fact.put, fact.further) == (0, 2)


async def test_o8_x25_who_lost_the_fence_moves_no_group(monkeypatch: pytest.MonkeyPatch):
    world = await _begin(monkeypatch)
    late = world.sides()
    await world.take("failover-ledger-2", take_over=True)
    with pytest.raises(Superseded):
        await world.go("victim", lambda: world.groups(late))
    assert [str(call) for call in world.gate.of("victim") if call.mutating] == []
    assert await world.kafka["west"].group_offsets("shop") == {}
