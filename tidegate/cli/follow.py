"""A run as a person sees it: one line a step while it goes, and how it ended (UX.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.live import Live
from rich.text import Text
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.converter import DataConverter

from tidegate.cli import operations, output
from tidegate.cli.operations import Handle, NoWorker
from tidegate.model.inputs import UPGRADE_DEPLOYMENT
from tidegate.model.operation import (
    NOTHING_TO_UNDO,
    MemberResult,
    OperationResult,
    OperationStatus,
    Outcome,
    Phase,
    Plan,
    StepState,
    StepStatus,
    Verdict,
)
from tidegate.temporal.connect import TemporalUnreachable
from tidegate.temporal.converter import data_converter

POLL_S = 0.5
QUIET_MINOR_S = 1.0
"""Take and prepare are shown only if they took longer than this, or failed."""
NO_WORKER_S = 3.0
EXIT_HALTED = 3
EXIT_INTERRUPTED = 130
AWAY_S = 120.0
"""For so long a follower waits for a Temporal that does not answer."""

_WORDS = {StepState.OK: "ok", StepState.FAILED: "failed", StepState.SKIPPED: "skipped"}


def follow_to_end(find: Callable[[], Awaitable[Handle]]) -> int:
    """Follow an operation; the exit code. Ctrl-C leaves it running and says how to come back."""
    found: list[Handle] = []

    async def run() -> int:
        found.append(await find())
        return await Follower(found[0]).follow()

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        if not found:
            raise
        output.note(f"\nit goes on:  tidegate ops watch {found[0].id}\nstop it:     tidegate ops abort {found[0].id}")
        return EXIT_INTERRUPTED


class Follower:
    """Prints one operation until it ends or stands halted."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._printed: set[tuple[str, datetime | None]] = set()
        self._headed = False
        self._planned = False
        self._said: set[str] = set()
        self._seen_events = -1

    async def follow(self) -> int:
        """Follow it; the exit code. Ctrl-C leaves it running.

        Raises:
            TemporalUnreachable: Temporal went away; the operation goes on.

        """
        if output.as_json():
            return await self._follow_silently()
        console = output.console()
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                seen = await self._look()
                await self._news(seen)
                if seen.status is not WorkflowExecutionStatus.RUNNING:
                    break
                status = self._status
                if status is not None and self.stands_halted(status):
                    live.stop()
                    print_halted(status)
                    return EXIT_HALTED
                if console.is_terminal and status is not None:
                    line = running_line(status, await progress(seen), self.ways(status))
                    live.update(Text(line), refresh=True)
                await asyncio.sleep(POLL_S)
        result, error = await operations.outcome(self._handle)
        if result is not None:
            print_end(result)
        elif error is not None:
            raise error
        return operations.exit_code(result, error)

    async def _follow_silently(self) -> int:
        while True:
            seen = await self._look()
            await self._news(seen, silent=True)
            if seen.status is not WorkflowExecutionStatus.RUNNING:
                break
            if self._status is not None and self.stands_halted(self._status):
                output.answer(self._status.model_dump(mode="json"))
                return EXIT_HALTED
            await asyncio.sleep(POLL_S)
        result, error = await operations.outcome(self._handle)
        if result is None and error is not None:
            raise error
        if result is not None:
            output.answer(result.model_dump(mode="json"))
        return operations.exit_code(result, error)

    _status: OperationStatus | None = None

    # -- what differs where an operation is followed by the process that it runs in

    def ways(self, status: OperationStatus) -> tuple[str, ...]:
        """How a person leaves it and comes back, and how it is sent back: shown below the step that runs."""
        return (
            f"Ctrl-C leaves it running:  tidegate ops watch {status.operation}",
            f"go back:                   tidegate ops abort {status.operation}",
        )

    def told(self, status: OperationStatus) -> OperationStatus:
        """What it says of itself, as it is shown."""
        return status

    def unanswered(self, error: NoWorker) -> str:
        """What is said while no worker answers."""
        return f"{error.message}; it waits for one ({error.hint})"

    def stands_halted(self, status: OperationStatus) -> bool:
        """Whether it waits for a person, so that following it makes no sense."""
        return status.phase is Phase.HALTED

    async def _look(self) -> WorkflowExecutionDescription:
        """Describe it; a Temporal that restarts is waited for."""
        since = time.monotonic()
        while True:
            try:
                return await operations.describe(self._handle)
            except TemporalUnreachable as error:
                if time.monotonic() - since > AWAY_S:
                    raise
                self._once(f"{error.message}; the operation does not need it to be safe, waiting for it")
            await asyncio.sleep(POLL_S)

    async def _news(self, seen: WorkflowExecutionDescription, *, silent: bool = False) -> None:
        """Ask where it stands, if something has happened since, and print what has ended."""
        if seen.history_length == self._seen_events and self._status is not None:
            return
        try:
            self._status = self.told(await operations.status(self._handle, within_s=NO_WORKER_S))
        except NoWorker as error:
            self._once(self.unanswered(error))
            return
        self._seen_events = seen.history_length
        if not silent:
            self._print_new(self._status)

    def _print_new(self, status: OperationStatus) -> None:
        ended = status.phase in {Phase.REFUSED, Phase.UNDONE, Phase.SUPERSEDED}
        if not self._headed and (status.region or ended):
            self._headed = True
            output.say(head(status))
        if status.plan is not None and not self._planned and status.region:
            self._planned = True
            output.say(plan_line(status))
        if not self._headed:
            return
        # Steps may run beside each other, and end in another order than they stand in.
        for row in status.steps:
            known = (row.name, row.started)
            if row.state not in _WORDS or known in self._printed:
                continue
            self._printed.add(known)
            if row.number or row.state is not StepState.OK or took_s(row) >= QUIET_MINOR_S:
                output.say(step_line(row))
        if status.waiting_for and status.phase is not Phase.HALTED:
            lines = [f"waits for {status.waiting_for}", *status.next_commands]
            self._once("\n".join(f"     {line}" for line in lines))

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            output.note(text)


