"""X20: a start with offsets that is done again never sets them back behind what has come."""

from __future__ import annotations

import pytest

from tests.kit.mirror_world import MirrorWorld
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Unavailable
from tidegate.mirror import control
from tidegate.mirror.control import start, stop
from tidegate.mirror.link import MirrorLink
from tidegate.registry.links import LinkTenure

P0, P1 = TopicPartition("payments", 0), TopicPartition("payments", 1)
NAME = "tidegate-west-to-east"


@pytest.fixture
async def world() -> MirrorWorld:
    """The west lives: its log holds ten records of the east's time, and those that came since are mirrored back."""
    made = await MirrorWorld.made()
    for topic in ("payments", "balances"):
        await made.kafka["west"].create_topic(topic, 2)
    made.kafka["west"].write_plain("payments", 0, [f"old-{n}".encode() for n in range(10)])
    return made


def _offsets(world: MirrorWorld) -> dict[tuple[str, int], int]:
    known = world.connect["east"].connectors[NAME].offsets
    return {(topic, partition): offset for (_, topic, partition), offset in known.items()}


async def _dies_before_it_is_closed(link: MirrorLink, tenure: LinkTenure, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(control, "_run", _gone)
        with pytest.raises(Unavailable):
            await start(link, tenure, step="back", offsets={P0: 9})


async def _came(world: MirrorWorld) -> list[object]:
    return [getattr(one, "value", one) for one in world.kafka["east"].committed_values("payments", 0)]


async def test_x20_what_has_come_since_the_first_attempt_does_not_come_again(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
):
    link = world.link("west", "east")
    tenure = await world.take(link, "failover-1", "FailoverDeployment")
    await _dies_before_it_is_closed(link, tenure, monkeypatch)
    world.kafka["west"].write_plain("payments", 0, [b"new-1", b"new-2"])
    assert await world.connect["east"].mirror(link) == 2
    again = await world.take(link, "failover-1", "FailoverDeployment")
    await start(link, again, step="back", offsets={P0: 9})
    assert _offsets(world)["payments", 0] == 11
    assert await world.connect["east"].mirror(link) == 0
    assert await _came(world) == [b"new-1", b"new-2"]


async def test_x20_where_nothing_has_come_the_offsets_are_set_as_asked(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
):
    link = world.link("west", "east")
    tenure = await world.take(link, "failover-1", "FailoverDeployment")
    await _dies_before_it_is_closed(link, tenure, monkeypatch)
    again = await world.take(link, "failover-1", "FailoverDeployment")
    await start(link, again, step="back", offsets={P0: 9})
    assert _offsets(world)["payments", 0] == 9
    assert ("payments", 1) not in _offsets(world), "one that was empty at the cut is mirrored from its start"


async def test_x20_each_partition_by_its_own_log(world: MirrorWorld, monkeypatch: pytest.MonkeyPatch):
    world.kafka["west"].write_plain("payments", 1, [b"x"] * 5)
    link = world.link("west", "east")
    tenure = await world.take(link, "failover-1", "FailoverDeployment")
    with monkeypatch.context() as patch:
        patch.setattr(control, "_run", _gone)
        with pytest.raises(Unavailable):
            await start(link, tenure, step="back", offsets={P0: 9, P1: 4})
    world.kafka["west"].write_plain("payments", 1, [b"y"])
    await world.connect["east"].mirror(link)
    await start(link, tenure, step="back", offsets={P0: 9, P1: 4})
    assert (_offsets(world)["payments", 0], _offsets(world)["payments", 1]) == (9, 5)


async def test_x20_a_fresh_reversal_of_a_link_that_ran_before_goes_on_from_its_own_cut(world: MirrorWorld):
    """East, west, east, west: the second reversal sets offsets that lie before nothing that has come."""
    link = world.link("west", "east")
    tenure = await world.take(link, "failover-1", "FailoverDeployment")
    await start(link, tenure, step="back", offsets={P0: 9})
    world.kafka["west"].write_plain("payments", 0, [b"new-1"])
    await world.connect["east"].mirror(link)
    await stop(link, tenure, step="turned", n=2)
    await tenure.release()
    world.kafka["west"].write_plain("payments", 0, [b"of-the-east"] * 3)
    second = await world.take(link, "failover-3", "FailoverDeployment")
    await start(link, second, step="back", offsets={P0: 13})
    assert _offsets(world)["payments", 0] == 13, "ahead of all that came: the cut counts"


async def test_x20_a_start_that_was_closed_is_not_set_again(world: MirrorWorld):
    link = world.link("west", "east")
    tenure = await world.take(link, "failover-1", "FailoverDeployment")
    await start(link, tenure, step="back", offsets={P0: 9})
    world.kafka["west"].write_plain("payments", 0, [b"new-1"])
    await world.connect["east"].mirror(link)
    calls = len([call for call in world.connect["east"].calls if call.startswith("PATCH")])
    await start(link, tenure, step="back", offsets={P0: 9})
    assert len([call for call in world.connect["east"].calls if call.startswith("PATCH")]) == calls
    assert _offsets(world)["payments", 0] == 10


async def _gone(*_: object) -> None:
    raise Unavailable("the process is gone")
