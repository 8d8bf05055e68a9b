"""A mirror is current before the producers are closed, or nobody is closed (X18, X19)."""

from __future__ import annotations

import pytest

from tests.kit.failover_world import OUT, FailoverWorld
from tests.kit.mirror_world import holder
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Held, Refused
from tidegate.failover import ahead
from tidegate.lineage.model import Gate
from tidegate.mirror import control, positions
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


async def test_x17_a_link_that_somebody_else_holds_is_not_restarted_behind_his_back(world: FailoverWorld):
    await world.traffic_at_home_all_the_same()
    next(iter(world.connect["west"].connectors.values())).task = "FAILED"
    async with world.open_link(world.fleet, OUT) as link:
        await take_link(world.links, control.fresh_record(link), holder("failover-other-1", "FailoverDeployment"))
    with pytest.raises(Held):
        await world.close(world.sides())
    await _open_and_written(world)


async def test_x17_a_link_that_shall_not_run_is_left_to_the_cut(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "NO_PROGRESS_S", 0.1)
    async with world.open_link(world.fleet, OUT) as link:
        tenure = await take_link(world.links, control.fresh_record(link), holder("mirror-by-hand", BY_HAND))
        await control.stop(link, tenure)
        await tenure.release()
    record = await world.link(OUT)
    assert record is not None
    assert record.mirror is LinkState.STOPPED
    await world.traffic_at_home_all_the_same()
    await world.close(world.sides())