# -- lines


def head(status: OperationStatus) -> str:
    """The first line: which, what, where, who."""
    place = f"  {status.region}/{status.cell}" if status.region else ""
    return (
        f"operation  {status.operation}      deployment {status.deployment}{place}      "
        f"requested by {status.requested_by}"
    )


def plan_line(status: OperationStatus) -> str:
    """What it will do, and how long that stands still."""
    plan = status.plan
    if plan is None:
        return ""
    undo = next((step.undo for step in plan.steps if step.undo != NOTHING_TO_UNDO), "nothing")
    gap = f"expected gap {expected_gap(plan)}, " if plan.runbook == UPGRADE_DEPLOYMENT else ""
    lines = [f"plan       {len(plan.steps)} steps, {gap}undo: {undo}"]
    lines += [f"           note: {note}" for note in plan.notes]
    return "\n".join([*lines, ""])


def expected_gap(plan: Plan) -> str:
    """How long processing will stand still, judged by earlier runs: ``2.1 s (last 6 runs: 1.9 to 2.6 s)``."""
    earlier = plan.earlier_gaps_s
    if plan.expected_gap_s is None or not earlier:
        return "not known yet (no earlier runs)"
    told = (
        "the last run" if len(earlier) == 1 else f"last {len(earlier)} runs: {min(earlier):.1f} to {max(earlier):.1f} s"
    )
    return f"{plan.expected_gap_s:.1f} s ({told})"


def step_line(row: StepStatus) -> str:
    """``  2 stop        ok      0.6 s  savepoint …``"""
    return f"  {row.number or '·'} {row.name + ' ':<12}{_WORDS.get(row.state, '…'):<8}{took_s(row):>4.1f} s  {row.fact}"


def took_s(row: StepStatus) -> float:
    """How long a step took, in seconds."""
    return (row.ended - row.started).total_seconds() if row.ended and row.started else 0.0


def running_line(status: OperationStatus, figures: Mapping[str, Any], ways: Sequence[str]) -> str:
    """The step that runs: for how long, until when, and its live figures (O19); below it the ``ways`` out."""
    row = next((row for row in status.steps if row.state is StepState.RUNNING), None)
    if row is None or row.started is None:
        return f"     {status.phase}"
    name = row.name
    if figures.get("phase") == "start" and name == "stop":
        name = "start"
    now = datetime.now(UTC)
    limit = f" of at most {(row.deadline - row.started).total_seconds():,.0f} s" if row.deadline else ""
    lasts_s = (now - row.started).total_seconds()
    lines = [f"  {row.number or '·'} {name + ' ':<12}…       {lasts_s:,.0f} s{limit}  {live(figures)}"]
    return "\n".join([*lines, *(f"     {way}" for way in ways)])


def live(figures: Mapping[str, Any]) -> str:
    """Heartbeat details in a line."""
    if not figures:
        return ""
    if figures.get("phase") == "prove" and "watched_s" in figures:
        parts = [
            f"{figures['watched_s']:,.0f} s of {figures.get('bake_s', 0):,.0f} s watched",
            f"checkpoints {figures.get('checkpoints')}/{figures.get('checkpoints_needed')}",
            f"restarts {figures.get('restarts')}",
        ]
        if figures.get("lag") is not None:
            parts.append(f"lag {figures['lag']:,}")
        if figures.get("output_records") is not None:
            parts.append(f"output {figures['output_records']:,}")
        return " · ".join(parts)
    return " · ".join(f"{name} {value}" for name, value in figures.items() if value not in (None, ""))


