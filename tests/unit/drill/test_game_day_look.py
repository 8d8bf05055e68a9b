"""A game day looks both ways before anything goes, and says where everything is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.failover_regions import BUCKET, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.mirror_world import holder
from tidegate import names
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import S3Uri
from tidegate.drill import gameday
from tidegate.driver.base import JobView
from tidegate.errors import Held, Refused, Unavailable
from tidegate.failover import group, look
from tidegate.failover.group import Lives
from tidegate.lineage.store import LineageStore
from tidegate.model.gamedaysteps import GameDaySeen, Stands, WhereInput
from tidegate.model.mirror import LinkState
from tidegate.model.record import utc_now
from tidegate.model.region import Member
from tidegate.points.model import Points
from tidegate.points.store import PointStore
from tidegate.registry.ownership import Tenure, take

TOPICS = ("balances", "payments")


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    """The ledger runs in the east, nobody holds it, and it can be restored in the west."""
    made = (await FailoverWorld.made()).patch(monkeypatch)
    monkeypatch.setattr(look, "open_link", made.open_link)
    show(made)
    assert made.tenure is not None
    await Tenure(made.records, made.tenure.claim).release()
    await made.place_snapshot((4, 4))
    await place_points(made)
    lineage = LineageStore(made.control, BUCKET)
    for topic in TOPICS:
        await lineage.begin(topic, "east", {0: 0, 1: 0})
    return made


def show(world: FailoverWorld, *, all_running: bool = True) -> None:
    """What the east's Flink says of a job."""
    driver = world.driver["east"]

    async def observe(job: str) -> JobView:
        return await driver._ask(
            "observe", lambda: JobView(job_id=job, state=driver.jobs.get(job), all_running=all_running)
        )

    driver.observe = observe  # type: ignore[attr-defined]


async def place_points(world: FailoverWorld, *, home: str = "east", **changes: Any) -> None:
    now = utc_now()
    point = world.point(4).model_copy(update={"taken_at": now, "verified_at": now, **changes})
    store = PointStore(world.control, BUCKET)
    wanted = Points(deployment="ledger", region="west", home=home, updated_at=now, points=(point,))
    await store.write(await store.read("ledger", "west"), wanted)


def members(world: FailoverWorld) -> list[Member]:
    return group.chosen(known(), world.fleet, "east", "west", ("ledger",))


def known() -> list[Lives]:
    return [Lives("ledger", "east", "east/cell-1", "west/cell-1")]


async def looked(world: FailoverWorld) -> GameDaySeen:
    def site(_: str, cell: str) -> Any:
        return world.site(cell.partition("/")[0])

    seen = await group.look_group(holder("game-day-1", "GameDay"), "f" * 64, members(world), known(), site)
    return await gameday.look(world.fleet, seen, known(), site, (world.control, BUCKET))


async def where(world: FailoverWorld) -> Stands:
    request = WhereInput(fleet_digest="f", members=tuple(members(world)), topics=TOPICS, links=(OUT,))
    lineage = LineageStore(world.control, BUCKET)
    return await gameday.where(
        world.records, world.links, lineage, request, lambda _, cell: world.site(cell.partition("/")[0])
    )


async def test_both_ways_are_open(world: FailoverWorld) -> None:
    seen = await looked(world)
    assert [one.deployment for one in seen.members] == ["ledger"]
    assert (seen.topics, seen.links, seen.back) == (TOPICS, (OUT,), ("west-to-east",))
    assert seen.points["ledger"].startswith("e7-chk-12, ")
    assert seen.mirror_lag == {OUT: 0}
    assert (seen.slots_needed, seen.slots_free) == (2, 4)


async def refused(world: FailoverWorld) -> Refused:
    with pytest.raises(Refused) as caught:
        await looked(world)
    assert caught.value.hint
    return caught.value


async def test_nothing_is_moved_for_practice_while_an_incident_is_open(world: FailoverWorld) -> None:
    await world.control.put(S3Uri(BUCKET, f"{names.INCIDENTS_OPEN_PREFIX}20260102-fire.json"), b"{}")
    error = await refused(world)
    assert "an incident is open: 20260102-fire" in error.message
    assert error.hint is not None
    assert "tidegate incident close 20260102-fire" in error.hint


async def test_what_somebody_holds_is_left_alone(world: FailoverWorld) -> None:
    found = await world.records.read("ledger")
    assert found is not None
    await take(world.records, "ledger", holder("upgrade-1", "UpgradeDeployment"), expected_fence=found.record.fence)
    error = await refused(world)
    assert isinstance(error, Held)
    assert "upgrade-1" in error.message


