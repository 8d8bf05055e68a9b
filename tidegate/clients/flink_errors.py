"""Flink's errors and the transport's, turned into ours.

Flink answers an error with ``{"errors": [...]}``: one or two strings, stack traces included. The class names in them
are the only thing that tells one failure from another.
"""

from __future__ import annotations

import json
import re

import httpx

from tidegate.errors import InvalidInput, Refused, TidegateError, Unavailable

MESSAGE_CHARS = 2_000
"""No message of Flink's is passed on longer than this: stack texts are tens of kilobytes."""

_SURELY_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_DUPLICATE = re.compile(r"Duplicate(?:Job|Application)SubmissionException")
_JOB_NOT_FOUND = re.compile(r"FlinkJobNotFoundException|NotFoundException: Job |Job could not be found")
_JAR_MISSING = re.compile(r"Jar file \S+ does not exist|File \S+ does not exist in ")
_STOPPING = re.compile(r"A savepoint has been created at: (\S+), but")
_FRAME = re.compile(r"\s*(?:at |\.\.\. \d+ more|End of exception on server side)")
_WRAPPERS = re.compile(
    r"^(?:(?:java\.util\.concurrent\.(?:Completion|Execution)Exception|java\.lang\.RuntimeException): "
    r"(?=[\w.$]+(?:Exception|Error)\b))+"
)
"""Classes that only carry another one: stripped where another follows."""


class FlinkError:
    """Flink's own word on a request that it refused: the status and the texts."""

    def __init__(self, status: int, texts: list[str]) -> None:
        self.status = status
        self.text = "\n".join(texts)

    @property
    def duplicate(self) -> bool:
        """DuplicateJobSubmissionException, or DuplicateApplicationSubmissionException since 2.3."""
        return _DUPLICATE.search(self.text) is not None

    @property
    def job_not_found(self) -> bool:
        """Flink answers this with 404 on most paths and with 500 on ``/jobs/ID/status`` (seen on 2.2.0)."""
        return _JOB_NOT_FOUND.search(self.text) is not None

    @property
    def jar_missing(self) -> bool:
        """The jar id is not on this cluster: a 500 from run and plan (seen on 2.2.0), a 400 from delete."""
        return _JAR_MISSING.search(self.text) is not None

    @property
    def failed_in_initialization(self) -> bool:
        """The job was made and failed: its id is used up. Without this the failure came before there was a job."""
        return "JobInitializationException" in self.text

    @property
    def taskmanager_unknown(self) -> bool:
        """The TaskManager is not registered (any more): a 500 (seen on 2.2.0)."""
        return "UnknownTaskExecutorException" in self.text

    @property
    def no_such_file(self) -> bool:
        """The TaskManager writes no such log: it was started without ``log.file``."""
        return "The file LOG does not exist" in self.text or "FileNotFoundException" in self.text

    @property
    def timed_out(self) -> bool:
        """A call inside Flink timed out: it may be under way still, whatever the status says."""
        return "TimeoutException" in self.root_cause

    @property
    def malformed(self) -> bool:
        """Flink could not read the request itself: an id that is not 32 hex digits, say."""
        return "did not match expected format" in self.text

    @property
    def root_cause(self) -> str:
        """See `root_cause`."""
        return root_cause(self.text)


def root_cause(stack_text: str) -> str:
    """The first line of the last ``Caused by:`` of a Java stack text, else its first line; 2,000 characters at most."""
    lines = [line for line in stack_text.splitlines() if line.strip() and not _FRAME.match(line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    if causes:
        chosen = causes[-1]
    else:
        named = [line for line in lines if line not in {"Internal server error.", "<Exception on server side:"}]
        chosen = (named or lines or ["no message"])[0]
    return _WRAPPERS.sub("", chosen.strip())[:MESSAGE_CHARS]


def failure_message(stack_text: str) -> str:
    """The root cause with the outermost message before it, where the two differ."""
    root = root_cause(stack_text)
    first = _WRAPPERS.sub("", stack_text.splitlines()[0].strip()) if stack_text.strip() else ""
    return root if not first or first in root or root in first else f"{first} — {root}"[:MESSAGE_CHARS]


def savepoint_despite_failure(stack_text: str) -> str | None:
    """The path in a StopWithSavepointStoppingException: the savepoint is whole, its transactions may be open (X2)."""
    if "StopWithSavepointStoppingException" not in stack_text:
        return None
    match = _STOPPING.search(stack_text)
    return match.group(1) if match else None


def unavailable(base_url: str, what: str, error: httpx.TransportError) -> Unavailable:
    """A request without an answer. ``details['sent']`` is False only if it surely never left."""
    sent = not isinstance(error, _SURELY_NOT_SENT)
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unavailable(
        f"Flink at {base_url} did not answer {what}: {why[:MESSAGE_CHARS]}",
        hint="it may have acted" if sent else f"is it up? curl {base_url}/overview",
        details={"sent": sent, "cause": type(error).__name__, "request": what},
    )


def flink_error(base_url: str, what: str, response: httpx.Response) -> FlinkError:
    """Flink's error in an answer that is not a success; raises Unavailable where someone else answered."""
    texts: list[str] | None = None
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if isinstance(body, dict) and isinstance(body.get("errors"), list):
        texts = [str(text) for text in body["errors"]]
    # A leader election answers 503 in Flink's own form; 502 and 504 are a proxy's. None of them says what was done.
    if texts is None or response.status_code in {502, 503, 504}:
        shown = root_cause(" ".join(texts) if texts else response.text)
        raise Unavailable(
            f"Flink at {base_url} answered {what} with {response.status_code}: {shown}",
            details={"sent": True, "status": response.status_code, "request": what},
        )
    return FlinkError(response.status_code, texts)


def as_ours(base_url: str, what: str, error: FlinkError) -> TidegateError:
    """The typed error for an answer that no method of the client has a word of its own for."""
    message = f"Flink at {base_url} refused {what} ({error.status}): {error.root_cause}"
    details: dict[str, object] = {"sent": True, "status": error.status, "request": what}
    if error.timed_out:
        return Unavailable(message, details=details)
    if error.status == 400:
        return InvalidInput(message, details=details)
    if 400 <= error.status < 500:
        return Refused(message, details=details)
    return Unavailable(message, details=details)
