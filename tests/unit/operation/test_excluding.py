"""What is written again counts no more for who reads by the lineage, in whichever region it was written (X21, X26)."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import BUCKET
from tests.kit.failover_world import FailoverWorld
from tidegate.clients.kafka_types import TopicPartition
from tidegate.lineage.read import counted
from tidegate.lineage.store import LineageStore
from tidegate.mirror.provenance import of_headers
from tidegate.model.operation import ReplayRange
from tidegate.operation.excluding import exclude_superseded


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    """The topics live in the west; what the east wrote of them has been mirrored there."""
    made = (await FailoverWorld.made()).patch(monkeypatch)
    for step in ("close", "stop", "cut", "rebase", "started", "traffic_of_the_job", "open", "back"):
        act = getattr(made, step)
        await (act() if step in {"stop", "started", "traffic_of_the_job"} else act(made.sides()))
    return made


async def _log(world: FailoverWorld) -> list[tuple[int, int | None]]:
    """Of balances/0 in the west: each record's offset, and where it stood in the east."""
    tp = TopicPartition("balances", 0)
    end = (await world.kafka["west"].last_stable_offsets(["balances"]))[tp]
    records = [record async for record in world.kafka["west"].records(tp, 0, end)]
    came = [of_headers(record.headers) for record in records]
    return [(one.offset, known.origin.offset if known else None) for one, known in zip(records, came, strict=True)]


async def test_x26_what_is_superseded_counts_no_more_where_it_is_and_where_it_was_written(world: FailoverWorld):
    log = await _log(world)
    mirrored = [(at, stood) for at, stood in log if stood is not None]
    native = [at for at, stood in log if stood is None]
    assert len(mirrored) > 3, log
    assert native, log
    first = mirrored[2]
    part = ReplayRange(topic="balances", partition=0, first=first[0], last=native[-1], records=1)
    await exclude_superseded(world.sides().away, [part])
    lineage = await world.lineage("balances")
    assert lineage is not None
    ranges = {(x.region, x.first, x.last) for x in lineage.partitions["0"].excluded}
    assert ranges == {("west", first[0], native[-1]), ("east", first[1], mirrored[-1][1])}
    stretches = counted(lineage.partitions["0"])
    assert [one.region for one in stretches] == ["east", "west"]
    assert [stood for _, stood in mirrored if stood is not None and stretches[0].counts(stood)] == [
        stood for _, stood in mirrored[:2]
    ]
    assert not any(stretches[1].counts(at) for at in native)
    (alone,) = [one for one in counted(lineage.partitions["0"], "west") if one.first == 0]
    assert [at for at, _ in mirrored if alone.counts(at)] == [at for at, _ in mirrored[:2]]

    await exclude_superseded(world.sides().away, [part])
    assert await world.lineage("balances") == lineage, "said again, it stands once"


async def test_x26_a_topic_without_a_lineage_or_that_is_being_turned_is_left_to_who_turns_it(world: FailoverWorld):
    part = ReplayRange(topic="nobody-turned-it", partition=0, first=0, last=3, records=4)
    await exclude_superseded(world.sides().away, [part])
    assert await world.lineage("nobody-turned-it") is None
    here = part.model_copy(update={"topic": "balances"})
    before = await world.lineage("balances")
    await exclude_superseded(world.sides().home, [here])
    assert await world.lineage("balances") == before, "its log in the east is not where it lives"
    closed = await LineageStore(world.control, BUCKET).close("balances", "failover-ledger-2/r1")
    await exclude_superseded(world.sides().away, [here])
    assert await world.lineage("balances") == closed
