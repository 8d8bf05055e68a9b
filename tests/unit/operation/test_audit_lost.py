"""An audit whose output does not come waits while the job lives, and no longer (I2)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.kit.world import FLEET_FILE
from tidegate.clients.flink_types import JobState
from tidegate.errors import JobLost, Unavailable
from tidegate.model.fleetfile import load_fleet
from tidegate.operation import audit as audit_module
from tidegate.operation.audit import audit
from tidegate.operation.run import Run

JOB = "a" * 32


def _run(state: JobState | None) -> Run:
    fleet = load_fleet(FLEET_FILE).fleet

    async def read() -> Any:
        return SimpleNamespace(writer=SimpleNamespace(job_id=JOB))

    async def asked(job_id: str) -> JobState | None:
        assert job_id == JOB
        return state

    site = SimpleNamespace(
        fleet=fleet, deployment="ledger", region="east", cell="cell-1", spec=fleet.deployment("ledger"),
        driver=SimpleNamespace(state=asked),
    )  # fmt: skip
    return cast("Run", SimpleNamespace(site=site, tenure=SimpleNamespace(read=read), say=lambda **_: None))


@pytest.fixture(autouse=True)
def behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit command says that outputs are missing and none has come for a while."""

    async def not_turned(_: Run) -> bool:
        return False

    async def nothing(_: Run) -> dict[str, Any]:
        return {}

    async def executed(*_: object) -> tuple[int, bytes, bytes]:
        return 5, b"", b"3 outputs missing, none came for 15 s"

    monkeypatch.setattr(audit_module, "_turned", not_turned)
    monkeypatch.setattr(audit_module, "_superseded", nothing)
    monkeypatch.setattr(audit_module, "_execute", executed)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.RESTARTING, JobState.INITIALIZING])
async def test_output_is_waited_for_while_the_job_lives(state: JobState) -> None:
    with pytest.raises(Unavailable, match="3 outputs missing"):
        await audit(_run(state), 4, None, None)


@pytest.mark.parametrize("state", [None, JobState.FAILED, JobState.CANCELED])
async def test_output_of_a_job_that_has_ended_is_not_waited_for(state: JobState | None) -> None:
    with pytest.raises(JobLost, match="was lost after it had been proven") as lost:
        await audit(_run(state), 4, None, None)
    assert "tidegate restore ledger" in (lost.value.hint or "")
