"""Three ways to upgrade the same running job: Tidegate, a hand-written REST script, Flink's own command-line client.

Each gets what it could have before the stop (jar uploaded, classes loaded), where it has a use for it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import yaml
from temporalio.client import Client, WorkflowFailureError

from benchmarks.stand import PARALLELISM, REGION, Job, Stand
from sandbox.flink import cluster_config, module_options
from sandbox.java import write_log4j
from sandbox.parts import find_java, part_folder
from sandbox.stage import DEPLOYMENT, execute
from tidegate.clients.objects import S3Uri
from tidegate.errors import OperationFailed
from tidegate.model.inputs import UPGRADE_DEPLOYMENT, StartInput, UpgradeInput
from tidegate.model.operation import OperationResult
from tidegate.model.steps import ReportInput, Timeline
from tidegate.names import CONTROL_QUEUE

SAVEPOINTS = "s3://east/savepoints/bench"
_POLL_S = 0.01
_STOP_TIMEOUT_S = 120.0
_BAKE_S = 3.0
_OPERATION_TIMEOUT_S = 300


@dataclass(frozen=True)
class Switched:
    """An upgrade that was done, with the wall clock around it (UTC ms) and what the way itself can tell of it."""

    job: Job
    savepoint: str
    asked_ms: float
    ended_ms: float
    timeline: Timeline | None = None


class Way(ABC):
    """One way to upgrade."""

    name: ClassVar[str]

    def __init__(self, stand: Stand) -> None:
        self.stand = stand

    @abstractmethod
    async def get_ready(self) -> None:
        """Once, before the first measurement."""

    @abstractmethod
    async def upgrade(self, job: Job, number: int) -> Switched:
        """Bring ``job.other`` to run in place of ``job``; returns when it has been accepted at least.

        Raises:
            OperationFailed: it did not work out.
        """


async def operate(client: Client, runbook: str, request: UpgradeInput | StartInput, name: str) -> OperationResult:
    """Run an operation to its end.

    Raises:
        OperationFailed: it ended otherwise than done, or stands halted; where to look is in the message.
    """
    handle = await client.start_workflow(
        runbook, request, id=f"{name}-{time.time_ns()}", task_queue=CONTROL_QUEUE, result_type=OperationResult
    )
    try:
        return await asyncio.wait_for(handle.result(), _OPERATION_TIMEOUT_S)
    except (WorkflowFailureError, TimeoutError) as error:
        reason = f"{error.cause}" if isinstance(error, WorkflowFailureError) else f"no end in {_OPERATION_TIMEOUT_S} s"
        raise OperationFailed(f"{handle.id}: {reason}", hint=f"look at it:  tidegate ops show {handle.id}") from error


class Tidegate(Way):
    """UpgradeDeployment on Temporal with the sandbox's workers. The bake comes after the gap: it is no part of it."""

    name = "tidegate"

    def __init__(self, stand: Stand, client: Client) -> None:
        super().__init__(stand)
        self._client = client

    async def get_ready(self) -> None:
        """Its own step ``prepare`` does that."""

    async def upgrade(self, job: Job, number: int) -> Switched:
        request = UpgradeInput(
            deployment=DEPLOYMENT, to=job.other, bake_s=_BAKE_S, requested_by="bench", reason="measurement"
        )
        result = await operate(self._client, UPGRADE_DEPLOYMENT, request, f"bench-{number}")
        if result.report is None:
            raise OperationFailed(f"{result.operation} ended without a report: {result.summary}")
        found = await self.stand.control.get(S3Uri(self.stand.control_bucket, result.report))
        fact = ReportInput.model_validate_json(found.body).switch
        if fact is None or fact.timeline.between_ms <= 0:
            raise OperationFailed(f"{result.operation} was not one switch in one attempt: {result.summary}")
        return Switched(
            job=Job(fact.start.job_id, fact.start.epoch, fact.start.artifact.name),
            savepoint=fact.stop.location,
            asked_ms=fact.stop.asked_at.timestamp() * 1000,
            ended_ms=fact.start.running_at.timestamp() * 1000,
            timeline=fact.timeline,
        )


