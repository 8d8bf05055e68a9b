"""O5 to O8, O16: a step's process dies at each of its acts in turn; done again, all stands as if it had not died."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.kit.failover_regions import BACK, BUCKET, OUT, TOPICS
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tests.kit.mirror_world import holder
from tests.kit.temporal_world_facts import writer
from tests.kit.world_gate import Fault
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Held, Superseded
from tidegate.failover.producers import hold_gate
from tidegate.failover.sides import Sides
from tidegate.failover.unfinished import unfinished_in
from tidegate.lineage.model import Gate
from tidegate.lineage.store import LineageStore
from tidegate.mirror import control
from tidegate.model.mirror import LinkState
from tidegate.model.record import StartIntent
from tidegate.registry.links import take_link

Step = Callable[[Sides], Awaitable[Any]]
PLANNED = ["close", "stop", "cut", "rebase", "started", "open", "back"]
UNPLANNED = ["lost", "close", "shut", "cut", "rebase", "started", "open", "back"]
NO_FLINK = ["no_flink", *UNPLANNED[1:]]
GONE_BACK = ["close", "stop", "cut", "reopen"]
WAYS = {"planned": PLANNED, "unplanned": UNPLANNED, "no flink": NO_FLINK, "gone back": GONE_BACK}
OF_THE_WORLD = {"stop", "started", "lost", "no_flink"}
CASES = [(way, step) for way, steps in WAYS.items() for step in steps if step not in OF_THE_WORLD]
CASES = [case for case in CASES if case[0] != "gone back" or case[1] == "reopen"]


async def _begin(monkeypatch: pytest.MonkeyPatch, way: str) -> FailoverWorld:
    world = (await FailoverWorld.made()).patch(monkeypatch)
    world.unplanned = way in {"unplanned", "no flink"}
    return world


async def _do(world: FailoverWorld, step: str) -> Any:
    if step == "stop":
        return await world.stop()
    if step == "started":
        await world.started()
        return await world.traffic_of_the_job()
    if step == "lost":
        return await world.lose_home()
    if step == "no_flink":
        return await world.lose_home(all_of_it=False)
    sides = world.sides()
    return await world.go(f"p{world.attempts}", lambda: getattr(world, step)(sides))


async def _up_to(world: FailoverWorld, way: str, step: str) -> None:
    for one in WAYS[way][: WAYS[way].index(step)]:
        await _do(world, one)


async def _from(world: FailoverWorld, way: str, step: str) -> None:
    for one in WAYS[way][WAYS[way].index(step) :]:
        await _do(world, one)


async def _stands(world: FailoverWorld) -> dict[str, Any]:
    """All that a step leaves behind, without times and the numbers of writes."""
    found: dict[str, Any] = {}
    for topic in ("payments", "balances"):
        known = await world.lineage(topic)
        assert known is not None
        found[topic] = known.model_dump(exclude={"seq", "write_id", "updated_at"})
        for turn in found[topic]["turns"]:
            del turn["at"]
    for name in (OUT, BACK):
        link = await world.link(name)
        held = link is not None and link.holder is not None
        found[name] = (link.mirror, held, link.denied, link.offsets) if link is not None else None
    record = await world.record()
    found["record"] = record.model_dump(include={"writer", "denied_epochs", "epoch"}, exclude={"writer": {"since"}})
    left = record.pinned.left if record.pinned is not None else None
    found["left"] = left.model_dump() if left is not None else None
    for region in ("east", "west"):
        kafka, connect = world.kafka[region], world.connect[region]
        found[f"denied in {region}"] = (sorted(kafka._no_writes), sorted(kafka._denied))
        found[f"connectors in {region}"] = {name: one.target for name, one in connect.connectors.items()}
    found["copies"] = sorted(str(uri) for uri in world.snapshots["west"].objects if "/copy-" in str(uri))
    return found


async def _sound(world: FailoverWorld, way: str) -> None:
    """What must hold whoever died where: each record stands once, and writers are let in where the topic lives."""
    lives = "east" if way == "gone back" else "west"
    for topic in ("payments", "balances"):
        known = await world.lineage(topic)
        assert known is not None
        assert (known.region, known.gate) == (lives, Gate.OPEN)
        assert known.turn == (0 if way == "gone back" else 1)
    world.kafka[lives].write_plain("payments", 0, [b"new"], "User:producer")
    other = "west" if lives == "east" else "east"
    if way != "unplanned":
        with pytest.raises(Denied):
            world.kafka[other].write_plain("payments", 0, [b"stray"], "User:producer")
    await world.mirror(OUT if lives == "east" else BACK)
    for topic in ("payments", "balances"):
        for partition in (0, 1):
            values = world.kafka[other].committed_values(topic, partition)
            records = [getattr(one, "value", one) for one in values]
            assert len(records) == len(set(records)), f"{topic}/{partition} in {other} has records twice"


async def _acts(monkeypatch: pytest.MonkeyPatch, way: str, step: str) -> list[int]:
    """The acts of a step: to die around a read is to die before the next act."""
    world = await _begin(monkeypatch, way)
    await _up_to(world, way, step)
    sides = world.sides()
    await world.go("victim", lambda: getattr(world, step)(sides))
    return [call.n for call in world.gate.of("victim") if call.mutating]


async def _undisturbed(monkeypatch: pytest.MonkeyPatch, way: str) -> dict[str, Any]:
    world = await _begin(monkeypatch, way)
    await _from(world, way, WAYS[way][0])
    stood = await _stands(world)
    await _sound(world, way)
    return stood


@pytest.mark.parametrize("how", [Fault.DIE_BEFORE, Fault.DIE_AFTER], ids=lambda how: how.name)
@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o16_a_step_whose_process_died_is_done_again(
    way: str, step: str, how: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await _undisturbed(monkeypatch, way)
    acts = await _acts(monkeypatch, way, step)
    assert acts, "a step that acts nowhere cannot be killed in the middle"
    for k in acts:
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, step)
        await world.die_in(getattr(world, step), k, how)
        died_at = world.gate.of("victim")[k]
        try:
            await world.mirror(BACK, at_most=1)
            await _from(world, way, step)
            assert await _stands(world) == wanted
            await _sound(world, way)
        except Exception as error:
            raise AssertionError(f"{way}: {step} died at {died_at} ({how.name}): {error!r}") from error


@pytest.mark.parametrize("how", [Fault.LOSE_ANSWER, Fault.DOUBLE], ids=lambda how: how.name)
@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o3_an_answer_that_is_lost_or_an_act_that_comes_twice_changes_nothing(
    way: str, step: str, how: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await _undisturbed(monkeypatch, way)
    for k in await _acts(monkeypatch, way, step):
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, step)
        await world.disturb(getattr(world, step), k, how)
        disturbed = world.gate.of("victim")[k]
        try:
            await _from(world, way, step)
            assert await _stands(world) == wanted
            await _sound(world, way)
        except Exception as error:
            raise AssertionError(f"{way}: {step} at {disturbed} ({how.name}): {error!r}") from error


@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o16_a_step_that_is_done_twice_is_done_once(way: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = await _undisturbed(monkeypatch, way)
    world = await _begin(monkeypatch, way)
    await _up_to(world, way, step)
    await _do(world, step)
    await world.mirror(BACK, at_most=1)
    await _from(world, way, step)
    assert await _stands(world) == wanted
    await _sound(world, way)


@pytest.mark.parametrize(("way", "step"), CASES)
async def test_o8_who_lost_the_fence_does_nothing_more(way: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await _begin(monkeypatch, way)
    await _up_to(world, way, step)
    late = world.sides()
    await world.take("failover-ledger-2", take_over=True)
    with pytest.raises(Superseded):
        await world.go("victim", lambda: getattr(world, step)(late))
    assert [str(call) for call in world.gate.of("victim") if call.mutating] == []


@pytest.mark.parametrize(("way", "step"), [case for case in CASES if case[0] == "planned"])
async def test_o6_who_takes_over_a_dead_one_finishes_it(way: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The taker does every step anew, as a new failover does, from where the topics stand."""
    for k in await _acts(monkeypatch, way, step):
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, step)
        await world.die_in(getattr(world, step), k, Fault.DIE_AFTER)
        if step in {"open", "back"}:
            continue  # it lives there already: what is left is another failover's, or ReturnRegion's
        await world.take("failover-ledger-2", take_over=True)
        try:
            await world.close(world.sides(), take_over=True)
            for one in PLANNED[PLANNED.index("stop" if step == "close" else "cut") :]:
                await _do(world, one)
            await _sound(world, way)
        except Exception as error:
            died_at = world.gate.of("victim")[k]
            raise AssertionError(f"{step} died at {died_at}: {error!r}") from error


