"""Operations as the command line reaches them: their ids, how they are started, asked, and how they ended."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from tidegate.errors import InvalidInput, OperationFailed, Refused, TidegateError
from tidegate.model.drill import DrillInput
from tidegate.model.gameday import GameDayInput
from tidegate.model.inputs import RunbookInput
from tidegate.model.keep import KeepInput
from tidegate.model.operation import OperationResult, OperationStatus, Outcome
from tidegate.model.region import FailoverRegionInput
from tidegate.model.regiondrill import DrillRegionInput
from tidegate.model.review import ReviewInput
from tidegate.model.ship import ShipInput
from tidegate.model.sweep import SweepInput
from tidegate.names import CONTROL_QUEUE, derive_id
from tidegate.temporal.connect import TemporalUnreachable
from tidegate.temporal.errors import from_application_error

RPC_S = 5.0
ANSWER_S = 10.0
"""How long a worker may take to answer an update or a query before we say that nobody polls."""

Handle = WorkflowHandle[Any, Any]
Begin = Callable[[], Awaitable[Handle]]
Request = (
    RunbookInput
    | ShipInput
    | KeepInput
    | SweepInput
    | ReviewInput
    | FailoverRegionInput
    | DrillInput
    | DrillRegionInput
    | GameDayInput
)
REPEATABLE = (ShipInput, KeepInput, SweepInput, ReviewInput, DrillInput, DrillRegionInput)
T = TypeVar("T")

NO_WORKER_HINT = "start one:  tidegate worker run --role control"


class NoWorker(TemporalUnreachable):
    """Temporal answers, but no worker polls the queue: what was asked is not answered."""


def operation_id(verb: str, request: Request, epoch: int) -> str:
    """``upgrade-ledger-7c1f09ab``: the same request on the same epoch is the same operation (O12).

    Who asks, why, and how long an approval may take do not make it another one.
    """
    content = request.model_dump(mode="json", exclude={"requested_by", "reason", "approval_timeout_s"})
    return f"{verb}-{request.deployment}-{derive_id(verb, json.dumps(content, sort_keys=True), epoch)[:8]}"


def plain_command(runbook: str, request: Request, operation: str) -> str:
    """The line that starts it with the plain ``temporal`` CLI."""
    body = request.model_dump_json(exclude_defaults=True)
    return (
        f"temporal workflow start --type {runbook} --task-queue {CONTROL_QUEUE} --workflow-id {operation} "
        f"--id-reuse-policy AllowDuplicateFailedOnly --fail-existing --input {shlex.quote(body)}"
    )


@dataclass(frozen=True)
class Started:
    """A running (or ended) operation, and whether this call found it there."""

    handle: Handle
    attached: bool


async def start(client: Client, runbook: str, request: Request, operation: str, summary: str) -> Started:
    """Start the operation, or attach to the one that exists under its id (O12).

    Raises:
        TemporalUnreachable: it is not known whether it was started; the same command again attaches to it.

    """
    # A dry run changes nothing and may be asked for again, and what was shipped may have been lost since; all else that
    # has ended well is not done twice.
    repeatable = isinstance(request, REPEATABLE) or request.dry_run
    again = WorkflowIDReusePolicy.ALLOW_DUPLICATE if repeatable else None
    before = await _status_of(client, operation)
    try:
        handle = await _in_time(
            client.start_workflow(
                runbook,
                request,
                id=operation,
                task_queue=CONTROL_QUEUE,
                id_reuse_policy=again or WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=summary,
                rpc_timeout=timedelta(seconds=RPC_S),
            )
        )
    except WorkflowAlreadyStartedError as error:
        return Started(client.get_workflow_handle(operation, run_id=error.run_id), attached=True)
    except RPCError as error:
        raise TemporalUnreachable(f"Temporal did not say that it began {operation}: {error.message}") from error
    run_id = handle.first_execution_run_id or handle.result_run_id
    return Started(client.get_workflow_handle(operation, run_id=run_id), attached=before is _RUNNING)


_RUNNING = WorkflowExecutionStatus.RUNNING


async def _status_of(client: Client, operation: str) -> WorkflowExecutionStatus | None:
    try:
        return (await describe(client.get_workflow_handle(operation))).status
    except InvalidInput:
        return None


async def describe(handle: Handle) -> WorkflowExecutionDescription:
    """What Temporal knows of it; needs no worker.

    Raises:
        InvalidInput: no such operation.
        TemporalUnreachable: no answer.

    """
    try:
        return await _in_time(handle.describe(rpc_timeout=timedelta(seconds=RPC_S)))
    except RPCError as error:
        raise _rpc(error, handle.id) from error


async def status(handle: Handle, *, within_s: float = ANSWER_S) -> OperationStatus:
    """The answer of the query ``status``.

    Raises:
        NoWorker: nobody answered in time.
        InvalidInput: no such operation.
        OperationFailed: the worker cannot answer; the message says why.

    """
    try:
        asked = handle.query("status", result_type=OperationStatus, rpc_timeout=timedelta(seconds=within_s))
        answer: OperationStatus = await asyncio.wait_for(asked, within_s + 1)
        return answer
    except TimeoutError as error:
        raise no_worker() from error
    except WorkflowQueryFailedError as error:
        raise OperationFailed(f"{handle.id} cannot say where it stands: {error}") from error
    except RPCError as error:
        # The server says so at once when nobody has polled the queue lately.
        if error.status is RPCStatusCode.FAILED_PRECONDITION and "poller" in error.message:
            raise no_worker() from error
        if error.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
            raise no_worker() from error
        raise _rpc(error, handle.id) from error


async def update(handle: Handle, name: str, request: object) -> str:
    """Send a control and have its answer.

    Raises:
        Refused, InvalidInput: the operation does not take it now.
        NoWorker: nobody answered in time; it is taken up when a worker comes.

    """
    try:
        answer: str = await asyncio.wait_for(
            handle.execute_update(name, request, result_type=str, rpc_timeout=timedelta(seconds=ANSWER_S)), ANSWER_S + 1
        )
        return answer
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError):
            raise from_application_error(error.cause) from error
        raise OperationFailed(f"{name} was not taken: {error.cause}") from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise no_worker(f"{name} was not answered, and may still be taken up when a worker comes") from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and "already completed" in error.message:
            raise has_ended(handle.id, name) from error
        raise _rpc(error, handle.id) from error


async def outcome(handle: Handle) -> tuple[OperationResult | None, TidegateError | None]:
    """How it ended: its result, and the error if there is no result, or if it was bad input. Waits for the end."""
    try:
        return OperationResult.model_validate(await handle.result()), None
    except WorkflowFailureError as error:
        cause = error.cause
        if not isinstance(cause, ApplicationError):
            return None, OperationFailed(
                f"{handle.id} was ended from outside: {cause or error}",
                hint="it may still hold its deployment; any runbook takes that over, since its run is closed",
            )
        details = cause.details
        if details and isinstance(details[0], dict) and "outcome" in details[0]:
            result = OperationResult.model_validate(details[0])
            return result, InvalidInput(result.why) if cause.type == "InvalidInput" else None
        return None, from_application_error(cause)


def exit_code(result: OperationResult | None, error: TidegateError | None) -> int:
    """UX.md's exit code."""
    if error is not None:
        return error.exit_code
    return result.outcome.exit_code if result else Outcome.UNDONE.exit_code


def has_ended(operation: str, verb: str) -> Refused:
    """The error for a control of an operation that is over."""
    return Refused(f"{operation} has ended; {verb} does nothing any more", hint=f"tidegate ops show {operation}")


def no_worker(what: str = "") -> NoWorker:
    """The error for a queue that nobody polls."""
    return NoWorker(f"no worker answers on {CONTROL_QUEUE}" + (f": {what}" if what else ""), hint=NO_WORKER_HINT)


async def _in_time(call: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(call, RPC_S + 1)
    except TimeoutError as error:
        raise TemporalUnreachable(f"Temporal does not answer within {RPC_S:g} s") from error


def _rpc(error: RPCError, operation: str) -> TidegateError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return InvalidInput(f"no such operation: {operation}", hint="see:  tidegate ops list")
    return TemporalUnreachable(f"Temporal does not answer: {error.message}")
