"""Flink's REST, typed. One request a call; nothing is retried here (the caller knows what may be sent twice).

Which answers are fresh: those of `FlinkClient.jobs`, `FlinkClient.jobs_overview`, `FlinkClient.job_state` and
`FlinkClient.savepoint_status`. Job details, checkpoints, exceptions and vertices come from copies up to
``web.refresh-interval`` (3 s by default) old, metrics up to ``metrics.fetcher.update-interval`` (10 s by default).

Every method raises, beside what it names: Unavailable (no answer, a 5xx; ``details['sent']`` is False only if the
request surely never left), InvalidInput (400) and Refused (other 4xx).
"""

from __future__ import annotations

from pathlib import Path

from tidegate.clients.flink_errors import (
    FlinkError,
    as_ours,
    failure_message,
    root_cause,
    savepoint_despite_failure,
)
from tidegate.clients.flink_http import FlinkHttp
from tidegate.clients.flink_types import (
    CancelOutcome,
    CheckpointConfig,
    CheckpointStats,
    ClusterOverview,
    Jar,
    JobDetails,
    JobEntry,
    JobExceptions,
    JobState,
    JobSummary,
    Metric,
    PlanNode,
    RunKind,
    RunOutcome,
    RunRequest,
    SavepointFormat,
    SavepointPhase,
    SavepointStatus,
    SubtaskTimes,
    TaskManager,
    TaskManagerDetails,
    VertexDetails,
)
from tidegate.clients.flink_wire import (
    Jars,
    Jobs,
    JobsOverview,
    KeyValue,
    MetricId,
    PlanAnswer,
    SavepointAnswer,
    Status,
    SubtaskTimesAnswer,
    TaskManagers,
    Uploaded,
)
from tidegate.errors import InvalidInput


def jar_name(sha256: str, name: str) -> str:
    """What a jar is called on a cluster, so that a leftover is recognised: ``<sha256[:16]>-<name>.jar``.

    ``name`` may end in ``.jar`` already.
    """
    return f"{sha256[:16]}-{name.removesuffix('.jar')}.jar"