@pytest.mark.parametrize("way", ["planned", "unplanned"])
async def test_o6_who_takes_over_behind_the_start_opens_what_was_turned(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead before it opened, or with one topic open and the other not: nobody could write them anywhere."""
    found = 0
    for k in (None, *await _acts(monkeypatch, way, "open")):
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, "open")
        if k is not None:
            await world.die_in(world.open, k, Fault.DIE_AFTER)
        store = LineageStore(world.control, BUCKET)
        left = await unfinished_in(store, world.fleet, "ledger", "west")
        still_closed = [one for topic in TOPICS.turn if (one := await world.lineage(topic)) and one.gate is Gate.CLOSED]
        if left is None:
            assert still_closed == []
            continue
        assert (left.source, left.operation, left.planned) == ("east", "failover-ledger-1", way == "planned")
        found += 1
        await world.take("failover-ledger-2", take_over=True)
        world.unplanned = True
        await world.close(world.sides(), take_over=True)
        for one in ("open", "back"):
            await _do(world, one)
        assert await unfinished_in(store, world.fleet, "ledger", "west") is None
        await _sound(world, way)
    assert found


@pytest.mark.parametrize("operation", ["failover-region-east-1", "ledger-to-west"])
async def test_o6_a_link_goes_with_the_topics_whatever_the_lost_operation_was_called(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region's failover holds the links of its deployments, and by hand any id will do (O12)."""
    world = await _begin(monkeypatch, "planned")
    lost = holder(operation, "FailoverRegion")
    store = LineageStore(world.control, BUCKET)
    await _do(world, "close")
    await world.reopen(world.sides())
    for topic in TOPICS.turn:
        await store.close(topic, f"{operation}/{lost.run_id}")
    async with world.open_link(world.fleet, OUT) as link:
        await take_link(world.links, control.fresh_record(link), lost)
    await world.take("failover-ledger-2", take_over=True)
    with pytest.raises(Held, match=operation):
        await _do(world, "cut")
    for one in PLANNED:
        if one == "close":
            await world.close(world.sides(), take_over=True)
        else:
            await _do(world, one)
    await _sound(world, "planned")
    link_now = await world.link(OUT)
    assert link_now is not None
    assert link_now.holder is None


async def test_o6_a_mirror_that_runs_again_since_a_way_back_that_died_is_drained_and_shut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dead one has started it again, and not given it back: that it had shut it once says nothing any more."""
    runs_again = 0
    for k in await _acts(monkeypatch, "gone back", "reopen"):
        world = await _begin(monkeypatch, "gone back")
        await _up_to(world, "gone back", "reopen")
        await world.die_in(world.reopen, k, Fault.DIE_AFTER)
        link = await world.link(OUT)
        assert link is not None
        runs_again += link.holder is not None and link.mirror is LinkState.RUNNING
        await world.take("failover-ledger-2", take_over=True)
        await world.close(world.sides(), take_over=True)
        fact = await _do(world, "cut")
        assert fact.shut == {OUT: "STOPPED"}, world.gate.of("victim")[k]
        assert [one.target for one in world.connect["west"].connectors.values()] == ["STOPPED"]
    assert runs_again


async def test_x20_the_partition_that_was_empty_is_mirrored_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await _begin(monkeypatch, "planned")
    await _from(world, "planned", "close")
    (offsets,) = world.connect["east"].offsets_set
    known = await world.lineage("payments")
    assert known is not None
    cut = known.partitions["0"].segments[-1].first
    assert offsets["west", "payments", 0] == cut - 1
    assert (await world.kafka["west"].end_offsets(["payments"]))[TopicPartition("payments", 0)] == cut


LATE = {
    "planned": [("close", "open"), ("open", "open")],
    "no flink": [("close", "open")],
    "gone back": [("close", "reopen"), ("reopen", "reopen")],
}


async def _may_write(world: FailoverWorld, region: str) -> bool:
    return not [one for one in world.kafka[region]._no_writes if one[1] == "payments"]


@pytest.mark.parametrize(("way", "step", "until"), [(way, *one) for way, all_ in LATE.items() for one in all_])
async def test_o16_a_deny_or_a_lift_that_comes_after_the_opening_is_read_back_and_put_right(
    way: str, step: str, until: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that was cut off has sent it; the operation is done with the gate when it arrives."""
    late = 0
    for k in await _acts(monkeypatch, way, step):
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, step)
        await world.die_in(getattr(world, step), k, Fault.DIE_HELD)
        if "topic_writes" not in world.gate.of("victim")[k].name:
            continue
        late += 1
        for one in WAYS[way][WAYS[way].index(step) : WAYS[way].index(until) + 1]:
            await _do(world, one)
        (held,) = world.gate.late
        await held.deliver()
        if way == "gone back":
            await hold_gate(world.sides(), world.topics, elsewhere=False)
        else:
            await _do(world, "back")
        await _sound(world, way)
    assert late


