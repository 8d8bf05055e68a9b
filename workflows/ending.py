"""How an operation ends, before it is reported."""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.errors import Superseded, TidegateError
    from tidegate.model.operation import Outcome, Phase, Verdict
    from workflows import facts

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
