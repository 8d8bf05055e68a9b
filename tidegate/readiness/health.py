"""The job that runs: its checkpoints, and its transactions against the time that a recovery takes (X3, X6, X11)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from tidegate.driver.base import CheckpointSettings
from tidegate.model.review import Checked
from tidegate.operation.move import stopped
from tidegate.readiness.facts import Facts, JobFacts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, field_of, warning
from tidegate.report import words

MIN_RETAINED: Final = 5
"""X6: the newest may be deleted while it is copied."""
FAILED_BREACH: Final = 3


def check_checkpoints(facts: Facts) -> Iterator[Said]:
    """Complete, in time, and kept as a way back needs them."""
    job = facts.job
    if isinstance(facts.record, NotKnown):
        yield Unasked("checkpoints", facts.record)
    elif isinstance(job, NotKnown):
        yield Unasked("checkpoints", job)
    elif job is None or job.state.terminal:
        yield _not_running(facts, job)
    else:
        yield from _running(facts, job)


def _not_running(facts: Facts, job: JobFacts | None) -> Said:
    record = facts.record
    if not isinstance(record, NotKnown) and record is not None and record.made_way is not None:
        way, at = record.made_way, record.pinned.at if record.pinned is not None else facts.now
        return warning(
            facts,
            "made-way",
            str(facts.home),
            f"it stands stopped since {at:%Y-%m-%d %H:%M:%S} UTC to make way for {way.operation}; nothing is processed",
            f"it comes back when what came from {way.came_from} goes home; until then its input is kept for as long as "
            f"retention says, and no longer",
            f"tidegate failover region {facts.home.region} --to {way.came_from} --dry-run",
            f"tidegate restore {facts.deployment}",
        )
    if not isinstance(record, NotKnown) and record is not None and stopped(record):
        return warning(
            facts,
            "stopped",
            str(facts.home),
            "it is stopped with a savepoint; nothing is processed",
            "its input is kept for as long as retention says, and no longer",
            f"tidegate restore {facts.deployment}",
        )
    seen = f"Flink says {job.state.value}" if job is not None else "Flink knows no job of it"
    return breach(
        facts,
        "not-running",
        str(facts.home),
        f"it does not run: {seen}",
        "nothing is processed, and no recovery point gets newer",
        f"tidegate restore {facts.deployment} --dry-run",
    )


def _running(facts: Facts, job: JobFacts) -> Iterator[Said]:
    settings, latest = job.settings, job.checkpoints.latest.completed
    if settings is None:
        yield breach(
            facts,
            "no-checkpoint",
            job.job_id,
            "it takes no checkpoints",
            "nothing can be recovered but what a stop wrote, and its output is never committed",
            "execution.checkpointing.interval of the job",
        )
        return
    yield from _settings(facts, settings)
    history = [one for one in job.checkpoints.history if not one.is_savepoint and one.state != "IN_PROGRESS"]
    failed = len(list(takewhile(lambda one: one.state == "FAILED", history)))
    why_failed = job.checkpoints.latest.failed
    said = f": {why_failed.failure_message.splitlines()[0]}" if why_failed and why_failed.failure_message else ""
    if failed:
        yield (breach if failed >= FAILED_BREACH else warning)(
            facts,
            "checkpoints-failing",
            job.job_id,
            f"{failed} checkpoints in a row have failed{said}",
            "the recovery point grows older, and output stays uncommitted until one completes",
            f"Flink's page of it:  {facts.flink_page}/#/job/running/{job.job_id}/checkpoints",
        )
    if latest is None:
        yield breach(
            facts,
            "no-checkpoint",
            job.job_id,
            "it has not completed a checkpoint yet",
            "it could only begin again where it started from",
            f"Flink's page of it:  {facts.flink_page}/#/job/running/{job.job_id}/checkpoints",
        )
        return
    took_s, interval_s = latest.end_to_end_duration / 1000, settings.interval_ms / 1000
    if took_s > interval_s:
        yield warning(
            facts,
            "checkpoint-slow",
            job.job_id,
            f"a checkpoint takes {words.seconds(took_s)}; one is due every {words.seconds(interval_s)}",
            "the recovery point is older than the interval says, and a stop takes as long",
            "execution.checkpointing.interval of the job, or unaligned checkpoints",
        )
    age_s = facts.now.timestamp() - latest.completed_ms / 1000
    late_s = 3 * max(interval_s, took_s) + 10.0  # REST tells from a copy that may be some seconds old
    if age_s > late_s and not failed:
        yield breach(
            facts,
            "checkpoint-overdue",
            job.job_id,
            f"the newest checkpoint is {words.seconds(age_s)} old; one is due every {words.seconds(interval_s)}",
            "the recovery point grows older",
            f"Flink's page of it:  {facts.flink_page}/#/job/running/{job.job_id}/checkpoints",
        )
    elif not failed:
        took, ago = words.seconds(took_s), words.seconds(max(0.0, age_s))
        fact = f"chk-{latest.id} took {took}, {ago} ago; one every {words.seconds(interval_s)}"
        yield Checked(check="checkpoints", subject=job.job_id, fact=fact)


def _settings(facts: Facts, settings: CheckpointSettings) -> Iterator[Said]:
    problems = settings.problems(min_retained=MIN_RETAINED)
    for problem in problems:
        yield breach(
            facts,
            "checkpoint-settings",
            str(facts.home),
            problem,
            "what the way back starts from may be gone, or is not exact (X6, X11)",
            "execution.checkpointing.* of Flink (ARCHITECTURE.md, what the clusters must be set to)",
        )
    if not problems:
        fact = f"exactly once, retained on cancellation, {settings.retained_count} retained"
        yield Checked(check="checkpoint settings", subject=str(facts.home), fact=fact)


def check_transactions(facts: Facts) -> Iterator[Said]:
    """X3: what is open when a job dies must not time out before the job that goes on commits it."""
    timeout_s = facts.spec.transaction_timeout_ms / 1000
    job, rto_s = facts.job, facts.spec.objectives.rto_s
    if isinstance(facts.record, NotKnown):
        yield Unasked("transaction timeout", facts.record)
    elif isinstance(job, NotKnown):
        yield Unasked("transaction timeout", job)
    elif job is not None and job.settings is not None and rto_s is not None:
        latest = job.checkpoints.latest.completed
        interval_s = job.settings.interval_ms / 1000
        took_s = latest.end_to_end_duration / 1000 if latest is not None else 0.0
        needed_s = interval_s + took_s + rto_s
        interval, took, rto = words.seconds(interval_s), words.seconds(took_s), words.seconds(rto_s)
        sum_told = f"an interval of {interval}, a checkpoint of {took} and an RTO of {rto}"
        if timeout_s < needed_s:
            yield breach(
                facts,
                "transaction-timeout-short",
                "",
                f"transactions time out after {words.seconds(timeout_s)}; {sum_told} need {words.seconds(needed_s)}",
                "the broker would abort what the snapshot counts as written: those outputs are lost (X3)",
                field_of(facts, "transaction_timeout_ms", str(int(needed_s * 2000))),
            )
        else:
            yield Checked(check="transaction timeout", subject="", fact=f"{words.seconds(timeout_s)}, over {sum_told}")
    for region in facts.regions.values():
        if isinstance(region.kafka, NotKnown):
            yield Unasked("the broker's longest transaction", region.kafka)
            continue
        most = region.kafka.settings.get("transaction.max.timeout.ms")
        if most is None:
            yield Unasked(
                "the broker's longest transaction",
                NotKnown(f"Kafka in {region.name}", "it does not tell transaction.max.timeout.ms"),
            )
        elif int(most) < facts.spec.transaction_timeout_ms:
            yield breach(
                facts,
                "transaction-timeout-refused",
                region.name,
                f"Kafka in {region.name} allows transactions of {words.seconds(int(most) / 1000)} at most; the job "
                f"asks for {words.seconds(timeout_s)}",
                "the job would fail there as soon as it starts",
                f"transaction.max.timeout.ms of the brokers in {region.name}",
                field_of(facts, "transaction_timeout_ms", most),
            )
