from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType  # noqa: A004

from tidegate import errors
from tidegate.temporal.converter import data_converter
from tidegate.temporal.errors import (
    FINAL_TYPES,
    MAX_CHARS,
    bounded,
    from_activity_error,
    from_application_error,
    to_application_error,
)


@pytest.mark.parametrize("cls", [cls for cls in errors.ERRORS.values() if cls is not errors.SnapshotUnreadable])
def test_every_error_crosses_and_comes_back(cls: type[errors.TidegateError]) -> None:
    error = cls("no slots", hint="start a TaskManager", details={"free": 0})
    crossed = to_application_error(error)
    assert crossed.type == cls.__name__
    assert crossed.non_retryable is not cls.retryable
    back = from_application_error(crossed)
    assert type(back) is cls
    assert (back.message, back.hint, back.details) == (error.message, error.hint, error.details)


def test_only_unavailable_is_retried() -> None:
    assert set(errors.ERRORS) - set(FINAL_TYPES) == {"Unavailable"}


def test_text_is_bounded_and_keeps_both_ends() -> None:
    crossed = to_application_error(errors.ProofFailed("a" * 9_000 + "z", details={"log": "x" * 9_000}))
    assert len(crossed.message) <= MAX_CHARS + len("Unavailable: ")
    back = from_application_error(crossed)
    assert back.message.startswith("aaa")
    assert back.message.endswith("z")
    assert set(back.details) == {"log"}


def test_what_stands_beside_a_long_text_can_still_be_read() -> None:
    details: dict[str, object] = {"first_error": "at x" * 9_000, "log": ["one", "two"], "restarts": 3}
    back = from_application_error(to_application_error(errors.ProofFailed("sick", details=details)))
    assert back.details["log"] == ["one", "two"]
    assert back.details["restarts"] == 3
    many = from_application_error(to_application_error(errors.ProofFailed("sick", details={"log": ["x" * 90] * 99})))
    assert set(many.details) == {"truncated"}


async def test_a_failure_that_is_retried_fits_what_the_server_keeps_of_it() -> None:
    crossed = to_application_error(errors.Unavailable("a" * 9_000, hint="h" * 9_000, details={"log": "x" * 9_000}))
    failure = Failure()
    await data_converter.encode_failure(crossed, failure)
    assert failure.ByteSize() < 3_000  # of 4 KiB; the stack of the raise is to fit, too


def test_short_text_is_left_alone() -> None:
    assert bounded("short") == "short"


def test_a_foreign_error_becomes_operation_failed_with_its_type() -> None:
    back = from_application_error(ApplicationError("boom", type="KeyError"))
    assert type(back) is errors.OperationFailed
    assert back.message.startswith("KeyError: ")
    assert "boom" in back.message


def _activity_error(cause: BaseException, retry_state: RetryState) -> ActivityError:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="switch",
        activity_id="1",
        retry_state=retry_state,
    )
    error.__cause__ = cause
    return error


def test_retried_until_its_deadline_is_unavailable_with_the_last_reason() -> None:
    cause = to_application_error(errors.Unavailable("connection refused", hint="is Flink up?"))
    ours = from_activity_error(_activity_error(cause, RetryState.TIMEOUT), 600)
    assert type(ours) is errors.Unavailable
    assert "within 600 s" in ours.message
    assert "connection refused" in ours.message
    assert ours.hint == "is Flink up?"


def test_a_bug_that_was_retried_until_its_deadline_is_unavailable_too() -> None:
    ours = from_activity_error(_activity_error(ApplicationError("'x'", type="KeyError"), RetryState.TIMEOUT), 60)
    assert type(ours) is errors.Unavailable
    assert "KeyError" in ours.message


def test_a_final_error_stays_what_it_is() -> None:
    cause = to_application_error(errors.SavepointFailed("expired", details={"job_state": "RUNNING"}))
    ours = from_activity_error(_activity_error(cause, RetryState.NON_RETRYABLE_FAILURE), 600)
    assert type(ours) is errors.SavepointFailed
    assert ours.details == {"job_state": "RUNNING"}


def test_a_timeout_names_the_deadline_and_what_was_seen_last() -> None:
    timeout = TimeoutError("x", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])
    timeout.__cause__ = to_application_error(errors.Unavailable("connection refused"))
    ours = from_activity_error(_activity_error(timeout, RetryState.TIMEOUT), 900)
    assert type(ours) is errors.Unavailable
    assert ours.message == "switch did not end within its deadline (900 s); last: connection refused"
