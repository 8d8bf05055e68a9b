"""The blocks of a report, each from the part of the request that it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tidegate.model.operation import Plan, PlanStep, StepState, StepStatus
from tidegate.model.record import ArtifactRef
from tidegate.model.steps import EnsureFact, ProveFact, ReportInput, StartFact, SwitchFact
from tidegate.report import failover, words
from tidegate.report.page import Cell, Table

Row = tuple[Cell, ...]


def row(label: str, value: str, *, code: bool = False) -> Row:
    """A label and its value."""
    return (Cell(label), Cell(value, code=code))


def replayed_line(request: ReportInput) -> str:
    """What came again, beside what was announced before. The audit counts over all manifests of the deployment."""
    verdict, ensure = request.verdict, request.ensure
    announced = words.announced(ensure.replay) if ensure else 0
    if verdict is None or not verdict.audited:
        return f"announced {words.count(announced)}, not counted by an audit"
    if verdict.replayed == announced:
        return f"replayed {words.count(announced)}, as announced" if announced else "replayed 0, none announced"
    orphans = "; output whose input never crossed does not come again" if request.failover is not None else ""
    return (
        f"replayed {words.count(verdict.replayed)}, announced by this operation {words.count(announced)} "
        f"(the audit counts the manifests of earlier operations too{orphans})"
    )


def verdict_table(request: ReportInput) -> Table:
    """I2 in numbers, with the gap and how far was looked."""
    verdict = request.verdict
    if verdict is None:
        return Table("Verdict", (), lead="There is none: the operation ended before the output was looked at.")
    rows: list[Row] = []
    if verdict.audited:
        faults = (
            ("lost", verdict.lost),
            ("duplicated", verdict.duplicated),
            ("wrong", verdict.wrong),
            ("unexpected", verdict.unexpected),
        )
        rows += [(Cell(name), Cell(words.count(n), tone="bad" if n else "good")) for name, n in faults]
        rows.append(row("output that came again", replayed_line(request)))
        if verdict.superseded:
            rows.append(row("superseded output, to be skipped", words.count(verdict.superseded)))
    if verdict.input is not None:
        rows.append(row("input records", words.count(verdict.input)))
    if verdict.output is not None:
        rows.append(row("output records that count", words.count(verdict.output)))
    if verdict.gap_ms is not None:
        where = ""
        if verdict.gap_from_ms is not None and verdict.gap_to_ms is not None:
            ends = (words.moment_of(verdict.gap_from_ms), words.moment_of(verdict.gap_to_ms))
            where = f", from {words.clock(ends[0])} to {words.clock(ends[1])}"
        rows.append(row("gap in the output", f"{words.seconds(verdict.gap_ms / 1000)}{where}"))
    if verdict.checked_to:
        ends_text = ", ".join(f"{name}: {words.count(end)}" for name, end in sorted(verdict.checked_to.items()))
        rows.append(row("checked to offsets", ends_text))
    if verdict.note:
        rows.append(row("note", verdict.note))
    rows += [(Cell(f"example {n}"), Cell(text, code=True)) for n, text in enumerate(verdict.samples, start=1)]
    lead = "" if verdict.audited else "Values were not audited: this is transaction level only."
    return Table("Verdict", tuple(rows), lead=lead)


def plan_table(request: ReportInput) -> Table:
    """Plan against what happened, in the order of what happened; what was never reached comes last."""
    planned = list(request.plan.steps) if request.plan else []
    rows: list[Row] = []
    for status in request.steps:
        step = _planned_for(status, planned, request.plan)
        if step is not None:
            planned.remove(step)
        rows.append(_happened(status, step, minor=status.number == 0))
    rows += [
        (Cell(str(step.number)), Cell(step.name), Cell(_planned(step)), Cell("not reached"), Cell(""), Cell(""))
        for step in planned
    ]
    lead = ""
    if request.plan:
        expected, verdict = request.plan.expected_gap_s, request.verdict
        gap_ms = verdict.gap_ms if verdict else None
        told = words.seconds(expected) if expected is not None else "not known (no earlier run)"
        got = words.seconds(gap_ms / 1000) if gap_ms is not None else "not measured"
        lead = f"Expected gap: {told}. Measured: {got}."
    return Table("Plan and what happened", tuple(rows), ("#", "step", "planned", "state", "time", "fact"), lead)


def _planned_for(status: StepStatus, planned: Sequence[PlanStep], plan: Plan | None) -> PlanStep | None:
    """The plan's step of this row: ``start v2`` is the planned ``start`` of a plan to v2, ``start v1`` is not."""
    target = plan.to_artifact.name if plan else ""
    return next((step for step in planned if status.name in {step.name, f"{step.name} {target}"}), None)


def _planned(step: PlanStep) -> str:
    no_return = " (no return from here)" if step.no_return else ""
    return f"{step.what}{no_return}; undo: {step.undo}"


