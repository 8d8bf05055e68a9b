"""A: kill -9 of the JobManager and all TaskManagers under traffic, restored from the newest checkpoint, many times.

Each round is counted (no output without its input, nothing announced to come again); the values are audited at the end.
"""

from __future__ import annotations

import time

from tests.integration.restore.conftest import NOTES, ROUNDS
from tests.integration.restore.crash import Counts, cheap, checkpointed, kill_flink, output_after, restore
from tests.kit.stage import Scene, summary
from tidegate.model.operation import Outcome

BAKE_S = 1.0
"""The proof still waits for three checkpoints after the first."""
WHAT = ("from command to first new output", "from command to the first that readers have", "from kill to new output")


async def test_i2_killed_under_traffic_and_restored_from_the_newest(scene: Scene):
    took: list[tuple[float, float, float]] = []
    announced = await scene.announced()
    counts = Counts(scene)
    async with cheap(scene) as digest:
        for n in range(1, ROUNDS + 1):
            await checkpointed(scene)
            killed_ms = time.time_ns() // 1_000_000
            await kill_flink(scene)
            began_ms = time.time_ns() // 1_000_000
            result = await (await restore(scene, fleet_digest=digest, bake_s=BAKE_S)).result()
            assert result.outcome is Outcome.DONE, f"round {n}: {summary(result)}"
            await scene.settled()
            output = await output_after(scene, began_ms)
            came, went = await counts.now()
            NOTES.append(
                f"round {n} of {ROUNDS}: from command to first new output {output.appended_s:.1f} s, readable "
                f"{output.readable_s:.1f} s; Flink was back {(began_ms - killed_ms) / 1000:.1f} s after the kill; "
                f"{came:,} in, {went:,} out"
            )
            assert went - announced <= came, (
                f"round {n}: more output than input, and nothing was announced to come again"
            )
            took.append((output.appended_s, output.readable_s, (began_ms - killed_ms) / 1000 + output.appended_s))
    verdict = await scene.check()
    assert await scene.announced() == announced, "from the newest nothing comes again"
    NOTES.append(f"after {ROUNDS} rounds: {verdict.text} of {verdict.input:,} in, {verdict.output:,} out")
    for what, seconds in zip(WHAT, zip(*took, strict=True), strict=True):
        ordered = sorted(seconds)
        NOTES.append(f"{what}, s: median {ordered[len(ordered) // 2]:.1f}, {ordered[0]:.1f} to {ordered[-1]:.1f}")
