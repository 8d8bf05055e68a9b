"""Operations on several deployments: each has one of its own, a child, and its result is a line of the whole."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

with workflow.unsafe.imports_passed_through():
    from tidegate import names
    from tidegate.model.operation import MemberResult, OperationResult, Outcome


def operation_of(verb: str, deployment: str, *again: str) -> str:
    """The id of a deployment's operation: of this run's own, the same however often it is played again.

    ``again``: what tells it from the one before it, where that one has ended and a second is begun.
    """
    info = workflow.info()
    derived = names.derive_id(info.workflow_id, info.first_execution_run_id, deployment, *again)
    return f"{verb}-{deployment}-{derived[:8]}"


async def result_of(deployment: str, operation: str, handle: workflow.ChildWorkflowHandle[Any, Any]) -> MemberResult:
    """How a deployment's operation has ended, once it has."""
    try:
        result = await handle
    except ChildWorkflowError as error:
        cause = error.cause
        told = cause.details[0] if isinstance(cause, ApplicationError) and cause.details else None
        if not isinstance(told, dict) or "outcome" not in told:
            return MemberResult(
                deployment=deployment,
                operation=operation,
                outcome=Outcome.UNDONE,
                summary="its operation ended without a result",
                why=str(cause or error),
            )
        result = OperationResult.model_validate(told)
    return MemberResult(
        deployment=deployment,
        operation=operation,
        outcome=result.outcome,
        summary=result.summary,
        why=result.why,
        verdict=result.verdict,
        rto_s=result.rto_s,
        drill=result.drill,
        report=result.report,
    )
