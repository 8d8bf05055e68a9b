"""The envelopes around Flink's answers: what the client unwraps and nobody else needs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tidegate.clients.flink_types import Jar, JobEntry, JobState, JobSummary, PlanNode, SubtaskTimes, TaskManager


class Lenient(BaseModel):
    """Newer Flinks add fields."""

    model_config = ConfigDict(extra="ignore")


class Jobs(Lenient):
    """GET /jobs."""

    jobs: list[JobEntry]


class JobsOverview(Lenient):
    """GET /jobs/overview."""

    jobs: list[JobSummary]


class Status(Lenient):
    """GET /jobs/ID/status."""

    status: JobState


class Jars(Lenient):
    """GET /jars."""

    files: list[Jar]


class Uploaded(Lenient):
    """POST /jars/upload; the jar id is the last part of ``filename``."""

    filename: str


class Plan(Lenient):
    """The plan in a plan answer."""

    nodes: list[PlanNode]


class PlanAnswer(Lenient):
    """POST /jars/ID/plan."""

    plan: Plan


class TaskManagers(Lenient):
    """GET /taskmanagers."""

    taskmanagers: list[TaskManager]


class SubtaskTimesAnswer(Lenient):
    """GET /jobs/ID/vertices/VID/subtasktimes."""

    subtasks: list[SubtaskTimes]


class KeyValue(Lenient):
    """An entry of a configuration."""

    key: str
    value: str


class MetricId(Lenient):
    """A metric that there is; with its value if asked for by name."""

    id: str
    value: str | None = None


class Id(Lenient):
    """An id in an object of its own."""

    id: str


class SavepointAnswer(Lenient):
    """GET /jobs/ID/savepoints/TRIGGER."""

    status: Id
    operation: dict[str, object] | None = None
