"""The client against answers recorded from Flink 2.2.0 (stack traces cut to the lines that are read)."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tidegate.clients.flink import FlinkClient, jar_name
from tidegate.clients.flink_errors import MESSAGE_CHARS, root_cause
from tidegate.clients.flink_types import CancelOutcome, JobState, RunKind, RunRequest, SavepointPhase
from tidegate.errors import InvalidInput, Refused, Unavailable

JOB = "0" * 31 + "1"
TRIGGER = "0" * 30 + "aa"

INITIALIZATION = (
    "org.apache.flink.runtime.rest.handler.RestHandlerException: Could not execute application.\n"
    "\tat org.apache.flink.runtime.webmonitor.handlers.JarRunHandler.lambda$handleRequest$1(JarRunHandler.java:114)\n"
    "Caused by: org.apache.flink.client.program.ProgramInvocationException: The main method caused an error: x\n"
    "Caused by: org.apache.flink.runtime.client.JobInitializationException: Could not start the JobMaster.\n"
    "Caused by: java.util.concurrent.CompletionException: java.lang.RuntimeException: java.io.FileNotFoundException:"
    " Cannot find checkpoint or savepoint file/directory 'file:///nope' on file system 'file'.\n"
    "\t... 4 more\n"
    "Caused by: java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory 'file:///nope'"
    " on file system 'file'.\n"
    "\t... 5 more\n"
)


def duplicate(name: str) -> str:
    return (
        "org.apache.flink.runtime.rest.handler.RestHandlerException: Could not execute application.\n"
        "Caused by: org.apache.flink.util.FlinkException: Failed to execute job 'j'.\n"
        f"Caused by: org.apache.flink.runtime.client.{name}: Job has already been submitted.\n\t... 3 more\n"
    )


def client(status: int, body: object, seen: list[httpx.Request] | None = None) -> FlinkClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=body) if not isinstance(body, str) else httpx.Response(status, text=body)

    return FlinkClient("http://flink", transport=httpx.MockTransport(answer))


def errors(*texts: str) -> dict[str, list[str]]:
    return {"errors": list(texts)}


REQUEST = RunRequest(job_id=JOB, entry_class="J", parallelism=2)


@pytest.mark.parametrize(
    ("status", "text", "kind", "message"),
    [
        (400, duplicate("DuplicateJobSubmissionException"), RunKind.DUPLICATE, "already been submitted"),
        (400, duplicate("DuplicateApplicationSubmissionException"), RunKind.DUPLICATE, "already been submitted"),
        (400, INITIALIZATION, RunKind.REJECTED, "java.io.FileNotFoundException: Cannot find checkpoint"),
        (
            400,
            (
                "RestHandlerException: Could not execute application.\nCaused by: ProgramInvocationException: The main"
                " method caused an error: no\nCaused by: java.lang.IllegalStateException: main says no\n\tat x"
            ),
            RunKind.REJECTED_UNBURNED,
            "java.lang.IllegalStateException: main says no",
        ),
        (
            500,
            (
                "<Exception on server side:\nCaused by: org.apache.flink.client.program.ProgramInvocationException: The"
                " program's entry point class 'JJ' was not found in the jar file.\nCaused by:"
                " java.lang.ClassNotFoundException: JJ\n\nEnd of exception on server side>"
            ),
            RunKind.REJECTED_UNBURNED,
            "java.lang.ClassNotFoundException: JJ",
        ),
        (
            500,
            (
                "<Exception on server side:\njava.util.concurrent.CompletionException: "
                "RestHandlerException: Jar file /up/nope.jar does not exist\n\tat x"
            ),
            RunKind.JAR_MISSING,
            "does not exist",
        ),
    ],
)
async def test_what_became_of_a_submit(status, text, kind, message):
    """O6: whether the id is used up must be told apart, not guessed from the status code."""
    async with client(status, errors("Internal server error.", text)) as flink:
        outcome = await flink.run_jar("x.jar", REQUEST)
    assert outcome.kind is kind
    assert message in outcome.message


async def test_a_submit_that_timed_out_inside_flink_may_have_acted():
    text = "RestHandlerException: Could not execute application.\nCaused by: java.util.concurrent.TimeoutException: ask"
    async with client(400, errors(text)) as flink:
        with pytest.raises(Unavailable) as caught:
            await flink.run_jar("x.jar", REQUEST)
    assert caught.value.details["sent"] is True


async def test_a_submit_flink_cannot_read_is_invalid_input():
    text = "RestHandlerException: Request did not match expected format JarRunRequestBody.\nCaused by: x: bad id"
    async with client(400, errors(text)) as flink:
        with pytest.raises(InvalidInput, match="bad id"):
            await flink.run_jar("x.jar", REQUEST)


async def test_the_run_body_is_spelt_as_flink_spells_it():
    """Flink ignores what it does not know: a misspelt savepointPath would start from empty state (I3)."""
    seen: list[httpx.Request] = []
    async with client(200, {"jobid": JOB}, seen) as flink:
        request = REQUEST.model_copy(update={"savepoint_path": "s3://b/sp", "args": ["--a", "1"]})
        assert (await flink.run_jar("x.jar", request)).kind is RunKind.ACCEPTED
        await flink.stop_with_savepoint(JOB, trigger_id=TRIGGER, directory="s3://b/d")
    assert json.loads(seen[0].content) == {
        "entryClass": "J",
        "programArgsList": ["--a", "1"],
        "parallelism": 2,
        "jobId": JOB,
        "allowNonRestoredState": False,
        "flinkConfiguration": {},
        "savepointPath": "s3://b/sp",
        "claimMode": "NO_CLAIM",  # X10
    }
    assert json.loads(seen[1].content) == {
        "triggerId": TRIGGER,
        "targetDirectory": "s3://b/d",
        "formatType": "NATIVE",
        "drain": False,
    }


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("t"), False),
        (httpx.ReadTimeout("t"), True),
        (httpx.ReadError("reset"), True),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), True),
    ],
)
async def test_no_answer_says_whether_it_may_have_been_delivered(error, sent):
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with FlinkClient("http://flink", transport=httpx.MockTransport(fail)) as flink:
        with pytest.raises(Unavailable) as caught:
            await flink.run_jar("x.jar", REQUEST)
    assert caught.value.details["sent"] is sent


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, "<html>bad gateway</html>"),
        (404, "<html>no such host here</html>"),
        (503, errors("Service temporarily unavailable due to an ongoing leader election. Please refresh.")),
        (500, errors("Internal server error.", "<Exception on server side:\njava.io.IOException: disk")),
        (200, "<html>welcome</html>"),
    ],
)
async def test_an_answer_that_is_not_the_jobmanagers_word_is_never_taken_for_an_unknown_job(status, body):
    async with client(status, body) as flink:
        with pytest.raises(Unavailable):
            await flink.job_state(JOB)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            500,
            "<Exception on server side:\norg.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find",
        ),
        (404, f"org.apache.flink.runtime.rest.NotFoundException: Job {JOB} not found\n\tat x"),
    ],
)
async def test_an_unknown_job_is_none(status, text):
    """2.2.0 answers /status of an unknown job with 500, the other paths with 404."""
    async with client(status, errors("Internal server error.", text)) as flink:
        assert await flink.job_state(JOB) is None
        assert await flink.job(JOB) is None
        assert await flink.checkpoints(JOB) is None


async def test_states():
    async with client(200, {"status": "FINISHED"}) as flink:
        assert await flink.job_state(JOB) is JobState.FINISHED
    assert JobState.FINISHED.terminal
    assert not JobState.SUSPENDED.terminal


STOPPING = (
    "java.util.concurrent.CompletionException: org.apache.flink.runtime.scheduler.stopwithsavepoint."
    "StopWithSavepointStoppingException: A savepoint has been created at: s3://b/sp/savepoint-000000-1, but the"
    " corresponding job 01 failed during stopping. The savepoint is consistent, but might have uncommitted"
    " transactions.\n\tat x\nCaused by: java.lang.RuntimeException: commit failed\n"
)


def completed(operation: object) -> dict[str, object]:
    return {"status": {"id": "COMPLETED"}, "operation": operation}


async def test_savepoint_status_reads_what_flink_hides_in_a_200():
    """X2: COMPLETED with a cause is a failure; a stopping exception still names a whole savepoint."""
    async with client(200, {"status": {"id": "IN_PROGRESS"}, "operation": None}) as flink:
        assert (await flink.savepoint_status(JOB, TRIGGER)).phase is SavepointPhase.IN_PROGRESS
    async with client(200, completed({"location": "s3://b/sp"})) as flink:
        status = await flink.savepoint_status(JOB, TRIGGER)
        assert (status.phase, status.location) == (SavepointPhase.COMPLETED, "s3://b/sp")
    cause = {"class": "java.util.concurrent.CompletionException", "stack-trace": STOPPING}
    async with client(200, completed({"failure-cause": cause})) as flink:
        status = await flink.savepoint_status(JOB, TRIGGER)
        assert (status.phase, status.location) == (SavepointPhase.FAILED, "s3://b/sp/savepoint-000000-1")
        assert "commit failed" in status.message
    cause = {"class": "x", "stack-trace": "x: org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not"}
    async with client(200, completed({"failure-cause": cause})) as flink:
        status = await flink.savepoint_status(JOB, TRIGGER)
        assert (status.phase, status.location) == (SavepointPhase.FAILED, None)
    async with client(404, errors("RestHandlerException: There is no savepoint operation with triggerId=")) as flink:
        assert (await flink.savepoint_status(JOB, TRIGGER)).phase is SavepointPhase.UNKNOWN


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(202, CancelOutcome.ACCEPTED), (404, CancelOutcome.UNKNOWN), (409, CancelOutcome.ALREADY_TERMINAL)],
)
async def test_cancel(status, outcome):
    body = {} if status == 202 else errors("RestHandlerException: Job ...")
    async with client(status, body) as flink:
        assert await flink.cancel(JOB) is outcome


async def test_other_refusals_are_typed():
    async with client(403, errors("no")) as flink:
        with pytest.raises(Refused):
            await flink.overview()
    async with client(400, errors("bad")) as flink:
        with pytest.raises(InvalidInput):
            await flink.overview()


def test_messages_are_bounded():
    assert len(root_cause("Caused by: " + "x" * 100_000)) == MESSAGE_CHARS
    assert root_cause("") == "no message"
    wrapped = "java.util.concurrent.CompletionException: java.lang.RuntimeException: java.io.IOException: c\n\tat x"
    assert root_cause(wrapped) == "java.io.IOException: c"
    assert root_cause("java.lang.RuntimeException: boom") == "java.lang.RuntimeException: boom"


async def test_upload_streams_the_file_under_a_name_that_carries_its_hash(tmp_path: Path):
    path = tmp_path / "ledger.jar"
    path.write_bytes(b"PK" + b"x" * 200_000)
    seen: list[httpx.Request] = []
    async with client(
        200, {"status": "success", "filename": "/up/1234_" + jar_name("ab" * 32, "ledger.jar")}, seen
    ) as f:
        assert await f.upload_jar(path, jar_name("ab" * 32, "ledger.jar")) == "1234_abababababababab-ledger.jar"
        with pytest.raises(InvalidInput, match="cannot be read"):
            await f.upload_jar(tmp_path / "none.jar", "x.jar")
        with pytest.raises(InvalidInput, match=r"does not end in \.jar"):
            await f.upload_jar(path, "x")
    assert b'name="jarfile"; filename="abababababababab-ledger.jar"' in seen[0].content
    assert len(seen[0].content) > 200_000
