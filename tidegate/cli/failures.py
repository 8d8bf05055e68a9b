"""What failed in an operation, from its history: messages, and the details that errors carried along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.exceptions import ApplicationError, FailureError

from tidegate.cli import output
from tidegate.cli.operations import Handle
from tidegate.temporal.converter import data_converter
from tidegate.temporal.errors import from_application_error

_FAILED = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
}


@dataclass(frozen=True)
class Failure:
    """One failure of one step."""

    at: datetime
    step: str
    attempt: int | None
    message: str
    details: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """For ``-o json``."""
        return {
            "at": self.at.isoformat(),
            "step": self.step,
            "attempt": self.attempt,
            "message": self.message,
            "details": self.details,
        }

    def text(self) -> str:
        """For a person: a line, and below it what was taken along."""
        tries = f" (attempt {self.attempt})" if self.attempt and self.attempt > 1 else ""
        lines = [f"{output.utc(self.at)}  {self.step}{tries}: {self.message}"]
        for name, value in self.details.items():
            many = value if isinstance(value, list) else str(value).splitlines()
            lines += [f"    {name}: {many[0]}" if many else f"    {name}:", *(f"      {one}" for one in many[1:])]
        return "\n".join(lines)


async def of(handle: Handle) -> list[Failure]:
    """Every failed activity in the history, oldest first, then the failures of those that are being retried."""
    names: dict[int, str] = {}
    attempts: dict[int, int] = {}
    found: list[Failure] = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            began = event.activity_task_started_event_attributes
            attempts[began.scheduled_event_id] = began.attempt
        elif event.event_type in _FAILED:
            failed = getattr(event, _FAILED[EventType.ValueType(event.event_type)])
            scheduled = failed.scheduled_event_id
            at = event.event_time.ToDatetime(UTC)
            message, details = await _read(failed.failure)
            found.append(Failure(at, names.get(scheduled, "?"), attempts.get(scheduled), message, details))
    seen = await handle.describe()
    for pending in seen.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            message, details = await _read(pending.last_failure)
            at = pending.last_attempt_complete_time.ToDatetime(UTC)
            found.append(Failure(at, pending.activity_type.name, pending.attempt - 1, message, details))
    return found


async def _read(failure: FailureProto) -> tuple[str, dict[str, object]]:
    error = await data_converter.decode_failure(failure)
    chain: Sequence[BaseException] = _causes(error)
    ours = next((one for one in chain if isinstance(one, ApplicationError)), None)
    if ours is None:
        return "; ".join(str(one) for one in chain), {}
    told = from_application_error(ours)
    return told.message + (f" ({told.hint})" if told.hint else ""), told.details


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while isinstance(chain[-1], FailureError) and chain[-1].cause is not None:
        chain.append(chain[-1].cause)
    return chain


def pending_line(pending: Any) -> str:  # noqa: ANN401 (PendingActivityInfo of the server's API)
    """An activity that has not ended: its state, attempt, worker and last failure."""
    state = PendingActivityState.Name(pending.state).removeprefix("PENDING_ACTIVITY_STATE_").lower()
    parts = [pending.activity_type.name, state, f"attempt {pending.attempt}"]
    if pending.last_worker_identity:
        parts.append(f"worker {pending.last_worker_identity}")
    if pending.HasField("last_failure"):
        parts.append(f"last failure: {pending.last_failure.message[:300]}")
    return ", ".join(parts)
