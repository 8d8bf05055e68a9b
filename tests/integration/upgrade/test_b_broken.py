"""B: the new artifact is broken. v1 runs in the end, proven, and the reason is on screen."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.integration.upgrade.conftest import NOTES, READER_BLOCKED_S
from tests.kit.stage import Scene, summary
from tidegate.model.operation import Outcome

pytestmark = pytest.mark.matrix


@dataclass(frozen=True)
class Broken:
    """``reason``: words of the exception, or of what was seen, that the operation must name."""

    artifact: str
    reason: str
    replays: bool = False


CASES = [
    Broken("v2-rejected", "Cannot map checkpoint/savepoint state"),
    Broken("v2-restore-fails", "StateMigrationException"),
    Broken("v2-crash-early", "v2-crash-early"),
    Broken("v2-crash-late", "v2-crash-late fails at its completed checkpoint"),
    Broken("v2-crash-late-unreadable", "v2-crash-late fails at its completed checkpoint", replays=True),
    Broken("v2-stuck", "no checkpoint was completed|output has not moved"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.artifact)
async def test_v1_runs_again(scene: Scene, case: Broken):
    before, announced = await scene.record(), await scene.announced()
    operation = await scene.upgrade(case.artifact, bake_s=40.0)  # what it breaks at may come late on a busy machine
    result = await operation.result()
    NOTES.append(f"{case.artifact}: {summary(result)}")
    assert result.outcome is Outcome.UNDONE, summary(result)
    assert any(word in result.why for word in case.reason.split("|")), summary(result)
    after = await scene.record()
    assert after.writer is not None
    assert before.writer is not None
    assert after.writer.artifact == before.writer.artifact
    assert after.writer.epoch > before.writer.epoch
    await scene.check(result.verdict)
    # X26: what comes twice was said before, and only where the state could not be read.
    now = await scene.announced()
    assert (now > announced) is case.replays, f"announced {announced:,}, then {now:,}"
    assert scene.readers.longest_s < READER_BLOCKED_S
