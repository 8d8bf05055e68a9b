"""Operations that wait while the code changes must go on: today's workflows replay recorded histories (O20)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.replay.record import HISTORIES, NO_REGION_WORKER, SCENARIOS
from tests.replay.scenarios.lost import LOST_REGIONS, MEMBERS
from tests.replay.scenarios.moves import REGION_SCENARIOS
from tidegate.temporal.converter import data_converter
from workers.runner import WORKFLOWS, sandboxed_runner

FILES = sorted(HISTORIES.glob("*.json.gz"))
HELP = """
A change of the workflows' code breaks operations that are waiting now. Put it behind
`if workflow.patched("what-changed-YYYYMMDD"):`, keep the old path in the else branch, and record new histories beside
the old ones:  .venv/bin/python -m tests.replay.record -YYYYMMDD
"""


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def _history(text: str) -> WorkflowHistory:
    """Under the id that it was recorded under: what an operation begins is named after it."""
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


def _replayer() -> Replayer:
    return Replayer(
        workflows=WORKFLOWS, data_converter=data_converter, workflow_runner=sandboxed_runner(strict_imports=True)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".json.gz"))
async def test_recorded_operations_replay(path: Path) -> None:
    result = await _replayer().replay_workflow(_history(_text(path)), raise_on_replay_failure=False)
    assert result.replay_failure is None, f"{result.replay_failure}\n{HELP}"


def test_every_scenario_is_recorded() -> None:
    names = {path.name.removesuffix(".json.gz") for path in FILES}
    assert names >= {*SCENARIOS, *REGION_SCENARIOS, *LOST_REGIONS, *MEMBERS.values(), NO_REGION_WORKER}


async def test_the_replay_would_notice_another_order_of_steps() -> None:
    """Without this, a replayer that checks nothing would pass."""
    text = _text(HISTORIES / "upgrade-done.json.gz")
    assert '"prepare"' in text
    changed = _history(text.replace('"prepare"', '"prove"'))
    with pytest.raises(NondeterminismError):
        await _replayer().replay_workflow(changed)