async def progress(seen: WorkflowExecutionDescription) -> dict[str, Any]:
    """Figures and last failure of the activity that runs, from describe: no worker is asked."""
    found: dict[str, Any] = {}
    for pending in seen.raw_description.pending_activities:
        if pending.HasField("heartbeat_details") and pending.heartbeat_details.payloads:
            decoded = await _decode(data_converter, pending.heartbeat_details.payloads)
            if isinstance(decoded, dict):
                found |= decoded
        if pending.attempt > 1 and pending.HasField("last_failure"):
            found |= {"attempt": pending.attempt, "last failure": pending.last_failure.message[:200]}
    return found


async def _decode(converter: DataConverter, payloads: Any) -> object:  # noqa: ANN401 (a protobuf container)
    values: list[object] = await converter.decode(payloads)
    return values[0] if values else None


# -- ends


def print_halted(status: OperationStatus) -> None:
    """It stands halted; what led to it, and what a person can do."""
    step = next((row.name for row in reversed(status.steps) if row.state is StepState.FAILED), "")
    output.say(f"\nhalted     safely{', at ' + step if step else ''}; it holds {status.deployment} and does nothing")
    output.say(f"why        {status.why}")
    words = {" resume ": "go on", " --keep-server ": "go on", " abort ": "go back", " --abort": "go back"}
    words |= dict.fromkeys((" escalate ", " --unplanned "), "elsewhere")
    for command in status.next_commands:
        word = next((word for sign, word in reversed(words.items()) if sign in command), "next")
        output.say(f"{word:<10} {command}")


def planned_steps(plan: Plan) -> list[str]:
    """Each step, and below it how it is undone; what is undone like an earlier one names that one."""
    first: dict[str, int] = {}
    lines = []
    for step in plan.steps:
        point = "  (no way back after it)" if step.no_return else ""
        like = first.setdefault(step.undo, step.number)
        undo = step.undo if like == step.number or step.undo == NOTHING_TO_UNDO else f"as of step {like}"
        lines += [f"  {step.number} {step.name + ' ':<12}{step.what}{point}", f"{'':<16}undo: {undo}"]
    return lines


def print_end(result: OperationResult) -> None:
    """How it ended (UX.md, the end of a run)."""
    if result.outcome is Outcome.PLANNED and result.plan is not None:
        output.say(f"planned    {result.summary}")
        for line in planned_steps(result.plan):
            output.say(line)
        output.say("nothing was changed")
        return
    word = {Outcome.BAD_VERDICT: "done, BUT"}.get(result.outcome, result.outcome.value)
    first, *more = [text for text in _end_texts(result) if text]
    output.say(f"{word:<10} {first}")
    for text in more:
        output.say(f"{'':<10} {text}")
    if result.verdict is not None:
        if result.verdict.gap_ms is not None:
            output.say(f"gap        {result.verdict.gap_ms / 1000:.2f} s")
        output.say(f"verdict    {verdict_line(result.verdict)}")
    for member in result.members:
        output.say(f"  {member.deployment + ' ':<14}{member_line(member)}")
    for command in result.next_commands:
        # A region that is returned is no way back: what runs goes on running.
        back = result.outcome is Outcome.BAD_VERDICT and not command.startswith("tidegate return ")
        output.say(f"{'go back' if back else 'next':<10} {command}")
    if result.report:
        output.say(f"report     {result.report}      tidegate report open {result.operation}")


def _end_texts(result: OperationResult) -> tuple[str, ...]:
    if result.outcome is Outcome.DONE:
        return (result.summary,)
    if result.outcome is Outcome.BAD_VERDICT:
        return (f"{result.why}", result.summary)
    return (result.why, result.summary)


def member_line(member: MemberResult) -> str:
    """How it ended for one of several: outcome, gap, verdict, RTO."""
    verdict = member.verdict
    gap = f"gap {verdict.gap_ms / 1000:.2f} s" if verdict is not None and verdict.gap_ms is not None else ""
    rto = f"RTO {member.rto_s:.1f} s" if member.rto_s is not None else ""
    told = verdict.text + ("" if verdict.audited else " (values not audited)") if verdict is not None else ""
    parts = [part for part in (gap, told, rto, member.why, member.summary) if part]
    return f"{member.outcome.value:<10}{' · '.join(parts)}"


def verdict_line(verdict: Verdict) -> str:
    """``lost 0 · duplicated 0 · wrong 0        input 184,233 · output 184,233``"""
    line = f"lost {verdict.lost:,} · duplicated {verdict.duplicated:,} · wrong {verdict.wrong:,}"
    if verdict.replayed:
        line += f" · replayed {verdict.replayed:,}"
    if verdict.input is not None and verdict.output is not None:
        line += f"        input {verdict.input:,} · output {verdict.output:,}"
    if not verdict.audited:
        line += "        values not audited"
    return line + (f" · {verdict.note}" if verdict.note else "")
