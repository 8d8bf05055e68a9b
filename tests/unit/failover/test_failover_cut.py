"""Closing, cutting and rebasing, over two regions in memory (X17 to X20, X22, X24)."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.kit.eventually import eventually
from tests.kit.failover_regions import BUCKET, FLEET, OUT, TOPICS
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tests.kit.mirror_world import holder
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Held, NoProgress, OperationFailed, Refused
from tidegate.failover import cut as cut_module
from tidegate.failover import rebasing
from tidegate.failover.producers import turn_back
from tidegate.lineage.model import Excluded, Gate
from tidegate.lineage.store import LineageStore
from tidegate.mirror import control
from tidegate.mirror import status as status_module
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.provenance import of_headers
from tidegate.model.failover import CutInput
from tidegate.model.mirror import LinkState
from tidegate.registry.links import BY_HAND, take_link

P0 = TopicPartition("payments", 0)
PRODUCER = "User:producer"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    return (await FailoverWorld.made()).patch(monkeypatch)


# -- close


async def test_x18_closed_nobody_writes_the_inputs_in_either_region(world: FailoverWorld):
    fact = await world.close(world.sides())
    for region in ("east", "west"):
        with pytest.raises(Denied):
            world.pay(region)
    assert fact.principals == ("producer",)
    ends = await world.kafka["east"].end_offsets(["payments"])
    assert fact.ends == {f"payments/{tp.partition}": end for tp, end in ends.items()}


async def test_x18_the_jobs_own_output_is_not_denied(world: FailoverWorld):
    await world.close(world.sides())
    sink = world.kafka["east"].producer("tg.ledger.balances-sink.e00000007.0-9")
    await sink.init()
    await sink.write("balances", 0, [b"x"])
    await sink.commit()


async def test_x20_a_topic_that_never_had_one_gets_a_lineage_of_home(world: FailoverWorld):
    world.kafka["east"].delete_before(P0, 2)
    await world.close(world.sides())
    known = await world.lineage("payments")
    assert known is not None
    assert (known.region, known.gate, known.turn) == ("east", Gate.CLOSED, 0)
    assert [known.partitions[n].segments[0].first for n in ("0", "1")] == [2, 0]


async def test_x18_a_writer_that_the_fleet_file_does_not_name_is_found(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    ends, calls = world.kafka["east"].end_offsets, 0

    async def growing(topics: list[str]) -> dict[TopicPartition, int]:
        nonlocal calls
        calls += 1
        world.kafka["east"].write_plain("payments", 1, [b"stray"], "User:stranger")
        return await ends(topics)

    monkeypatch.setattr(world.kafka["east"], "end_offsets", growing)
    monkeypatch.setattr("tidegate.failover.producers.CLOSE_S", 0.05)
    with pytest.raises(NoProgress, match="payments-1 grew") as told:
        await world.close(world.sides())
    assert "deployments.X.producers" in (told.value.hint or "")


async def test_x18_a_fleet_file_without_producers_says_so(monkeypatch: pytest.MonkeyPatch):
    ledger = FLEET.deployment("ledger").model_copy(update={"producers": ()})
    fleet = FLEET.model_copy(update={"deployments": {"ledger": ledger}})
    world = (await FailoverWorld.made(fleet)).patch(monkeypatch)
    fact = await world.close(world.sides())
    assert fact.notes == ("the fleet file names no producers of payments: only the gate holds them",)


async def test_x18_a_home_that_is_silent_is_closed_where_it_can_be(world: FailoverWorld):
    world.unplanned, world.kafka["east"].down = True, True
    fact = await world.close(world.sides())
    assert fact.ends == {}
    assert "could not be closed: what it still takes is tail (X18)" in fact.notes[-1]
    with pytest.raises(Denied):
        world.pay("west")
    known = await world.lineage("payments")
    assert known is not None
    assert {partition.segments[0].first for partition in known.partitions.values()} == {0}


async def test_o1_a_topic_that_another_failover_turns_is_held(world: FailoverWorld):
    await world.close(world.sides())
    await world.take("failover-ledger-2", take_over=True)
    with pytest.raises(Held, match="failover-ledger-1"):
        await world.close(world.sides())
    await world.close(world.sides(), take_over=True)


# -- cut


async def test_x19_the_cut_is_the_end_of_both_logs(world: FailoverWorld):
    await world.through("close", "stop")
    fact = await world.cut(world.sides())
    assert (fact.partitions, fact.drained, fact.shut) == (4, True, {OUT: "STOPPED"})
    for topic in ("payments", "balances"):
        known = await world.lineage(topic)
        assert known is not None
        for name, partition in known.partitions.items():
            east, west = partition.segments
            tp = TopicPartition(topic, int(name))
            assert east.end == (await world.kafka["east"].end_offsets([topic]))[tp]
            assert east.cut == west.first == (await world.kafka["west"].end_offsets([topic]))[tp]
    balances, payments = await world.lineage("balances"), await world.lineage("payments")
    assert balances is not None
    assert payments is not None
    assert balances.partitions["0"].segments[-1].epoch == 8, "the epoch of the job that goes on"
    assert payments.partitions["0"].segments[-1].epoch is None
    assert (payments.region, payments.gate) == ("west", Gate.CLOSED)


async def test_x17_after_the_cut_nothing_comes_any_more(world: FailoverWorld):
    await world.through("close", "stop", "cut")
    await world.traffic_at_home_all_the_same()
    assert await world.mirror(OUT) == 0
    link = await world.link(OUT)
    assert link is not None
    assert link.mirror is LinkState.STOPPED
    assert link.holder is not None, "it is the failover's until it is all over"


async def test_x26_what_counts_no_more_at_home_counts_as_little_where_the_mirror_has_brought_it(world: FailoverWorld):
    await world.close(world.sides())
    gone = [
        Excluded(region="east", first=first, last=last, why="superseded (X26)", by="restore-ledger-1")
        for first, last in ((1, 2), (4, 400))
    ]
    await LineageStore(world.control, BUCKET).exclude("balances", "failover-ledger-1/r1", 0, gone)
    await world.through("stop", "cut", "cut")
    lineage = await world.lineage("balances")
    assert lineage is not None
    copies = [one for one in lineage.partitions["0"].excluded if one.region == "west"]
    assert len(copies) == 2
    tp = TopicPartition("balances", 0)
    end = (await world.kafka["west"].last_stable_offsets(["balances"]))[tp]
    stood = [
        (one.offset, came.hop.offset)
        async for one in world.kafka["west"].records(tp, 0, end)
        if (came := of_headers(one.headers)) is not None
    ]
    left = [there for at, there in stood if not any(x.first <= at <= x.last for x in copies)]
    assert left == [there for _, there in stood if not any(x.first <= there <= x.last for x in gone)]
    assert len(left) < len(stood)
    await turn_back(world.sides(), TOPICS)
    back = await world.lineage("balances")
    assert back is not None
    assert [one.region for one in back.partitions["0"].excluded] == ["east", "east"]


async def test_x19_what_has_not_crossed_is_waited_for_and_named(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    await world.close(world.sides())
    await world.traffic_at_home_all_the_same()
    monkeypatch.setattr(cut_module, "NO_PROGRESS_S", 0.1)
    with pytest.raises(NoProgress, match="is not drained") as told:
        await world.cut(world.sides())
    assert "records behind" in told.value.message
    assert (await world.lineage("payments")).region == "east"  # type: ignore[union-attr]
    await world.mirror(OUT)
    assert (await world.cut(world.sides())).drained


async def test_x19_a_mirror_whose_task_died_is_revived_and_drained(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    await world.close(world.sides())
    await world.traffic_at_home_all_the_same()
    connector = next(iter(world.connect["west"].connectors.values()))
    connector.task = "FAILED"
    look = status_module.connector_offsets

    async def looked(link: MirrorLink) -> dict[TopicPartition, int] | None:
        if connector.task == "RUNNING":
            await world.mirror(OUT)
        return await look(link)

    monkeypatch.setattr(status_module, "connector_offsets", looked)
    monkeypatch.setattr(cut_module, "NO_PROGRESS_S", 5.0)
    assert (await world.cut(world.sides())).drained


async def test_x24_a_mirror_that_fails_again_and_again_keeps_nobody_from_going_back(world: FailoverWorld):
    await world.close(world.sides())
    await world.traffic_at_home_all_the_same()
    connector = next(iter(world.connect["west"].connectors.values()))
    connector.task, connector.failed = "FAILED", 99
    with pytest.raises(OperationFailed, match="failed 4 times"):
        await world.cut(world.sides())
    await cut_module.mirror_home_again(world.sides(), TOPICS)
    link = await world.link(OUT)
    assert link is not None
    assert (link.mirror, link.holder) == (LinkState.RUNNING, None)


async def test_x17_without_connect_the_mirror_is_shut_out_by_kafka(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    await world.place_snapshot((3, 3))
    await world.place_points(world.point(3))
    world.unplanned = True
    world.kafka["east"].down = world.driver["east"].down = world.connect["west"].down = True
    monkeypatch.setattr(control, "stop", partial(control.stop, deadline_s=0.1))
    await world.close(world.sides())
    await world.shut(world.sides())
    fact = await world.cut(world.sides())
    assert fact.shut == {OUT: LinkState.SHUT_OUT.value}
    link = await world.link(OUT)
    assert link is not None
    assert (link.mirror, link.denied) == (LinkState.SHUT_OUT, "mirror")


@pytest.mark.parametrize("silent", [False, True])
async def test_x17_a_mirror_whose_source_is_gone_is_shut_out_without_a_wait(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch, silent: bool
):
    await world.place_snapshot((3, 3))
    await world.place_points(world.point(3))
    world.unplanned = True
    world.driver["east"].down = world.kafka["east"].down = True
    world.connect["west"].deaf_to_stop = True
    await world.close(world.sides())
    await world.shut(world.sides())
    if silent:

        async def hangs(_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(type(world.kafka["east"]), "ping", hangs)
        monkeypatch.setattr(cut_module, "SOURCE_S", 0.1)
    monkeypatch.setattr(cut_module, "GIVEN_UP_S", 600.0)
    async with asyncio.timeout(20):
        fact = await world.cut(world.sides())
    assert fact.shut == {OUT: LinkState.SHUT_OUT.value}
    assert ("PUT", "stop") in [(one.split()[0], one.split("/")[-1]) for one in world.connect["west"].calls]


async def test_x17_a_source_that_answers_gives_its_mirror_the_time_to_end(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "GIVEN_UP_S", 0.0)
    world.unplanned = True
    connect = world.connect["west"]
    connect.deaf_to_stop = True
    connect.calls.clear()
    sides, request = world.sides(), world._step(CutInput, ends={}, drain_s=5.0)
    shutting = asyncio.create_task(cut_module.shut_links(sides, request, drain=False))

    async def waited_for() -> None:
        assert sum(one.endswith("/status") for one in connect.calls) >= 3

    await eventually(waited_for)
    next(iter(connect.connectors.values())).target = "STOPPED"
    assert await shutting == {OUT: "STOPPED"}


async def test_o1_a_link_that_another_operation_holds_is_left_alone(world: FailoverWorld):
    await world.through("close", "stop")
    async with world.open_link(FLEET, OUT) as link:
        await _take(world, link, "sweep-of-somebody", "Other")
    with pytest.raises(Held, match="sweep-of-somebody"):
        await world.cut(world.sides())


async def test_o6_a_link_that_a_person_holds_by_hand_is_taken(world: FailoverWorld):
    await world.through("close", "stop")
    async with world.open_link(FLEET, OUT) as link:
        await _take(world, link, "by-hand-1", BY_HAND)
    assert (await world.cut(world.sides())).shut == {OUT: "STOPPED"}


@pytest.mark.parametrize(
    ("operation", "taken"),
    [
        ("failover-ledger-7c1f09ab", True),
        ("break-glass-ledger-7c1f09ab", True),
        ("failover-eu-ledger-7c1f09ab", False),
        ("failover-ledger-eu-7c1f09ab", False),
        ("failover-east-7c1f09ab", False),
    ],
)
async def test_o4_who_took_the_deployment_over_takes_its_link_and_not_that_of_another_one(
    world: FailoverWorld, operation: str, taken: bool
):
    await world.through("close", "stop")
    async with world.open_link(FLEET, OUT) as link:
        await _take(world, link, operation, "FailoverDeployment")
    if taken:
        assert (await world.cut(world.sides())).shut == {OUT: "STOPPED"}
    else:
        with pytest.raises(Held, match=operation):
            await world.cut(world.sides())


async def _take(world: FailoverWorld, link: MirrorLink, operation: str, runbook: str) -> None:
    await take_link(world.links, control.fresh_record(link), holder(operation, runbook))


async def test_x26_the_copy_of_what_does_not_count_does_not_count_either(world: FailoverWorld):
    """A restore has gone back within the region; then the topic turns. A reader of the west's log skips it, too."""
    store = LineageStore(world.control, BUCKET)
    await store.begin("balances", "east", {0: 0, 1: 0})
    gone = Excluded(region="east", first=2, last=4, why="superseded (X26)", by="restore-ledger-1/r")
    await store.exclude("balances", "restore-ledger-1/r", 0, [gone])
    await world.through("close", "stop", "cut")
    for again in (False, True):
        if again:
            await world.cut(world.sides())
        known = await world.lineage("balances")
        assert known is not None
        assert known.region == "west"
        copies = [one for one in known.partitions["0"].excluded if one.region == "west"]
        assert len(copies) == 1
        assert gone in known.partitions["0"].excluded
    tp = TopicPartition("balances", 0)
    skipped, kept = set(), set()
    async for record in world.kafka["west"].records(tp, 0, (await world.kafka["west"].end_offsets(["balances"]))[tp]):
        there = of_headers(record.headers)
        assert there is not None
        (skipped if copies[0].first <= record.offset <= copies[0].last else kept).add(there.hop.offset)
    assert skipped <= {2, 3, 4}
    assert skipped
    assert kept.isdisjoint({2, 3, 4})


