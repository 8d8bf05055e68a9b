"""A mirror is current before the producers are closed, or nobody is closed (X18, X19)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.kit.failover_regions import OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.mirror_world import holder
from tests.kit.temporal_world_facts import pinned
from tests.kit.world_gate import Fault
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Held, NoProgress, Refused
from tidegate.failover import ahead
from tidegate.lineage.model import Gate
from tidegate.mirror import control, positions, status
from tidegate.mirror.link import MirrorLink
from tidegate.model.mirror import LinkState
from tidegate.registry.links import BY_HAND, take_link

PRODUCER = "User:producer"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    monkeypatch.setattr(ahead, "POLL_S", 0.01)
    return (await FailoverWorld.made()).patch(monkeypatch)


async def _open_and_written(world: FailoverWorld) -> None:
    """Nobody was closed: the gate is open, and the producer writes."""
    known = await world.lineage("payments")
    assert known is None or known.gate is Gate.OPEN
    world.kafka["east"].write_plain("payments", 0, [b"one more"], PRODUCER)


def _brings_when_alive(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch, *, after: int = 0) -> list[str]:
    """The mirror brings what there is at each look from the ``after``-th on, if its task runs; its states so far."""
    connector = next(iter(world.connect["west"].connectors.values()))
    look, seen = positions.connector_offsets, []

    async def looked(link: MirrorLink) -> dict[TopicPartition, int] | None:
        known = await world.lineage("payments")
        assert known is None or known.gate is Gate.OPEN, "closed before the mirror was current"
        seen.append(connector.task)
        if connector.task == "RUNNING" and len(seen) > after:
            await world.mirror(OUT)
        return await look(link)

    monkeypatch.setattr(positions, "connector_offsets", looked)
    return seen


async def test_x19_a_mirror_that_is_current_is_not_waited_for(world: FailoverWorld):
    fact = await world.close(world.sides())
    assert fact.notes == ()
    link = await world.link(OUT)
    assert link is None or link.holder is None


async def test_x19_what_is_behind_comes_before_anybody_is_closed(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "SAID_S", 0.0)
    await world.traffic_at_home_all_the_same()
    seen = _brings_when_alive(world, monkeypatch, after=6)
    fact = await world.close(world.sides())
    assert len(seen) > 6
    assert fact.notes[0].startswith(f"mirror link {OUT} current after ")
    assert "restarted" not in fact.notes[0]
    known = await world.lineage("payments")
    assert known is not None
    assert known.gate is Gate.CLOSED


async def test_x19_a_mirror_whose_task_died_is_restarted_before_anybody_is_closed(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    await world.traffic_at_home_all_the_same()
    next(iter(world.connect["west"].connectors.values())).task = "FAILED"
    seen = _brings_when_alive(world, monkeypatch)
    fact = await world.close(world.sides())
    assert "FAILED" not in seen, "what is dead is restarted before it is asked how far it is"
    assert "restarted 1 times" in fact.notes[0]
    # Done again, as after a crash, it is current, and nothing is restarted.
    monkeypatch.undo()
    assert (await world.patch(monkeypatch).close(world.sides())).notes == ()


@pytest.mark.parametrize("connect", ["answers", "is down"])
async def test_i7_a_mirror_that_does_not_become_current_leaves_all_as_it_is(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch, connect: str
):
    monkeypatch.setattr(ahead, "NO_PROGRESS_S", 0.1)
    await world.traffic_at_home_all_the_same()
    world.connect["west"].down = connect == "is down"
    with pytest.raises(Refused, match=r"is not current and nothing moved for 0\.1 s") as told:
        await world.close(world.sides())
    assert "no producer was closed" in told.value.message
    assert told.value.hint is not None
    assert f"tidegate mirror status {OUT}" in told.value.hint
    await _open_and_written(world)


async def test_x19_one_that_brings_too_little_is_given_up_in_bounded_time(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "AHEAD_S", 0.3)
    for _ in range(200):
        await world.traffic_at_home_all_the_same()
    look = positions.connector_offsets

    async def looked(link: MirrorLink) -> dict[TopicPartition, int] | None:
        await world.mirror(OUT, at_most=1)
        return await look(link)

    monkeypatch.setattr(positions, "connector_offsets", looked)
    with pytest.raises(Refused, match=r"is not current after 0\.3 s"):
        await world.close(world.sides())
    await _open_and_written(world)


async def test_i6_one_that_is_always_a_little_behind_is_given_up_in_bounded_time(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    """What was there when it was asked has come at the second look, each time; and that took too long, each time."""
    monkeypatch.setattr(ahead, "AHEAD_S", 0.3)
    monkeypatch.setattr(ahead, "CURRENT_S", -1.0)
    await world.traffic_at_home_all_the_same()
    look = ahead.passed_position

    async def looked(link: MirrorLink, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, bool]:
        found = await look(link, ends)
        await world.mirror(OUT)
        await world.traffic_at_home_all_the_same()
        return found

    monkeypatch.setattr(ahead, "passed_position", looked)
    with pytest.raises(Refused, match=r"is not current after 0\.3 s.*no producer was closed"):
        await asyncio.wait_for(world.close(world.sides()), 10.0)
    await _open_and_written(world)


async def test_x19_where_a_look_takes_long_a_mirror_that_is_current_is_known_to_be(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "CURRENT_S", -1.0)
    await asyncio.wait_for(world.close(world.sides()), 10.0)
    known = await world.lineage("payments")
    assert known is not None
    assert known.gate is Gate.CLOSED


async def test_x17_a_link_that_somebody_else_holds_is_not_restarted_behind_his_back(world: FailoverWorld):
    await world.traffic_at_home_all_the_same()
    next(iter(world.connect["west"].connectors.values())).task = "FAILED"
    async with world.open_link(world.fleet, OUT) as link:
        await take_link(world.links, control.fresh_record(link), holder("failover-other-1", "FailoverDeployment"))
    with pytest.raises(Held):
        await world.close(world.sides())
    await _open_and_written(world)


async def test_x19_a_link_that_was_stopped_by_hand_and_lacks_something_closes_nobody(world: FailoverWorld):
    """The job may not have read it yet: behind the cut it would be lost, and nobody would be told."""
    async with world.open_link(world.fleet, OUT) as link:
        tenure = await take_link(world.links, control.fresh_record(link), holder("mirror-by-hand", BY_HAND))
        await control.stop(link, tenure)
        await tenure.release()
    record = await world.link(OUT)
    assert record is not None
    assert record.mirror is LinkState.STOPPED
    await world.traffic_at_home_all_the_same()
    with pytest.raises(Refused, match="is STOPPED, and has not brought all of payments-0; no producer") as told:
        await world.close(world.sides())
    assert f"tidegate mirror start {OUT}" in (told.value.hint or "")
    await _open_and_written(world)


async def test_x19_a_link_that_was_stopped_by_hand_is_not_cut_behind_while_it_lacks_something(world: FailoverWorld):
    await world.close(world.sides())
    async with world.open_link(world.fleet, OUT) as link:
        tenure = await take_link(world.links, control.fresh_record(link), holder("mirror-by-hand", BY_HAND))
        await control.stop(link, tenure)
        await tenure.release()
    await world.traffic_at_home_all_the_same()  # by whoever is not named: it stands before the end that is written down
    await world.stop()
    with pytest.raises(NoProgress, match="is STOPPED, and has not brought all of payments-0") as told:
        await world.cut(world.sides())
    assert f"tidegate mirror start {OUT}" in (told.value.hint or "")
    known = await world.lineage("payments")
    assert known is not None
    assert known.turn == 0


async def test_x17_a_link_that_was_stopped_and_has_brought_all_is_left_to_the_cut(world: FailoverWorld):
    async with world.open_link(world.fleet, OUT) as link:
        tenure = await take_link(world.links, control.fresh_record(link), holder("mirror-by-hand", BY_HAND))
        await control.stop(link, tenure)
        await tenure.release()
    await world.close(world.sides())
    await world.stop()
    assert (await world.cut(world.sides())).shut == {OUT: "STOPPED"}


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize("step", ["close", "cut"])
async def test_o16_who_died_while_it_restarted_a_dead_task_is_gone_on_with(
    step: str, taken_over: bool, monkeypatch: pytest.MonkeyPatch
):
    """At each act of it, by the next attempt or by who takes over: the link is shut in the end, and all has come."""

    async def about_to() -> FailoverWorld:
        world = (await FailoverWorld.made()).patch(monkeypatch)
        if step == "cut":
            await world.close(world.sides())
        await world.traffic_at_home_all_the_same()
        if step == "cut":
            world.driver["east"].jobs.clear()
            await world.change(pinned=pinned(output_ends={}))
        connector = next(iter(world.connect["west"].connectors.values()))
        connector.task = "FAILED"

        async def looked(link: MirrorLink) -> dict[TopicPartition, int] | None:
            if connector.task == "RUNNING":
                await world.mirror(OUT)
            return await look(link)

        for module in (positions, status):
            monkeypatch.setattr(module, "connector_offsets", looked)
        return world

    look = positions.connector_offsets
    monkeypatch.setattr(ahead, "POLL_S", 0.01)
    world = await about_to()
    sides = world.sides()
    await world.go("victim", lambda: getattr(world, step)(sides))
    calls = world.gate.of("victim")
    begun = next(call.n for call in calls if "restart" in call.name)
    acts = [call.n for call in calls if call.mutating and begun - 4 <= call.n <= begun + 4]
    assert begun in acts
    for k in acts:
        world = await about_to()
        await world.die_in(getattr(world, step), k, Fault.DIE_AFTER)
        if taken_over:
            await world.take("failover-ledger-2", take_over=True)
        await world.close(world.sides(), take_over=True)
        fact = await world.cut(world.sides())
        assert fact.shut == {OUT: "STOPPED"}, calls[k]
        link = await world.link(OUT)
        assert link is not None
        assert link.open_intents() == (), calls[k]
        values = world.kafka["west"].committed_values("payments", 0)
        assert len([one for one in values if b"stray" in getattr(one, "value", one)]) == 2, calls[k]
