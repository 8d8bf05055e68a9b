"""The tail of a region that returns: fed once or held, written out, and said not to count in its log (X21 to X23)."""

from __future__ import annotations

import json

import pytest

from tests.kit.failover_regions import FLEET
from tests.kit.return_world import AT, BACK, ReturnWorld, fed, fleet_with, returned
from tidegate.clients.kafka_types import TopicPartition
from tidegate.failover.feeding import place_fed
from tidegate.lineage.read import counted
from tidegate.mirror.provenance import of_headers
from tidegate.model.fleet import RecordId
from tidegate.model.record import Gone

# -- the tail


async def test_x23_the_tail_is_fed_to_its_partitions_with_its_own_times(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    stood = {(tp, one.offset): one async for tp, one in _east(world)}
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.inputs, fact.fed, fact.held, fact.ahead, fact.known) == (8, 8, 0, 0, 0)
    assert sorted(await fed(world)) == [(p, n) for p in (0, 1) for n in range(6, 10)]
    for record in await world.payments("west"):
        place = place_fed(record)
        if place is not None:
            source = stood[place.partition, place.offset]
            assert (record.timestamp_ms, record.value) == (source.timestamp_ms, source.value)
            assert of_headers(record.headers) is None


async def test_x22_what_the_state_had_read_is_not_fed(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, read=(8, 6))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.ahead, fact.fed) == (2, 6)
    assert sorted(await fed(world)) == [(0, 8), (0, 9), *((1, n) for n in range(6, 10))]


async def test_x22_what_the_state_had_read_counts_where_it_stands_once_for_a_reader_over_both_logs(
    monkeypatch: pytest.MonkeyPatch,
):
    world = await returned(monkeypatch, read=(8, 6))
    await world.quarantine(world.sides())
    first = await world.apart(world.sides())
    lineage = await world.lineage("payments")
    assert lineage is not None
    assert [lineage.partitions[n].segments[0].end for n in "01"] == [8, 6]
    assert [(x.first, x.last) for n in "01" for x in lineage.partitions[n].excluded] == [(8, 9), (6, 9)]
    assert [[one.end for one in counted(lineage.partitions[n]) if one.region == "east"] for n in "01"] == [[8], [6]]
    again = await world.apart(world.sides())
    assert await world.lineage("payments") == lineage
    assert (again.fed, again.held) == (first.fed, first.held)


async def test_x22_what_only_one_copy_had_read_does_not_count_where_it_stands(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, read=(8, 6))
    other = await world.copy_of("ledger", {0: 7, 1: 6})
    gone = (await world.record()).gone["east"]
    await world.change(gone={"east": gone.model_copy(update={"snapshots": (*gone.snapshots, other)})})
    await world.quarantine(world.sides())
    await world.apart(world.sides())
    lineage = await world.lineage("payments")
    assert lineage is not None
    assert [lineage.partitions[n].segments[0].end for n in "01"] == [7, 6]
    assert (7, 9) in [(x.first, x.last) for x in lineage.partitions["0"].excluded]


async def test_x22_what_the_state_had_read_and_a_producer_sent_again_is_not_fed_either(monkeypatch: pytest.MonkeyPatch):
    world = (await ReturnWorld.made()).patch(monkeypatch)
    await world.lost(read=(8, 6))
    await world.answers()
    again = [record.value for record in await world.payments("east") if record.offset == 6][:1]
    world.kafka["east"].write_plain("payments", 0, again, "User:producer")
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.ahead, fact.known, fact.fed) == (2, 1, 6)
    assert (0, 10) not in await fed(world)


async def test_x22_that_is_known_after_another_start_in_the_new_region(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, read=(8, 6))
    await world.again()
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.ahead, fact.fed) == (2, 6)
    assert (0, 6) not in await fed(world)


async def test_x22_where_the_copy_does_not_tell_it_is_held_and_not_guessed(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, read=(8, 6))
    for uri in [one for one in world.snapshots["west"].objects if one.key.endswith("rebased.json")]:
        del world.snapshots["west"].objects[uri]
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.fed, fact.held) == (0, 8)
    assert "nobody can tell whether ledger had read them" in fact.notes[0]
    assert await fed(world) == {}