# -- rebase


async def test_x20_a_planned_copy_reads_nothing_twice(world: FailoverWorld):
    await world.through("close", "stop", "cut")
    fact = await world.rebase(world.sides())
    assert (fact.replays, fact.positions, fact.original) == (0, 2, world.shipped)
    assert fact.location.startswith("s3://west/savepoints/ledger/copy-")


async def test_x20_a_planned_copy_that_would_read_twice_is_refused(world: FailoverWorld):
    await world.through("close")
    await world.stop()
    await world.cut(world.sides())
    world.kafka["east"].write_plain("payments", 0, [b"a", b"b"], "User:stranger")
    ends = await world.kafka["east"].end_offsets(["payments"])
    await world.place_snapshot((ends[P0], ends[TopicPartition("payments", 1)]), number=13)
    with pytest.raises(Refused, match="would read 2 input records a second time"):
        await world.rebase(world.sides())


async def test_x22_unplanned_it_may_read_again_what_had_not_crossed(world: FailoverWorld):
    world.kafka["east"].write_plain("payments", 0, [b"a", b"b"], PRODUCER)
    ends = await world.kafka["east"].end_offsets(["payments"])
    await world.place_snapshot((ends[P0], ends[TopicPartition("payments", 1)]))
    world.unplanned = True
    fact = await world.rebase(world.sides())
    assert fact.replays == 2
    assert "input records that its state has read have not come" in fact.notes[0]


async def test_o1_a_topic_that_stays_is_waited_for(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    await world.through("close", "stop")
    world.topics = TOPICS.model_copy(update={"turn": ("balances",), "stay": ("payments",), "links": ()})
    world.kafka["east"].write_plain("payments", 0, [b"late"], "User:other")
    ends = await world.kafka["east"].end_offsets(["payments"])
    await world.place_snapshot((ends[P0], ends[TopicPartition("payments", 1)]), number=14)
    monkeypatch.setattr(rebasing, "STAY_S", 0.2)
    with pytest.raises(NoProgress, match=f"payments-0 has not come up to {ends[P0]}"):
        await world.rebase(world.sides())
    await world.mirror(OUT)
    assert (await world.rebase(world.sides())).replays == 0
