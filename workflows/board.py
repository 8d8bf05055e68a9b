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
    """The rows, in the order in which things happen. Rows that were not planned (an undo) are put in as they begin."""

    def __init__(self, names: Iterable[str]) -> None:
        self.rows: tuple[StepStatus, ...] = ()
        self.replan(names)

    def replan(self, names: Iterable[str]) -> None:
        """Put these in place of all rows that have not begun."""
        begun = tuple(row for row in self.rows if row.state is not StepState.PENDING)
        self._set((*begun, *(StepStatus(number=0, name=name) for name in names)))

    def has_begun(self, name: str) -> bool:
        """Whether a step of this name runs or ran."""
        return any(row.name == name and row.state is not StepState.PENDING for row in self.rows)

    def begin(self, name: str, now: datetime, deadline_s: float | None = None) -> None:
        """The step runs now. One that is not planned, or has ended before, gets a row of its own."""
        deadline = now + timedelta(seconds=deadline_s) if deadline_s is not None else None
        row = StepStatus(number=0, name=name, state=StepState.RUNNING, started=now, deadline=deadline)
        for at, known in enumerate(self.rows):
            if known.name == name and known.state is StepState.RUNNING:
                return
            if known.name == name and known.state is StepState.PENDING:
                self._set((*self.rows[:at], row, *self.rows[at + 1 :]))
                return
        at = next((i for i, known in enumerate(self.rows) if known.state is StepState.PENDING), len(self.rows))
        self._set((*self.rows[:at], row, *self.rows[at:]))

    def end(self, name: str, state: StepState, now: datetime, fact: str, started: datetime | None = None) -> None:
        """The running (or planned) step of this name has ended; ``fact`` is what proves it."""
        for at in reversed(range(len(self.rows))):
            known = self.rows[at]
            if known.name == name and known.state in {StepState.RUNNING, StepState.PENDING}:
                update = {"state": state, "ended": now, "fact": fact, "started": started or known.started or now}
                self._set((*self.rows[:at], known.model_copy(update=update), *self.rows[at + 1 :]))
                return

    def end_running(self, state: StepState, now: datetime, fact: str) -> None:
        """Whatever runs has ended like this."""
        for row in self.rows:
            if row.state is StepState.RUNNING:
                self.end(row.name, state, now, fact)

    def running(self) -> str:
        """Name of the step that runs, or of the last that ran."""
        begun = [row for row in self.rows if row.state is not StepState.PENDING]
        return next((row.name for row in begun if row.state is StepState.RUNNING), begun[-1].name if begun else "")

    def _set(self, rows: Iterable[StepStatus]) -> None:
        number = 0
        numbered: list[StepStatus] = []
        for row in rows:
            number += row.name not in MINOR
            numbered.append(row.model_copy(update={"number": 0 if row.name in MINOR else number}))
        self.rows = tuple(numbered)


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
