"""What a person sees of an operation: its steps, as rows; in the status, in the UI and in the report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import OperationStatus, StepState, StepStatus

MINOR = frozenset({"approve", "take", "prepare"})
"""Steps without a number of their own: they change nothing that a person must be able to point at."""


class Board:
    """The rows, in the order in which things happen. Rows that were not planned (an undo) are put in as they begin.

    A change costs a look for its row: of a region with a thousand deployments thousands happen at once, and a workflow
    task has two seconds. Numbers are given when the rows are asked for.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._rows: list[StepStatus] = []
        self._numbered: tuple[StepStatus, ...] | None = None
        self.replan(names)

    @property
    def rows(self) -> tuple[StepStatus, ...]:
        """As a person sees them, numbered."""
        if self._numbered is None:
            number = 0
            for at, row in enumerate(self._rows):
                number += row.name not in MINOR
                wanted = 0 if row.name in MINOR else number
                if row.number != wanted:
                    self._rows[at] = row.model_copy(update={"number": wanted})
            self._numbered = tuple(self._rows)
        return self._numbered

    def replan(self, names: Iterable[str]) -> None:
        """Put these in place of all rows that have not begun."""
        begun = [row for row in self._rows if row.state is not StepState.PENDING]
        self._rows = [*begun, *(StepStatus(number=0, name=name) for name in names)]
        self._numbered = None

    def has_begun(self, name: str) -> bool:
        """Whether a step of this name runs or ran."""
        return any(row.name == name and row.state is not StepState.PENDING for row in self._rows)

    def begin(self, name: str, now: datetime, deadline_s: float | None = None) -> None:
        """The step runs now. One that is not planned, or has ended before, gets a row of its own."""
        deadline = now + timedelta(seconds=deadline_s) if deadline_s is not None else None
        row = StepStatus(number=0, name=name, state=StepState.RUNNING, started=now, deadline=deadline)
        for at, known in enumerate(self._rows):
            if known.name == name and known.state is StepState.RUNNING:
                return
            if known.name == name and known.state is StepState.PENDING:
                self._put(at, row)
                return
        at = next((i for i, known in enumerate(self._rows) if known.state is StepState.PENDING), len(self._rows))
        self._rows.insert(at, row)
        self._numbered = None

    def end(self, name: str, state: StepState, now: datetime, fact: str, started: datetime | None = None) -> None:
        """The running (or planned) step of this name has ended; ``fact`` is what proves it."""
        for at in reversed(range(len(self._rows))):
            known = self._rows[at]
            if known.name == name and known.state in {StepState.RUNNING, StepState.PENDING}:
                update = {"state": state, "ended": now, "fact": fact, "started": started or known.started or now}
                self._put(at, known.model_copy(update=update))
                return

    def end_running(self, state: StepState, now: datetime, fact: str) -> None:
        """Whatever runs has ended like this."""
        for row in tuple(self._rows):
            if row.state is StepState.RUNNING:
                self.end(row.name, state, now, fact)

    def running(self) -> str:
        """Name of the step that runs, or of the last that ran."""
        begun = [row for row in self._rows if row.state is not StepState.PENDING]
        return next((row.name for row in begun if row.state is StepState.RUNNING), begun[-1].name if begun else "")

    def _put(self, at: int, row: StepStatus) -> None:
        self._rows[at] = row
        self._numbered = None


def markdown(status: OperationStatus) -> str:
    """The status as the workflow's current details: what the Temporal UI shows."""
    place = f"{status.region}/{status.cell}" if status.region else "?"
    lines = [
        f"**{status.runbook}** {status.deployment} ({place}): **{status.phase}**, by {_cell(status.requested_by)}",
        "",
        "| # | step | state | time | fact |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in status.steps:
        took = f"{(row.ended - row.started).total_seconds():,.1f} s" if row.ended and row.started else ""
        lines.append(f"| {row.number or '·'} | {row.name} | {row.state} | {took} | {_cell(row.fact)} |")
    if status.activity:
        running = status.activity
        times = f"since {running.since:%H:%M:%S}, deadline {running.deadline:%H:%M:%S} UTC"
        lines += ["", f"runs: `{running.name}` on `{running.queue}` {times}"]
    if status.waiting_for:
        lines += ["", f"waits for: {status.waiting_for}"]
    if status.why:
        lines += ["", f"why: {status.why}"]
    lines += [f"- `{command}`" for command in status.next_commands]
    if status.plan:
        lines += ["", f"plan `{status.plan.hash[:12]}`"]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
