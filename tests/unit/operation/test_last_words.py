"""What is taken along of the TaskManagers' logs when a job fails."""

from __future__ import annotations

import pytest

from tests.kit.world import world
from tidegate.driver.base import Logs
from tidegate.errors import Unavailable
from tidegate.operation.last_words import LINES, last_words

TAIL = [
    "2026-11-22 20:00:00.001 INFO  Task - balance switched to RUNNING",
    "2026-11-22 20:00:00.002 WARN  Task - balance switched to FAILED with failure cause:",
    "java.lang.IllegalStateException: no such account",
    "\tat dev.tidegate.ledger.Balance.open(Balance.java:7)",
    "Caused by: java.io.IOException: gone",
    "2026-11-22 20:00:00.003 INFO  Task - Freeing task resources",
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Logs(exceptions=[], taskmanagers={"a": TAIL}), [TAIL[1], TAIL[2], TAIL[4]]),
        (Logs(exceptions=[], taskmanagers={"a": [TAIL[1]] * 9, "b": [TAIL[1]] * 9}), [TAIL[1]] * LINES),
        (Logs(exceptions=[], taskmanagers={}), []),
        (Unavailable("refused"), ["the TaskManagers' logs could not be read: refused"]),
    ],
)
def test_only_lines_that_tell_something_are_kept(
    monkeypatch: pytest.MonkeyPatch, answer: Logs | Unavailable, expected: list[str]
) -> None:
    with world() as w:
        w.start("v1")
        op = w.op()

        async def logs(_job_id: str, *, lines: int = 50) -> Logs:
            assert lines > LINES
            if isinstance(answer, Unavailable):
                raise answer
            return answer

        run = op.run()
        monkeypatch.setattr(run.site.driver, "logs", logs)
        assert w.go("read", lambda: last_words(run, "0" * 32)) == expected
        w.go("release", op.release)
