"""The rows of an operation: numbered as a person reads them, and cheap to change however many there are."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.model.operation import StepState
from workflows.board import Board

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_rows_are_numbered_in_the_order_in_which_they_stand() -> None:
    board = Board(["observe", "take", "stop", "start"])
    board.begin("observe", NOW)
    board.end("observe", StepState.OK, NOW, "seen")
    board.begin("take", NOW)
    board.begin("reopen", NOW)
    assert [(row.number, row.name, row.state) for row in board.rows] == [
        (1, "observe", StepState.OK),
        (0, "take", StepState.RUNNING),
        (2, "reopen", StepState.RUNNING),
        (3, "stop", StepState.PENDING),
        (4, "start", StepState.PENDING),
    ]
    board.replan(["start"])
    assert [(row.number, row.name) for row in board.rows][2:] == [(2, "reopen"), (3, "start")]


def test_a_change_touches_no_other_row() -> None:
    """A region of a thousand deployments has as many rows, and changes thousands of them in one workflow task."""
    board = Board([f"d-{number}" for number in range(1_000)])
    before = board.rows
    board.begin("d-500", NOW)
    board.end("d-501", StepState.OK, NOW, "done")
    after = board.rows
    assert [row.name for row in after] == [row.name for row in before]
    changed = [one.name for one, other in zip(after, before, strict=True) if one is not other]
    assert changed == ["d-500", "d-501"]
