"""X12: a start from another deployment's snapshot must not disturb the job that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import Job
from tidegate.errors import Refused
from tidegate.model.fleet import Fleet
from tidegate.operation.beside import refuse_disturbing
from tidegate.operation.site import Site
from tidegate.snapshot.files import Snapshot, read_snapshot
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
LIVE, FORK = "ledger", "ledger-fork"


def site(store: MemoryStore, *, topic: str = "balances-fork", group: str = FORK, deployment: str = FORK) -> Site:
    data: dict[str, Any] = yaml.safe_load(FLEET.read_text())
    live = data["deployments"][LIVE]
    data["deployments"][FORK] = {
        **live,
        "args": [word.replace("{output:balances}", f"{{output:{topic}}}") for word in live["args"]],
        "sinks": [{"uid": "balances-sink", "topics": [topic]}],
        "sources": [{"uid": "payments-source", "topics": ["payments"], "group": group}],
    }
    unused: Any = None
    return Site(
        fleet=Fleet.model_validate_json(json.dumps(data)),
        deployment=deployment,
        region="east",
        cell="cell-1",
        driver=unused,
        kafka=unused,
        snapshots=store,
        control=MemoryStore(),
        control_bucket="control",
        fetch=unused,
    )


async def written(store: MemoryStore, job: Job, *, sink: bool = True) -> Snapshot:
    return await read_snapshot(store, await job.checkpoint(store, 5, sink=sink))


async def forked(store: MemoryStore, *, fork: bool = True) -> Snapshot:
    """A copy for a fork: no sink of it has state, and beside it stands whose it is."""
    snapshot = await written(store, Job(), sink=False)
    record = RebasedRecord(
        deployment=LIVE,
        fork=fork,
        source="s3://east/savepoints/ledger/x",
        source_region="east",
        region="east",
        replays=0,
        moved=(),
        dropped=(),
        operators_cut=(),
        metadata_sha256="",
    )
    await store.put(snapshot.directory.join(REBASED_NAME), record.model_dump_json().encode())
    return snapshot


async def test_x12_a_snapshot_that_names_the_live_jobs_transactions_is_refused_with_the_way_to_have_it():
    store = MemoryStore()
    snapshot = await written(store, Job())
    with pytest.raises(Refused, match=r"names transactions of another deployment \(tg\.ledger\.balances-sink") as told:
        await refuse_disturbing(site(store), snapshot)
    assert told.value.hint is not None
    assert f"tidegate snapshot rebase {snapshot.directory} --to east --as {FORK}" in told.value.hint


@pytest.mark.parametrize("deployment", ["ledger-f", "ledger-fork-2", "ledge"])
async def test_x12_no_name_is_taken_for_another_that_begins_like_it(deployment: str):
    store = MemoryStore()
    snapshot = await written(store, Job(deployment=deployment))
    with pytest.raises(Refused, match="another deployment"):
        await refuse_disturbing(site(store), snapshot)


async def test_ones_own_and_a_strangers_names_are_not_refused():
    """A job that did not run under Tidegate may be taken over with its state."""
    store = MemoryStore()
    await refuse_disturbing(site(store), await written(store, Job(deployment=FORK)))
    await refuse_disturbing(site(store, deployment=LIVE), await written(store, Job()))


async def test_x12_a_fork_with_a_topic_and_a_group_of_its_own_may_start():
    store = MemoryStore()
    await refuse_disturbing(site(store), await forked(store))


async def test_x12_a_fork_that_writes_the_live_jobs_topic_is_refused():
    store = MemoryStore()
    with pytest.raises(Refused, match="writes balances as well"):
        await refuse_disturbing(site(store, topic="balances"), await forked(store))


async def test_x12_a_fork_that_uses_the_live_jobs_group_is_refused():
    store = MemoryStore()
    with pytest.raises(Refused, match="uses its consumer group ledger:"):
        await refuse_disturbing(site(store, group=LIVE), await forked(store))


async def test_what_moves_to_another_kafka_is_no_fork():
    store = MemoryStore()
    await refuse_disturbing(site(store, topic="balances", group=LIVE), await forked(store, fork=False))


async def test_a_record_that_cannot_be_read_is_refused():
    store = MemoryStore()
    snapshot = await forked(store)
    await store.put(snapshot.directory.join(REBASED_NAME), b"{}")
    with pytest.raises(Refused, match="does not say whose copy it is"):
        await refuse_disturbing(site(store), snapshot)
