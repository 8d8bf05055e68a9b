"""A region that was given up answers again: nothing of before can write there; one left as planned is refused (X23)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_logs import Denied
from tests.kit.return_world import AT, BACK, returned
from tests.kit.snapshots import Job
from tests.kit.temporal_world_facts import writer
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Refused
from tidegate.failover.atlarge import is_at_large
from tidegate.failover.look import gave_up, look
from tidegate.failover.plan import plan_return
from tidegate.model.mirror import LinkState
from tidegate.model.operation import Observation
from tidegate.model.record import DeploymentRecord
from tidegate.model.returning import ReturnInput
from tidegate.names import transactional_prefix

STRANGER = "f" * 32


# -- quarantine


async def test_x23_old_epochs_are_denied_and_the_job_that_came_back_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    fact = await world.quarantine(world.sides())
    assert fact.denied == (7,)
    assert fact.cancelled == (f"{7:032x}",)
    assert world.driver["east"].jobs[f"{7:032x}"] is JobState.CANCELED
    assert ("User:producer", "payments") in world.kafka["east"]._no_writes
    assert fact.shut == {"east-to-west": "STOPPED"}


async def test_x23_a_job_that_came_back_under_an_id_that_no_record_names_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    world.driver["east"].jobs[STRANGER] = JobState.RUNNING
    await Job(job_id=STRANGER, epoch=6).checkpoint(world.snapshots["east"], 3)
    fact = await world.quarantine(world.sides())
    assert set(fact.cancelled) == {f"{7:032x}", STRANGER}
    assert fact.denied == (6, 7)
    assert fact.unknown == ()
    assert world.driver["east"].jobs[STRANGER] is JobState.CANCELED


async def test_x23_one_without_a_checkpoint_yet_is_known_by_what_it_was_restored_from(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    world.driver["east"].jobs[STRANGER] = JobState.RESTARTING
    source = await Job(job_id="e" * 32, epoch=7).checkpoint(world.snapshots["east"], 3)
    world.driver["east"].restored_from[STRANGER] = str(source)
    fact = await world.quarantine(world.sides())
    assert STRANGER in fact.cancelled


async def test_x23_anothers_job_is_left_alone_and_one_that_nothing_tells_of_is_named(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    fraud, nameless = "a" * 32, "b" * 32
    world.driver["east"].jobs |= {fraud: JobState.RUNNING, nameless: JobState.RUNNING}
    await Job(deployment="fraud", job_id=fraud).checkpoint(world.snapshots["east"], 3)
    fact = await world.quarantine(world.sides())
    assert fact.cancelled == (f"{7:032x}",)
    assert fact.unknown == (nameless,)
    assert world.driver["east"].jobs[fraud] is JobState.RUNNING


async def test_x23_one_that_comes_back_while_others_are_cancelled_is_cancelled_too(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    await Job(job_id=STRANGER).checkpoint(world.snapshots["east"], 3)

    def comes(call: Any) -> None:
        if call.name == "cancel":
            world.driver["east"].jobs.setdefault(STRANGER, JobState.RUNNING)

    world.gate.each = comes
    fact = await world.quarantine(world.sides())
    assert set(fact.cancelled) == {f"{7:032x}", STRANGER}
    assert set(world.driver["east"].jobs.values()) == {JobState.CANCELED}


# -- what was left as planned


async def test_x23_a_region_that_was_left_as_planned_has_nothing_to_return(monkeypatch: pytest.MonkeyPatch):
    world = (await FailoverWorld.made()).patch(monkeypatch)
    for step in ("close", "stop", "cut", "rebase", "started", "open"):
        await (getattr(world, step)() if step in {"stop", "started"} else getattr(world, step)(world.sides()))
    ask = partial(
        look, world.site("east"), world.site("west"), world.records, (), unplanned=False, wanted=None, returning=True
    )
    assert (await ask()).left_planned is None  # its mirror does not run yet: a return starts it
    await world.back(world.sides())
    seen = await ask()
    assert seen.left_planned == "failover-ledger-1"
    with pytest.raises(Refused, match="left east as planned") as refused:
        plan_return(ReturnInput(deployment="ledger", region="east", requested_by="ana"), _observed(), seen)
    assert refused.value.hint == "to go back there:  tidegate failover deployment ledger --to east"


async def test_x23_one_that_was_given_up_is_to_be_returned(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    seen = await look(
        world.site("east"), world.site("west"), world.records, (), unplanned=False, wanted=None, returning=True
    )
    assert seen.left_planned is None
    plan = plan_return(ReturnInput(deployment="ledger", region="east", requested_by="ana"), _observed(), seen)
    assert [step.name for step in plan.steps] == ["observe", "quarantine", "tail", "mirror", "conclude"]


async def test_x23_it_is_returned_when_its_tail_counts_no_more_and_not_before(monkeypatch: pytest.MonkeyPatch):
    """Until then nothing goes back there: a mirror that runs by then says nothing of the tail in its log."""
    world = await returned(monkeypatch)
    assert gave_up(await world.record(), "east") == "failover-ledger-1"
    await world.quarantine(world.sides())
    assert gave_up(await world.record(), "east") == "failover-ledger-1"
    for _ in range(2):
        await world.apart(world.sides())
        record = await world.record()
        assert gave_up(record, "east") is None
    assert record.gone["east"].returned == world.sides().holder.operation
    assert record.gone["east"].left is not None


def _observed() -> Observation:
    job = writer("v1", 8).model_copy(update={"region": "west"})
    return Observation(
        at=AT, fleet_digest="f", deployment="ledger", region="west", cell="cell-1", tier=1, parallelism=2,
        approval_required=False, record=DeploymentRecord(deployment="ledger", epoch=8, writer=job),
        slots_free=4, slots_total=8, artifacts=(),
    )  # fmt: skip


async def test_x23_nothing_is_mirrored_to_where_an_old_job_is_at_large_before_it_is_in_quarantine(
    monkeypatch: pytest.MonkeyPatch,
):
    """The region answers again while the failover is not through: its job was superseded only, and commits."""
    world = await returned(monkeypatch)
    fact = await world.back(world.sides())
    assert (fact.started, fact.at_large) == ((), ("ledger",))
    assert "west-to-east: ledger could not be shut out in east, and may commit there" in fact.waiting[0]
    link = await world.link(BACK)
    assert link is not None
    assert link.mirror is not LinkState.RUNNING
    assert link.holder is None, "it is given back, and waits"
    await world.zombie()
    await world.quarantine(world.sides())
    tail = await world.apart(world.sides())
    fact = await world.back(world.sides())
    assert (fact.started, fact.waiting, fact.at_large) == ((BACK,), (), ())
    await world.mirror(BACK)
    lineage = await world.lineage("balances")
    assert lineage is not None
    assert tail.zombies == 2
    gone = [one for one in lineage.partitions["0"].excluded if one.region == "east"]
    balances, ends = TopicPartition("balances", 0), await world.kafka["east"].last_stable_offsets(["balances"])
    values = [
        (one.offset, one.value)
        async for one in world.kafka["east"].records(balances, 0, ends[balances])
        if (one.value or b"").startswith(b"zombie-")
    ]
    assert len(values) == 2
    assert all(any(x.first <= at <= x.last for x in gone) for at, _ in values), "each of them is excluded"


async def test_x23_one_that_was_shut_out_or_whose_epoch_is_denied_since_is_not_at_large(
    monkeypatch: pytest.MonkeyPatch,
):
    world = await returned(monkeypatch)
    record = await world.record()
    assert is_at_large(record, "east")
    assert not is_at_large(record, "west")
    assert not is_at_large(record.model_copy(update={"denied_epochs": (7,)}), "east")
    gone = record.gone["east"]
    assert gone.left is not None
    for change in ({"strength": "shut out"}, {"strength": "stopped"}, {"epoch": None}):
        left = gone.left.model_copy(update=change)
        other = record.model_copy(update={"gone": {"east": gone.model_copy(update={"left": left})}})
        assert not is_at_large(other, "east"), change


async def test_x14_a_deny_that_was_taken_away_by_hand_is_set_again(monkeypatch: pytest.MonkeyPatch):
    world = await returned(monkeypatch)
    await world.change(denied_epochs=(7,))  # as a failover has left it that could reach Kafka
    east = world.kafka["east"]
    prefix = transactional_prefix("ledger", "balances-sink", 7)
    assert await east.denied_prefixes("User:ledger") == []
    await world.quarantine(world.sides())
    assert await east.denied_prefixes("User:ledger") == [prefix]
    with pytest.raises(Denied):
        await world.zombie()
