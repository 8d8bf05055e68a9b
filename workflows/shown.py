"""What a person sees of an operation, brought up to date with each step."""

from __future__ import annotations

import asyncio
from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import OperationStatus, StepState
    from workflows.board import Board, markdown


class Shown:
    """An operation that can be watched. Base of every runbook."""

    runbook: str
    """Name of the workflow type."""
    board: Board
    group: str | None = None
    """The operation of which it is a part; None: it is none's."""
    _will_show = False

    def status(self) -> OperationStatus:
        """The answer of the query ``status``."""
        raise NotImplementedError

    def show(self) -> None:
        """Bring the workflow's current details up to date: once for all that happens at the same time.

        A thousand deployments that begin at once change as many rows, and a page of them takes a thousand times as long
        as a row: drawn for each, a workflow task would not end in the two seconds that Temporal gives it.
        """
        if not self._will_show:
            self._will_show = True
            asyncio.get_running_loop().call_soon(self._show)

    def _show(self) -> None:
        self._will_show = False
        workflow.set_current_details(markdown(self.status()))

    def begin(self, step: str, deadline_s: float | None = None) -> None:
        """The step runs now."""
        self.board.begin(step, workflow.now(), deadline_s)
        self.show()

    def ok(self, step: str, fact: str, *, started: datetime | None = None, ended: datetime | None = None) -> None:
        """The step is done; ``fact`` is what proves it."""
        self.board.end(step, StepState.OK, ended or workflow.now(), fact, started)
        self.show()
