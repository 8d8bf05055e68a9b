"""E: a fork beside the live job, on the same Kafka, from its snapshot; the live job is not disturbed (X12)."""

from __future__ import annotations

import asyncio
import os
import re
import time
from itertools import pairwise

import pytest

from sandbox.stage import DEPLOYMENT, OUTPUT_PARTITIONS, OUTPUT_TOPIC
from tests.integration.restore.acts import take
from tests.integration.restore.conftest import NOTES
from tests.integration.restore.crash import Counts, checkpointed, unaudited
from tests.kit import rotation
from tests.kit.stage import Scene
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.model.record import DeploymentRecord, Writer, utc_now

pytestmark = pytest.mark.matrix

FORK, FORK_TOPIC = "ledger-fork", "balances-fork"
BESIDE_S = float(os.environ.get("TIDEGATE_TEST_FORK_S") or ("600" if rotation.EVERY_CASE else "60"))
"""How long the fork runs beside the live job."""
INTERVAL_MS = 1_000
"""Between two checkpoints, as the sandbox's Flink has it."""
GAP_MS = float(os.environ.get("TIDEGATE_TEST_GAP_MS") or 2 * INTERVAL_MS)
"""The longest pause of the live job's output; on a machine that is busy with others it stands still by itself."""
ENDED = {TxnState.EMPTY, TxnState.COMPLETE_COMMIT, TxnState.COMPLETE_ABORT}
GOES_WELL = {TxnState.EMPTY, TxnState.ONGOING, TxnState.PREPARE_COMMIT, TxnState.COMPLETE_COMMIT}


def with_fork(fleet: str) -> str:
    """The fleet file with the fork in it: its own name, group and output topic, which nobody consumes; nothing else is
    different.
    """
    at = fleet.index(f"  {DEPLOYMENT}:\n")
    fork = unaudited(fleet[at:]).replace(f"  {DEPLOYMENT}:\n", f"  {FORK}:\n", 1)
    fork = re.sub(r"\n    consumers: .*", "", fork)
    fork = fork.replace(f"{{output:{OUTPUT_TOPIC}}}", f"{{output:{FORK_TOPIC}}}")
    fork = fork.replace(f"topics: [{OUTPUT_TOPIC}]", f"topics: [{FORK_TOPIC}]")
    fork = fork.replace(f"group: {DEPLOYMENT}}}", f"group: {FORK}}}")
    assert fork.count(FORK_TOPIC) == 2
    assert fork.count(FORK) == 2
    return f"{fleet.rstrip()}\n{fork}"


async def words(scene: Scene) -> dict[str, TransactionState]:
    """The broker's word on every transactional id of the live deployment."""
    return {one.transactional_id: one for one in await scene.kafka.list_transactions(f"tg.{DEPLOYMENT}.")}


def untouched(before: dict[str, TransactionState], after: dict[str, TransactionState]) -> int:
    """How many ids were looked at: none was taken over, none was aborted, each has ended as its own job ended it."""
    for name, old in before.items():
        new = after[name]
        if old.state in ENDED:
            assert (new.state, new.producer_id, new.producer_epoch) == (old.state, old.producer_id, old.producer_epoch)
        else:
            assert (new.state, new.producer_id) == (TxnState.COMPLETE_COMMIT, old.producer_id), f"{old}: {new}"
            assert new.producer_epoch - old.producer_epoch in {0, 1}, f"{old}: {new}"
    strange = [new for name, new in after.items() if name not in before and new.state not in GOES_WELL]
    assert not strange, strange
    return len(after)


async def longest_gap_ms(scene: Scene, from_ms: int, to_ms: int) -> int:
    """The longest pause between appended output records of the live job in a time, by the broker's clock."""
    times = [from_ms, to_ms]
    ends = await scene.kafka.end_offsets([OUTPUT_TOPIC])
    for tp, first in (await scene.kafka.offsets_at([OUTPUT_TOPIC], from_ms)).items():
        batches = await scene.kafka.batch_headers(tp, first, ends[tp]) if first < ends[tp] else []
        times += [min(batch.max_timestamp_ms, to_ms) for batch in batches if not batch.is_control]
    return max(later - earlier for earlier, later in pairwise(sorted(times)))


async def writer_of(scene: Scene, deployment: str) -> Writer | None:
    stored = await scene.records.read(deployment)
    record = stored.record if stored else DeploymentRecord(deployment=deployment)
    return record.writer


async def test_x12_a_fork_beside_the_live_job_disturbs_nothing(scene: Scene):
    await checkpointed(scene)
    live = await writer_of(scene, DEPLOYMENT)
    assert live is not None
    await scene.kafka.create_topic(FORK_TOPIC, OUTPUT_PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
    taken = await take(scene, "native")
    began_ms = time.time_ns() // 1_000_000
    before = await words(scene)
    fleet = scene.sandbox.folder.path / "fork.yaml"
    async with scene.other_fleet(with_fork):
        fleet.write_text(with_fork(scene.stage.fleet_file.read_text()))
        asked = ("start", FORK, "v1", "--bake", "5s", "--yes", "--fleet", str(fleet))
        wrong = await scene.tidegate(*asked, "--snapshot", taken.location)
        assert wrong.status == 1, f"{wrong.out}\n{wrong.err}"
        assert "names transactions of another deployment" in wrong.out + wrong.err, wrong.out
        assert await writer_of(scene, FORK) is None

        done = await scene.tidegate(
            *("restore", DEPLOYMENT, "--as", FORK, "--from", taken.location),
            *("--bake", "5s", "--yes", "--fleet", str(fleet)),
        )
        assert done.status == 0, f"{done.out}\n{done.err}"
        fork = await writer_of(scene, FORK)
        assert fork is not None
        assert fork.started_from is not None
        assert f"/{FORK}/copy-" in fork.started_from
        counts = Counts(scene)
        await asyncio.sleep(max(0.0, BESIDE_S - (utc_now() - fork.since).total_seconds()))  # so long beside it
        for job in (live.job_id, fork.job_id):
            view = await scene.driver.observe(job)
            assert (view.state and view.state.value, view.restarts) == ("RUNNING", 0), job
        ended_ms = time.time_ns() // 1_000_000
        looked_at = untouched(before, await words(scene))
        stopped = await scene.tidegate("stop", FORK, "--yes", "--fleet", str(fleet))
        assert stopped.status == 0, f"{stopped.out}\n{stopped.err}"
    assert await writer_of(scene, DEPLOYMENT) == live
    gap_ms = await longest_gap_ms(scene, began_ms, ended_ms)
    came, went = await counts.now()
    forked = 0
    for tp, end in (await scene.kafka.last_stable_offsets([FORK_TOPIC])).items():
        forked += (await scene.kafka.committed_data_count(tp, 0, end)).count
    verdict = await scene.check()
    NOTES.append(
        f"a fork for {(ended_ms - began_ms) / 1000:.0f} s with its start: {forked:,} records of its own; the live job: "
        f"longest pause {gap_ms:,} ms, {looked_at:,} transactional ids untouched, {came:,} in, {went:,} out, "
        f"{verdict.text}"
    )
    assert forked > 0
    assert gap_ms <= GAP_MS, f"the live job's output paused for {gap_ms:,} ms"
