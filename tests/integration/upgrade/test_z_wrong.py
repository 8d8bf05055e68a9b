"""B, last of all: healthy, and its values are wrong. The log keeps them: no case that wants a clean one may follow."""

from __future__ import annotations

import pytest

from tests.integration.upgrade.conftest import NOTES
from tests.kit.stage import RATE, Scene, summary
from tidegate.model.operation import Outcome

pytestmark = pytest.mark.matrix

ENOUGH = 10_000
"""Payments in which one in a thousand is written wrong: once in 20,000 runs there would be none among them."""


async def test_only_the_verdict_sees_that_values_are_wrong(scene: Scene):
    operation = await scene.upgrade("v2-wrong", bake_s=ENOUGH / RATE)
    result = await operation.result()
    NOTES.append(f"v2-wrong: {summary(result)}")
    assert result.outcome is Outcome.BAD_VERDICT, summary(result)
    assert result.verdict is not None
    assert result.verdict.wrong > 0
    assert (result.verdict.lost, result.verdict.duplicated) == (0, 0)
    assert "wrong" in result.why
    assert result.next_commands == ("tidegate upgrade ledger --to v1",)
    record = await scene.record()
    assert record.writer is not None
    assert record.writer.artifact.name == "v2-wrong"  # what runs is left running; the way back is a person's word

    command = result.next_commands[0].split()[1:]
    back = await scene.tidegate(*command, "--bake", "2s", "--yes")
    assert back.status == 7, back.out + back.err  # the whole log is judged, and it keeps what is wrong
    once = await scene.audit()
    assert once.wrong >= result.verdict.wrong
    again = await scene.audit()
    assert again.wrong == once.wrong, "v1 writes right values again"
    await scene.check(wrong=once.wrong)
