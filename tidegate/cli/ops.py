"""``tidegate ops``: the operations that run and have run, and the controls of one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated

import typer
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from tidegate.cli import failures, follow, operations, output
from tidegate.cli.control import open_control
from tidegate.cli.operations import Handle
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, who_asks
from tidegate.errors import InvalidInput, TidegateError
from tidegate.incidents.gather import Running
from tidegate.model.inputs import ApproveInput, ControlInput, RejectInput
from tidegate.model.operation import OperationStatus
from tidegate.temporal import search_attributes
from tidegate.temporal.connect import TemporalUnreachable, connect

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="operations: list, show, watch, approve, pause, resume, abort, escalate",
    rich_markup_mode=None,
    help="Example:  tidegate ops list\n\nThe operations that run and have run, and the controls of one that runs.",
)
OperationArgument = Annotated[str, typer.Argument(metavar="OPERATION", help="its id, as `tidegate ops list` says")]
ReasonOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="why; printed in the report")]

SHOW_S = 3.0
RUNNING_MOST = 1_000


@app.command("list", short_help="those that run, and the last that have ended")
def list_operations(
    *,
    deployment: Annotated[str | None, typer.Option("--deployment", help="of this deployment only")] = None,
    running: Annotated[bool, typer.Option("--running", help="only those that run")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="at most so many")] = 20,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops list --running

    Operations, newest first. Temporal's list may lag behind by a second.
    """
    rows = asyncio.run(_list(deployment, running=running, limit=limit))
    if form is output.Format.JSON:
        output.answer(rows)
        return
    if not rows:
        output.say("no operations")
        return
    heads = ("operation", "runbook", "deployment", "region", "phase", "since", "state")
    output.say(output.columns([[row[head] for head in heads] for row in rows], head=heads))


async def _list(deployment: str | None, *, running: bool, limit: int) -> list[dict[str, str]]:
    client = await connect()
    query = [f"{search_attributes.RUNBOOK.name} IS NOT NULL"]
    if deployment is not None:
        if '"' in deployment or "'" in deployment:
            raise InvalidInput(f"--deployment: {deployment!r} is not a name")
        query.append(f"{search_attributes.DEPLOYMENT.name} = '{deployment}'")
    if running:
        query.append("ExecutionStatus = 'Running'")
    try:
        found = [one async for one in client.list_workflows(" AND ".join(query), limit=limit)]
    except RPCError as error:
        raise TemporalUnreachable(f"Temporal does not list operations: {error.message}") from error
    return [_row(one) for one in found]


async def running_operations() -> list[Running]:
    """What has not ended, by Temporal's list. Raises TemporalUnreachable."""
    client = await connect()
    query = f"{search_attributes.RUNBOOK.name} IS NOT NULL AND ExecutionStatus = 'Running'"
    try:
        found = [one async for one in client.list_workflows(query, limit=RUNNING_MOST)]
    except RPCError as error:
        raise TemporalUnreachable(f"Temporal does not list operations: {error.message}") from error
    return [
        Running(
            operation=one.id,
            runbook=one.typed_search_attributes.get(search_attributes.RUNBOOK) or one.workflow_type,
            deployment=one.typed_search_attributes.get(search_attributes.DEPLOYMENT) or "",
            region=one.typed_search_attributes.get(search_attributes.REGION) or "",
            phase=one.typed_search_attributes.get(search_attributes.PHASE) or "",
            since=one.start_time,
        )
        for one in found
    ]


def _row(one: WorkflowExecution) -> dict[str, str]:
    known = one.typed_search_attributes
    return {
        "operation": one.id,
        "runbook": known.get(search_attributes.RUNBOOK) or one.workflow_type,
        "deployment": known.get(search_attributes.DEPLOYMENT) or "",
        "region": known.get(search_attributes.REGION) or "",
        "phase": known.get(search_attributes.PHASE) or "",
        "since": output.utc(one.start_time),
        "state": one.status.name.lower() if one.status else "",
    }


