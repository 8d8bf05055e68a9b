"""X24: what a lost failover has closed and cut is put back by who took it over, though that one has not acted yet."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import BUCKET, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.world_gate import Fault
from tidegate.errors import Superseded
from tidegate.failover.cut import mirror_home_again
from tidegate.failover.producers import reopen_home, turn_back
from tidegate.failover.sides import Sides
from tidegate.lineage.model import Gate
from tidegate.lineage.store import LineageStore


async def _reopen(world: FailoverWorld, sides: Sides) -> None:
    """As the activity, of one that was asked to take over."""
    await turn_back(sides, world.topics, take_over=True)
    await mirror_home_again(sides, world.topics)
    await reopen_home(sides, world.topics)


async def _lost(monkeypatch: pytest.MonkeyPatch, upto: str) -> tuple[FailoverWorld, Sides]:
    world = (await FailoverWorld.made()).patch(monkeypatch)
    await world.close(world.sides())
    if upto == "cut":
        await world.stop()
        await world.cut(world.sides())
    lost = world.sides()
    await world.take("failover-ledger-2", take_over=True)
    return world, lost


@pytest.mark.parametrize("upto", ["close", "cut"])
async def test_x24_what_a_lost_one_has_closed_is_open_at_home_again(upto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world, lost = await _lost(monkeypatch, upto)
    for _ in range(2):
        await _reopen(world, world.sides())
    for topic in world.topics.turn:
        known = await world.lineage(topic)
        assert known is not None
        assert (known.region, known.gate, known.turn) == ("east", Gate.OPEN, 0)
    world.kafka["east"].write_plain("payments", 0, [b"acknowledged"], "User:producer")
    await world.mirror(OUT)
    assert world.connect["west"].connectors[f"tidegate-{OUT}"].target == "RUNNING"
    for late in (world.close, world.cut, world.open):
        with pytest.raises(Superseded):
            await late(lost)


async def test_o6_who_dies_as_it_puts_that_back_does_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await _lost(monkeypatch, "cut")
    sides = world.sides()
    await world.go("victim", lambda: _reopen(world, sides))
    for k in [call.n for call in world.gate.of("victim") if call.mutating]:
        world, _ = await _lost(monkeypatch, "cut")
        await world.die_in(lambda victim, world=world: _reopen(world, victim), k, Fault.DIE_AFTER)  # type: ignore[misc]
        await _reopen(world, world.sides())
        world.kafka["east"].write_plain("payments", 0, [b"acknowledged"], "User:producer")
        known = await world.lineage("payments")
        assert known is not None
        assert (known.region, known.gate) == ("east", Gate.OPEN)


async def test_o6_what_another_deployments_failover_has_closed_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await _lost(monkeypatch, "close")
    store = LineageStore(world.control, BUCKET)
    await store.close("payments", "failover-shop-1/r1", take_over=True)
    await turn_back(world.sides(), world.topics, take_over=True)
    known = await world.lineage("payments")
    assert known is not None
    assert (known.gate, known.holder) == (Gate.CLOSED, "failover-shop-1/r1")


async def test_x24_a_regions_failover_puts_back_what_any_lost_one_had_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has seen that nobody goes on with that one."""
    world, _ = await _lost(monkeypatch, "close")
    store = LineageStore(world.control, BUCKET)
    await store.close("payments", "failover-region-east-1/r1", take_over=True)
    for _ in range(2):
        await turn_back(world.sides(), world.topics, take_over=True, of_region=True)
        await reopen_home(world.sides(), world.topics)
    known = await world.lineage("payments")
    assert known is not None
    assert (known.region, known.gate, known.holder) == ("east", Gate.OPEN, None)
    with pytest.raises(Superseded):
        await store.turn("payments", "failover-region-east-1/r1", "west", planned=True, ends={0: 1}, cuts={0: 1})
