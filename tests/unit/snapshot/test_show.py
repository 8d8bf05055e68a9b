"""What is in a snapshot for a person, the broker's word, and what differs between two."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import Job, list_state
from tests.unit.snapshot.test_vectors import READ, expected, store_of
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.snapshot.diff import Change, diff
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.metadata import parse
from tidegate.snapshot.show import view
from tidegate.snapshot.sinks import Committable
from tidegate.snapshot.word import Word, judge, word_on

OURS = Committable("out", "0" * 32, 0, 7, "tg.x-0-7", 100, 3)


@pytest.mark.parametrize(
    ("state", "producer_id", "epoch", "word"),
    [
        (TxnState.COMPLETE_COMMIT, 100, 3, Word.COMMITTED),
        (TxnState.COMPLETE_COMMIT, 100, 4, Word.COMMITTED),
        (TxnState.COMPLETE_COMMIT, 100, 5, Word.OTHER),
        (TxnState.COMPLETE_COMMIT, 101, 3, Word.OTHER),
        (TxnState.PREPARE_COMMIT, 100, 3, Word.COMMITTING),
        (TxnState.ONGOING, 100, 3, Word.ONGOING),
        (TxnState.ONGOING, 100, 4, Word.EMPTIED),
        (TxnState.PREPARE_ABORT, 100, 3, Word.ABORTED),
        (TxnState.COMPLETE_ABORT, 100, 4, Word.ABORTED),
        (TxnState.EMPTY, 100, 3, Word.EMPTIED),
        (TxnState.EMPTY, 100, 4, Word.EMPTIED),
        (TxnState.EMPTY, 100, 5, Word.OTHER),
        (TxnState.ONGOING, 101, 3, Word.OTHER),
        (TxnState.UNKNOWN, -1, -1, Word.UNKNOWN),
    ],
)
def test_x3_the_brokers_word_counts_for_this_producer_and_epoch_only(
    state: TxnState, producer_id: int, epoch: int, word: Word
):
    assert word_on(TransactionState("tg.x-0-7", state, producer_id, epoch), OURS) is word
    assert word.safe is (word in (Word.COMMITTED, Word.COMMITTING))
    assert word.lost is ("lost" in word.meaning)
    assert not (word.lost and word.safe)


def test_an_open_transaction_has_a_time_at_which_it_is_lost():
    status = TransactionState("tg.x-0-7", TxnState.ONGOING, 100, 3, timeout_ms=60_000, started_ms=1_000)
    (judged,) = judge([OURS], {"tg.x-0-7": status})
    assert judged.until == datetime(1970, 1, 1, 0, 1, 1, tzinfo=UTC)
    (forgotten,) = judge([OURS], {})
    assert (forgotten.word, forgotten.until) == (Word.UNKNOWN, None)


@pytest.mark.parametrize("name", READ)
async def test_the_sizes_that_are_shown_are_those_of_rest(name: str):
    store = await store_of(name)
    seen = await view(store, await read_snapshot(store, expected(name)["location"]))
    shown = sum(one.keyed_bytes + one.operator_bytes for one in seen.operators)
    assert shown == expected(name)["checkpoint"]["state_size"]
    assert (seen.checkpoint_id, seen.savepoint) == (expected(name)["checkpoint"]["id"], expected(name)["savepoint"])


async def test_positions_and_transactions_are_shown():
    store = MemoryStore()
    at = await Job().checkpoint(store, 12, {"b": 200}, positions={("payments", 0): 5, ("payments", 1): 9})
    seen = await view(store, await read_snapshot(store, at))
    assert seen.positions == {"payments-source": {("payments", 0): 5, ("payments", 1): 9}}
    assert [one.transactional_id for one in seen.committables or ()] == ["tg.ledger.balances-sink.e00000007.-0-12"]
    balance = next(one for one in seen.operators if one.uid == "balance")
    assert (balance.keyed_bytes, balance.bytes, balance.label) == (240, 240, "balance")
    (note,) = seen.notes
    assert note.startswith("keyed states: balance: keyed state of operator 'balance' has serialization version ")


async def test_x28_keyed_states_and_timers_are_shown():
    store = MemoryStore()
    head = w.keyed_head(w.keyed_state("window-contents"), *w.timers("window-timers", "processing", "event"))
    seen = await view(store, await read_snapshot(store, await Job().checkpoint(store, 12, head=head)))
    (balance,) = seen.keyed
    assert (balance.label, balance.windows, balance.processing_timers) == ("balance", True, None)
    assert next(one.state.name for one in balance.states) == "window-contents"
    assert seen.notes == ()


async def test_what_cannot_be_read_is_noted_and_hides_nothing_else():
    store = MemoryStore()
    odd = w.versioned(9, b"another source's split")
    source = w.operator("s", [w.subtask(0, managed=list_state("SourceReaderState", odd))])
    await store.put("s3://b/sp/_metadata", w.metadata(source))
    seen = await view(store, await read_snapshot(store, "s3://b/sp"))
    assert seen.positions is None
    assert seen.committables == ()
    assert any("version 9" in note for note in seen.notes)
    assert [one.uid for one in seen.operators] == ["s"]


def test_x27_what_would_be_dropped_and_what_would_start_empty_is_named():
    def keyed(size: int) -> bytes:
        return w.subtask(0, keyed=w.incremental(w.file("s3://b/m", size), {}))

    old = w.metadata(
        w.operator("same", [keyed(1)]),
        w.operator("grown", [keyed(2)], parallelism=2),
        w.operator("gone", [keyed(3)]),
        w.operator("states", [w.subtask(0, managed=list_state("a", b""))]),
    )
    new = w.metadata(
        w.operator("same", [keyed(1)]),
        w.operator("grown", [keyed(5)], parallelism=4),
        w.operator("states", [w.subtask(0, managed=list_state("b", b""))]),
        w.operator("fresh", [keyed(1)]),
    )
    result = diff(parse(old), parse(new))
    assert [(one.label, one.change) for one in result.operators] == [
        ("same", Change.SAME), ("grown", Change.CHANGED), ("gone", Change.REMOVED), ("states", Change.CHANGED),
        ("fresh", Change.ADDED),
    ]  # fmt: skip
    by_label = {one.label: one for one in result.operators}
    assert by_label["grown"].facts == ("parallelism 2 -> 4", "keyed bytes 2 -> 5")
    assert by_label["states"].facts == ("state a gone", "state b new")
    assert "dropped" in by_label["gone"].meaning
    assert by_label["fresh"].meaning == "would start empty"
    assert not result.same_shape
    assert diff(parse(old), parse(old)).same_shape