class RestScript(Way):
    """The best script: jar there and warm, native savepoint, its status polled tightly, and the new job at once.

    It verifies nothing, writes nothing down, and cannot be resumed. One connection, kept alive; a thread of its own,
    so that nothing else of this process comes between two requests.
    """

    name = "script"

    def __init__(self, stand: Stand) -> None:
        super().__init__(stand)
        self._jars: dict[str, str] = {}

    async def get_ready(self) -> None:
        def upload() -> None:
            with self._session() as http:
                for artifact in ("v1", "v2"):
                    with self.stand.stage.jar(artifact).open("rb") as jar:
                        files = {"jarfile": (f"script-{artifact}.jar", jar, "application/x-java-archive")}
                        answer = _ok(http.post("/jars/upload", files=files))
                    self._jars[artifact] = str(answer["filename"]).rsplit("/", 1)[-1]

        await asyncio.to_thread(upload)

    async def upgrade(self, job: Job, number: int) -> Switched:
        return await asyncio.to_thread(self._upgrade, job)

    def _session(self) -> httpx.Client:
        return httpx.Client(base_url=self.stand.flink.base_url, timeout=60.0, trust_env=False)

    def _upgrade(self, job: Job) -> Switched:
        epoch = job.epoch + 1
        run = {
            "entryClass": self.stand.entry_class,
            "programArgsList": self.stand.args(epoch),
            "parallelism": PARALLELISM,
        }
        jar = self._jars[job.other]
        with self._session() as http:
            _ok(http.post(f"/jars/{jar}/plan", json=run))
            asked_ms = time.time() * 1000
            stop = {"targetDirectory": SAVEPOINTS, "formatType": "NATIVE", "drain": False}
            trigger = _ok(http.post(f"/jobs/{job.job_id}/stop", json=stop))["request-id"]
            savepoint = self._wait_stop(http, f"/jobs/{job.job_id}/savepoints/{trigger}")
            started = _ok(http.post(f"/jars/{jar}/run", json={**run, "savepointPath": savepoint}))
            return Switched(
                job=Job(str(started["jobid"]), epoch, job.other),
                savepoint=savepoint,
                asked_ms=asked_ms,
                ended_ms=time.time() * 1000,
            )

    def _wait_stop(self, http: httpx.Client, path: str) -> str:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            answer = _ok(http.get(path))
            if answer["status"]["id"] == "COMPLETED":
                location = answer["operation"].get("location")
                if not location:
                    raise OperationFailed(f"the script's stop failed: {str(answer['operation'])[:500]}")
                return str(location)
            time.sleep(_POLL_S)
        raise OperationFailed(f"the script's stop did not complete within {_STOP_TIMEOUT_S:.0f} s")


class CommandLine(Way):
    """Flink's own client as its ``bin/flink`` starts it: ``stop`` and then ``run -d -s``, two JVMs each.

    The first of the two reads the configuration: ``bin/config.sh`` of Flink 2 asks BashJavaUtils for it
    (UPDATE_AND_GET_FLINK_CONFIGURATION) before it starts CliFrontend.
    """

    name = "flink-cli"

    _SAVEPOINT: ClassVar = re.compile(r"Savepoint completed\. Path: (\S+)")
    _SUBMITTED: ClassVar = re.compile(r"Job has been submitted with JobID ([0-9a-f]{32})")

    def __init__(self, stand: Stand) -> None:
        super().__init__(stand)
        self._home = stand.stage.sandbox.folder.path / "flink-cli"
        self._java = ""

    async def get_ready(self) -> None:
        self._java = await find_java()
        await asyncio.to_thread(self._write_conf)

    def _write_conf(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "conf").mkdir(parents=True)
        ports = self.stand.stage.sandbox.layout.region(REGION)
        # The client's configuration goes into the job that it submits: checkpoints and state backend as everywhere.
        config = yaml.safe_dump(cluster_config(ports), sort_keys=True)
        (self._home / "conf" / "config.yaml").write_text(config, encoding="utf-8")
        write_log4j(self._home / "conf" / "log4j-cli.properties", root="WARN", levels={})

    async def upgrade(self, job: Job, number: int) -> Switched:
        asked_ms = time.time() * 1000
        out = await self._flink("stop", "--savepointPath", SAVEPOINTS, "--type", "native", job.job_id)
        savepoint = _found(self._SAVEPOINT, out)
        epoch = job.epoch + 1
        jar = str(self.stand.stage.jar(job.other))
        options = ("-d", "-s", savepoint, "-c", self.stand.entry_class, "-p", str(PARALLELISM))
        out = await self._flink("run", *options, jar, *self.stand.args(epoch))
        return Switched(
            job=Job(_found(self._SUBMITTED, out), epoch, job.other),
            savepoint=savepoint,
            asked_ms=asked_ms,
            ended_ms=time.time() * 1000,
        )

    async def _flink(self, *arguments: str) -> str:
        """As bin/flink of Flink 2.2 does: the options of its own config.yaml and of the log, the default heap."""
        conf = self._home / "conf"
        log4j = conf / "log4j-cli.properties"
        options = (f"-Dlog4j.configurationFile={log4j}", f"-Dlog4j.configuration=file:{log4j}")
        read = ("UPDATE_AND_GET_FLINK_CONFIGURATION", "--configDir", str(conf), "-flatten")
        found = await self._java_program("flink config", (), "org.apache.flink.runtime.util.bash.BashJavaUtils", read)
        if "BASH_JAVA_UTILS_EXEC_RESULT:" not in found:
            raise OperationFailed(f"BashJavaUtils read no configuration: {found[-1_000:]}")
        what = f"flink {arguments[0]}"
        return await self._java_program(
            what, (*module_options(), *options), "org.apache.flink.client.cli.CliFrontend", arguments
        )

    async def _java_program(self, what: str, options: Sequence[str], main: str, arguments: Sequence[str]) -> str:
        argv = [self._java, *options, "-cp", f"{part_folder('flink')}/*", main, *arguments]
        environment = {"FLINK_CONF_DIR": str(self._home / "conf")}
        done = await execute(argv, self._home, environment, _STOP_TIMEOUT_S)
        if done.status != 0:
            raise OperationFailed(f"{what} ended with {done.status}: {(done.out + done.err)[-1_000:]}")
        return done.out


def _ok(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise OperationFailed(f"{response.request.url.path}: {response.status_code} {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise OperationFailed(f"flink said nothing like {pattern.pattern!r}: {text[-500:]}")
    return match.group(1)
