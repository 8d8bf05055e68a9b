"""Flink's REST over a `FakeFlink`, request by request (`tests.kit.flink_fake_net` brings them here).

Status codes and error texts are those of Flink 2.2.0, also where they surprise: an unknown job is a 500 on ``/status``,
a missing jar a 500, and failures of a stop come as 200 COMPLETED with a cause. Job details, checkpoints, exceptions and
vertices come from a copy that is up to ``refresh_interval_s`` old; the rest is fresh.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import FakeJob, FakeTaskManager, Program
from tests.kit.flink_fake_render import SINK, SOURCE, checkpoints, details, tasks_run
from tidegate.clients.flink_types import JobState

HEX32 = re.compile(r"[0-9a-f]{32}")
Answer = tuple[int, object]
Handler = Callable[..., Answer]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body or b"{}"))


class FlinkRest:
    """The REST of one fake cluster."""

    def __init__(self, flink: FakeFlink) -> None:
        self.flink = flink
        self._copies: dict[tuple[int, str, str], tuple[float, Any]] = {}
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = [
            (method, re.compile(pattern), handler)
            for method, pattern, handler in (
                ("GET", r"/overview", self._overview),
                ("GET", r"/jobmanager/config", self._config),
                ("GET", r"/taskmanagers", self._taskmanagers),
                ("GET", r"/taskmanagers/([^/]+)", self._taskmanager),
                ("GET", r"/taskmanagers/([^/]+)/log", self._log),
                ("GET", r"/jars", self._jars),
                ("POST", r"/jars/upload", self._upload),
                ("DELETE", r"/jars/([^/]+)", self._delete_jar),
                ("POST", r"/jars/([^/]+)/plan", self._plan),
                ("POST", r"/jars/([^/]+)/run", self._run),
                ("GET", r"/jobs", self._jobs),
                ("GET", r"/jobs/overview", self._jobs_overview),
                ("GET", r"/jobs/([0-9a-f]+)", self._details),
                ("GET", r"/jobs/([0-9a-f]+)/plan", self._job_plan),
                ("PATCH", r"/jobs/([0-9a-f]+)", self._cancel),
                ("GET", r"/jobs/([0-9a-f]+)/status", self._status),
                ("GET", r"/jobs/([0-9a-f]+)/checkpoints", self._checkpoints),
                ("GET", r"/jobs/([0-9a-f]+)/checkpoints/config", self._checkpoint_config),
                ("GET", r"/jobs/([0-9a-f]+)/exceptions", self._exceptions),
                ("GET", r"/jobs/([0-9a-f]+)/metrics", self._metrics),
                ("GET", r"/jobs/([0-9a-f]+)/vertices/(\w+)", self._vertex),
                ("GET", r"/jobs/([0-9a-f]+)/vertices/(\w+)/subtasktimes", self._subtask_times),
                ("GET", r"/jobs/([0-9a-f]+)/vertices/(\w+)/subtasks/metrics", self._vertex_metrics),
                ("POST", r"/jobs/([0-9a-f]+)/stop", self._stop),
                ("POST", r"/jobs/([0-9a-f]+)/savepoints", self._take_savepoint),
                ("GET", r"/jobs/([0-9a-f]+)/savepoints/([0-9a-f]+)", self._savepoint),
            )
        ]

    def answer(self, request: Request) -> Answer:
        """What Flink does and says."""
        path = request.path.removeprefix("/v1")
        with self.flink.lock:
            for method, pattern, handler in self._routes:
                match = pattern.fullmatch(path)
                if match and method == request.method:
                    return handler(request, *match.groups())
        return 404, {"errors": [f"Unable to load requested file {path}."]}

    # ------------------------------------------------------------ cluster

    def _overview(self, _request: Request) -> Answer:
        self.flink.tick()
        states = [job.state for job in self.flink.jobs.values()]
        total = sum(tm.slots for tm in self.flink.taskmanagers)
        return 200, {
            "taskmanagers": len(self.flink.taskmanagers),
            "slots-total": total,
            "slots-available": total - sum(len(tm.held) for tm in self.flink.taskmanagers),
            "jobs-running": sum(not state.terminal for state in states),
            "flink-version": self.flink.version,
        }

    def _config(self, _request: Request) -> Answer:
        config = {
            "execution.checkpointing.num-retained": str(self.flink.retained),
            "execution.checkpointing.dir": self.flink.checkpoint_dir,
            "high-availability.type": "zookeeper" if self.flink.ha else "NONE",
        }
        return 200, [{"key": key, "value": value} for key, value in config.items()]

    def _taskmanagers(self, _request: Request) -> Answer:
        self.flink.tick()
        return 200, {
            "taskmanagers": [
                {
                    "id": tm.id,
                    "slotsNumber": tm.slots,
                    "freeSlots": tm.slots - len(tm.held),
                    **_resources(tm),
                }
                for tm in self.flink.taskmanagers
            ]
        }

    def _taskmanager(self, _request: Request, taskmanager_id: str) -> Answer:
        for tm in self.flink.taskmanagers:
            if tm.id == taskmanager_id:
                return 200, {
                    "id": tm.id,
                    "slotsNumber": tm.slots,
                    "freeSlots": tm.slots - len(tm.held),
                    **_resources(tm),
                    "allocatedSlots": [{"jobId": job_id} for job_id in tm.held],
                }
        return _server_error(f"UnknownTaskExecutorException: No TaskExecutor registered under {taskmanager_id}.")

    def _log(self, _request: Request, taskmanager_id: str) -> Answer:
        return 200, f"log of {taskmanager_id}\n"

    # ------------------------------------------------------------ jars

    def _jars(self, _request: Request) -> Answer:
        return 200, {
            "files": [
                {"id": jar_id, "name": name, "uploaded": uploaded}
                for jar_id, (name, _, uploaded) in reversed(self.flink.jars.items())
            ]
        }

    def _upload(self, request: Request) -> Answer:
        boundary = b"--" + request.content_type.split("boundary=")[1].encode()
        head, _, content = request.body.split(boundary)[1].partition(b"\r\n\r\n")
        match = re.search(rb'name="jarfile"; filename="([^"]+)"', head)
        if match is None or not match.group(1).endswith(b".jar"):
            return 400, {"errors": ["Only Jar files are allowed."]}
        name = match.group(1).decode()
        jar_id = f"{len(self.flink.jars):08x}-0000-0000-0000-{self.flink.incarnation:012x}_{name}"
        self.flink.jars[jar_id] = (name, content.removesuffix(b"\r\n"), self.flink.now_ms())
        return 200, {"status": "success", "filename": f"/tmp/flink-web-upload/{jar_id}"}

    def _delete_jar(self, _request: Request, jar_id: str) -> Answer:
        if self.flink.jars.pop(jar_id, None) is None:
            return 400, {"errors": [f"RestHandlerException: File {jar_id} does not exist in /tmp/flink-web-upload."]}
        return 200, {}

    def _plan(self, request: Request, jar_id: str) -> Answer:
        if jar_id not in self.flink.jars:
            return _jar_missing(jar_id)
        body = request.json()
        program = self.flink.program(self.flink.jars[jar_id][0], body.get("programArgsList") or [])
        if program.main_throws is not None:
            return _server_error(f"ProgramInvocationException: main\nCaused by: {program.main_throws}")
        return 200, _graph(program, body.get("parallelism") or 1)

    def _job_plan(self, _request: Request, job_id: str) -> Answer:
        def render(job: FakeJob) -> object:
            return _graph(job.program, job.parallelism)

        return self._copy(job_id, "plan", render)

    def _run(self, request: Request, jar_id: str) -> Answer:
        if jar_id not in self.flink.jars:
            return _jar_missing(jar_id)
        body = request.json()
        if body.get("jobId") is not None and not HEX32.fullmatch(body["jobId"]):
            text = "RestHandlerException: Request did not match expected format JarRunRequestBody.\nCaused by: job id"
            return 400, {"errors": [text]}
        what, message = self.flink.submit(self.flink.jars[jar_id][0], body)
        if what == "accepted":
            return 200, {"jobid": message}
        causes = {
            "duplicate": "org.apache.flink.runtime.client.DuplicateJobSubmissionException: Job has already been"
            " submitted.",
            "rejected": "org.apache.flink.runtime.client.JobInitializationException: Could not start the JobMaster.\n"
            f"Caused by: {message}",
            "threw": f"org.apache.flink.client.program.ProgramInvocationException: main\nCaused by: {message}",
        }
        text = (
            "org.apache.flink.runtime.rest.handler.RestHandlerException: Could not execute application.\n\tat x\n"
            "Caused by: org.apache.flink.util.FlinkRuntimeException: Could not execute application.\n"
            f"Caused by: {causes[what]}\n\t... 3 more\n"
        )
        return 400, {"errors": [text]}

    # ------------------------------------------------------------ jobs

    def _jobs(self, _request: Request) -> Answer:
        self.flink.tick()
        return 200, {"jobs": [{"id": job.id, "status": job.state.value} for job in self.flink.jobs.values()]}

    def _jobs_overview(self, _request: Request) -> Answer:
        self.flink.tick()
        return 200, {
            "jobs": [
                {
                    "jid": job.id,
                    "name": job.name,
                    "state": job.state.value,
                    "start-time": job.started_ms,
                    "last-modification": job.tasks_running_ms or job.started_ms,
                    "tasks": {"total": 2 * job.parallelism, "running": 2 * job.parallelism if tasks_run(job) else 0},
                }
                for job in self.flink.jobs.values()
            ]
        }

    def _status(self, _request: Request, job_id: str) -> Answer:
        job = self._job(job_id)
        if job is None:
            return _server_error(
                f"org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job ({job_id})"
            )
        return 200, {"status": job.state.value}

    def _cancel(self, request: Request, job_id: str) -> Answer:
        assert request.query.get("mode", "cancel") == "cancel"
        self._job(job_id)
        found = self.flink.cancel(job_id)
        if found is None:
            return 404, {"errors": ["RestHandlerException: Job could not be found.\n\tat x"]}
        if found in {JobState.FINISHED, JobState.FAILED}:
            text = f"Job cancellation failed because the job has already reached another terminal state ({found})."
            return 409, {"errors": [text]}
        return 202, {}

    def _stop(self, request: Request, job_id: str) -> Answer:
        body = request.json()
        trigger = body.get("triggerId")
        if not isinstance(trigger, str) or not HEX32.fullmatch(trigger):
            text = "RestHandlerException: Request did not match expected format StopWithSavepointRequestBody."
            return 400, {"errors": [text]}
        self._job(job_id)
        self.flink.stop(job_id, trigger, body.get("targetDirectory") or "s3://flink/savepoints")
        return 202, {"request-id": trigger}

    def _take_savepoint(self, request: Request, job_id: str) -> Answer:
        body = request.json()
        self._job(job_id)
        directory = body.get("target-directory") or "s3://flink/savepoints"
        self.flink.stop(job_id, str(body["triggerId"]), directory, goes_on=True)
        return 202, {"request-id": body["triggerId"]}

    def _savepoint(self, _request: Request, job_id: str, trigger: str) -> Answer:
        self._job(job_id)
        stop = self.flink.stops.get((job_id, trigger))
        if stop is None:
            text = f"RestHandlerException: There is no savepoint operation with triggerId={trigger} for job {job_id}."
            return 404, {"errors": [text]}
        if not stop.done:
            return 200, {"status": {"id": "IN_PROGRESS"}, "operation": None}
        operation: dict[str, object] = {"location": stop.location}
        if stop.cause is not None:
            cause = {"class": "java.util.concurrent.CompletionException", "stack-trace": stop.cause}
            operation = {"failure-cause": cause}
        return 200, {"status": {"id": "COMPLETED"}, "operation": operation}

    # ------------------------------------------------------------ copies that grow old

    def _job(self, job_id: str) -> FakeJob | None:
        job = self.flink.jobs.get(job_id)
        if job is not None:
            self.flink.advance(job)
        return job

    def _copy(self, job_id: str, kind: str, render: Callable[[FakeJob], Any]) -> Answer:
        job = self._job(job_id)
        if job is None:
            return 404, {"errors": [f"org.apache.flink.runtime.rest.NotFoundException: Job {job_id} not found\n\tat x"]}
        made, copy = self._copies.get((self.flink.incarnation, job_id, kind), (float("-inf"), None))
        if self.flink.clock() - made >= self.flink.refresh_interval_s:
            copy = render(job)
            self._copies[self.flink.incarnation, job_id, kind] = (self.flink.clock(), copy)
        return 200, copy

    def _details(self, _request: Request, job_id: str) -> Answer:
        return self._copy(job_id, "graph", details)

    def _vertex(self, _request: Request, job_id: str, vertex: str) -> Answer:
        status, copy = self._copy(job_id, "graph", details)
        if status != 200 or not isinstance(copy, dict):
            return status, copy
        subtasks = [
            {"subtask": n, "status": copy["vertices"][0]["status"], "attempt": copy["fake-restarts"]}
            for n in range(copy["vertices"][0]["parallelism"])
        ]
        return 200, {"id": vertex, "name": vertex, "parallelism": len(subtasks), "subtasks": subtasks}

    def _subtask_times(self, _request: Request, job_id: str, vertex: str) -> Answer:
        def render(job: FakeJob) -> object:
            times = {"RUNNING": job.tasks_running_ms}
            return {"id": vertex, "subtasks": [{"subtask": n, "timestamps": times} for n in range(job.parallelism)]}

        return self._copy(job_id, "times", render)

    def _exceptions(self, request: Request, job_id: str) -> Answer:
        limit = int(request.query.get("maxExceptions", "20"))

        def render(job: FakeJob) -> object:
            entries = [
                {"exceptionName": text.split(":", 1)[0], "stacktrace": text, "timestamp": when, "taskName": None}
                for when, text in reversed(job.errors)
            ]
            return {"exceptionHistory": {"entries": entries[:limit], "truncated": len(entries) > limit}}

        return self._copy(job_id, "exceptions", render)

    def _checkpoints(self, _request: Request, job_id: str) -> Answer:
        return self._copy(job_id, "checkpoints", checkpoints)

    def _checkpoint_config(self, _request: Request, job_id: str) -> Answer:
        def render(job: FakeJob) -> object:
            return {
                "mode": job.program.mode,
                "interval": self.flink.checkpoint_interval_ms or 1_000,
                "timeout": 600_000,
                "externalization": {
                    "enabled": job.program.retained,
                    "delete_on_cancellation": not job.program.retained,
                },
            }

        return self._copy(job_id, "config", render)

    def _metrics(self, request: Request, job_id: str) -> Answer:
        job = self._job(job_id)
        asked = request.query.get("get", "").split(",")
        if job is None or "numRestarts" not in asked:
            return 200, []
        return 200, [{"id": "numRestarts", "value": str(job.restarts)}]

    def _vertex_metrics(self, request: Request, job_id: str, vertex: str) -> Answer:
        job = self._job(job_id)
        if job is None:
            return 200, []
        values: dict[str, int] = {"numRecordsOut": job.records_out}
        if vertex == SOURCE and job.lag_records is not None:
            values["Source__fake.pendingRecords"] = job.lag_records
        if "get" not in request.query:
            return 200, [{"id": name} for name in values]
        return 200, [{"id": n, "sum": float(values[n])} for n in request.query["get"].split(",") if n in values]


def _server_error(text: str) -> Answer:
    texts = [
        "Internal server error.",
        f"<Exception on server side:\n{text}\n\tat x\n\nEnd of exception on server side>",
    ]
    return 500, {"errors": texts}


def _graph(program: Program, parallelism: int) -> dict[str, Any]:
    vertices = program.vertices or ((SOURCE, "Source: numbers<br/>"), (SINK, "Sink<br/>"))
    nodes = [{"id": vertex, "parallelism": parallelism, "description": text} for vertex, text in vertices]
    return {"plan": {"nodes": nodes}}


def _jar_missing(jar_id: str) -> Answer:
    return _server_error(f"RestHandlerException: Jar file /tmp/flink-web-upload/{jar_id} does not exist")


def _resources(tm: FakeTaskManager) -> dict[str, Any]:
    """As ``ResourceProfileInfo`` (whole MiB) and ``TaskExecutorMemoryConfiguration`` (bytes) tell it."""

    def profile(slots: int) -> dict[str, Any]:
        heap, managed = (whole * slots // max(tm.slots, 1) for whole in (tm.heap_mib, tm.managed_mib))
        return {
            "cpuCores": 1.0 * slots / max(tm.slots, 1),
            "taskHeapMemory": heap,
            "taskOffHeapMemory": 0,
            "managedMemory": managed,
            "networkMemory": 24 * slots // max(tm.slots, 1),
            "extendedResources": {},
        }

    return {
        "totalResource": profile(tm.slots),
        "freeResource": profile(tm.slots - len(tm.held)),
        "memoryConfiguration": {"taskHeap": tm.heap_mib << 20, "managedMemory": tm.managed_mib << 20},
    }