async def test_x22_a_record_that_does_not_name_the_copy_is_no_reason_to_guess(monkeypatch: pytest.MonkeyPatch):
    """As an earlier version left it, after another start."""
    world = await returned(monkeypatch, read=(8, 6))
    await world.again()
    await world.change(gone={})
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.fed, fact.held) == (0, 8)
    assert "its record does not say from which copy it went on" in fact.notes[0]


async def test_x22_two_copies_since_hold_what_only_one_of_them_had_read(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, read=(8, 6))
    other = await world.copy_of("ledger", {0: 7, 1: 6})
    record = await world.record()
    gone = record.gone["east"]
    await world.change(gone={"east": gone.model_copy(update={"snapshots": (*gone.snapshots, other)})})
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.ahead, fact.held, fact.fed) == (1, 1, 6)
    assert (0, 7) not in await fed(world)


async def test_x23_what_producers_sent_again_is_not_fed_and_what_stands_twice_is_fed_once(
    monkeypatch: pytest.MonkeyPatch,
):
    world = (await ReturnWorld.made()).patch(monkeypatch)
    await world.lost()
    await world.answers()
    again = [record.value for record in await world.payments("east") if record.offset == 7]
    world.kafka["west"].write_plain("payments", 1, again, "User:producer")
    world.kafka["east"].write_plain("payments", 0, [b"twice", b"twice"], "User:producer")
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.inputs, fact.known, fact.fed) == (10, 3, 7)
    values = [record.value for record in await world.payments("west")]
    assert len(values) == len(set(values))


async def test_x23_one_without_an_id_is_held(monkeypatch: pytest.MonkeyPatch):
    fleet = fleet_with(record_id=RecordId(header="payment-id"))
    world = await returned(monkeypatch, fleet)
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.fed, fact.held) == (0, 8)
    assert "they carry no id by record_id" in fact.notes[0]


async def test_x23_all_that_stands_beyond_the_cut_counts_no_more_and_comes_back_once(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    await world.quarantine(world.sides())
    await world.apart(world.sides())
    await world.back(world.sides())
    await world.mirror(BACK)
    east, west = await world.counted("east"), await world.counted("west")
    assert sorted(east) == sorted(west)
    assert len(west) == len(set(west)) == 12 + 8 + 2


async def test_x23_returned_twice_nothing_is_fed_or_mirrored_twice(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(tail="hold"))
    await world.quarantine(world.sides())
    first = await world.apart(world.sides())
    await world.back(world.sides())
    await world.mirror(BACK)
    assert (first.held, first.fed) == (8, 0)
    await world.take("return-ledger-2", take_over=True)
    world.asked = "feed"
    await world.quarantine(world.sides())
    second = await world.apart(world.sides())
    await world.back(world.sides())
    await world.mirror(BACK)
    assert (second.inputs, second.fed, second.held) == (8, 8, 0)
    east = await world.counted("east")
    assert sorted(east) == sorted(await world.counted("west"))
    assert len(east) == len(set(east)) == 22


async def test_x23_what_retention_took_of_the_tail_is_said(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    world.kafka["east"].delete_before(TopicPartition("payments", 0), 8)
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert fact.fed == 6
    assert "payments-0 in east has lost 2 offsets beyond the cut to its retention" in fact.notes[0]


# -- a topic that several read


def gone(copy: str | None) -> Gone:
    return Gone(to="west", snapshots=(copy,), at=AT)


async def test_x23_a_shared_input_is_held_if_one_that_reads_it_says_so(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(fraud={"tail": "hold"}))
    await world.other("fraud", east=gone(await world.copy_of("fraud", {0: 6, 1: 6})))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.fed, fact.held) == (0, 8)
    assert fact.notes[0] == (
        "8 inputs were not fed: deployments.fraud.tail is hold, which counts for ledger, too: they read the same topic"
    )


async def test_x22_a_shared_input_that_only_one_had_read_is_fed_to_neither(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(fraud={}))
    await world.other("fraud", east=gone(await world.copy_of("fraud", {0: 8, 1: 6})))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.fed, fact.held) == (6, 2)
    assert not {(0, 6), (0, 7)} & set(await fed(world))
    assert any(
        "2 inputs were not fed: fraud had read them before the region was lost (X22), and ledger had not" in note
        for note in fact.notes
    )
    assert "payments was judged for all that read it, and is fed once: ledger, fraud" in fact.notes


