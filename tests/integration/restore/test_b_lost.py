"""B: what a snapshot counts as written was aborted, on all subtasks or on one (X3).

The loss is told before anything is changed, the start is refused, and the older point costs exactly what was told.
"""

from __future__ import annotations

import pytest

from sandbox.stage import DEPLOYMENT
from tests.integration.restore.acts import price_of, refused, restored
from tests.integration.restore.crash import (
    checkpoint_ids,
    checkpointed,
    kill_flink,
    killed_between_snapshot_and_commit,
    records_of,
)
from tests.integration.restore.frozen import TIMES_OUT_MS, frozen, timed_out
from tests.kit.stage import Scene

pytestmark = pytest.mark.matrix


async def test_x26_an_older_one_by_name_replays_exactly_what_was_announced(scene: Scene):
    await checkpointed(scene, 6)
    await kill_flink(scene)
    newest = (await checkpoint_ids(scene))[0]
    why = await refused(scene, source=str(newest - 2))
    assert "would repeat committed output" in why
    name, told = price_of(why, "--accept-replay")
    assert told > 0
    await restored(scene, f"older ({name}, told {told:,})", told, source=name, accept_replay=name)


async def test_x3_frozen_on_all_subtasks_until_the_time_out(scene: Scene):
    async with frozen(scene, [0, 1], TIMES_OUT_MS) as found:
        await timed_out(scene, found.own)
        lost = await records_of(scene, found.own)
    assert lost > 0
    why = await refused(scene)
    assert f"a start from {found.name} would lose output: lost {lost:,}, replayed 0 " in why, why
    name, told = price_of(why, "--from")
    assert (name, told) == (found.older, 0)
    await restored(scene, f"frozen on all, {found.name} would lose {lost:,}, {name} nothing", 0, source=name)


async def test_x3_frozen_on_one_subtask_until_the_time_out(scene: Scene):
    async with frozen(scene, [0], TIMES_OUT_MS) as found:
        await timed_out(scene, found.held)
        lost, committed = await records_of(scene, found.held), await records_of(scene, found.committed)
    assert lost > 0
    assert committed > 0
    why = await refused(scene)
    assert f"a start from {found.name} would lose output: lost {lost:,}, replayed 0 " in why, why
    name, told = price_of(why, "--accept-replay")
    assert told == committed, "the older point repeats what the other subtask has committed"
    again = await refused(scene, source=name)
    assert f"would repeat committed output: lost 0, replayed {told:,}" in again, again
    what = f"frozen on one, {found.name} would lose {lost:,}, {name} repeat {told:,}"
    await restored(scene, what, told, source=name, accept_replay=name)


async def test_x3_aborted_on_all_subtasks_after_a_savepoint(scene: Scene):
    left = await killed_between_snapshot_and_commit(scene)
    for one in left.own:  # as their time-out would have done
        await scene.kafka.end_transaction(one.transactional_id, one.producer_id, one.producer_epoch, commit=False)
    lost = await records_of(scene, left.own)
    assert lost > 0
    why = await refused(scene, source=left.location)
    assert f"would lose output: lost {lost:,}, replayed 0 " in why, why
    assert f"tidegate restore {DEPLOYMENT}   (lost 0, replayed 0)" in why, why
    await restored(scene, f"aborted on all subtasks, lost {lost:,} foreseen", 0)


async def test_x3_aborted_on_one_subtask_after_a_savepoint(scene: Scene):
    left = await killed_between_snapshot_and_commit(scene)
    gone, kept = left.own[:1], left.own[1:]
    for one in left.own:
        await scene.kafka.end_transaction(one.transactional_id, one.producer_id, one.producer_epoch, commit=one in kept)
    lost, committed = await records_of(scene, gone), await records_of(scene, kept)
    why = await refused(scene, source=left.location)
    assert f"would lose output: lost {lost:,}, replayed 0 " in why, why
    name, told = price_of(why, "--accept-replay")
    assert told == committed
    await refused(scene)  # what one subtask has committed comes again
    await restored(scene, f"aborted on one subtask, lost {lost:,} or replayed {told:,}", told, accept_replay=name)
