"""The facts that prove a step, in one line each, and the numbers in them as a person reads them."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import Observation, Plan, Verdict
    from tidegate.model.steps import EnsureFact, PrepareFact, ProveFact, SnapshotFact, StartFact, StopFact


def size(size_bytes: int) -> str:
    """In KiB or MiB."""
    return f"{size_bytes / 1024:,.0f} KiB" if size_bytes < 1024 * 1024 else f"{size_bytes / 1024 / 1024:,.1f} MiB"


def clock(at: datetime) -> str:
    """Time of day in UTC, with milliseconds."""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def observed(seen: Observation) -> str:
    """What runs now."""
    runs = seen.record.writer.artifact.name if seen.record.writer else "no job"
    if seen.job is None:
        return f"{runs}, Flink shows no job of it"
    parts = [f"job {seen.job.job_id[:8]}… {seen.job.state}", runs]
    if seen.job.last_checkpoint_age_s is not None:
        parts.append(f"last checkpoint {seen.job.last_checkpoint_age_s:.1f} s ago")
    if seen.lag is not None:
        parts.append(f"lag {seen.lag:,}")
    return ", ".join(parts)


def prepared(fact: PrepareFact) -> str:
    """What was made ready."""
    jar = "jar uploaded" if fact.uploaded else "jar there"
    return ", ".join((jar, f"slots {fact.slots_free}/{fact.slots_total} free", *fact.notes))


def stopped(fact: StopFact) -> str:
    """The savepoint that the stop left."""
    return f"savepoint {fact.location} ({fact.files:,} files, {size(fact.size_bytes)})"


def taken(fact: SnapshotFact) -> str:
    """The snapshot of a job that went on."""
    kind = "canonical" if fact.canonical else "native"
    positions = ", ".join(f"{at} {offset:,}" for at, offset in list(fact.positions.items())[:4])
    more = f" and {fact.partitions - 4} more" if fact.partitions > 4 else ""
    return (
        f"{fact.name}, {kind}, {fact.files:,} files, {size(fact.size_bytes)}, "
        f"{fact.transactions:,} transactions committed, positions: {positions or 'none'}{more}"
    )


def started(fact: StartFact) -> str:
    """The job that runs."""
    source = f"from {fact.snapshot}" if fact.snapshot else "from empty state"
    return f"job {fact.job_id[:8]}…, epoch {fact.epoch}, {source}"


def ensured(fact: EnsureFact) -> str:
    """The job that runs, and what it took."""
    if fact.was_running:
        return f"job {fact.start.job_id[:8]}… runs on, epoch {fact.start.epoch}"
    parts = [started(fact.start)]
    if fact.settled_committed or fact.settled_ended:
        parts.append(f"transactions: {fact.settled_committed:,} committed, {fact.settled_ended:,} ended")
    if fact.start.snapshot is None:
        return ", ".join(parts)
    parts.append(f"replayed {replayed(fact):,}")
    return ", ".join((*parts, *fact.notes))


def replayed(fact: EnsureFact) -> int:
    """Committed output records that come again."""
    return sum(span.records for span in fact.replay)


def proven(fact: ProveFact) -> str:
    """Why the job counts as healthy."""
    parts = [f"{fact.checkpoints:,} checkpoints", f"restarts {fact.restarts:,}"]
    if fact.lag_end is not None:
        parts.append(f"lag {fact.lag_end:,}")
    parts.append(f"output {fact.output_records:,}")
    if not fact.under_traffic:
        parts.append("not proven under traffic")
    return " · ".join((f"watched {fact.watched_s:,.0f} s", *parts))


def planned(plan: Plan) -> str:
    """A plan in a line."""
    gap = f", expected gap {plan.expected_gap_s:.1f} s" if plan.expected_gap_s is not None else ""
    origin = plan.from_artifact.name if plan.from_artifact else "nothing"
    return f"plan {plan.hash[:12]}: {origin} -> {plan.to_artifact.name}, {len(plan.steps)} steps{gap}"


def judged(verdict: Verdict) -> str:
    """A verdict in a line."""
    audited = "" if verdict.audited else " (values not audited)"
    note = f", {verdict.note}" if verdict.note else ""
    return f"lost {verdict.lost:,} · duplicated {verdict.duplicated:,} · wrong {verdict.wrong:,}{audited}{note}"
