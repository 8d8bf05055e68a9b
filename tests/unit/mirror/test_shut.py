"""A mirror that must be stopped and whose Connect does not answer is shut out on the target's Kafka (X17)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.kit.connect_fake import FakeConnect
from tests.kit.eventually import eventually
from tests.kit.kafka_fake_logs import Denied
from tests.kit.mirror_world import MirrorWorld
from tidegate.clients.kafka_types import TopicPartition, TxnState
from tidegate.errors import NoProgress, Refused, Unavailable
from tidegate.mirror import control, shut
from tidegate.mirror.control import restart, start, stop
from tidegate.model.mirror import LinkState, MirrorVerb
from tidegate.model.record import IntentState

NAME = "tidegate-east-to-west"
PREFIX = f"connect-west-{NAME}-"
P0 = TopicPartition("payments", 0)


@pytest.fixture
async def world() -> MirrorWorld:
    """A link that runs; Connect has died with a transaction open, and nobody knows whether its task lives on."""
    world = await MirrorWorld.made()
    world.kafka["east"].write_plain("payments", 0, [1, 2, 3])
    link = world.link()
    tenure = await world.take(link, "began")
    await start(link, tenure)
    await world.connect["west"].mirror(link)
    await tenure.release()
    world.connect["west"].calls.clear()
    return world


async def open_task(world: MirrorWorld):
    """A task of the link, in the middle of a transaction."""
    task = world.kafka["west"].producer(f"{PREFIX}0", "User:mirror")
    await task.init()
    await task.write("payments", 0, ["half"])
    return task


async def looked_at(connect: FakeConnect, times: int = 4) -> None:
    """Returns when a connector that shall stop was looked at so often: it is waited for."""

    async def seen() -> None:
        assert sum(one.endswith("/status") for one in connect.calls) >= times

    await eventually(seen)


async def shut_out(world: MirrorWorld, operation: str = "stopped"):
    world.connect["west"].down = True
    link = world.link()
    tenure = await world.take(link, operation)
    assert await stop(link, tenure, deadline_s=0.1) is None
    return tenure


async def test_x17_it_is_denied_seen_to_be_and_what_was_open_is_ended(world):
    west = world.kafka["west"]
    task = await open_task(world)
    before = await west.last_stable_offsets(["payments"])
    tenure = await shut_out(world)

    assert await west.denied_prefixes("User:mirror") == [PREFIX]
    (state,) = (await west.describe_transactions([f"{PREFIX}0"])).values()
    assert state.state is TxnState.COMPLETE_ABORT
    assert (await west.last_stable_offsets(["payments"]))[P0] == (await west.end_offsets(["payments"]))[P0]
    assert (await west.last_stable_offsets(["payments"]))[P0] > before[P0]
    assert "half" not in west.committed_values("payments", 0)
    # The task lives on, and gets nothing in any more; nor does one that is begun anew.
    for act in (lambda: task.write("payments", 0, ["late"]), task.commit, task.init):
        with pytest.raises(Denied):
            await act()
    assert "late" not in west.committed_values("payments", 0)

    record = await tenure.release()
    assert (record.mirror, record.denied, record.holder) == (LinkState.SHUT_OUT, "mirror", None)


async def test_o5_the_deny_is_written_down_before_it_is_done(world):
    west, stood = world.kafka["west"], []
    call = west._call

    def watched(name: str) -> None:
        if name == "deny_transactional_prefix":
            stood.append(next(iter(world.store.objects.values())).body.decode())
        call(name)

    west._call = watched
    tenure = await shut_out(world)
    assert ['"verb": "deny"' in text and '"principal": "mirror"' in text for text in stood] == [True]
    assert {(one.verb, one.state) for one in tenure.record.intents} == {
        (MirrorVerb.STOP, IntentState.DONE),
        (MirrorVerb.DENY, IntentState.DONE),
    }
    assert all("nothing was open" in one.note for one in tenure.record.intents)


async def test_x17_no_start_and_no_restart_lifts_it_unasked(world):
    await (await shut_out(world)).release()
    world.connect["west"].down = False
    link = world.link()
    tenure = await world.take(link, "again")
    for act in (start, restart):
        with pytest.raises(Refused) as raised:
            await act(link, tenure)
        assert "tidegate mirror start east-to-west" in (raised.value.hint or "")
    assert await world.kafka["west"].denied_prefixes("User:mirror") == [PREFIX]


async def test_x17_a_start_that_is_asked_to_lifts_it_once_connect_has_it_stopped(world):
    await (await shut_out(world)).release()
    connect, west, link = world.connect["west"], world.kafka["west"], world.link()
    connect.down = False
    seen: list[str] = []
    call = west._call

    def watched(name: str) -> None:
        if name == "lift_denied_prefix":
            seen.append(connect.connectors[NAME].target)
        call(name)

    west._call = watched
    tenure = await world.take(link, "again")
    assert (await start(link, tenure, lift_deny=True)).running
    assert seen == ["STOPPED"]
    assert await west.denied_prefixes("User:mirror") == []
    record = await tenure.release()
    assert (record.mirror, record.denied) == (LinkState.RUNNING, None)
    world.kafka["east"].write_plain("payments", 0, [4])
    await connect.mirror(link)
    assert len(west.committed_values("payments", 0)) == 4


async def test_x17_a_stop_when_connect_is_back_is_read_back_and_the_deny_stays(world):
    await (await shut_out(world)).release()
    world.connect["west"].down = False
    link = world.link()
    tenure = await world.take(link, "again")
    status = await stop(link, tenure)
    assert status is not None
    assert status.stopped
    record = await tenure.release()
    assert (record.mirror, record.denied) == (LinkState.STOPPED, "mirror")
    assert await world.kafka["west"].denied_prefixes("User:mirror") == [PREFIX]


async def test_o6_a_deny_that_was_begun_is_finished_by_the_next_stop_and_blocks_a_start(world):
    west, link = world.kafka["west"], world.link()
    world.connect["west"].down = True
    call = west._call

    def dies(name: str) -> None:
        if name == "deny_transactional_prefix":
            raise ConnectionAbortedError
        call(name)

    west._call = dies
    first = await world.take(link, "dies")
    with pytest.raises(ConnectionAbortedError):
        await stop(link, first, deadline_s=0.1)
    west._call = call
    world.connect["west"].down = False

    tenure = await world.take(link, "next")
    assert {one.verb for one in tenure.record.open_intents()} == {MirrorVerb.STOP, MirrorVerb.DENY}
    with pytest.raises(Refused, match="shut out"):
        await start(link, tenure)
    status = await stop(link, tenure)
    assert status is not None
    assert await west.denied_prefixes("User:mirror") == [PREFIX]
    record = await tenure.release()
    assert (record.mirror, record.denied) == (LinkState.STOPPED, "mirror")


async def test_x17_shut_out_twice_is_shut_out_once(world):
    await (await shut_out(world)).release()
    record = await (await shut_out(world, "once more")).release()
    assert (record.mirror, record.denied) == (LinkState.SHUT_OUT, "mirror")


async def test_x17_a_deny_that_does_not_bite_is_not_said_to(world, monkeypatch):
    monkeypatch.setattr(shut, "DENY_S", 0.1)
    west, link = world.kafka["west"], world.link()

    async def lets_in(*_: object) -> bool:
        return False

    west.probe_denied = lets_in
    world.connect["west"].down = True
    tenure = await world.take(link, "in vain")
    with pytest.raises(NoProgress, match="the DENY to bite"):
        await stop(link, tenure, deadline_s=0.1)
    assert tenure.record.mirror is LinkState.RUNNING
    assert MirrorVerb.DENY in {one.verb for one in tenure.record.open_intents()}
    # Without the principal's password nobody can try: then all brokers show it, and that is what is said.
    link = replace(link, login=None)
    assert await stop(link, tenure, n=2, deadline_s=0.1) is None
    assert "every broker shows it" in tenure.record.intents[-1].note


async def test_x17_with_the_targets_kafka_away_too_it_is_not_shut(world, monkeypatch):
    monkeypatch.setattr(shut, "DENY_S", 0.1)
    world.kafka["west"].down = True
    world.connect["west"].down = True
    tenure = await world.take(world.link(), "in vain")
    with pytest.raises(Unavailable):
        await stop(world.link(), tenure, deadline_s=0.1)
    assert tenure.record.mirror is LinkState.RUNNING


@pytest.mark.parametrize("ends", [True, False])
async def test_x17_with_its_source_gone_and_nothing_in_hand_it_is_not_waited_for(world, ends):
    connect, west, link = world.connect["west"], world.kafka["west"], world.link()
    connect.deaf_to_stop = not ends
    told: list[str] = []
    call = west._call

    def watched(name: str) -> None:
        if name == "deny_transactional_prefix":
            told.extend(one for one in connect.calls if one.endswith("/stop"))
        call(name)

    west._call = watched
    tenure = await world.take(link, "unplanned")
    async with asyncio.timeout(10):
        status = await stop(link, tenure, deadline_s=600.0, shut_out_if_slow=True, source_gone=True)
    assert (status is not None) is ends
    assert tenure.record.mirror is (LinkState.STOPPED if ends else LinkState.SHUT_OUT)
    assert await west.denied_prefixes("User:mirror") == ([] if ends else [PREFIX])
    assert told == ([] if ends else [f"PUT /connectors/{NAME}/stop"]), "STOPPED is written first: it stays down"
    if not ends:
        note = next(one.note for one in tenure.record.intents if one.verb is MirrorVerb.STOP)
        assert note.startswith("its connector does not end, nor does its source answer; User:mirror is denied")


async def test_x17_what_it_has_in_hand_of_a_source_that_is_gone_gets_its_time(world, monkeypatch):
    monkeypatch.setattr(control, "GIVEN_UP_S", 0.0)
    connect, west, link = world.connect["west"], world.kafka["west"], world.link()
    connect.deaf_to_stop = True
    task = await open_task(world)
    tenure = await world.take(link, "unplanned")
    stopping = asyncio.create_task(stop(link, tenure, deadline_s=30.0, shut_out_if_slow=True, source_gone=True))
    await looked_at(connect)
    assert await west.denied_prefixes("User:mirror") == []
    await task.commit()
    connect.connectors[NAME].target = "STOPPED"
    assert (await stopping) is not None
    assert "half" in west.committed_values("payments", 0)
    assert await west.denied_prefixes("User:mirror") == []


async def test_x17_what_stays_in_hand_is_ended_when_its_time_is_over(world):
    world.connect["west"].deaf_to_stop = True
    link = world.link()
    await open_task(world)
    tenure = await world.take(link, "unplanned")
    assert await stop(link, tenure, deadline_s=0.5, shut_out_if_slow=True, source_gone=True) is None
    assert "half" not in world.kafka["west"].committed_values("payments", 0)
    assert await world.kafka["west"].denied_prefixes("User:mirror") == [PREFIX]


async def test_x17_one_that_nobody_could_deny_is_waited_for(world, monkeypatch):
    monkeypatch.setattr(control, "GIVEN_UP_S", 0.0)
    connect, link = world.connect["west"], replace(world.link(), principal=None, login=None)
    connect.deaf_to_stop = True
    tenure = await world.take(link, "unplanned")
    stopping = asyncio.create_task(stop(link, tenure, deadline_s=30.0, shut_out_if_slow=True, source_gone=True))
    await looked_at(connect)
    assert not stopping.done()
    connect.connectors[NAME].target = "STOPPED"
    assert (await stopping) is not None
