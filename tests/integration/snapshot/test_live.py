"""The snapshot reader on snapshots of a job that lives: verify, committables, and a start from an edited copy."""

from __future__ import annotations

import pytest

from tests.integration.snapshot.live import SINK_UID, SOURCE_UID, Ledger
from tidegate.clients.s3 import S3Uri
from tidegate.errors import SnapshotIncomplete
from tidegate.snapshot.checkpoints import completed_checkpoints, newest_verified
from tidegate.snapshot.edit import drop_sink_state, place_copy
from tidegate.snapshot.files import Snapshot, referenced_files, verify
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.sinks import Committable, committables, writer_states

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

IN_FILES = {"execution.checkpointing.data-inline-threshold": "0b"}


async def _known_to_the_broker(ledger: Ledger, snapshot: Snapshot) -> list[Committable]:
    """X3: the committables, each found at the broker under its producer id."""
    found = await committables(ledger.store, snapshot)
    transactions = await ledger.broker_transactions(1)
    for committable in found:
        broker = transactions[committable.transactional_id]
        assert broker["producer_id"] == committable.producer_id
        assert broker["producer_epoch"] - committable.producer_epoch in (0, 1)
        assert committable.sink_uid == SINK_UID
    return found


async def _positions(ledger: Ledger, snapshot: Snapshot) -> dict[int, int]:
    found = (await kafka_positions(ledger.store, snapshot))[SOURCE_UID]
    return {partition: found[ledger.payments, partition] for _, partition in sorted(found)}


async def test_a_stop_with_savepoint_is_read_and_a_copy_without_sink_state_starts_on_the_same_kafka(ledger: Ledger):
    store = ledger.store
    async with ledger.traffic():
        job_id = await ledger.start(1, config=IN_FILES)
        await ledger.completed(job_id, 3)
        location = await ledger.stop(job_id)

        verified = await verify(store, location)
        listing = await ledger.listing(location)
        assert (verified.files, verified.bytes) == (len(listing), sum(listing.values()))

        found = await _known_to_the_broker(ledger, verified.snapshot)
        assert {c.subtask for c in found} == {0, 1}
        transactions = await ledger.broker_transactions(1)
        assert {transactions[c.transactional_id]["state"] for c in found} == {"CompleteCommit"}  # X2
        assert {w.prefix for w in await writer_states(store, verified.snapshot)} == {ledger.prefix(1)}
        assert await _positions(ledger, verified.snapshot) == await ledger.effects()

        gone = referenced_files(verified.metadata, location)[0].uri
        body = (await store.get(gone)).body
        await store.delete(gone)
        with pytest.raises(SnapshotIncomplete, match=gone.name) as raised:
            await verify(store, location)
        assert raised.value.details["files"] == [{"uri": str(gone), "expected": len(body), "found": None}]
        await store.put(gone, body)

        edited, dropped = drop_sink_state(verified.metadata.data)
        assert len(dropped.states) == 4  # writer and committer, two subtasks each
        copy = await place_copy(store, verified.snapshot, f"{ledger.savepoints}/copy", edited)
        assert (await verify(store, copy)).files == verified.files
        assert await committables(store, (await verify(store, copy)).snapshot) == []
        second = await ledger.start(2, str(copy))
        await ledger.completed(second, 3)
    assert await ledger.output_ids() == ledger.expected_ids()
    states = {found["state"] for found in (await ledger.broker_transactions(2)).values()}
    assert "CompleteCommit" in states  # what came later came under the new prefix
    assert await ledger.listing(location) == listing  # the original stays as it was


async def test_a_retained_checkpoint_is_read_and_a_copy_without_writer_state_starts_elsewhere(ledger: Ledger):
    store = ledger.store
    async with ledger.traffic():
        job_id = await ledger.start(1)
        await ledger.completed(job_id, 3)
        running = await newest_verified(store, ledger.checkpoints, job_id)
        assert running is not None
        assert running.skipped == ()
        await ledger.cancel(job_id)

        said = await ledger.flink.checkpoints(job_id)
        assert said is not None
        completed = {
            entry.id
            for entry in said.history
            if entry.state == "COMPLETED" and not entry.is_savepoint and not entry.discarded
        }
        refs = await completed_checkpoints(store, ledger.checkpoints, job_id)
        assert [ref.id for ref in refs] == sorted(completed, reverse=True)
        newest = await newest_verified(store, ledger.checkpoints, job_id)
        assert newest is not None
        assert (newest.ref, newest.skipped) == (refs[0], ())
        assert newest.verified.metadata.checkpoint_id == refs[0].id

        snapshot = newest.verified.snapshot
        found = await _known_to_the_broker(ledger, snapshot)
        transactions = await ledger.broker_transactions(1)
        states = {transactions[c.transactional_id]["state"] for c in found}
        if states == {"CompleteCommit"}:  # the cancel may come before the commit: then X15 must settle first
            await ledger.end_open_transactions(1)
            assert await _positions(ledger, snapshot) == await ledger.effects()
            edited, _ = drop_sink_state(snapshot.metadata.data)
            copy = await place_copy(store, snapshot, f"{ledger.savepoints}/copy", edited)
            second = await ledger.start(2, str(copy))
        else:
            second = await ledger.start(1, str(newest.ref.location))
        await ledger.completed(second, 3)
    assert await ledger.output_ids() == ledger.expected_ids()


async def test_a_running_jobs_newest_checkpoint_without_one_file_is_passed_over_by_name(ledger: Ledger):
    store = ledger.store
    async with ledger.traffic():
        job_id = await ledger.start(1, config={**IN_FILES, "execution.checkpointing.incremental": "false"})
        await ledger.completed(job_id, 3)
        await ledger.cancel(job_id)
    newest, older, *_ = await completed_checkpoints(store, ledger.checkpoints, job_id)
    gone = next(uri for uri in await ledger.listing(str(newest.location)) if S3Uri.parse(uri).name != "_metadata")
    await store.delete(gone)
    found = await newest_verified(store, ledger.checkpoints, job_id)
    assert found is not None
    assert found.ref == older
    ((skipped, error),) = found.skipped
    assert skipped == newest
    assert gone in str(error)
