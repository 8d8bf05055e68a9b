"""Start, stop, offsets and restart of a link: intent before the act, proof after it (O1 to O6, X17, X20)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kit.mirror_world import MirrorWorld, holder
from tidegate.clients.kafka_types import TopicPartition, TxnState
from tidegate.errors import Held, InvalidInput, NoProgress, OperationFailed, Refused, Superseded, Unavailable
from tidegate.mirror import control
from tidegate.mirror.control import end_dead_transactions, fresh_record, restart, set_offsets, start, stop
from tidegate.model.mirror import LinkState, MirrorVerb
from tidegate.model.record import IntentState
from tidegate.registry.links import take_link
from tidegate.registry.ownership import Takeover

P0 = TopicPartition("payments", 0)
NAME = "tidegate-east-to-west"


@pytest.fixture
async def world() -> MirrorWorld:
    return await MirrorWorld.made()


async def test_o5_a_start_is_written_down_before_it_is_done_and_proven_after(world):
    link = world.link()
    seen: list[tuple[str, MirrorVerb]] = []
    connect = world.connect["west"]
    answer = connect._answer

    def watched(request, parts, body):
        if request.method != "GET":
            stood = next(iter(world.store.objects.values())).body.decode()
            seen.append((request.method, MirrorVerb.START if '"verb": "start"' in stood else MirrorVerb.STOP))
        return answer(request, parts, body)

    connect._answer = watched
    tenure = await world.take(link)
    status = await start(link, tenure)

    assert status.running
    assert seen
    assert {verb for _, verb in seen} == {MirrorVerb.START}
    record = await tenure.release()
    assert (record.mirror, record.epoch, record.fence, record.holder) == (LinkState.RUNNING, 1, 1, None)
    assert connect.connectors[NAME].config == dict(link.config)


async def test_syncs_are_kept_and_not_compacted(world):
    link = world.link()
    await start(link, await world.take(link))
    assert "mm2-offset-syncs.east.internal" in await world.kafka["west"].topics()


async def test_x17_a_stop_is_read_back_and_survives_a_second_one(world):
    link = world.link()
    await start(link, await world.take(link, "a"))
    tenure = await world.take(link, "b")
    status = await stop(link, tenure)
    again = await stop(link, tenure, n=2)

    assert status is not None
    assert status.stopped
    assert again is not None
    assert again.stopped
    record = await tenure.release()
    assert (record.mirror, record.epoch, record.fence) == (LinkState.STOPPED, 1, 2)


async def test_x17_a_stop_that_is_accepted_and_not_done_is_not_said_to_be_done(world):
    link = world.link()
    tenure = await world.take(link)
    await start(link, tenure)
    world.connect["west"].deaf_to_stop = True

    with pytest.raises(NoProgress, match="not STOPPED in time"):
        await stop(link, tenure, deadline_s=0.2)

    record = await world.links.read(link.name)
    assert record is not None
    assert record.mirror is LinkState.RUNNING
    assert [intent.verb for intent in record.open_intents()] == [MirrorVerb.STOP]
    with pytest.raises(Refused, match="begun and not known to have ended"):
        await tenure.release()


async def test_x17_connect_away_and_nobody_to_deny_is_not_shut(world):
    link = world.link()
    tenure = await world.take(link)
    await start(link, tenure)
    world.connect["west"].down = True
    with pytest.raises(Unavailable, match="no principal that could be denied"):
        await stop(replace(link, principal=None), tenure, deadline_s=0.2)
    assert tenure.record.mirror is LinkState.RUNNING
    assert [intent.verb for intent in tenure.record.open_intents()] == [MirrorVerb.STOP]


async def test_a_stop_without_a_connector_leaves_nothing_to_stop(world):
    link = world.link()
    tenure = await world.take(link)
    assert await stop(link, tenure) is None
    assert (await tenure.release()).mirror is LinkState.STOPPED


async def test_rebalances_and_lost_answers_do_no_harm(world):
    link = world.link()
    world.connect["west"].conflicts = 3
    world.connect["west"].lose_next = True
    tenure = await world.take(link)
    assert (await start(link, tenure)).running
    world.connect["west"].lose_next = True
    status = await stop(link, tenure)
    assert status is not None
    assert status.stopped
    assert list(world.connect["west"].connectors) == [NAME]


async def test_x20_offsets_are_set_before_anything_runs_and_read_back(world):
    link = world.link()
    tenure = await world.take(link)
    order = world.connect["west"].calls
    await start(link, tenure, offsets={P0: 41})

    assert world.connect["west"].connectors[NAME].offsets == {("east", "payments", 0): 41}
    patched, resumed = order.index(f"PATCH /connectors/{NAME}/offsets"), order.index(f"PUT /connectors/{NAME}/resume")
    assert patched < resumed
    assert (await tenure.release()).offsets == {"payments/0": 41}


async def test_x20_offsets_of_a_running_link_are_set_by_stopping_it_first(world):
    link = world.link()
    await start(link, await world.take(link, "a"))
    await start(link, await world.take(link, "b"), offsets={P0: 41})
    order = world.connect["west"].calls
    assert order.index(f"PUT /connectors/{NAME}/stop") < order.index(f"PATCH /connectors/{NAME}/offsets")
    record = await world.links.read(link.name)
    assert record is not None
    assert (record.epoch, record.fence) == (2, 2)


async def test_x20_offsets_that_are_read_back_otherwise_fail(world):
    link = world.link()
    world.connect["west"].wrong_offsets = True
    with pytest.raises(OperationFailed, match="not those that were set"):
        await start(link, await world.take(link), offsets={P0: 41})
    assert world.connect["west"].connectors[NAME].target == "STOPPED"


async def test_x20_a_start_that_is_taken_up_by_another_finishes_the_offsets_that_were_begun(world):
    link = world.link()
    world.connect["west"].wrong_offsets = True
    with pytest.raises(OperationFailed):
        await start(link, await world.take(link, "a"), offsets={P0: 41})
    world.connect["west"].wrong_offsets = False

    tenure = await world.take(link, "b")
    await start(link, tenure)

    assert world.connect["west"].connectors[NAME].offsets == {("east", "payments", 0): 41}
    states = {intent.verb: intent.state for intent in tenure.record.intents}
    assert tenure.record.open_intents() == ()
    assert states[MirrorVerb.START] is IntentState.DONE


async def test_x20_set_offsets_only_while_stopped(world):
    link = world.link()
    tenure = await world.take(link)
    with pytest.raises(InvalidInput, match="no connector yet"):
        await set_offsets(link, tenure, {P0: 5})
    await start(link, tenure)
    with pytest.raises(Refused, match="only while STOPPED"):
        await set_offsets(link, tenure, {P0: 5})
    await stop(link, tenure)
    with pytest.raises(InvalidInput, match="does not mirror other"):
        await set_offsets(link, tenure, {TopicPartition("other", 0): 5})
    assert await set_offsets(link, tenure, {P0: 5}, n=2) == {P0: 5}


async def test_a_task_that_fails_is_restarted_and_one_that_fails_for_ever_is_told(world):
    link = world.link()
    world.connect["west"].fail_new = 2
    assert (await start(link, await world.take(link, "a"))).running

    world.connect["west"].connectors[NAME].task = "FAILED"
    world.connect["west"].connectors[NAME].failed = 99
    tenure = await world.take(link, "b")
    with pytest.raises(OperationFailed, match="Fenced: other epoch"):
        await restart(link, tenure)


async def test_a_dead_tasks_transaction_is_ended_and_others_are_not(world):
    link = world.link()
    west = world.kafka["west"]
    await start(link, await world.take(link, "a"))
    await west.create_topic("payments", 2)
    ids = [f"{link.group}-{NAME}-0", f"{link.group}-tidegate-other-0", "tg.ledger.out.e00000001.0-1"]
    for name in ids:
        producer = west.producer(name)
        await producer.init()
        await producer.write("payments", 0, [b"x"])

    assert await end_dead_transactions(link) == ids[:1]
    assert await end_dead_transactions(link) == []
    states = await west.describe_transactions(ids)
    assert [states[name].state for name in ids] == [TxnState.COMPLETE_ABORT, TxnState.ONGOING, TxnState.ONGOING]


async def test_restart_ends_the_dead_tasks_transaction_only_where_no_worker_answers(world, monkeypatch):
    link = world.link()
    await start(link, await world.take(link, "a"))
    await world.kafka["west"].create_topic("payments", 2)
    producer = world.kafka["west"].producer(f"{link.group}-{NAME}-0")
    await producer.init()
    await producer.write("payments", 0, [b"x"])
    tenure = await world.take(link, "b")

    await restart(link, tenure)
    assert (await world.kafka["west"].last_stable_offsets(["payments"]))[P0] == 0, "a live task is left alone"
    world.connect["west"].conflicts, world.connect["west"].conflicts_to_reads = 1, True
    await restart(link, tenure, n=3)
    assert (await world.kafka["west"].last_stable_offsets(["payments"]))[P0] == 0, "a worker that rebalances is alive"

    world.connect["west"].starting = True

    async def ended(of):
        world.connect["west"].starting = False  # what the worker waited for is over
        return await end_dead_transactions(of)

    monkeypatch.setattr(control, "end_dead_transactions", ended)
    assert (await restart(link, tenure, n=2)).running
    assert (await world.kafka["west"].last_stable_offsets(["payments"]))[P0] == 2


async def test_x17_a_stopped_link_is_not_brought_back_by_a_restart(world):
    link = world.link()
    tenure = await world.take(link)
    await start(link, tenure)
    await stop(link, tenure)
    with pytest.raises(Refused, match="is STOPPED"):
        await restart(link, tenure)


async def test_x18_the_other_direction_must_be_shut_first(world):
    for topic in ("payments", "balances"):
        await world.kafka["west"].create_topic(topic, 2)
    there, back = world.link(both=True), world.link("west", "east", both=True)
    await start(there, await world.take(there, "a"))

    with pytest.raises(Refused, match="east-to-west leads the other way"):
        await start(back, await world.take(back, "b"))
    await start(back, await world.take(back, "c"), both_ways=True)
    await stop(there, await world.take(there, "d"))
    await start(back, await world.take(back, "e"))


async def test_a_topic_that_the_source_lacks_is_said_before_anything_is_done(world):
    link = world.link("west", "east")
    with pytest.raises(InvalidInput, match="no topic payments, balances in west"):
        await start(link, await world.take(link))
    assert world.connect["east"].connectors == {}


# The record


async def test_o4_an_operation_holds_it_against_others_and_a_hand_does_not(world):
    link = world.link()
    await world.take(link, "failover-1", "FailoverRegion")
    with pytest.raises(Held, match="failover-1"):
        await world.take(link, "mirror-stop-by-hand")
    by_person = Takeover("ana", "it is lost")
    taken = await take_link(world.links, fresh_record(link), holder("mirror-stop-by-hand"), takeover=by_person)
    assert taken.claim.fence == 2
    assert (await world.take(link, "b")).claim.fence == 3, "nobody waits for a command that did not end"


async def test_o4_a_closed_run_yields(world):
    link = world.link()
    await world.take(link, "failover-1", "FailoverRegion")

    async def closed(_):
        return True

    taken = await take_link(world.links, fresh_record(link), holder("b", "R"), holder_closed=closed)
    assert taken.claim.fence == 2


async def test_o8_who_lost_the_link_does_nothing_more(world):
    link = world.link()
    first = await world.take(link, "a")
    await world.take(link, "b")
    with pytest.raises(Superseded, match="fence 1 has become 2"):
        await start(link, first)
    assert world.connect["west"].connectors == {}


async def test_o3_the_same_operation_gets_its_tenure_and_its_intent_back(world):
    link = world.link()
    first = await world.take(link, "a")
    await start(link, first)
    twin = await world.take(link, "a")
    assert twin.claim == first.claim
    await start(link, twin)
    assert (await twin.release()).epoch == 1


async def test_o3_a_lost_answer_of_the_bucket_is_found_out(world):
    link = world.link()
    lost = [1]

    async def after(op, _uri):
        if op == "replace" and lost:
            lost.pop()
            raise Unavailable("answer lost")

    world.store.after = after
    tenure = await world.take(link)
    assert tenure.claim.fence == 1
    assert (await world.links.read(link.name)).seq == 1  # type: ignore[union-attr]


async def test_a_name_is_not_given_to_another_direction(world):
    link = world.link()
    await world.take(link)
    turned = fresh_record(link).model_copy(update={"source": "west", "target": "east"})
    with pytest.raises(Refused, match="east -> west"):
        await take_link(world.links, turned, holder("b"))