async def test_what_does_not_run_does_not_go(world: FailoverWorld) -> None:
    for job in world.driver["east"].jobs:
        world.driver["east"].jobs[job] = JobState.RESTARTING
    assert "ledger does not run in east/cell-1: it is RESTARTING" in (await refused(world)).message


async def test_without_room_there_or_to_come_back_it_does_not_go(world: FailoverWorld) -> None:
    world.driver["west"].slots = (1, 8)
    assert "no room in west" in (await refused(world)).message
    world.driver["west"].slots = (2, 8)
    world.driver["east"].slots = (0, 2)
    await looked(world)  # what it leaves free is enough
    ledger = world.fleet.deployment("ledger").model_copy(update={"parallelism": 3})
    world.fleet = world.fleet.model_copy(update={"deployments": {"ledger": ledger}})
    world.driver["west"].slots = (4, 8)
    error = await refused(world)
    assert "east/cell-1 could not take them back: 3 slots are needed, 2 of 2 would be free" in error.message


async def test_without_a_link_back_it_does_not_go(world: FailoverWorld) -> None:
    mirrors = {OUT: world.fleet.mirror(OUT)}
    world.fleet = world.fleet.model_copy(update={"mirrors": mirrors})
    assert "they could not come back: no mirror link brings balances from west" in (await refused(world)).message


async def test_a_link_that_does_not_run_could_not_be_drained(world: FailoverWorld) -> None:
    world.connect["west"].connectors[f"tidegate-{OUT}"].target = "PAUSED"
    assert "it could not be drained: mirror link east-to-west is PAUSED" in (await refused(world)).message
    world.connect["west"].connectors[f"tidegate-{OUT}"].target = "RUNNING"
    await looked(world)
    stored = await world.links.swaps.read(names.mirror_key(OUT))
    assert stored is not None
    stopped = stored.record.model_copy(update={"mirror": LinkState.STOPPED, "seq": 99})
    await world.control.put(S3Uri(BUCKET, names.mirror_key(OUT)), stopped.model_dump_json().encode())
    assert "mirror link east-to-west is STOPPED" in (await refused(world)).message


async def test_x5_what_could_not_be_restored_there_if_home_were_lost_does_not_go(world: FailoverWorld) -> None:
    await place_points(world, problem="a file is missing")
    error = await refused(world)
    assert "ledger cannot be restored in west now: e7-chk-12: a file is missing" in error.message
    assert error.hint is not None
    assert "tidegate points ledger --keep" in error.hint


async def test_x5_points_of_its_time_elsewhere_do_not_count(world: FailoverWorld) -> None:
    await place_points(world, home="west")
    assert "the points that are kept there are of its time in west" in (await refused(world)).message


async def test_a_link_of_which_nobody_can_say_how_far_it_is_is_asked_again(
    world: FailoverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise Unavailable("Connect in west does not answer")

    monkeypatch.setattr(look, "open_link", away)
    with pytest.raises(Unavailable, match="nobody can say how far mirror link east-to-west is"):
        await looked(world)


async def test_a_switch_that_is_under_way_goes_first(world: FailoverWorld) -> None:
    await LineageStore(world.control, BUCKET).close("payments", "failover-2")
    assert "topic payments lives in east, its gate is closed by failover-2" in (await refused(world)).message


async def test_topics_that_have_no_lineage_yet_are_no_hindrance(world: FailoverWorld) -> None:
    """The failover begins it."""
    for topic in TOPICS:
        await world.control.delete(S3Uri(BUCKET, names.lineage_key(topic)))
    await looked(world)
    assert (await where(world)).topics == {}


async def test_where_they_are_is_said_by_record_flink_lineage_and_link(world: FailoverWorld) -> None:
    stands = await where(world)
    assert [one.text for one in stands.stands] == ["ledger runs in east/cell-1, epoch 7"]
    assert (stands.topics, stands.links) == (dict.fromkeys(TOPICS, "east"), {OUT: "RUNNING"})
    assert stands.of("west") == ()
    show(world, all_running=False)
    assert (await where(world)).stands[0].text == "ledger is DEPLOYING in east/cell-1, epoch 7"
    world.driver["east"].jobs.clear()
    assert (await where(world)).stands[0].text == "ledger is not known to Flink in east/cell-1, epoch 7"
    await LineageStore(world.control, BUCKET).close("payments", "failover-2")
    world.driver["east"].down = True
    await world.take("restore-1")
    stands = await where(world)
    assert stands.topics["payments"] == "closed"
    assert stands.stands[0].text == (
        "ledger is not known (Flink does not answer) in east/cell-1, epoch 7, held by restore-1"
    )
