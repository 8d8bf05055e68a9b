"""How an operation ends, before it is reported, and what the workflow ends with (O11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from tidegate.errors import Superseded, TidegateError
    from tidegate.model.operation import OperationResult, Outcome, Phase, Verdict
    from workflows import facts

Result = TypeVar("Result")

_TYPES = {
    Outcome.UNDONE: "Undone",
    Outcome.BAD_VERDICT: "BadVerdict",
    Outcome.REFUSED: "Refused",
    Outcome.SUPERSEDED: "Superseded",
}


@dataclass(frozen=True)
class Ending:
    """An outcome in words."""

    outcome: Outcome
    summary: str
    why: str = ""
    next_commands: tuple[str, ...] = ()
    error_type: str = ""
    """Of a refusal: which. It becomes the type of the workflow's failure."""

    @classmethod
    def superseded(cls, error: Superseded) -> Ending:
        """Another operation took over; this one does nothing more (O8)."""
        return cls(Outcome.SUPERSEDED, "another operation took over; nothing more was done", why=error.message)

    @classmethod
    def refused(cls, error: TidegateError) -> Ending:
        """Nothing was changed, and a person must change something first. The hint of the error says what."""
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        return cls(Outcome.REFUSED, "nothing was changed", why=why, error_type=error.type)

    def with_bad_verdict(self, verdict: Verdict, back: tuple[str, ...]) -> Ending:
        """The same, but its output is not right: what runs is left running, and ``back`` are the commands back."""
        return replace(
            self,
            outcome=Outcome.BAD_VERDICT,
            why="; ".join(part for part in (f"bad verdict: {facts.judged(verdict)}", self.why) if part),
            next_commands=back if self.outcome is Outcome.DONE else (),
        )

    @property
    def good(self) -> bool:
        """Whether the workflow completes; in every other outcome it fails (O11)."""
        return self.outcome in {Outcome.DONE, Outcome.PLANNED}

    @property
    def type(self) -> str:
        """Type of the workflow's failure (O11)."""
        return self.error_type or _TYPES[self.outcome]

    @property
    def phase(self) -> Phase:
        """Where the operation stands at its end."""
        return {
            Outcome.DONE: Phase.DONE,
            Outcome.PLANNED: Phase.PLANNED,
            Outcome.UNDONE: Phase.UNDONE,
            Outcome.BAD_VERDICT: Phase.DONE,
            Outcome.REFUSED: Phase.REFUSED,
            Outcome.SUPERSEDED: Phase.SUPERSEDED,
        }[self.outcome]

    @property
    def message(self) -> str:
        """One line: what is now, and what led to it."""
        return f"{self.summary}: {self.why}" if self.why else self.summary

    def told(self, result: OperationResult) -> OperationResult:
        """What the workflow returns.

        Raises:
            ApplicationError: every outcome but done and planned (O11); its details hold ``result``.

        """
        if self.good:
            return result
        raise ApplicationError(f"{self.outcome}: {self.message}", result, type=self.type, non_retryable=True)


async def through_cancellation(main: Coroutine[Any, Any, Result], cancelled: Callable[[str | None], None]) -> Result:
    """Run ``main`` to its end; ``temporal workflow cancel`` only calls ``cancelled`` with the reason (O11).

    It runs as a task of its own, so that a cancelled workflow (which cancels the task that waits here) becomes an abort
    in good order instead of an exception at whatever line happens to wait.
    """
    task = asyncio.create_task(main)
    try:
        await workflow.wait([task])
    except asyncio.CancelledError:
        cancelled(workflow.cancellation_reason())
        await workflow.wait([task])
    return task.result()