def _happened(status: StepStatus, step: PlanStep | None, *, minor: bool) -> Row:
    took = words.between(status.started, status.ended) if status.started and status.ended else ""
    unplanned = "" if minor else "not in the plan"
    return (
        Cell("" if minor else str(status.number)),
        Cell(status.name),
        Cell(_planned(step) if step else unplanned),
        Cell(words.STATES[status.state], tone="bad" if status.state is StepState.FAILED else ""),
        Cell(took),
        Cell(status.fact),
    )


def jobs_table(request: ReportInput) -> Table | None:
    """Every job of the deployment that this operation saw or started, oldest first."""
    rows: list[Row] = []
    regions = failover.route(request)
    writer = request.observation.record.writer if request.observation else None
    if writer is not None:
        source = writer.started_from or "empty state"
        found = (Cell(writer.job_id, code=True), Cell(source, code=True), Cell(words.utc(writer.since)))
        where = f"found in {writer.region}" if regions is not None else "found"
        rows.append((Cell(where), Cell(writer.artifact.name), Cell(str(writer.epoch)), *found))
    starts: list[tuple[str, StartFact]] = []
    if request.switch:
        starts.append(("started", request.switch.start))
    if request.ensure:
        what = "ran on" if request.ensure.was_running else "started to make it run"
        if request.failover is not None:
            what = f"started in {request.failover.target}"
        starts.append((what, request.ensure.start))
    for what, start in starts:
        source = start.snapshot or "empty state"
        begun = (Cell(start.job_id, code=True), Cell(source, code=True), Cell(words.utc(start.running_at)))
        rows.append((Cell(what), Cell(start.artifact.name), Cell(str(start.epoch)), *begun))
    head = ("job", "artifact", "epoch", "JobID", "started from", "running since")
    return Table("Jobs and epochs", tuple(rows), head) if rows else None


def snapshot_table(switch: SwitchFact | None) -> Table | None:
    """The savepoint of the stop, and where the output stood then."""
    if switch is None:
        return None
    stop = switch.stop
    rows = [
        row("location", stop.location, code=True),
        row("verified", f"{words.count(stop.files)} files, {words.size(stop.size_bytes)}"),
        row("of job", stop.job_id, code=True),
        row("epoch", str(stop.epoch)),
        row("stop asked for", words.utc(stop.asked_at)),
        row("stop completed", words.utc(stop.completed_at)),
        *(row(f"output end {name}", words.count(end)) for name, end in sorted(stop.output_ends.items())),
    ]
    return Table("Snapshot and positions", tuple(rows))


def time_table(request: ReportInput) -> Table | None:
    """Where the time of the switch went, and how long no job ran."""
    rows: list[Row] = []
    if request.switch:
        line = request.switch.timeline
        parts = (
            ("stop with savepoint", line.stop_ms),
            ("between stop and submit (Tidegate's own share)", line.between_ms),
            ("submit", line.submit_ms),
            ("until all tasks run", line.running_ms),
        )
        rows += [
            row(name, f"{words.count(ms)} ms" if ms else "0 ms, or done by an earlier attempt") for name, ms in parts
        ]
    stopped = request.switch.stop.completed_at if request.switch else None
    first = request.switch.start.running_at if request.switch else None
    if stopped and first:
        text = f"{words.between(stopped, first)} ({words.clock(stopped)} to {words.clock(first)})"
        rows.append(row("from stopped to RUNNING", text))
    rows += _recovery(request)
    return Table("Where the time went", tuple(rows)) if rows else None


def recovery(request: ReportInput) -> tuple[datetime, datetime] | None:
    """From the first stop to RUNNING of the job that runs now; None: none was stopped, or none started."""
    runs: StartFact | None = request.switch.start if request.switch else None
    if request.ensure:
        runs = None if request.ensure.was_running else request.ensure.start
    stops = [step.started for step in request.steps if step.name == "stop" and step.started]
    began = request.switch.stop.asked_at if request.switch else min(stops, default=None)
    return None if runs is None or began is None else (began, runs.running_at)


def _recovery(request: ReportInput) -> list[Row]:
    """RTO: from the first stop to RUNNING of the job that runs now. RPO: what is lost, by the audit.

    A failover has its own, which are told before.
    """
    found = recovery(request)
    if request.failover is not None or found is None:
        return []
    began, running_at = found
    text = f"{words.between(began, running_at)} (until {words.clock(running_at)})"
    verdict, lost = request.verdict, "not measured: values were not audited"
    if verdict is not None and verdict.audited:
        lost = f"{words.count(verdict.lost)} input records lost" if verdict.lost else "0, nothing lost"
    return [
        row("recovery time (RTO), from the stop to the job that runs now", text),
        row("recovery point (RPO)", lost),
    ]


def proof_table(prove: ProveFact | None) -> Table | None:
    """Why the job counts as healthy."""
    if prove is None:
        return None
    rows = [
        row("job", prove.job_id, code=True),
        row("watched", words.seconds(prove.watched_s)),
        row("checkpoints completed", words.count(prove.checkpoints)),
        row("restarts", words.count(prove.restarts)),
        row("lag at the start", "not known" if prove.lag_start is None else words.count(prove.lag_start)),
        row("lag at the end", "not known" if prove.lag_end is None else words.count(prove.lag_end)),
        row("output that passed", words.count(prove.output_records)),
        (
            Cell("under traffic"),
            Cell("yes") if prove.under_traffic else Cell("no: not proven under traffic", tone="warn"),
        ),
    ]
    return Table("Proof of the job that runs", tuple(rows))


