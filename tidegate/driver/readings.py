"""What Flink's answers about a job amount to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.clients.flink_errors import root_cause
from tidegate.clients.flink_types import (
    CheckpointConfig,
    CheckpointStats,
    JobDetails,
    JobExceptions,
    JobState,
    TaskManager,
)
from tidegate.driver.base import CheckpointRef, CheckpointSettings, JobView
from tidegate.model.record import SlotMemory

_DEFAULT_RETAINED = 1
"""Flink's default of ``execution.checkpointing.num-retained``."""


def slot_memory(taskmanagers: Iterable[TaskManager]) -> SlotMemory | None:
    """What a slot has at least, whichever of them it is on; None: there is none, or Flink does not tell."""
    slots = [
        (one.total_resource.managed_mib / one.slots_number, one.total_resource.heap_mib / one.slots_number)
        for one in taskmanagers
        if one.total_resource is not None and one.slots_number > 0
    ]
    if not slots:
        return None
    return SlotMemory(
        managed_mib=round(min(managed for managed, _ in slots), 1), heap_mib=round(min(heap for _, heap in slots), 1)
    )


def job_view(
    job_id: str,
    state: JobState,
    *,
    details: JobDetails,
    checkpoints: CheckpointStats | None,
    exceptions: JobExceptions | None,
    restarts: int,
) -> JobView:
    """One view of several answers; ``state`` is the fresh one and wins."""
    stats = checkpoints or CheckpointStats()
    done = stats.latest.completed
    entries = exceptions.history.entries if exceptions else []
    return JobView(
        job_id=job_id,
        state=state,
        name=details.name,
        parallelism=details.parallelism,
        started_ms=details.start_time_ms,
        restarts=restarts,
        last_checkpoint=CheckpointRef(
            id=done.id, completed_ms=done.completed_ms, path=done.external_path, is_savepoint=done.is_savepoint
        )
        if done
        else None,
        checkpoints_completed=stats.counts.completed,
        checkpoints_failed=stats.counts.failed,
        restored_from=stats.latest.restored.external_path if stats.latest.restored else None,
        first_error=root_cause(entries[-1].stacktrace) if entries else None,
        last_error=root_cause(entries[0].stacktrace) if entries else None,
        all_running=state is JobState.RUNNING and details.all_running,
    )


def settings_view(
    job_id: str, settings: CheckpointConfig, *, cluster: Mapping[str, str], stats: CheckpointStats | None
) -> CheckpointSettings:
    """The directory is where the newest checkpoint lies; before the first, what the cluster says."""
    directory = cluster.get("execution.checkpointing.dir") or cluster.get("state.checkpoints.dir")
    latest = stats.latest.completed if stats else None
    if latest is not None and f"/{job_id}/" in latest.external_path:
        directory = latest.external_path.rsplit(f"/{job_id}/", 1)[0]
    retained = cluster.get("execution.checkpointing.num-retained") or cluster.get("state.checkpoints.num-retained")
    kept = settings.externalization
    return CheckpointSettings(
        exactly_once=settings.mode == "exactly_once",
        retained_on_cancellation=kept.enabled and not kept.delete_on_cancellation,
        retained_count=int(retained) if retained else _DEFAULT_RETAINED,
        interval_ms=settings.interval,
        timeout_ms=settings.timeout,
        directory=directory,
    )
