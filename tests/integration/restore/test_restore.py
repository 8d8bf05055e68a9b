"""RestoreDeployment on real parts: after kill -9 of everything, from an older one by name, and where output is lost."""

from __future__ import annotations

import re
import time

from sandbox.stage import DEPLOYMENT
from tests.integration.restore.conftest import NOTES, ROUNDS
from tests.integration.restore.crash import (
    CHECKPOINTS,
    checkpointed,
    first_output_after,
    frozen_between_snapshot_and_commit,
    kill_flink,
    records_of,
    restore,
)
from tests.kit.stage import Scene, ended_well, summary
from tidegate.model.operation import Outcome
from tidegate.snapshot.checkpoints import completed_checkpoints


async def test_i2_killed_under_traffic_and_restored_from_the_newest(scene: Scene):
    took: list[float] = []
    for n in range(1, ROUNDS + 1):
        await checkpointed(scene)
        await kill_flink(scene)
        began_ms = time.time_ns() // 1_000_000
        result = await (await restore(scene)).result()
        NOTES.append(f"round {n} of {ROUNDS}: {summary(result)}")
        assert result.outcome is Outcome.DONE, summary(result)
        ended_well(result)
        first_ms = await first_output_after(scene, began_ms)
        assert first_ms is not None
        took.append((first_ms - began_ms) / 1000)
        assert result.verdict is not None
        await scene.check(result.verdict)
    took.sort()
    NOTES.append(f"from command to first new output, s: {', '.join(f'{one:.1f}' for one in took)}")


async def test_x26_an_older_one_by_name_replays_exactly_what_was_announced(scene: Scene):
    await checkpointed(scene, 6)
    await kill_flink(scene)
    before = await scene.announced()
    found = re.findall(
        r"--from (e\d+-chk-\d+) --accept-replay \S+ +\(lost 0, replayed ([\d,]+)\)", await _offers(scene)
    )
    assert found
    name, told = found[0]
    result = await (await restore(scene, source=name, accept_replay=name)).result()
    NOTES.append(f"older ({name}, told {told}): {summary(result)}")
    assert result.outcome is Outcome.DONE, summary(result)
    ended_well(result)
    assert await scene.announced() - before == int(told.replace(",", ""))
    assert result.verdict is not None
    await scene.check(result.verdict)


async def _offers(scene: Scene) -> str:
    """What is offered when an older snapshot is asked for without accepting its price."""
    record = await scene.record()
    assert record.writer is not None
    newest = (await _checkpoints(scene))[0]
    result = await (await restore(scene, source=str(newest - 2))).finish()
    assert result.outcome is Outcome.REFUSED, summary(result)
    assert "would repeat committed output" in result.why
    return result.why


async def _checkpoints(scene: Scene) -> list[int]:
    record = await scene.record()
    assert record.writer is not None
    found = await completed_checkpoints(scene.snapshots, CHECKPOINTS, record.writer.job_id)
    return [one.id for one in found]


async def test_x3_outputs_that_were_aborted_are_foreseen_and_the_older_point_costs_what_was_told(scene: Scene):
    frozen = await frozen_between_snapshot_and_commit(scene)
    for one in frozen.own:  # as their time-out would have done
        await scene.kafka.end_transaction(one.transactional_id, one.producer_id, one.producer_epoch, commit=False)
    lost = await records_of(scene, frozen.own)
    assert lost > 0
    refused = await (await restore(scene, source=frozen.location)).finish()
    assert refused.outcome is Outcome.REFUSED
    assert f"would lose output: lost {lost:,}, replayed 0 " in refused.why, refused.why
    assert f"tidegate restore {DEPLOYMENT}   (lost 0, replayed 0)" in refused.why, refused.why
    result = await (await restore(scene)).result()
    NOTES.append(f"aborted on all subtasks, lost {lost:,} foreseen: {summary(result)}")
    assert result.outcome is Outcome.DONE, summary(result)
    ended_well(result)
    assert result.verdict is not None
    await scene.check(result.verdict)


async def test_x3_aborted_on_one_subtask_only_both_prices_are_told_and_right(scene: Scene):
    before = await scene.announced()
    frozen = await frozen_between_snapshot_and_commit(scene)
    gone, kept = frozen.own[:1], frozen.own[1:]
    for one in frozen.own:
        await scene.kafka.end_transaction(one.transactional_id, one.producer_id, one.producer_epoch, commit=one in kept)
    lost, committed = await records_of(scene, gone), await records_of(scene, kept)
    refused = await (await restore(scene, source=frozen.location)).finish()
    assert refused.outcome is Outcome.REFUSED
    assert f"would lose output: lost {lost:,}, replayed 0 " in refused.why, refused.why
    offered = re.search(r"--accept-replay (\S+) +\(lost 0, replayed ([\d,]+)\)", refused.why)
    again = await (await restore(scene)).finish()  # what one subtask committed comes again
    assert again.outcome is Outcome.REFUSED, summary(again)
    assert offered is not None, refused.why
    assert int(offered[2].replace(",", "")) == committed
    result = await (await restore(scene, accept_replay=offered[1])).result()
    NOTES.append(f"aborted on one subtask, lost {lost:,} or replayed {committed:,}: {summary(result)}")
    assert result.outcome is Outcome.DONE, summary(result)
    ended_well(result)
    assert await scene.announced() - before >= committed
    assert result.verdict is not None
    await scene.check(result.verdict)
