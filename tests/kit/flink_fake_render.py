"""A fake job as Flink's REST shows it."""

from __future__ import annotations

from typing import Any

from tests.kit.flink_fake_model import Checkpoint, FakeJob
from tidegate.clients.flink_types import JobState

SOURCE, SINK = "5" * 32, "6" * 32
"""Every fake job has these two vertices."""


def tasks_run(job: FakeJob) -> bool:
    return job.state is JobState.RUNNING and bool(job.tasks_running_ms)


def details(job: FakeJob) -> dict[str, Any]:
    state = "RUNNING" if tasks_run(job) else "SCHEDULED"
    vertices = [
        {
            "id": vertex,
            "name": vertex,
            "parallelism": job.parallelism,
            "status": state,
            "tasks": {state: job.parallelism},
        }
        for vertex in (SOURCE, SINK)
    ]
    return {
        "jid": job.id,
        "name": job.name,
        "state": job.state.value,
        "start-time": job.started_ms,
        "end-time": job.ended_ms,
        "timestamps": dict(job.since_ms),
        # A job that failed in its initialization has no vertices.
        "vertices": vertices if "RUNNING" in job.since_ms else [],
        "fake-restarts": job.restarts,
    }


def _completed(checkpoint: Checkpoint, takes_ms: int = 0) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "status": "COMPLETED",
        "is_savepoint": checkpoint.is_savepoint,
        "trigger_timestamp": checkpoint.completed_ms - takes_ms,
        "end_to_end_duration": takes_ms,
        "latest_ack_timestamp": checkpoint.completed_ms,
        "external_path": checkpoint.path,
        "discarded": checkpoint.discarded,
    }


def checkpoints(job: FakeJob) -> dict[str, Any]:
    done = [c for c in job.checkpoints if not c.is_savepoint]
    savepoints = [c for c in job.checkpoints if c.is_savepoint]
    restored = None
    if job.snapshot is not None:
        restored = {"id": job.restored_id, "is_savepoint": True, "external_path": job.snapshot}
    return {
        "counts": {
            "restored": int(restored is not None),
            "total": job.completed + job.failed_checkpoints + job.failed_in_a_row,
            "completed": job.completed,
            "failed": job.failed_checkpoints + job.failed_in_a_row,
        },
        "latest": {
            "completed": _completed(done[-1], job.checkpoint_takes_ms) if done else None,
            "savepoint": _completed(savepoints[-1]) if savepoints else None,
            "failed": None,
            "restored": restored,
        },
        "history": [
            *({"id": job.next_checkpoint_id + n, "status": "FAILED"} for n in range(job.failed_in_a_row)),
            *(_completed(c, job.checkpoint_takes_ms) for c in reversed(job.checkpoints[-10:])),
        ],
    }
