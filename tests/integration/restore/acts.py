"""Commands and runbooks as the cases use them: refused, restored and proven, taken live."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.stage import DEPLOYMENT
from tests.integration.restore.conftest import NOTES
from tests.integration.restore.crash import restore
from tests.kit.stage import Scene, ended_well, summary
from tidegate.model.operation import OperationResult, Outcome


async def refused(scene: Scene, **fields: object) -> str:
    """Why a restore is refused."""
    result = await (await restore(scene, **fields)).finish()
    assert result.outcome is Outcome.REFUSED, summary(result)
    return result.why


async def restored(scene: Scene, what: str, replays: int, **fields: object) -> OperationResult:
    """Restored and proven; the auditor has counted as many replays as were told before."""
    before = await scene.announced()
    result = await (await restore(scene, **fields)).result()
    NOTES.append(f"{what}: {summary(result)}")
    assert result.outcome is Outcome.DONE, summary(result)
    ended_well(result)
    assert result.verdict is not None
    assert result.verdict.replayed == await scene.announced() == before + replays
    await scene.check(result.verdict)
    return result


def price_of(offers: str, option: str) -> tuple[str, int]:
    """(snapshot, replayed) of the first choice that is offered with this option and loses nothing."""
    found = re.search(rf"{option} (\S+)[^;]*? +\(lost 0, replayed ([\d,]+)\)", offers)
    assert found is not None, offers
    return found[1], int(found[2].replace(",", ""))


@dataclass(frozen=True)
class Taken:
    """A snapshot of a job that goes on."""

    name: str
    location: str


async def take(scene: Scene, form: str) -> Taken:
    """By the command; the same job runs on, without a restart, and goes on completing checkpoints."""
    before = await scene.record()
    assert before.writer is not None
    done = await scene.tidegate("snapshot", "take", DEPLOYMENT, "--format", form, "--yes")
    assert done.status == 0, f"{done.out}\n{done.err}"
    found = re.search(r"(\S+) is a recovery point: (s3://\S+)", done.out)
    assert found is not None, done.out
    after = await scene.record()
    assert after.writer == before.writer, "another job runs"
    view = await scene.driver.observe(before.writer.job_id)
    assert (view.state and view.state.value, view.restarts) == ("RUNNING", 0)
    await scene.settled()
    return Taken(found[1], found[2])
