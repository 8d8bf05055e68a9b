"""X5, X7: what the keeper of recovery points hears of a mirror."""

from __future__ import annotations

from pathlib import Path

from tests.kit.mirror_world import MirrorWorld
from tidegate.clients.kafka_types import TopicPartition
from tidegate.mirror.control import start
from tidegate.mirror.watch import LinkWatch, link_of
from tidegate.model.fleetfile import load_fleet
from tidegate.points.keep import Mirror

P0 = TopicPartition("payments", 0)


async def test_x5_x7_passed_and_holes():
    world = await MirrorWorld.made()
    link = world.link()
    await start(link, await world.take(link))
    watch: Mirror = LinkWatch(link, ["payments"])
    assert await watch.holes() == []

    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    await world.connect["west"].mirror(link, at_most=5)
    assert await watch.passed({P0: 5}) == {P0: True}
    assert await watch.passed({P0: 6}) == {P0: False}
    assert await watch.holes() == []

    world.kafka["east"]._log(P0).start = 10
    assert await watch.holes() == ["payments-0: east lost offsets 5 to 9 before they came"]


async def test_x7_a_partition_that_the_target_lacks_is_named():
    world = await MirrorWorld.made(partitions=3)
    link = world.link()
    await world.kafka["west"].create_topic("payments", 2)

    assert await LinkWatch(link, ["payments"]).holes() == ["payments-2: west has no such partition"]


async def test_x7_topics_are_described_on_both_sides_and_one_that_is_gone_is_no_error():
    world = await MirrorWorld.made()
    link = world.link()
    await start(link, await world.take(link))
    watch: Mirror = LinkWatch(link, ["payments"])
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    await world.connect["west"].mirror(link, at_most=5)
    first = await watch.described()
    assert {region: list(found) for region, found in first.items()} == {"east": ["payments"], "west": ["payments"]}
    assert await watch.described() == first

    world.kafka["east"].delete_topic("payments")
    assert (await watch.described())["east"] == {}
    assert await watch.holes() == []
    await world.kafka["east"].create_topic("payments", 3)
    again = (await watch.described())["east"]["payments"]
    assert (again.partitions, again.id == first["east"]["payments"].id) == (3, False)


async def test_x7_topics_of_other_deployments_do_not_count():
    world = await MirrorWorld.made()
    link = world.link()
    await start(link, await world.take(link))
    world.kafka["east"].write_plain("payments", 0, [b"a"] * 20)
    await world.connect["west"].mirror(link, at_most=5)
    world.kafka["east"]._log(P0).start = 10

    assert await LinkWatch(link, ["payments", "not-mirrored"]).holes() != []
    assert await LinkWatch(link, ["balances"]).holes() == []


def test_x5_the_link_of_a_deployment_brings_all_its_outputs():
    fleet = load_fleet(Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml").fleet
    name = link_of(fleet, "ledger", "east", "west")
    assert name is not None
    mirror = fleet.mirror(name)
    assert (mirror.source, mirror.target) == ("east", "west")

    less = mirror.model_copy(update={"topics": tuple(t for t in mirror.topics if t != "balances")})
    assert link_of(fleet.model_copy(update={"mirrors": {name: less}}), "ledger", "east", "west") is None
    assert link_of(fleet, "ledger", "east", "east") is None
