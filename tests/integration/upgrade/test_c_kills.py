"""C: a part dies, or is away for ten seconds, at a known moment. It costs time, never data: done or undone, 0/0/0."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.integration.upgrade.conftest import NOTES, READER_BLOCKED_S
from tests.kit import faults
from tests.kit.faults import Moment, outage
from tests.kit.stage import Operation, Scene, ended_well, summary

pytestmark = pytest.mark.matrix

JOBMANAGER = "east/flink/jobmanager"
AWAY_S = 10.0


@dataclass(frozen=True)
class Case:
    name: str
    moment: Moment
    fault: Callable[[Scene, Operation], Awaitable[None]]


def kill(part: str) -> Callable[[Scene, Operation], Awaitable[None]]:
    async def fault(scene: Scene, _operation: Operation) -> None:
        scene.sandbox.kill(part)

    return fault


def away(part: str, *, by_kill: bool) -> Callable[[Scene, Operation], Awaitable[None]]:
    async def fault(scene: Scene, _operation: Operation) -> None:
        await outage(scene, part, AWAY_S, kill=by_kill)

    return fault


async def kill_worker(scene: Scene, operation: Operation) -> None:
    scene.sandbox.kill(await faults.worker_of(scene, operation))


CASES = [
    Case("worker-stop", faults.STOP, kill_worker),
    Case("worker-submit", faults.SUBMIT, kill_worker),
    Case("worker-bake", faults.BAKE, kill_worker),
    Case("temporal-switch", faults.STOP, kill("control/temporal")),
    Case("temporal-bake", faults.BAKE, kill("control/temporal")),
    Case("taskmanager-bake", faults.BAKE, kill("east/flink/taskmanager-1")),
    Case("jobmanager-stop", faults.STOP, kill(JOBMANAGER)),
    Case("jobmanager-submit", faults.SUBMITTED, kill(JOBMANAGER)),
    Case("jobmanager-first-checkpoint", faults.FIRST_CHECKPOINT, kill(JOBMANAGER)),
    Case("jobmanager-bake", faults.BAKE, kill(JOBMANAGER)),
    Case("s3-paused-stop", faults.STOP, away("east/s3", by_kill=False)),
    Case("s3-killed-bake", faults.BAKE, away("east/s3", by_kill=True)),
    Case("kafka-paused-bake", faults.BAKE, away("east/kafka", by_kill=False)),
    Case("kafka-killed-submit", faults.SUBMIT, away("east/kafka", by_kill=True)),
    Case("control-s3-paused-stop", faults.STOP, away("control/s3", by_kill=False)),
    Case("control-s3-killed-bake", faults.BAKE, away("control/s3", by_kill=True)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_done_or_undone(scene: Scene, case: Case):
    operation = await scene.upgrade("v2")
    await case.moment.wait(scene, operation)
    await case.fault(scene, operation)
    result = await operation.finish()
    halts = "".join(f" [{line}]" for line in operation.log)
    NOTES.append(f"{case.name}: {summary(result)}{halts}")
    ended_well(result)
    await scene.all_ready()
    await scene.check()
    # A dead epoch's open transaction would block for its time-out of 600 s; a part that restarts takes its time.
    assert scene.readers.longest_s < 4 * READER_BLOCKED_S
