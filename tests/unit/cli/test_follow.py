"""What a person reads of a plan."""

from __future__ import annotations

from tests.unit.operation.test_plan import asked, seen
from tidegate.cli.follow import planned_steps
from tidegate.model.operation import NOTHING_TO_UNDO
from tidegate.operation.plan import make_plan


def test_a_plan_tells_each_way_back_once_in_full() -> None:
    plan = make_plan(asked("v2"), seen("v2"))
    none = "none: it is over"
    steps = tuple(
        step.model_copy(update={"undo": none if step.no_return else NOTHING_TO_UNDO, "no_return": step.number > 1})
        for step in (one.model_copy(update={"no_return": one.number > 1}) for one in plan.steps)
    )
    lines = planned_steps(plan.model_copy(update={"steps": steps}))
    assert len(lines) == 2 * len(steps)
    told = [line.strip() for line in lines[1::2]]
    assert told == [f"undo: {NOTHING_TO_UNDO}", f"undo: {none}", *["undo: as of step 2"] * (len(steps) - 2)]
    assert all("no way back after it" in line for line in lines[2::2])