async def test_o8_a_late_lift_of_an_older_operation_is_denied_again_by_the_newer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The older one went back, and its last attempt to let producers in at home arrives when they write elsewhere."""
    world = await _begin(monkeypatch, "gone back")
    await _up_to(world, "gone back", "reopen")
    acts = await _acts(monkeypatch, "gone back", "reopen")
    for k in acts:
        world = await _begin(monkeypatch, "gone back")
        await _up_to(world, "gone back", "reopen")
        await world.die_in(world.reopen, k, Fault.DIE_HELD)
        if "lift_topic_writes" in world.gate.of("victim")[k].name:
            break
    await _do(world, "reopen")
    world.driver["east"].jobs[writer("v1", 7).job_id] = JobState.RUNNING
    await world.take("failover-ledger-2", take_over=True)
    for one in PLANNED[: PLANNED.index("back")]:
        await _do(world, one)
    (held,) = world.gate.late
    await held.deliver()
    assert await _may_write(world, "east"), "it has landed"
    fact = await _do(world, "back")
    assert not await _may_write(world, "east")
    assert fact.notes == ("User:producer could write payments in east again, by a call that came late: denied again",)
    await _sound(world, "planned")


async def test_o8_a_late_deny_of_an_older_operation_is_lifted_again_by_the_newer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await _begin(monkeypatch, "planned")
    await _from(world, "planned", "close")
    await world.kafka["west"].deny_topic_writes("User:producer", "payments")
    fact = await _do(world, "back")
    assert fact.notes == ("User:producer was denied payments in west again, by a call that came late: let in again",)
    assert await _may_write(world, "west")


async def test_i5_a_gate_that_another_operation_has_closed_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await _begin(monkeypatch, "planned")
    await _from(world, "planned", "close")
    await LineageStore(world.control, BUCKET).close("payments", "failover-of-somebody/r")
    await world.kafka["west"].deny_topic_writes("User:producer", "payments")
    assert await hold_gate(world.sides(), world.topics) == ()
    assert not await _may_write(world, "west")


async def test_x18_of_a_home_that_does_not_answer_it_is_said_that_nobody_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await _begin(monkeypatch, "unplanned")
    await _from(world, "unplanned", "lost")
    (note,) = await hold_gate(world.sides(), world.topics)
    assert note.startswith("whether producers are denied in east is not known")


@pytest.mark.parametrize("step", ["close", "shut", "cut", "rebase", "open"])
async def test_o22_of_two_that_fail_over_at_once_who_takes_over_wins_and_nothing_is_done_twice(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in Temporal, one by break-glass: the first one's call is on its way, and lands when the other is through."""
    way = "unplanned"
    for k in await _acts(monkeypatch, way, step):
        world = await _begin(monkeypatch, way)
        await _up_to(world, way, step)
        await world.die_in(getattr(world, step), k, Fault.DIE_HELD)
        late_call = world.gate.of("victim")[k]
        first = world.sides()
        await world.take("break-glass-ledger-0a1b2c3d", take_over=True)
        try:
            await world.close(world.sides(), take_over=True)
            begun = "started" if step == "open" else "shut"  # behind the start the rest is only to be ended
            for one in UNPLANNED[UNPLANNED.index(begun) : UNPLANNED.index("back")]:
                if one != "started" or step != "open":
                    await _do(world, one)
            for held in world.gate.late:
                await held.deliver()
            await _do(world, "back")
            for again in ("close", "shut", "cut", "open"):
                with pytest.raises(Superseded):
                    await getattr(world, again)(first)
            record = await world.record()
            assert record.holder is not None
            assert record.holder.operation == "break-glass-ledger-0a1b2c3d"
            assert len([one for one in record.intents if isinstance(one, StartIntent)]) <= 1
            await _sound(world, way)
        except Exception as error:
            raise AssertionError(f"{late_call} came late: {error!r}") from error
