"""O16, X23: a step of a return dies at each of its acts; done again nothing is fed twice, dropped, or let in again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.kit.failover_regions import FLEET
from tests.kit.kafka_fake_logs import Denied
from tests.kit.return_world import BACK, OUT, ReturnWorld
from tests.kit.world_gate import ACTOR, Call, Fault, Gate
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Superseded, Unavailable
from tidegate.failover.feeding import place_fed
from tidegate.model.fleet import Fleet

STEPS = ["quarantine", "apart", "back"]
HOLD = FLEET.model_copy(
    update={"deployments": {"ledger": FLEET.deployment("ledger").model_copy(update={"tail": "hold"})}}
)
WAYS = {"feed": FLEET, "hold": HOLD}
CASES = [("feed", "quarantine"), ("feed", "apart"), ("feed", "back"), ("hold", "apart")]


async def _begin(monkeypatch: pytest.MonkeyPatch, way: str) -> ReturnWorld:
    fleet: Fleet = WAYS[way]
    world = (await ReturnWorld.made(fleet)).patch(monkeypatch)
    await world.lost(read=(7, 6))
    await world.answers()
    await world.zombie()
    return world


async def _do(world: ReturnWorld, step: str) -> Any:
    sides = world.sides()
    return await world.go(f"p{world.attempts}", lambda: getattr(world, step)(sides))


async def _up_to(world: ReturnWorld, step: str) -> None:
    for one in STEPS[: STEPS.index(step)]:
        await _do(world, one)


async def _from(world: ReturnWorld, step: str) -> None:
    for one in STEPS[STEPS.index(step) :]:
        await _do(world, one)


async def _stands(world: ReturnWorld) -> dict[str, Any]:
    """All that a return leaves behind, without times and the numbers of writes."""
    found: dict[str, Any] = {}
    for topic in ("payments", "balances"):
        known = await world.lineage(topic)
        assert known is not None
        found[topic] = known.model_dump(include={"partitions", "region", "gate", "holder"})
    for name in (OUT, BACK):
        link = await world.link(name)
        assert link is not None
        found[name] = (link.mirror, link.holder is not None, link.denied)
    record = await world.record()
    found["denied"] = record.denied_epochs
    found["open"] = record.open_intents()
    found["jobs"] = world.driver["east"].jobs
    for region in ("east", "west"):
        kafka, connect = world.kafka[region], world.connect[region]
        found[f"denied in {region}"] = (sorted(kafka._no_writes), sorted(kafka._denied))
        found[f"connectors in {region}"] = {name: one.target for name, one in connect.connectors.items()}
    # The order within a partition counts, not how transactions cut it.
    found["west"] = [(one.value, one.timestamp_ms, place_fed(one)) for one in await world.payments("west")]
    found["held"] = {key: json.loads(body) for key, body in (await world.held()).items() if key.endswith("index.json")}
    return found


async def _sound(world: ReturnWorld, way: str) -> None:
    """What must hold whoever died where."""
    await world.mirror(BACK)
    east, west = await world.counted("east"), await world.counted("west")
    # What the state had read and never crossed counts where it stands, once (X22): nobody is fed it.
    (read,) = [one.value or b"" async for one in world.kafka["east"].records(TopicPartition("payments", 0), 6, 7)]
    assert sorted(east) == sorted([*west, read])
    assert len(west) == len(set(west)), "something was fed twice"
    tail = {(tp, n) for tp in (0, 1) for n in range(6, 10)} - {(0, 6)}
    fed = {(at.partition, at.offset) for at in map(place_fed, await world.payments("west")) if at is not None}
    objects = await world.held()
    (index,) = [json.loads(body) for key, body in objects.items() if key.endswith("index.json")] or [{"partitions": []}]
    held = {
        (one["partition"], json.loads(line)["offset"])
        for one in index["partitions"]
        for part in one["objects"]
        for line in objects[part["key"]].splitlines()
    }
    assert fed | held == tail, "something was dropped in silence"
    assert not fed & held
    assert bool(fed) is (way == "feed")
    with pytest.raises(Denied):
        world.kafka["east"].write_plain("payments", 0, [b"stray"], "User:producer")
    with pytest.raises(Denied):
        await world.zombie()
    assert JobState.RUNNING not in world.driver["east"].jobs.values()


async def _acts(monkeypatch: pytest.MonkeyPatch, way: str, step: str) -> list[Call]:
    """The acts of a step: to die around a read is to die before the next act."""
    world = await _begin(monkeypatch, way)
    await _up_to(world, step)
    sides = world.sides()
    await world.go("victim", lambda: getattr(world, step)(sides))
    return [call for call in world.gate.of("victim") if call.mutating]


async def _undisturbed(monkeypatch: pytest.MonkeyPatch, way: str) -> dict[str, Any]:
    world = await _begin(monkeypatch, way)
    await _from(world, STEPS[0])
    stood = await _stands(world)
    await _sound(world, way)
    return stood


async def _each(
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    step: str,
    how: Fault,
    disturb: Callable[[ReturnWorld, int], Awaitable[None]],
) -> None:
    wanted = await _undisturbed(monkeypatch, way)
    acts = await _acts(monkeypatch, way, step)
    assert acts, "a step that acts nowhere cannot be disturbed"
    for act in acts:
        if how is Fault.DOUBLE and act.part == "feed":
            continue  # an idempotent producer's records and ends are taken once
        world = await _begin(monkeypatch, way)
        await _up_to(world, step)
        await disturb(world, act.n)
        try:
            await _from(world, step)
            for late in world.gate.late:
                await late.deliver()
            assert await _stands(world) == wanted
            await _sound(world, way)
        except Exception as error:
            raise AssertionError(f"{way}: {step} at {act} ({how.name}): {error!r}") from error


@pytest.mark.parametrize("how", [Fault.DIE_BEFORE, Fault.DIE_AFTER], ids=lambda how: how.name)
@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o16_a_step_of_a_return_that_died_is_done_again(
    way: str, step: str, how: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _each(monkeypatch, way, step, how, lambda world, k: world.die_in(getattr(world, step), k, how))


@pytest.mark.parametrize(("way", "step"), [case for case in CASES if case[1] != "back"])
async def test_i5_what_a_dead_return_had_sent_and_comes_late_changes_nothing(
    way: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = Fault.DIE_HELD
    await _each(monkeypatch, way, step, how, lambda world, k: world.die_in(getattr(world, step), k, how))


@pytest.mark.parametrize("how", [Fault.LOSE_ANSWER, Fault.DOUBLE], ids=lambda how: how.name)
@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o3_an_answer_lost_or_an_act_that_comes_twice_in_a_return_changes_nothing(
    way: str, step: str, how: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _each(monkeypatch, way, step, how, lambda world, k: world.disturb(getattr(world, step), k, how))


@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o16_a_step_of_a_return_that_is_done_twice_is_done_once(
    way: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await _undisturbed(monkeypatch, way)
    world = await _begin(monkeypatch, way)
    await _up_to(world, step)
    first = await _do(world, step)
    if step != "back":
        assert await _do(world, step) == first
    await world.mirror(BACK, at_most=1)
    await _from(world, step)
    assert await _stands(world) == wanted
    await _sound(world, way)


@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o8_a_return_that_lost_the_fence_does_nothing_more(
    way: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await _begin(monkeypatch, way)
    await _up_to(world, step)
    late = world.sides()
    await world.take("return-ledger-2", take_over=True)
    with pytest.raises(Superseded):
        await world.go("victim", lambda: getattr(world, step)(late))
    assert [str(call) for call in world.gate.of("victim") if call.mutating] == []


async def test_x23_one_that_dies_while_it_finishes_what_a_dead_one_had_begun_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first dies in the middle of a transaction; the second at each of its own acts; the third goes on."""
    wanted = await _undisturbed(monkeypatch, "feed")
    begun = next(act for act in await _acts(monkeypatch, "feed", "apart") if act.name.startswith("write"))
    seen = 0
    for how in (Fault.DIE_BEFORE, Fault.DIE_AFTER):
        k = 0
        while True:
            world = await _begin(monkeypatch, "feed")
            await _up_to(world, "apart")
            await world.die_in(world.apart, begun.n, Fault.DIE_AFTER)
            world.gate.dead.clear()
            world.gate._count.clear()
            world.gate.calls.clear()
            sides = world.sides()
            acts = _dies_at(world, k, how)
            try:
                await world.go("second", lambda w=world, s=sides: w.apart(s))  # type: ignore[misc]
            except BaseException as died:
                if not world.gate.dead:
                    raise died from None
            if not world.gate.dead:
                break
            world.gate.fault = lambda call: Fault.NONE
            await _from(world, "apart")
            assert await _stands(world) == wanted, f"{acts[-1]} ({how.name})"
            await _sound(world, "feed")
            k += 1
        seen = max(seen, k)
        assert "end_transaction" in "".join(map(str, acts)), "what was begun was committed, not aborted"
    assert seen > 10


