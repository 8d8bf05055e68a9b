"""What every activity needs and none should write: signs of life, and errors that cross to the workflow as ours.

Heartbeats tell two things apart. That the *worker* lives is ticked here, from the worker's event loop, so a killed or
blocked worker is found out within the heartbeat time-out. That the *work* moves is the activity's own business: its
waits have deadlines and a no-progress rule (I6). The tick repeats the activity's last details, and before the first
those of the attempt before, so that they are never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from tidegate.errors import TidegateError
from tidegate.temporal.errors import MAX_RETRYABLE_CHARS, bounded, to_application_error

TICK_S = 1.0


class TidegateInterceptor(Interceptor):
    """Given to every worker of ours."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """See base class."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor) -> None:  # noqa: A002
        super().__init__(next)
        self.details: Sequence[Any] = ()

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_Outbound(outbound, self))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401
        info = activity.info()
        self.details = tuple(info.heartbeat_details)
        ticking = asyncio.create_task(self._tick()) if info.heartbeat_timeout else None
        try:
            return await super().execute_activity(input)
        except TidegateError as error:
            # Without its cause: a chain of stacks outgrows what the server keeps of a failure that is retried.
            raise to_application_error(error) from None
        except FailureError:
            raise
        except Exception as error:  # noqa: BLE001 (told to the workflow; its stack to the log)
            activity.logger.exception("%s failed in a way that nobody foresaw", info.activity_type)
            text = bounded(str(error) or type(error).__name__, MAX_RETRYABLE_CHARS)
            raise ApplicationError(text, _where(error), type=type(error).__name__) from None
        finally:
            if ticking:
                ticking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ticking

    async def _tick(self) -> None:
        while True:
            activity.heartbeat(*self.details)
            await asyncio.sleep(TICK_S)


def _where(error: BaseException) -> list[str]:
    """The innermost frames, one a line; the whole stack is in the worker's log."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class _Outbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor, inbound: _Inbound) -> None:  # noqa: A002
        super().__init__(next)
        self._inbound = inbound

    def heartbeat(self, *details: Any) -> None:  # noqa: ANN401
        self._inbound.details = details
        super().heartbeat(*details)
