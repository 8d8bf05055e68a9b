"""What a lost failover of a region has left, by the records and the lineage only, and what the families make of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.objects import MemoryStore
from tests.kit.temporal_world_facts import AT, artifact, pinned, writer
from tests.kit.temporal_world_lost import BACK, BUCKET, OUT, fleet_of
from tests.unit.failover.test_room import HOLDER
from tidegate.errors import Held, InvalidInput, Refused
from tidegate.failover.cut import STOP_STEP
from tidegate.failover.group import Lives, chosen, families
from tidegate.failover.lostregion import Left, Standing, look_left, mirror_left, refuse_as_planned
from tidegate.failover.room import make_room
from tidegate.lineage.store import LineageStore
from tidegate.model.failover import Answers
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkRecord, LinkState, MirrorVerb
from tidegate.model.record import DeploymentRecord, Holder, RecordState, StartIntent
from tidegate.model.region import Family, GroupSeen, LookGroupInput, Member
from tidegate.registry.links import LinkStore, take_link

LOST, OWN = "failover-region-east-1/r1", "failover-region-east-2/r2"


class Fleets:
    """Deployments a, b and c of tiers 0 to 2, and what a failover to the west has left of them."""

    def __init__(self, *, shared: str | None = None) -> None:
        self.fleet: Fleet = fleet_of({"a": 0, "b": 1, "c": 2}, shared)
        store = MemoryStore()
        self.lineage, self.links = LineageStore(store, BUCKET), LinkStore(store, BUCKET)
        self.records = {
            name: DeploymentRecord(
                deployment=name, fence=3, epoch=7, writer=writer("v1", 7).model_copy(update={"region": "east"})
            )
            for name in self.fleet.deployments
        }
        self.stands: dict[str, Standing] = {}

    def topics(self, name: str) -> list[str]:
        spec = self.fleet.deployment(name)
        return [topic for one in (*spec.sources, *spec.sinks) for topic in one.topics]

    async def turned(self, *topics: str, planned: bool = True, opened: bool = False, by: str = LOST) -> None:
        for topic in topics:
            await self.lineage.begin(topic, "east", {0: 0})
            await self.lineage.close(topic, by)
            await self.lineage.turn(topic, by, "west", planned=planned, ends={0: 9}, cuts={0: 9})
            if opened:
                await self.lineage.open(topic, by)

    def held(self, name: str, operation: str | None = None, **changes: Any) -> None:
        holder = HOLDER.model_copy(
            update={"operation": operation or f"failover-{name}-1", "run_id": "r", "runbook": "FailoverDeployment"}
        )
        self.records[name] = self.records[name].model_copy(
            update={"holder": holder, "state": RecordState.HELD, **changes}
        )

    def runs_in_the_west(self, name: str) -> None:
        runs = writer("v1", 8).model_copy(update={"region": "west"})
        self.records[name] = self.records[name].model_copy(update={"epoch": 8, "writer": runs})

    def begun_in_the_west(self, name: str) -> None:
        begun = StartIntent(
            id="s", step="ensure", n=1, job_id=f"{8:032x}", epoch=8, region="west", cell="cell-1",
            artifact=artifact("v1"), parallelism=2, snapshot="s3://west/copy",
        )  # fmt: skip
        self.records[name] = self.records[name].model_copy(update={"epoch": 8, "intents": (begun,)})

    def stopped(self, name: str) -> None:
        self.held(name, pinned=pinned())

    def known(self) -> list[Lives]:
        found = []
        for name, record in self.records.items():
            region = "west" if record.intents or record.writer is None else record.writer.region
            found.append(Lives(name, region, f"{region}/cell-1", "west/cell-1", record=record))
        return found

    async def standing(self, operation: str, run_id: str, holder: Holder | None) -> Standing:
        return self.stands.get(operation, Standing.CLOSED)

    async def look(self, *, take_over: bool = True, unplanned: bool = False, only: tuple[str, ...] = ()) -> Left:
        asked = LookGroupInput(
            operation="failover-region-east-2", run_id="r2", region="east", to="west", deployments=only,
            unplanned=unplanned, take_over=take_over,
        )  # fmt: skip
        return await look_left(self.fleet, self.known(), asked, OWN, self.lineage, self.standing)

    def families(self, left: Left) -> tuple[list[Member], list[Family]]:
        members = chosen(self.known(), self.fleet, "east", "west", (), left)
        return members, families(self.fleet, members, self.known(), "east", "west", left)

    async def shut(self, name: str, holder: Holder = HOLDER) -> None:
        source, _, target = name.partition("-to-")
        tenure = await take_link(self.links, LinkRecord(link=name, source=source, target=target), holder)
        begun = await tenure.begin(STOP_STEP, 1, MirrorVerb.STOP)
        await tenure.close(begun, "STOPPED", LinkState.STOPPED)


def names(members: Any) -> list[str]:
    return [one.deployment for one in members]


async def test_o6_each_deployment_is_told_by_where_it_stands() -> None:
    world = Fleets()
    await world.turned("in-a", "out-a", opened=True)
    await world.turned("in-b", "out-b", "in-c", "out-c")
    world.runs_in_the_west("a")
    world.begun_in_the_west("b")
    world.stopped("c")
    left = await world.look()
    assert names(left.done) == ["a"]
    assert [(one.deployment, one.unfinished and one.unfinished.operation) for one in left.unfinished] == [
        ("b", "failover-region-east-1")
    ]
    assert left.lost == {"c": "failover-c-1"}
    members, (family,) = world.families(left)
    assert [(one.deployment, one.home, one.at, one.lost) for one in members] == [
        ("b", "east/cell-1", "west/cell-1", "failover-region-east-1"),
        ("c", "east/cell-1", "west/cell-1", "failover-c-1"),
    ]
    assert family.no_return
    assert family.topics.turn == ("in-b", "in-c", "out-b", "out-c")
    assert family.turned == family.topics.turn


async def test_x18_what_was_opened_is_not_closed_again_also_where_others_still_move() -> None:
    world = Fleets(shared="payments")
    await world.turned("payments", "out-a", opened=True)
    await world.turned("out-b", "out-c")
    for name in "a":
        world.runs_in_the_west(name)
    world.stopped("b")
    world.stopped("c")
    left = await world.look()
    _, (family,) = world.families(left)
    assert family.topics.turn == ("out-b", "out-c")
    assert family.no_return
    (mirrored,) = await mirror_left(world.fleet, left, [family], world.links)
    assert mirrored.opened == ("out-a", "payments")


async def test_o6_its_topics_open_and_its_operation_lost_it_is_still_ended() -> None:
    """It waits to be told so, and then has a proof and a report to come."""
    world = Fleets()
    await world.turned("in-a", "out-a", opened=True)
    world.runs_in_the_west("a")
    world.held("a")
    for stands, wanted in ((Standing.ORPHAN, ["a"]), (Standing.CLOSED, ["a"]), (Standing.UNKNOWN, ["a"])):
        world.stands["failover-a-1"] = stands
        assert names((await world.look()).unfinished) == wanted
    world.held("a", "upgrade-a-1")
    world.records["a"] = world.records["a"].model_copy(
        update={"holder": HOLDER.model_copy(update={"runbook": "UpgradeDeployment"})}
    )
    assert names((await world.look()).done) == ["a"]


async def test_one_that_always_lived_there_is_none_of_it() -> None:
    world = Fleets(shared="payments")
    await world.turned("payments", "out-a")
    world.runs_in_the_west("a")
    world.runs_in_the_west("c")
    left = await world.look()
    assert names(left.settled) == ["a"]


async def test_o4_what_still_runs_is_named() -> None:
    world = Fleets()
    await world.turned("in-a", "out-a")
    world.begun_in_the_west("a")
    world.stands["failover-region-east-1"] = Standing.LIVES
    with pytest.raises(Held, match="a is held by failover-region-east-1, and still runs"):
        await world.look()
    assert (await world.look(take_over=False)).unfinished == ()


@pytest.mark.parametrize(
    ("runbook", "state", "unplanned", "refused"),
    [
        ("UpgradeDeployment", RecordState.HELD, False, True),
        ("UpgradeDeployment", RecordState.HELD, True, False),
        ("UpgradeDeployment", RecordState.HALTED, False, False),
        ("FailoverDeployment", RecordState.HELD, True, True),
    ],
)
async def test_o4_a_persons_word_takes_it_from_one_that_waits_for_that_word_or_works_in_a_region_that_is_gone(
    runbook: str, state: RecordState, unplanned: bool, refused: bool
) -> None:
    world = Fleets()
    world.held("b", "op-b")
    holder = world.records["b"].holder
    assert holder is not None
    world.records["b"] = world.records["b"].model_copy(
        update={"holder": holder.model_copy(update={"runbook": runbook}), "state": state}
    )
    world.stands["op-b"] = Standing.LIVES
    if refused:
        with pytest.raises(Held, match="b is held by op-b, and still runs"):
            await world.look(unplanned=unplanned)
    else:
        await world.look(unplanned=unplanned)


async def test_o6_without_a_persons_word_the_one_command_is_named() -> None:
    world = Fleets()
    await world.turned("in-a", "out-a", planned=False)
    world.begun_in_the_west("a")
    world.stopped("b")
    with pytest.raises(Refused) as refused:
        await world.look(take_over=False)
    assert "topics of a were turned by failover-region-east-1, and not opened in west" in refused.value.message
    assert "b is held by failover-b-1, before its turn" in refused.value.message
    assert "tidegate failover region east --to west --unplanned --take-over --why TEXT" in (refused.value.hint or "")
    assert (await world.look(take_over=False, only=("c",))).unfinished == ()


async def test_o8_what_this_one_has_turned_itself_is_not_lost() -> None:
    world = Fleets()
    await world.turned("in-a", "out-a", by=OWN)
    world.begun_in_the_west("a")
    left = await world.look(take_over=False)
    assert (left.closed, left.unfinished) == (frozenset(), ())


async def test_x24_a_family_that_shares_nothing_with_what_has_moved_can_still_go_back() -> None:
    world = Fleets(shared="payments")
    fleet = world.fleet
    links = {
        f"{name}-{topic}": mirror.model_copy(update={"topics": (topic,)})
        for name, mirror in fleet.mirrors.items()
        for topic in mirror.topics
    }
    world.fleet = fleet.model_copy(update={"mirrors": links})
    await world.turned("out-a")  # alone: payments stays where the others read it
    world.begun_in_the_west("a")
    left = await world.look()
    _, found = world.families(left)
    assert [(one.members, one.topics.turn, one.no_return) for one in found] == [
        (("a",), ("out-a",), True),
        (("b", "c"), ("out-b", "out-c", "payments"), False),
    ]


async def test_x24_as_planned_is_refused_for_what_was_turned_unplanned_or_is_late() -> None:
    world = Fleets()
    await world.turned("in-a", "out-a", opened=True)
    await world.turned("in-b", "out-b")
    world.runs_in_the_west("a")
    world.stopped("b")
    left = await world.look()
    members, (family,) = world.families(left)
    with pytest.raises(Refused, match="and c has not: out-c has not turned") as refused:
        refuse_as_planned(left, family, members, world.known())
    assert "--unplanned --take-over" in (refused.value.hint or "")
    await world.turned("in-c", "out-c")
    world.stopped("c")
    left = await world.look()
    members, (family,) = world.families(left)
    refuse_as_planned(left, family, members, world.known())


async def test_x20_a_mirror_that_was_lost_between_is_turned_round_once_and_never_rewound() -> None:
    world = Fleets()
    every = [topic for name in "abc" for topic in world.topics(name)]
    await world.turned(*every, opened=True)
    for name in "abc":
        world.runs_in_the_west(name)
    await world.shut(OUT)
    left = await world.look()
    assert chosen(world.known(), world.fleet, "east", "west", (), left) == []
    (family,) = await mirror_left(world.fleet, left, [], world.links)
    assert (family.members, family.done) == ((), ("a", "b", "c"))
    assert (family.topics.links, family.topics.back) == ((OUT,), (BACK,))
    assert list(family.opened) == sorted(every)
    tenure = await take_link(world.links, LinkRecord(link=BACK, source="west", target="east"), HOLDER)
    begun = await tenure.begin("failover-back", 1, MirrorVerb.START)
    await tenure.close(begun, "runs", LinkState.RUNNING)
    (family,) = await mirror_left(world.fleet, left, [], world.links)
    assert family.topics.back == ()


async def test_run_again_when_all_is_done_nothing_is_to_do_and_without_the_word_it_is_refused() -> None:
    world = Fleets()
    await world.turned(*(topic for name in "abc" for topic in world.topics(name)), opened=True)
    for name in "abc":
        world.runs_in_the_west(name)
    left = await world.look()
    assert names(left.done) == ["a", "b", "c"]
    assert await mirror_left(world.fleet, left, [], world.links) == []
    with pytest.raises(InvalidInput, match="nothing to move"):
        world.families(await world.look(take_over=False))


async def test_one_that_was_begun_needs_no_room_and_the_rest_is_held_against_what_is_free() -> None:
    world = Fleets()
    await world.turned(*(topic for name in "abc" for topic in world.topics(name)))
    world.begun_in_the_west("a")
    world.stopped("b")
    world.stopped("c")
    members, found = world.families(await world.look())
    seen = GroupSeen(
        at=AT, fleet_digest="f", holder=HOLDER, home=Answers(region="east"), standby=Answers(region="west"),
        members=tuple(members), families=tuple(found), slots_free=0, slots_total=8,
    )  # fmt: skip
    room = make_room(seen, "wait", unplanned=False)
    assert (room.goes, room.waits) == (("a",), ("b", "c"))
    assert make_room(seen.model_copy(update={"members": members[:1]}), "wait", unplanned=False).goes == ("a",)