def replay_table(request: ReportInput) -> Table | None:
    """The committed output that comes again, by range: consumers skip it."""
    ensure = request.ensure
    if ensure is None or not ensure.replay:
        return None
    rows = tuple(
        (
            Cell(part.topic),
            Cell(str(part.partition)),
            Cell(words.count(part.first)),
            Cell(words.count(part.last)),
            Cell(words.count(part.records)),
        )
        for part in ensure.replay
    )
    of_log = f" of {request.failover.target}'s log" if request.failover is not None else ""
    lead = (
        f"{replayed_line(request).capitalize()}. Superseded output by offset{of_log}, first and last included. "
        f"Manifest, written before the start: {ensure.manifest or 'not kept'}"
    )
    return Table("Replay manifest", rows, ("topic", "partition", "first", "last", "records"), lead)


def settled_table(ensure: EnsureFact | None) -> Table | None:
    """What was done with the transactions of a job that had died."""
    if ensure is None or not (ensure.settled_committed or ensure.settled_ended or ensure.notes):
        return None
    rows = [
        row("transactions of the snapshot, committed", words.count(ensure.settled_committed)),
        row("later transactions, ended", words.count(ensure.settled_ended)),
        *(row("note", note) for note in ensure.notes),
    ]
    return Table("Settled", tuple(rows))


def who_table(request: ReportInput) -> Table:
    """Who asked and who approved: claims (O14)."""
    rows = [row("asked", f"claimed by {request.requested_by}"), row("reason", request.reason or "none given")]
    approval = request.approval
    if approval is not None:
        word = "approved" if approval.approved else "rejected"
        comment = f": {approval.comment}" if approval.comment else ""
        said = f"claimed by {approval.by} at {words.utc(approval.at)}, plan {approval.plan_hash[:12]}{comment}"
        rows.append(row(word, said))
    elif request.break_glass is None:
        rows.append(row("approved", "by nobody: no approval was recorded"))
    if request.break_glass is not None:
        rows.append((Cell("break-glass"), Cell(f"went on without approval: {request.break_glass}", tone="bad")))
    if request.take_over is not None:
        before = request.observation.record.holder if request.observation else None
        from_whom = f" from {before.operation} (claimed by {before.who})" if before else ""
        rows.append((Cell("take-over"), Cell(f"taken over{from_whom}: {request.take_over.why}", tone="warn")))
    rows += [
        row("operation", request.operation, code=True),
        row("run id", request.run_id, code=True),
        row("runbook", request.runbook),
        row("began", words.utc(request.started)),
        row("ended", f"{words.utc(request.ended)}, after {words.between(request.started, request.ended)}"),
    ]
    if request.observation:
        seen = request.observation
        moved = failover.route(request)
        came = f"from {moved[0]} to " if moved is not None else ""
        rows.append(row("where", f"{came}{seen.region}/{seen.cell}, tier {seen.tier}, parallelism {seen.parallelism}"))
        if seen.flink_version:
            rows.append(row("Flink", seen.flink_version))
    return Table("Who and where", tuple(rows))


def artifacts_of(request: ReportInput) -> dict[str, ArtifactRef]:
    """Every artifact that the operation touched, by sha256."""
    found: list[ArtifactRef] = []
    if request.plan:
        found += [ref for ref in (request.plan.from_artifact, request.plan.to_artifact) if ref]
    if request.switch:
        found.append(request.switch.start.artifact)
    if request.ensure:
        found.append(request.ensure.start.artifact)
    return {ref.sha256: ref for ref in found}


def evidence_table(request: ReportInput, key: str, sha256: str) -> Table:
    """What everything above can be checked against."""
    rows: list[Row] = [row("this report as JSON", key, code=True), row("sha256 of that JSON", sha256, code=True)]
    if request.plan:
        rows.append(row("plan", request.plan.hash, code=True))
    rows.append(row("fleet file", request.fleet_digest, code=True))
    for ref in artifacts_of(request).values():
        rows += [row(f"artifact {ref.name}", ref.sha256, code=True), row(f"jar of {ref.name}", ref.uri, code=True)]
    if request.ensure and request.ensure.manifest:
        rows.append(row("replay manifest", request.ensure.manifest, code=True))
    return Table("Evidence", tuple(rows))


def notes_table(request: ReportInput) -> Table | None:
    """What was warned of before anything was done."""
    notes: Iterable[str] = (
        *(request.plan.notes if request.plan else ()),
        *(request.observation.warnings if request.observation else ()),
    )
    rows = tuple(row(str(n), note) for n, note in enumerate(dict.fromkeys(notes), start=1))
    return Table("Warned of beforehand", rows) if rows else None


def undelivered_table(request: ReportInput) -> Table | None:
    """Who was not reached while it ran."""
    rows = tuple(row(str(n), told) for n, told in enumerate(request.undelivered, start=1))
    return Table("Notices that did not arrive", rows) if rows else None