@app.command(short_help="where one stands; needs no worker")
def show(operation: OperationArgument, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate ops show upgrade-ledger-7c1f09ab

    Where an operation stands: what Temporal knows, its steps if a worker answers, the deployment's record if the
    control bucket does.
    """

    async def run() -> None:
        handle = await _handle(operation)
        seen = await operations.describe(handle)
        live = await follow.progress(seen)
        status, silent = await _asked(operations.status(handle, within_s=SHOW_S))
        deployment = seen.typed_search_attributes.get(search_attributes.DEPLOYMENT)
        record, away = (None, None)
        if deployment:
            async with open_control(fleet) as control:
                record, away = await _asked(control.record(deployment))
        pending = [failures.pending_line(one) for one in seen.raw_description.pending_activities]
        if form is output.Format.JSON:
            output.answer(
                {
                    **_row(seen),
                    "status": status.model_dump(mode="json") if status else None,
                    "pending": pending,
                    "live": live,
                    "record": record.model_dump(mode="json") if record else None,
                    "problems": [error.message for error in (silent, away) if error],
                }
            )
            return
        row = _row(seen)
        output.say(f"operation  {row['operation']}      {row['runbook']} {row['deployment']}      {row['region']}")
        output.say(f"state      {row['state']}, {row['phase']}, since {row['since']}")
        if status is not None:
            _say_status(status)
        if silent is not None:
            output.say(f"steps      not known: {silent.message} ({silent.hint})")
        for line in pending:
            output.say(f"activity   {line}")
        if live:
            output.say(f"live       {follow.live(live)}")
        if record is not None:
            holder = f"held by {record.holder.operation} ({record.holder.who})" if record.holder else "held by nobody"
            writer = f"{record.writer.artifact.name}, job {record.writer.job_id}" if record.writer else "nothing"
            output.say(
                f"record     {record.state}, fence {record.fence}, epoch {record.epoch}, {holder}; runs: {writer}"
            )
        if away is not None:
            output.say(f"record     not known: {away.message}")

    asyncio.run(run())


def _say_status(status: OperationStatus) -> None:
    if status.plan is not None:
        output.say(f"plan       {status.plan.hash[:12]}")
    for row in status.steps:
        output.say(follow.step_line(row) if row.ended else f"  {row.number or '·'} {row.name:<12}{row.state}")
    if status.waiting_for:
        output.say(f"waits for  {status.waiting_for}")
    if status.why:
        output.say(f"why        {status.why}")
    for command in status.next_commands:
        output.say(f"next       {command}")


async def _asked(question: Awaitable[operations.T]) -> tuple[operations.T | None, TidegateError | None]:
    try:
        return await question, None
    except TidegateError as error:
        return None, error


@app.command(short_help="follow one until it ends")
def watch(operation: OperationArgument, *, _form: OutputOption = output.Format.TEXT) -> int:
    """Example:  tidegate ops watch upgrade-ledger-7c1f09ab

    Follow an operation until it ends or stands halted. Ctrl-C leaves it running.
    """
    return follow.follow_to_end(lambda: _handle(operation))


@app.command(short_help="approve the plan that waits")
def approve(
    operation: OperationArgument,
    plan: Annotated[str, typer.Option("--plan", metavar="HASH", help="hash of the plan, its first 8 digits at least")],
    *,
    comment: Annotated[str, typer.Option("--comment", help="printed in the report")] = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops approve upgrade-ledger-7c1f09ab --plan 51c0ffee

    Approve a plan. Who asked for the operation cannot approve it.
    """
    if len(plan) < 8:
        raise InvalidInput("--plan: expected at least the first 8 digits of the plan's hash")
    _control(operation, "approve", ApproveInput(by=who_asks(who), plan_hash=plan, comment=comment))


@app.command(short_help="reject the plan that waits")
def reject(
    operation: OperationArgument,
    *,
    comment: Annotated[str, typer.Option("--comment", help="printed in the report")] = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops reject upgrade-ledger-7c1f09ab --comment "not on a Friday"

    Reject a plan: the operation ends and has changed nothing.
    """
    _control(operation, "reject", RejectInput(by=who_asks(who), comment=comment))


@app.command(short_help="stand still at the next safe point")
def pause(
    operation: OperationArgument,
    *,
    why: ReasonOption = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops pause upgrade-ledger-7c1f09ab

    Stand still between two steps. A running switch is finished first.
    """
    _control(operation, "pause", ControlInput(by=who_asks(who), why=why))


@app.command(short_help="go on after a pause or a halt")
def resume(
    operation: OperationArgument,
    *,
    why: ReasonOption = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops resume upgrade-ledger-7c1f09ab

    Go on: after a pause with the next step, after a halt with what failed.
    """
    _control(operation, "resume", ControlInput(by=who_asks(who), why=why))


@app.command(short_help="go back, in good order")
def abort(
    operation: OperationArgument,
    *,
    why: ReasonOption = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops abort upgrade-ledger-7c1f09ab --why "wrong version"

    Go back in good order: the old artifact runs in the end, proven.
    """
    _control(operation, "abort", ControlInput(by=who_asks(who), why=why))


@app.command(short_help="a failover: go on without the region that is left")
def escalate(
    operation: OperationArgument,
    *,
    why: ReasonOption = "",
    who: WhoOption = None,
    _form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate ops escalate failover-ledger-7c1f09ab --why "east has just gone"

    A planned failover goes on unplanned: what the other region does not answer is given up, and the deployment goes on
    from its newest recovery point. There is no way back then but a failback (X24).
    """
    _control(operation, "escalate", ControlInput(by=who_asks(who), why=why))


@app.command(short_help="what failed on the way, with the lines of Flink's logs")
def logs(operation: OperationArgument, *, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate ops logs upgrade-ledger-7c1f09ab

    Every failure of a step in this operation, with its details: Flink's first error and log lines, as far as they
    were taken along. Needs no worker.
    """

    async def run() -> list[failures.Failure]:
        handle = await _handle(operation)
        await operations.describe(handle)
        return await failures.of(handle)

    found = asyncio.run(run())
    if form is output.Format.JSON:
        output.answer([one.as_dict() for one in found])
        return
    if not found:
        output.say("no step failed")
    for one in found:
        output.say(one.text())


async def _handle(operation: str) -> Handle:
    return (await connect()).get_workflow_handle(operation)


def _control(operation: str, name: str, request: ApproveInput | RejectInput | ControlInput) -> None:
    async def run() -> str:
        handle = await _handle(operation)
        if (await operations.describe(handle)).status is not WorkflowExecutionStatus.RUNNING:
            raise operations.has_ended(handle.id, name)
        return await operations.update(handle, name, request)

    answer = asyncio.run(run())
    if output.as_json():
        output.answer({"operation": operation, "answer": answer})
    else:
        output.say(answer)
