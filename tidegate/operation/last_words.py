"""What the logs of a job's TaskManagers say, taken along when the job fails: later they may be gone."""

from __future__ import annotations

import re

from tidegate.errors import Unavailable
from tidegate.operation.run import Run

LINES = 12
_LINE_CHARS = 200
_TAIL_LINES = 400
_TELLING = re.compile(r"\b(WARN|ERROR|FATAL)\b|^\s*(Caused by: )?[\w.$]+(Exception|Error)\b")


async def last_words(run: Run, job_id: str) -> list[str]:
    """The last lines with a warning, an error or an exception; at most ``LINES``, cut to 200 characters.

    A Flink that does not answer is no reason to hide why the job failed: then it says that it did not.
    """
    try:
        logs = await run.site.driver.logs(job_id, lines=_TAIL_LINES)
    except Unavailable as error:
        return [f"the TaskManagers' logs could not be read: {error.message[:_LINE_CHARS]}"]
    found = [line for tail in logs.taskmanagers.values() for line in tail if _TELLING.search(line)]
    # Each line of Flink's log begins with its time; what belongs to a stack does not, and stays behind its own.
    return [line.strip()[:_LINE_CHARS] for line in found[-LINES:]]
