"""Opening, mirroring the other way and going back, over two regions in memory (X18, X20, X21, X24)."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import BACK, BUCKET, OUT, TOPICS
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tests.kit.temporal_world_facts import artifact
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import Refused
from tidegate.failover import cut as cut_module
from tidegate.lineage.model import Gate
from tidegate.model.mirror import LinkState
from tidegate.model.operation import ReplayRange
from tidegate.model.record import IntentState, StartIntent
from tidegate.operation.note import EnsureNote


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    return (await FailoverWorld.made()).patch(monkeypatch)


# -- open


async def test_x24_open_the_producers_go_on_there_and_only_there(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started", "traffic_of_the_job")
    fact = await world.open(world.sides())
    world.pay("west")
    with pytest.raises(Denied):
        world.pay("east")
    assert (fact.turn, fact.topics) == (1, TOPICS.turn)
    assert fact.first_output_at is not None, "the job has written behind the cut"
    known = await world.lineage("payments")
    assert known is not None
    assert (known.gate, known.holder) == (Gate.OPEN, None)


async def test_what_a_mirror_brought_is_not_the_new_jobs_first_output(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started")
    assert (await world.open(world.sides())).first_output_at is None


async def test_x21_what_the_start_supersedes_is_excluded_before_anybody_writes(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started")
    ranges = (
        ReplayRange(topic="balances", partition=1, first=3, last=4, records=2),
        ReplayRange(topic="balances", partition=1, first=6, last=6, records=1),
    )
    for _ in range(2):
        await world.open(world.sides(), ranges)
    known = await world.lineage("balances")
    assert known is not None
    found = [(one.region, one.first, one.last) for one in known.partitions["1"].excluded]
    assert found == [("west", 3, 4), ("west", 6, 6)]
    assert known.partitions["0"].excluded == ()


# -- the mirror the other way


async def test_x20_the_mirror_goes_the_other_way_from_the_cut(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open")
    before = await world.kafka["east"].end_offsets(["balances"])
    fact = await world.back(world.sides())
    assert (fact.started, fact.waiting) == ((BACK,), ())
    assert await world.mirror(BACK) == 3, "what the job has written in the west, and nothing of the east"
    after = await world.kafka["east"].end_offsets(["balances"])
    assert sum(after.values()) - sum(before.values()) == 4  # three records and their marker
    for name in (OUT, BACK):
        link = await world.link(name)
        assert link is not None
        assert link.holder is None


async def test_a_region_that_is_gone_is_waited_for_by_its_link(world: FailoverWorld, monkeypatch: pytest.MonkeyPatch):
    await world.through("close", "stop", "cut", "rebase", "started", "open")
    world.connect["east"].down = True
    monkeypatch.setattr(cut_module, "LINK_S", 0.1)
    fact = await world.back(world.sides())
    assert fact.started == ()
    assert fact.waiting[0].startswith(f"{BACK}: ")
    out = await world.link(OUT)
    assert out is not None
    assert out.holder is None, "the shut link is given back all the same"


# -- the way back


async def test_i7_gone_back_all_is_as_it_was(world: FailoverWorld):
    await world.through("close", "stop", "cut", "reopen")
    world.pay("east")
    with pytest.raises(Denied):
        world.pay("west")
    known = await world.lineage("payments")
    assert known is not None
    assert (known.region, known.gate, known.turn, known.holder) == ("east", Gate.OPEN, 0, None)
    assert await world.mirror(OUT) == 1
    link = await world.link(OUT)
    assert link is not None
    assert (link.mirror, link.holder) == (LinkState.RUNNING, None)


@pytest.mark.parametrize("steps", [[], ["close"], ["close", "stop"]])
async def test_i7_the_way_back_from_anywhere(world: FailoverWorld, steps: list[str]):
    await world.through(*steps)
    await world.reopen(world.sides())
    world.pay("east")
    assert await world.mirror(OUT) >= 1
    link = await world.link(OUT)
    assert link is not None
    assert link.mirror is LinkState.RUNNING


async def test_i7_a_second_failover_after_one_that_went_back(world: FailoverWorld):
    await world.through("close", "stop", "cut", "reopen")
    await world.traffic("east", 3)
    await world.mirror(OUT)
    await world.take("failover-ledger-2", take_over=True)
    await world.through("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open", "back")
    world.pay("west")
    known = await world.lineage("balances")
    assert known is not None
    assert (known.region, known.turn) == ("west", 1)


async def test_x24_once_opened_there_is_no_way_back(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started", "open")
    with pytest.raises(Refused, match="there is no way back but another turn"):
        await world.reopen(world.sides())
    world.pay("west")
    with pytest.raises(Denied):
        world.pay("east")


async def test_o16_a_late_close_after_the_way_back_closes_nothing(world: FailoverWorld):
    await world.through("close", "stop", "cut", "reopen")
    with pytest.raises(Refused, match="comes too late"):
        await world.close(world.sides())
    world.pay("east")


async def test_o16_a_late_cut_after_the_opening_changes_nothing(world: FailoverWorld):
    await world.through("close", "stop", "cut", "rebase", "started", "open")
    before = await world.lineage("payments")
    await world.cut(world.sides())
    assert await world.lineage("payments") == before


async def test_x21_what_an_earlier_start_of_the_tenure_supersedes_is_excluded_at_the_opening(world: FailoverWorld):
    """Its job had committed and was lost; the one after it goes on from there, and has nothing to say of its own."""
    await world.through("close", "stop", "cut", "started")
    took_place = StartIntent(
        id="a" * 32, step="ensure", n=1, job_id="b" * 32, epoch=8, region="west", cell="cell-1",
        artifact=artifact("v1"), parallelism=2, snapshot="s3://west/copy", state=IntentState.DONE,
    )  # fmt: skip
    never_came = took_place.model_copy(update={"id": "c" * 32, "epoch": 9, "state": IntentState.VOID})
    at_home = took_place.model_copy(update={"id": "d" * 32, "region": "east"})
    for start, first in ((took_place, 2), (never_came, 4), (at_home, 5)):
        key = names.manifest_key("ledger", start.id)
        part = ReplayRange(topic="balances", partition=0, first=first, last=first, records=1)
        note = EnsureNote(superseded=(part,), region=start.region)
        await world.control.put(S3Uri(BUCKET, key), note.model_dump_json().encode())
        if start is not never_came:
            await world.control.put(S3Uri(BUCKET, names.manifest_mark(key)), b"{}")
    await world.change(intents=(took_place, never_came, at_home))
    await world.open(world.sides())
    known = await world.lineage("balances")
    assert known is not None
    assert [(one.region, one.first, one.last) for one in known.partitions["0"].excluded] == [("west", 2, 2)]
