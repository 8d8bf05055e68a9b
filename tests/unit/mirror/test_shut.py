"""A mirror that must be stopped and whose Connect does not answer is shut out on the target's Kafka (X17)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kit.kafka_fake import Denied
from tests.kit.mirror_world import MirrorWorld
from tidegate.clients.kafka_types import TopicPartition, TxnState
from tidegate.errors import NoProgress, Refused, Unavailable
from tidegate.mirror import shut
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
    return world


async def open_task(world: MirrorWorld):
    """A task of the link, in the middle of a transaction."""
    task = world.kafka["west"].producer(f"{PREFIX}0", "User:mirror")
    await task.init()
    await task.write("payments", 0, ["half"])
    return task


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
