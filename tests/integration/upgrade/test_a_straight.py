"""A: nothing goes wrong."""

from __future__ import annotations

import pytest

from tests.integration.upgrade.conftest import NOTES, READER_BLOCKED_S
from tests.kit.stage import Scene, summary
from tidegate.model.operation import Outcome

pytestmark = pytest.mark.matrix


async def test_v1_to_v2_and_back(scene: Scene):
    for artifact in ("v2", "v1"):
        operation = await scene.upgrade(artifact)
        result = await operation.result()
        NOTES.append(f"upgrade to {artifact}: {summary(result)}")
        assert result.outcome is Outcome.DONE, summary(result)
        record = await scene.record()
        assert record.writer is not None
        assert record.writer.artifact.name == artifact
        assert record.writer.started_from == (record.pinned.location if record.pinned else None)
        await scene.check(result.verdict)
        assert scene.readers.longest_s < READER_BLOCKED_S
