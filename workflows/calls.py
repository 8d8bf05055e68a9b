"""How an operation calls an activity: options, the queue it runs on, and what its failures mean.

Activities that touch a region run beside it. If no worker there picks one up, the same step with the same ``n`` runs on
the control queue, against the region's endpoints (O17): steps are safe against themselves, so it does no harm if the
first one comes to life after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import RunningActivity
    from tidegate.names import CONTROL_QUEUE, region_queue
    from tidegate.temporal.errors import FINAL_TYPES, from_activity_error

SCHEDULE_TO_START = timedelta(seconds=5)
HEARTBEAT = timedelta(seconds=3)
REGION_AWAY = timedelta(seconds=60)
"""For so long a region's queue that nobody polled is not asked again: each time costs the 5 s above."""

RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=5),
    maximum_attempts=0,  # bounded by time, not by count: schedule-to-close
    non_retryable_error_types=list(FINAL_TYPES),
)

Request = TypeVar("Request")
Fact = TypeVar("Fact")


class Aborted(Exception):
    """A person wants the operation to go back; what ran has been stopped in good order."""


class Calls:
    """The activity calls of one operation."""

    def __init__(self, changed: Callable[[], None], aborting: Callable[[], bool]) -> None:
        """``changed`` is called when another activity runs; ``aborting`` says whether a person wants to go back."""
        self.running: RunningActivity | None = None
        self._changed = changed
        self._aborting = aborting
        self._region_away_until: datetime | None = None

    async def control(
        self,
        contract: Callable[[Request], Awaitable[Fact]],
        request: Request,
        *,
        deadline_s: float,
        interruptible: bool = False,
    ) -> Fact:
        """Run an activity that touches no region, or more than one.

        Raises:
            Aborted: an abort came, and the activity (``interruptible``) has stopped.
            TidegateError: as the activity raised it; Unavailable if it did not succeed within ``deadline_s``.

        """
        return await self._run(
            contract, request, CONTROL_QUEUE, workflow.now(), deadline_s, interruptible=interruptible
        )

    async def region(
        self,
        region: str,
        contract: Callable[[Request], Awaitable[Fact]],
        request: Request,
        *,
        deadline_s: float,
        interruptible: bool = False,
    ) -> Fact:
        """Run an activity beside its region, or on the control queue if nobody there picks it up in time.

        Raises:
            Aborted: an abort came, and the activity (``interruptible``) has stopped.
            TidegateError: as the activity raised it; Unavailable if it did not succeed within ``deadline_s``.

        """
        began = workflow.now()
        if self._region_away_until is None or began >= self._region_away_until:
            try:
                queue = region_queue(region)
                return await self._run(contract, request, queue, began, deadline_s, interruptible=interruptible)
            except _NobodyThere:
                self._region_away_until = workflow.now() + REGION_AWAY
                workflow.logger.warning("nobody polls %s: %s runs on %s", queue, contract.__name__, CONTROL_QUEUE)
        return await self._run(contract, request, CONTROL_QUEUE, began, deadline_s, interruptible=interruptible)

    async def _run(
        self,
        contract: Callable[[Request], Awaitable[Fact]],
        request: Request,
        queue: str,
        began: datetime,
        deadline_s: float,
        *,
        interruptible: bool,
    ) -> Fact:
        deadline = began + timedelta(seconds=deadline_s)
        self.running = RunningActivity(name=contract.__name__, queue=queue, since=workflow.now(), deadline=deadline)
        self._changed()
        try:
            handle = workflow.start_activity(
                contract,
                request,
                task_queue=queue,
                schedule_to_close_timeout=max(deadline - workflow.now(), timedelta(seconds=1)),
                schedule_to_start_timeout=None if queue == CONTROL_QUEUE else SCHEDULE_TO_START,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRY,
                # The next step assumes that this one has stopped.
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            if interruptible:
                await workflow.wait_condition(lambda: handle.done() or self._aborting())
                if not handle.done():
                    handle.cancel()
            return await handle
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise Aborted from error
            cause = error.cause
            if isinstance(cause, TemporalTimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START:
                raise _NobodyThere from error
            raise from_activity_error(error, deadline_s) from error
        except asyncio.CancelledError as error:
            # Our own handle.cancel(): a cancelled workflow does not reach this task (ending.through_cancellation).
            raise Aborted from error
        finally:
            self.running = None


class _NobodyThere(Exception):
    """No worker polled the region's queue within schedule-to-start."""