def _dies_at(world: ReturnWorld, k: int, how: Fault) -> list[Call]:
    """The process ``second`` dies at its act ``k``; the acts that it has come to."""
    acts: list[Call] = []

    def fault(call: Call) -> Fault:
        if call.actor != "second" or not call.mutating:
            return Fault.NONE
        acts.append(call)
        return how if len(acts) == k + 1 else Fault.NONE

    world.gate.fault = fault
    return acts


@pytest.mark.parametrize("at", ["write", "commit"])
async def test_x23_an_attempt_that_races_the_next_one_feeds_nothing_twice(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is slow, in the middle of feeding; the second does it all; then the first goes on."""
    wanted = await _undisturbed(monkeypatch, "feed")
    world = await _begin(monkeypatch, "feed")
    await _up_to(world, "apart")
    reached, go_on = asyncio.Event(), asyncio.Event()
    passed = Gate.__call__

    async def held(gate: Gate, part: str, name: str, apply: Any, *, mutating: bool) -> Any:
        if ACTOR.get() == "slow" and part == "feed" and name.startswith(at):
            reached.set()
            await go_on.wait()
        return await passed(gate, part, name, apply, mutating=mutating)

    monkeypatch.setattr(Gate, "__call__", held)
    slow_sides = world.sides()
    slow = asyncio.create_task(world.go("slow", lambda: world.apart(slow_sides)))
    await reached.wait()
    await _do(world, "apart")
    go_on.set()
    with pytest.raises(Unavailable, match="another attempt feeds it"):
        await slow
    await _from(world, "apart")
    assert await _stands(world) == wanted
    await _sound(world, "feed")