class FlinkClient(FlinkHttp):
    """A session cluster's REST endpoint.

    ``timeout_s`` bounds connect, each read and each write; uploads, plans and submits get six times as long.
    ``transport`` replaces the network (tests).
    """

    # ---------------------------------------------------------------- cluster

    async def overview(self) -> ClusterOverview:
        """GET /overview: version and slots, fresh."""
        return self.parse(ClusterOverview, await self.get("/overview"))

    async def jobmanager_config(self) -> dict[str, str]:
        """GET /jobmanager/config: the cluster's configuration; secrets come masked."""
        answer = self.parse(list[KeyValue], await self.get("/jobmanager/config"))
        return {entry.key: entry.value for entry in answer}

    async def taskmanagers(self) -> list[TaskManager]:
        """GET /taskmanagers."""
        return self.parse(TaskManagers, await self.get("/taskmanagers")).taskmanagers

    async def taskmanager(self, taskmanager_id: str) -> TaskManagerDetails | None:
        """GET /taskmanagers/ID with the jobs that hold its slots; None if it is not registered."""
        answer = await self.request("GET", f"/taskmanagers/{taskmanager_id}")
        if isinstance(answer, FlinkError):
            if answer.taskmanager_unknown:
                return None
            raise as_ours(self.base_url, f"GET /taskmanagers/{taskmanager_id}", answer)
        return self.parse(TaskManagerDetails, answer)

    async def taskmanager_log(self, taskmanager_id: str, *, tail_bytes: int = 65_536) -> str:
        """GET /taskmanagers/ID/log, its last ``tail_bytes``; "" if the process writes no log file or is gone."""
        answer = await self.tail(f"/taskmanagers/{taskmanager_id}/log", tail_bytes=tail_bytes)
        if isinstance(answer, FlinkError):
            if answer.taskmanager_unknown or answer.no_such_file:
                return ""
            raise as_ours(self.base_url, f"GET /taskmanagers/{taskmanager_id}/log", answer)
        return answer.decode(errors="replace")

    # ---------------------------------------------------------------- jobs

    async def jobs(self) -> list[JobEntry]:
        """GET /jobs: every job's id and state, fresh. Ended jobs stay for ``jobstore.expiration-time``."""
        return self.parse(Jobs, await self.get("/jobs")).jobs

    async def jobs_overview(self) -> list[JobSummary]:
        """GET /jobs/overview: every job's state and how many of its subtasks run.

        Fresh on 2.2.0 (seen: 20 ms behind, with details 3 s behind), so it is what tells that all tasks run. It asks
        every job's JobMaster, so it costs the cluster as much as there are jobs.
        """
        return self.parse(JobsOverview, await self.get("/jobs/overview")).jobs

    async def job_state(self, job_id: str) -> JobState | None:
        """GET /jobs/ID/status, fresh; None for an id that this JobManager does not know."""
        answer = await self.of_job(f"/jobs/{job_id}/status")
        return None if answer is None else self.parse(Status, answer).status

    async def job(self, job_id: str) -> JobDetails | None:
        """GET /jobs/ID: vertices, state timestamps, start time. Stale by up to ``web.refresh-interval``: never wait
        on it for RUNNING or FINISHED where `job_state` will do. None for an unknown id.
        """
        answer = await self.of_job(f"/jobs/{job_id}")
        return None if answer is None else self.parse(JobDetails, answer)

    async def checkpoints(self, job_id: str) -> CheckpointStats | None:
        """GET /jobs/ID/checkpoints: counts and the newest of each kind, up to 3 s old. None for an unknown id."""
        answer = await self.of_job(f"/jobs/{job_id}/checkpoints")
        return None if answer is None else self.parse(CheckpointStats, answer)

    async def checkpoint_config(self, job_id: str) -> CheckpointConfig | None:
        """GET /jobs/ID/checkpoints/config; None for an unknown id or a job without checkpoints."""
        answer = await self.request("GET", f"/jobs/{job_id}/checkpoints/config")
        if isinstance(answer, FlinkError):
            if answer.job_not_found or answer.status == 404:
                return None
            raise as_ours(self.base_url, f"GET /jobs/{job_id}/checkpoints/config", answer)
        return self.parse(CheckpointConfig, answer)

    async def exceptions(self, job_id: str, limit: int = 20) -> JobExceptions | None:
        """GET /jobs/ID/exceptions, newest first, up to ``web.refresh-interval`` old. None for an unknown id."""
        answer = await self.of_job(f"/jobs/{job_id}/exceptions", {"maxExceptions": str(limit)})
        return None if answer is None else self.parse(JobExceptions, answer)

    async def vertex(self, job_id: str, vertex_id: str) -> VertexDetails | None:
        """GET /jobs/ID/vertices/VID: the attempts of its subtasks. None for an unknown id."""
        answer = await self.of_job(f"/jobs/{job_id}/vertices/{vertex_id}")
        return None if answer is None else self.parse(VertexDetails, answer)

    async def subtask_times(self, job_id: str, vertex_id: str) -> list[SubtaskTimes] | None:
        """GET /jobs/ID/vertices/VID/subtasktimes: when each subtask entered each state. None for an unknown id."""
        answer = await self.of_job(f"/jobs/{job_id}/vertices/{vertex_id}/subtasktimes")
        return None if answer is None else self.parse(SubtaskTimesAnswer, answer).subtasks

    # ---------------------------------------------------------------- metrics

    async def job_metrics(self, job_id: str, names: list[str]) -> dict[str, float]:
        """GET /jobs/ID/metrics. Those that are not there (an unknown job, not yet fetched) are left out."""
        answer = self.parse(list[MetricId], await self.get(f"/jobs/{job_id}/metrics", {"get": ",".join(names)}))
        return {m.id: float(m.value) for m in answer if m.value is not None and _is_number(m.value)}

    async def vertex_metric_names(self, job_id: str, vertex_id: str) -> list[str]:
        """The metrics that the subtasks of a vertex offer, those of its operators as ``<operator>.<metric>``."""
        answer = await self.get(f"/jobs/{job_id}/vertices/{vertex_id}/subtasks/metrics")
        return [metric.id for metric in self.parse(list[MetricId], answer)]

    async def vertex_metrics(self, job_id: str, vertex_id: str, names: list[str]) -> list[Metric]:
        """Named metrics of a vertex with sum, min, max and avg over its subtasks."""
        if not names:
            return []
        query = {"get": ",".join(names), "agg": "sum,min,max,avg"}
        return self.parse(list[Metric], await self.get(f"/jobs/{job_id}/vertices/{vertex_id}/subtasks/metrics", query))

    async def source_lag(self, job_id: str, vertex_id: str) -> float | None:
        """Sum of ``pendingRecords`` over a source's subtasks, in records; None if the vertex has no such metric."""
        return await self._metric_sum(job_id, vertex_id, "pendingRecords")

    async def records_out(self, job_id: str, vertex_id: str) -> float | None:
        """Sum of the task's ``numRecordsOut`` over its subtasks; None until the first metrics are fetched."""
        return await self._metric_sum(job_id, vertex_id, "numRecordsOut")

    async def _metric_sum(self, job_id: str, vertex_id: str, metric: str) -> float | None:
        names = await self.vertex_metric_names(job_id, vertex_id)
        # The task's own metric where there is one: its operators' would count a chained record at each of them.
        wanted = [metric] if metric in names else [name for name in names if name.endswith(f".{metric}")]
        sums = [m.sum for m in await self.vertex_metrics(job_id, vertex_id, wanted) if m.sum is not None]
        return sum(sums) if sums else None

    # ---------------------------------------------------------------- jars

    async def jars(self) -> list[Jar]:
        """GET /jars."""
        return self.parse(Jars, await self.get("/jars")).files

    async def upload_jar(self, path: Path, name: str) -> str:
        """POST /jars/upload, streamed from disk; returns the jar id. Each call makes one more copy: see `jar_name`."""
        if not name.endswith(".jar"):
            raise InvalidInput(f"jar name {name!r} does not end in .jar: Flink refuses it")
        try:
            handle = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"artifact {path} cannot be read: {error.strerror}") from error
        with handle:
            answer = await self.request(
                "POST",
                "/jars/upload",
                files={"jarfile": (name, handle, "application/x-java-archive")},
                slow=True,
            )
        uploaded = self.parse(Uploaded, self.or_raise("POST /jars/upload", answer))
        return uploaded.filename.rsplit("/", 1)[-1]

    async def delete_jar(self, jar_id: str) -> bool:
        """DELETE /jars/ID; False if it was not there."""
        answer = await self.request("DELETE", f"/jars/{jar_id}")
        if isinstance(answer, FlinkError) and answer.jar_missing:
            return False
        self.or_raise(f"DELETE /jars/{jar_id}", answer)
        return True

    async def plan(self, jar_id: str, *, entry_class: str, args: list[str], parallelism: int) -> list[PlanNode] | None:
        """POST /jars/ID/plan: runs the main method without a job, which also loads the classes. None: jar missing.

        Raises InvalidInput if the main method or the entry class fails; the message is its root cause.
        """
        body = {"entryClass": entry_class, "programArgsList": args, "parallelism": parallelism}
        answer = await self.request("POST", f"/jars/{jar_id}/plan", json_body=body, slow=True)
        if isinstance(answer, FlinkError):
            if answer.jar_missing:
                return None
            if "ProgramInvocationException" in answer.text and not answer.timed_out:
                raise InvalidInput(f"{entry_class} of {jar_id} gives no job graph: {answer.root_cause}")
            raise as_ours(self.base_url, f"POST /jars/{jar_id}/plan", answer)
        return self.parse(PlanAnswer, answer).plan.nodes

    async def job_plan(self, job_id: str) -> list[PlanNode] | None:
        """GET /jobs/ID/plan: the graph of a job that was started, as `plan` gives it. None for an unknown id."""
        answer = await self.of_job(f"/jobs/{job_id}/plan")
        return None if answer is None else self.parse(PlanAnswer, answer).plan.nodes

    async def run_jar(self, jar_id: str, request: RunRequest) -> RunOutcome:
        """POST /jars/ID/run: returns when the job is initialized or has failed to.

        Raises Unavailable where nobody can tell whether it was taken: ask `job_state`, or send the same again.
        """
        what = f"POST /jars/{jar_id}/run of {request.job_id}"
        answer = await self.request("POST", f"/jars/{jar_id}/run", json_body=request.body(), slow=True, what=what)
        if not isinstance(answer, FlinkError):
            return RunOutcome(kind=RunKind.ACCEPTED)
        if answer.duplicate:
            return RunOutcome(kind=RunKind.DUPLICATE, message=answer.root_cause)
        if answer.jar_missing:
            return RunOutcome(kind=RunKind.JAR_MISSING, message=answer.root_cause)
        if answer.failed_in_initialization:
            return RunOutcome(kind=RunKind.REJECTED, message=answer.root_cause)
        if answer.timed_out or answer.malformed:
            raise as_ours(self.base_url, what, answer)
        # A main method that throws is a 400 too, an entry class that is not there a 500; neither makes a job (seen).
        if answer.status == 400 or "ProgramInvocationException" in answer.text:
            return RunOutcome(kind=RunKind.REJECTED_UNBURNED, message=answer.root_cause)
        raise as_ours(self.base_url, what, answer)

    # ---------------------------------------------------------------- stop, cancel

    async def stop_with_savepoint(
        self,
        job_id: str,
        *,
        trigger_id: str,
        directory: str,
        savepoint_format: SavepointFormat = SavepointFormat.NATIVE,
        drain: bool = False,
    ) -> None:
        """POST /jobs/ID/stop. Idempotent by ``trigger_id`` (32 hex digits) for ``rest.async.store-duration``, 5 min.

        Accepted even for an unknown job: only `savepoint_status` tells.
        """
        body: dict[str, object] = {
            "triggerId": trigger_id,
            "targetDirectory": directory,
            "formatType": savepoint_format.value,
            "drain": drain,
        }
        what = f"POST /jobs/{job_id}/stop"
        self.or_raise(what, await self.request("POST", f"/jobs/{job_id}/stop", json_body=body, what=what))

    async def take_savepoint(
        self, job_id: str, *, trigger_id: str, directory: str, savepoint_format: SavepointFormat
    ) -> None:
        """POST /jobs/ID/savepoints: the job goes on. Idempotent by ``trigger_id`` as a stop is.

        The directory is spelt ``target-directory`` here, and Flink ignores what it does not know.
        """
        body: dict[str, object] = {
            "triggerId": trigger_id,
            "target-directory": directory,
            "formatType": savepoint_format.value,
            "cancel-job": False,
        }
        what = f"POST /jobs/{job_id}/savepoints"
        self.or_raise(what, await self.request("POST", f"/jobs/{job_id}/savepoints", json_body=body, what=what))

    async def savepoint_status(self, job_id: str, trigger_id: str) -> SavepointStatus:
        """GET /jobs/ID/savepoints/TRIGGER, fresh. A stop's COMPLETED comes after every task has finished.

        Flink says COMPLETED for failures too, with a cause; this says FAILED then.
        """
        what = f"GET /jobs/{job_id}/savepoints/{trigger_id}"
        answer = await self.request("GET", f"/jobs/{job_id}/savepoints/{trigger_id}")
        if isinstance(answer, FlinkError):
            if answer.status == 404:
                return SavepointStatus(phase=SavepointPhase.UNKNOWN, message=answer.root_cause)
            raise as_ours(self.base_url, what, answer)
        parsed = self.parse(SavepointAnswer, answer)
        if parsed.status.id != "COMPLETED":
            return SavepointStatus(phase=SavepointPhase.IN_PROGRESS)
        operation = parsed.operation or {}
        location = operation.get("location")
        if isinstance(location, str):
            return SavepointStatus(phase=SavepointPhase.COMPLETED, location=location)
        raw = operation.get("failure-cause")
        cause = raw if isinstance(raw, dict) else {}
        stack = str(cause.get("stack-trace", ""))
        return SavepointStatus(
            phase=SavepointPhase.FAILED,
            location=savepoint_despite_failure(stack),
            cause_class=root_cause(stack).split(":", 1)[0] if stack else str(cause.get("class", "")),
            message=failure_message(stack),
        )

    async def cancel(self, job_id: str) -> CancelOutcome:
        """PATCH /jobs/ID?mode=cancel. Returns when accepted, not when ended."""
        what = f"PATCH /jobs/{job_id}?mode=cancel"
        answer = await self.request("PATCH", f"/jobs/{job_id}", {"mode": "cancel"}, what=what)
        if isinstance(answer, FlinkError):
            if answer.status == 404 or answer.job_not_found:
                return CancelOutcome.UNKNOWN
            if answer.status == 409:
                return CancelOutcome.ALREADY_TERMINAL
            raise as_ours(self.base_url, what, answer)
        return CancelOutcome.ACCEPTED


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
