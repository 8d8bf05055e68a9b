"""O1 to O5, O8, O9: who holds a deployment, against the store's whole bad behaviour."""

from __future__ import annotations

import pytest

from tests.kit.objects import MemoryStore
from tidegate.clients.objects import S3Uri
from tidegate.errors import BasisChanged, Held, Refused, Superseded, Unavailable
from tidegate.model.record import CancelIntent, Holder, IntentState, RecordState
from tidegate.registry.ownership import Claim, Takeover, Tenure, new_holder, take
from tidegate.registry.records import RecordStore

LEDGER = S3Uri("control", "own/ledger.json")


def holder(name: str, run: str = "r1") -> Holder:
    return new_holder(
        operation=name, run_id=run, runbook="UpgradeDeployment", cluster_id="c", namespace="default", who="ana", why="x"
    )


def cancel(number: int) -> CancelIntent:
    return CancelIntent(id=f"i{number}", step="cancel", n=1, job_id="j", epoch=number)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("control")


@pytest.fixture
def records(store: MemoryStore) -> RecordStore:
    return RecordStore(store, "control", control_wait_s=0.5)


async def test_o2_fence_rises_at_each_take_and_not_at_release(records: RecordStore) -> None:
    first = await take(records, "ledger", holder("a"), expected_fence=0)
    await first.release()
    second = await take(records, "ledger", holder("b"), expected_fence=1)

    assert (first.claim.fence, second.claim.fence) == (1, 2)


async def test_o4_second_operation_is_refused_and_told_who_holds_it(records: RecordStore) -> None:
    await take(records, "ledger", holder("a"), expected_fence=0)

    with pytest.raises(Held, match="held by a ") as refused:
        await take(records, "ledger", holder("b"), expected_fence=1)
    assert "tidegate ops watch a" in (refused.value.hint or "")


async def test_o4_closed_run_needs_nobodys_word(records: RecordStore) -> None:
    await take(records, "ledger", holder("a"), expected_fence=0)

    async def closed(_: Holder) -> bool:
        return True

    tenure = await take(records, "ledger", holder("b"), expected_fence=1, holder_closed=closed)
    assert (await tenure.read()).holder.operation == "b"  # type: ignore[union-attr]


async def test_o9_halted_is_not_taken_in_silence_even_if_its_run_looks_closed(records: RecordStore) -> None:
    first = await take(records, "ledger", holder("a"), expected_fence=0)
    await first.halt()

    async def closed(_: Holder) -> bool:
        return True

    with pytest.raises(Held, match="halted"):
        await take(records, "ledger", holder("b"), expected_fence=1, holder_closed=closed)
    second = await take(records, "ledger", holder("b"), expected_fence=1, takeover=Takeover("bo", "a is stuck"))
    with pytest.raises(Superseded):
        await first.unhalt()
    assert (await second.read()).state is RecordState.HELD


async def test_take_again_by_the_same_operation_is_the_same_take(records: RecordStore) -> None:
    first = await take(records, "ledger", holder("a"), expected_fence=0)
    again = await take(records, "ledger", holder("a"), expected_fence=0)

    assert again.claim.fence == first.claim.fence == 1


async def test_late_take_after_release_cannot_take_a_second_time(records: RecordStore) -> None:
    first = await take(records, "ledger", holder("a"), expected_fence=0)
    await first.release()

    with pytest.raises(BasisChanged):
        await take(records, "ledger", holder("a"), expected_fence=0)


async def test_o8_superseded_changes_nothing(records: RecordStore, store: MemoryStore) -> None:
    first = await take(records, "ledger", holder("a"), expected_fence=0)
    await first.change("s", 1, lambda record: record.with_intents(cancel(1)))
    await take(records, "ledger", holder("b"), expected_fence=1, takeover=Takeover("bo", "lost"))
    before = (await store.get(LEDGER)).body

    with pytest.raises(Superseded):
        await first.change("s", 1, lambda record: record.with_intents(cancel(2)))
    with pytest.raises(Superseded):
        await first.release()
    assert (await store.get(LEDGER)).body == before


async def test_o9_release_is_refused_while_an_intent_is_open(records: RecordStore) -> None:
    tenure = await take(records, "ledger", holder("a"), expected_fence=0)
    await tenure.change("s", 1, lambda record: record.with_intents(cancel(1)))

    with pytest.raises(Refused, match="cancel of epoch 1"):
        await tenure.release()
    done = cancel(1).model_copy(update={"state": IntentState.DONE})
    await tenure.change("s", 1, lambda record: record.closing(done))
    released = await tenure.release()
    assert released.state is RecordState.IDLE
    assert await tenure.release() == released


async def test_o3_twin_takes_the_others_version_as_its_basis(records: RecordStore) -> None:
    one = await take(records, "ledger", holder("a"), expected_fence=0)
    two = Tenure(records, one.claim)
    await one.read()
    await two.read()

    await one.change("s", 1, lambda record: record.with_intents(cancel(1)))
    merged = await two.change("s", 2, lambda record: record.with_intents(cancel(2)))

    assert {intent.id for intent in merged.intents} == {"i1", "i2"}


async def test_o16_late_twin_cannot_open_again_what_was_closed(records: RecordStore) -> None:
    one = await take(records, "ledger", holder("a"), expected_fence=0)
    late = Tenure(records, one.claim)
    await late.read()
    await one.change("s", 1, lambda record: record.with_intents(cancel(1)))
    done = cancel(1).model_copy(update={"state": IntentState.DONE})
    await one.change("s", 1, lambda record: record.closing(done))

    record = await late.change("s", 1, lambda current: current.with_intents(cancel(1)))

    assert record.open_intents() == ()


@pytest.mark.parametrize("applied", [True, False])
async def test_o3_lost_answer_is_decided_by_reading_back(
    records: RecordStore, store: MemoryStore, applied: bool
) -> None:
    tenure = await take(records, "ledger", holder("a"), expected_fence=0)
    await tenure.read()
    broken = [True]

    async def lose(op: str, _uri: S3Uri) -> None:
        if op == "replace" and broken:
            broken.clear()
            raise Unavailable("the connection was reset")

    if applied:
        store.after = lose
    else:
        store.before = lose

    record = await tenure.change("s", 1, lambda current: current.with_intents(cancel(1)))

    assert [intent.id for intent in record.intents] == ["i1"]
    assert record.seq == 2
    assert await tenure.read() == record


async def test_o18_control_bucket_away_is_waited_for_within_its_bound(records: RecordStore, store: MemoryStore) -> None:
    tenure = await take(records, "ledger", holder("a"), expected_fence=0)

    async def away(_op: str, _uri: S3Uri) -> None:
        raise Unavailable("nobody answers")

    store.before = away

    with pytest.raises(Unavailable, match="control bucket"):
        await tenure.change("s", 1, lambda current: current.with_intents(cancel(1)))


async def test_claim_of_another_run_of_the_same_workflow_id_is_not_ours(records: RecordStore) -> None:
    first = await take(records, "ledger", holder("a", "r1"), expected_fence=0)
    other = Tenure(records, Claim("ledger", holder("a", "r2"), first.claim.fence))

    with pytest.raises(Superseded):
        await other.read()
