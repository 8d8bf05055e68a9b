"""Our errors as Temporal's, and back.

An error crosses from an activity to its workflow, and from a workflow to whoever waits for it, as an
``ApplicationError`` (temporalio.exceptions): its ``type`` is our class's name, its details are ``[message, hint,
details]``. All of it is bounded, since a failure is a payload that travels in histories and is shown on screens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from tidegate.errors import ERRORS, OperationFailed, TidegateError, Unavailable

MAX_CHARS = 4_000
MAX_RETRYABLE_CHARS = 600
"""Of an error that is retried: the server keeps at most 4 KiB of the last failure of a pending activity, and shows
nothing but "Failure exceeds size limit." of a larger one (limit.mutableStateActivityFailureSize)."""

FINAL_TYPES = tuple(name for name, cls in ERRORS.items() if not cls.retryable)
"""Names of the errors that a retry cannot help; each retry policy lists them beside the error's own flag."""


def bounded(text: str, limit: int = MAX_CHARS) -> str:
    """The text, its middle left out if it is longer than ``limit`` characters: the ends say most."""
    if len(text) <= limit:
        return text
    half = (limit - 40) // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _bounded_details(details: dict[str, object], limit: int) -> dict[str, object]:
    """The details as plain JSON of ``limit`` characters at most.

    Long texts (a stack trace) give way first, so that what stands beside them can still be read by its name.
    """
    as_json = json.dumps(details, default=str)
    loaded: dict[str, object] = json.loads(as_json)
    if len(as_json) <= limit:
        return loaded
    share = limit // (len(loaded) + 1)
    kept = {name: bounded(value, share) if isinstance(value, str) else value for name, value in loaded.items()}
    if len(json.dumps(kept)) <= limit:
        return kept
    return {"truncated": bounded(as_json, limit)}


def to_application_error(error: TidegateError) -> ApplicationError:
    """The error as it crosses a process border. Retried by the server only if it is ``Unavailable``."""
    limit = MAX_RETRYABLE_CHARS if error.retryable else MAX_CHARS
    message = bounded(error.message, limit)
    return ApplicationError(
        message,
        message,
        bounded(error.hint, limit) if error.hint else None,
        _bounded_details(error.details, limit),
        type=error.type,
        non_retryable=not error.retryable,
    )


def from_application_error(error: ApplicationError) -> TidegateError:
    """Our error again. One of a type that is not ours becomes OperationFailed, with the type in its message."""
    cls = ERRORS.get(error.type or "")
    if cls is None:
        return OperationFailed(f"{error.type}: {error.message}" if error.type else error.message)
    message, hint, details = _unpack(error.details, error.message)
    return cls(message, hint=hint, details=details)


def _unpack(packed: Sequence[object], message: str) -> tuple[str, str | None, dict[str, object]]:
    if len(packed) != 3 or not isinstance(packed[0], str):
        return message, None, {}
    hint, details = packed[1], packed[2]
    return packed[0], hint if isinstance(hint, str) else None, details if isinstance(details, dict) else {}


def from_activity_error(error: ActivityError, deadline_s: float) -> TidegateError:
    """Why an activity failed. One that was retried until its deadline is ``Unavailable``, with the last cause.

    ``deadline_s`` is its schedule-to-close time-out in seconds, for the message.
    """
    name = error.activity_type
    cause = error.cause
    if isinstance(cause, TemporalTimeoutError):
        last = f"; last: {_text(cause.cause)}" if cause.cause else ""
        kind = _TIMEOUTS.get(cause.type, "timed out") if cause.type is not None else "timed out"
        return Unavailable(f"{name} {kind} ({deadline_s:,.0f} s){last}")
    if isinstance(cause, ApplicationError):
        ours = from_application_error(cause)
        exhausted = error.retry_state in {RetryState.TIMEOUT, RetryState.MAXIMUM_ATTEMPTS_REACHED}
        if exhausted and not cause.non_retryable:
            return Unavailable(
                f"{name} did not succeed within {deadline_s:,.0f} s; last: {ours.message}", hint=ours.hint
            )
        return ours
    return OperationFailed(f"{name} failed: {_text(cause or error)}")


_TIMEOUTS = {
    TimeoutType.SCHEDULE_TO_CLOSE: "did not end within its deadline",
    TimeoutType.SCHEDULE_TO_START: "was picked up by no worker in time",
    TimeoutType.START_TO_CLOSE: "did not end within its deadline",
    TimeoutType.HEARTBEAT: "stopped giving signs of life",
}


def _text(error: BaseException) -> str:
    if isinstance(error, ApplicationError):
        return from_application_error(error).message
    return str(error)
