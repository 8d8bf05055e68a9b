"""X5, X7: what the keeper of recovery points hears of a mirror."""

from __future__ import annotations

from tests.kit.mirror_world import MirrorWorld
from tidegate.clients.kafka_types import TopicPartition
from tidegate.mirror.control import start
from tidegate.mirror.watch import LinkWatch
from tidegate.points.keep import Mirror

P0 = TopicPartition("payments", 0)


async def test_x5_x7_passed_and_holes():
    world = await MirrorWorld.made()
    link = world.link()
    await start(link, await world.take(link))
    watch: Mirror = LinkWatch(link)
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

    assert await LinkWatch(link).holes() == ["payments-2: west has no such partition"]