async def test_x22_a_shared_input_that_all_had_read_is_not_fed(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(fraud={}), read=(8, 6))
    await world.other("fraud", east=gone(await world.copy_of("fraud", {0: 9, 1: 6})))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.ahead, fact.held, fact.fed) == (2, 1, 5)


async def test_x23_a_deployment_that_never_ran_has_no_say(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(fraud={"tail": "hold"}))
    await world.quarantine(world.sides())
    assert (await world.apart(world.sides())).fed == 8


async def test_x23_record_ids_that_differ_tell_nothing(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(fraud={"record_id": RecordId(column=1)}))
    await world.other("fraud", east=gone(await world.copy_of("fraud", {0: 6, 1: 6})))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert fact.fed == 0
    assert "different record_id" in fact.notes[0]


async def test_x23_a_persons_word_counts_instead_of_the_fleet_files(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(tail="by-hand"))
    world.asked = "feed"
    await world.quarantine(world.sides())
    assert (await world.apart(world.sides())).fed == 8


# -- outputs


async def test_x23_what_the_old_job_committed_after_the_cut_is_counted_apart(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    await world.zombie(3)
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert fact.zombies == 3
    assert fact.outputs > 3
    before = await world.apart(world.sides())
    assert before == fact


async def test_x21_what_another_deployment_wrote_is_superseded_and_never_fed(monkeypatch: pytest.MonkeyPatch):
    ledger = FLEET.deployment("ledger")
    (sink,) = ledger.sinks
    (source,) = ledger.sources
    booking = ledger.model_copy(
        update={
            "sources": (source.model_copy(update={"topics": ("orders",)}),),
            "sinks": (sink.model_copy(update={"uid": "payments-sink", "topics": ("payments",)}),),
        }
    )
    fleet = FLEET.model_copy(update={"deployments": {"ledger": ledger, "booking": booking}})
    world = await returned(monkeypatch, fleet)
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert (fact.inputs, fact.fed, fact.held) == (0, 0, 0)
    assert fact.outputs >= 8
    assert await fed(world) == {}


# -- what is held


async def test_x23_what_is_held_is_written_out_for_a_person(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch, fleet_with(tail="hold"))
    await world.quarantine(world.sides())
    fact = await world.apart(world.sides())
    assert fact.held == 8
    objects = await world.held()
    (key,) = [one for one in objects if one.endswith("/index.json")]
    assert fact.held_at == f"s3://tidegate/{key}"
    assert key.startswith("tails/ledger/return-ledger-1/")
    index = json.loads(objects[key])
    assert [(one["partition"], one["first"], one["last"], one["count"]) for one in index["partitions"]] == [
        (0, 6, 9, 4),
        (1, 6, 9, 4),
    ]
    lines = [
        json.loads(line)
        for one in index["partitions"]
        for part in one["objects"]
        for line in objects[part["key"]].splitlines()
    ]
    east = {(record.offset, record.value) for record in await world.payments("east") if record.offset >= 6}
    assert {(line["offset"], line["value"].encode()) for line in lines} == east
    assert {line["at"] for line in lines} == {"2023-11-14T22:13:20+00:00"}
    assert {line["why"] for line in lines} == {"deployments.ledger.tail is hold"}
    assert "tidegate return region east --deployment ledger --tail feed" in fact.notes[-1]


async def _east(world: ReturnWorld):
    for partition in (0, 1):
        tp = TopicPartition("payments", partition)
        end = (await world.kafka["east"].end_offsets(["payments"]))[tp]
        async for record in world.kafka["east"].records(tp, 0, end):
            yield partition, record
