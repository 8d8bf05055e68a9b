"""Where consumer groups stand is written down while home is there (X25), and what stands against that is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.kafka_fake import FakeKafka
from tests.kit.kept_job import Scene
from tests.kit.objects import MemoryStore
from tidegate.clients.kafka_types import TopicPartition
from tidegate.clients.objects import PreconditionFailed, S3Uri
from tidegate.errors import BasisChanged, Refused, Unavailable
from tidegate.model.fleet import Consumer
from tidegate.points.groups import GroupKeeper, GroupStore, KeptGroup, groups_key

B0, B1, P0 = TopicPartition("balances", 0), TopicPartition("balances", 1), TopicPartition("payments", 0)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHOP = Consumer(group="shop", topics=("balances",))


def _clock() -> Iterator[datetime]:
    at = AT
    while True:
        yield at
        at += timedelta(seconds=2)


class Rig:
    def __init__(self, *consumers: Consumer) -> None:
        self.kafka, self.control = FakeKafka(), MemoryStore()
        self.store = GroupStore(self.control, "tidegate")
        times = _clock()
        self.keeper = GroupKeeper(self.kafka, self.store, "ledger", "east", consumers, lambda: next(times))

    async def kept(self, group: str) -> KeptGroup:
        found = await self.store.read("ledger", "east")
        assert found is not None
        return found.groups[group]


async def test_x25_each_look_writes_where_a_group_stands_and_when_that_was_seen():
    rig = Rig(SHOP)
    rig.kafka.commit_group("shop", {B0: 2, P0: 9})
    assert await rig.keeper.keep() == []
    assert await rig.kept("shop") == KeptGroup(at=AT, offsets={"balances/0": 2})
    rig.kafka.commit_group("shop", {B0: 4, B1: 1})
    await rig.keeper.keep()
    assert await rig.kept("shop") == KeptGroup(at=AT + timedelta(seconds=2), offsets={"balances/0": 4, "balances/1": 1})
    assert (await rig.kept("shop")).positions() == {B0: 4, B1: 1}


async def test_x25_a_group_that_is_named_twice_is_one_group():
    rig = Rig(SHOP, Consumer(group="shop", topics=("payments",)))
    rig.kafka.commit_group("shop", {B0: 2, P0: 9})
    await rig.keeper.keep()
    assert (await rig.kept("shop")).offsets == {"balances/0": 2, "payments/0": 9}


async def test_x25_without_a_group_nothing_is_asked_nor_written():
    rig = Rig()
    assert await rig.keeper.keep() == []
    assert (rig.kafka.calls, await rig.store.read("ledger", "east")) == ([], None)


async def test_x25_a_group_that_we_may_not_read_is_told_and_the_others_are_kept(monkeypatch: pytest.MonkeyPatch):
    rig = Rig(SHOP, Consumer(group="secret", topics=("balances",)))
    rig.kafka.commit_group("shop", {B0: 2})
    ask = rig.kafka.group_offsets

    async def denied(group: str) -> dict[TopicPartition, int]:
        if group == "secret":
            raise Refused("Kafka does not let User:admin do this (GroupAuthorizationFailedError)")
        return await ask(group)

    monkeypatch.setattr(rig.kafka, "group_offsets", denied)
    (note,) = await rig.keeper.keep()
    assert note.startswith("consumer group secret is not kept: Kafka does not let User:admin")
    assert (await rig.kept("shop")).offsets == {"balances/0": 2}


async def test_x25_what_was_known_stays_when_a_group_cannot_be_asked_any_more():
    rig = Rig(SHOP)
    rig.kafka.commit_group("shop", {B0: 2})
    await rig.keeper.keep()
    rig.kafka.down = True
    with pytest.raises(Unavailable):
        await rig.keeper.keep()
    assert await rig.kept("shop") == KeptGroup(at=AT, offsets={"balances/0": 2})


async def test_o3_x25_a_write_whose_answer_was_lost_is_found_done(monkeypatch: pytest.MonkeyPatch):
    rig = Rig(SHOP)
    rig.kafka.commit_group("shop", {B0: 2})
    create = rig.control.create

    async def lost(*args, **named):
        await create(*args, **named)
        raise Unavailable("the answer was lost")

    monkeypatch.setattr(rig.control, "create", lost)
    assert await rig.keeper.keep() == []


async def test_o1_x25_a_second_keeper_is_refused(monkeypatch: pytest.MonkeyPatch):
    rig = Rig(SHOP)
    await rig.keeper.keep()

    async def other(*_, **__):
        raise PreconditionFailed("412")

    monkeypatch.setattr(rig.control, "replace", other)
    rig.kafka.commit_group("shop", {B0: 2})
    with pytest.raises(BasisChanged, match=r"groups/ledger/east.json was written by somebody else"):
        await rig.keeper.keep()


async def test_x25_what_is_damaged_is_named_and_not_written_over():
    rig = Rig(SHOP)
    uri = S3Uri("tidegate", groups_key("ledger", "east"))
    await rig.control.put(uri, b"{}")
    (note,) = await rig.keeper.keep()
    assert note.startswith("consumer groups are not kept: s3://tidegate/groups/ledger/east.json: damaged")
    assert (await rig.control.get(uri)).body == b"{}"


async def test_x25_the_keeper_of_recovery_points_keeps_them_each_time():
    scene = Scene()
    await scene.begin()
    keeper = scene.keeper()
    asked = 0

    async def keep() -> list[str]:
        nonlocal asked
        asked += 1
        return [f"consumer group shop is not kept: {asked}"]

    keeper.keep_groups = keep
    kept = await keeper.cycle()
    assert "consumer group shop is not kept: 1" in kept.notes
    await keeper.cycle()
    assert asked == 2
