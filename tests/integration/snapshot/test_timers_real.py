"""X28 on real parts: the ledger's v2-windows, whose snapshots hold event-time windows and timers of processing time.

What Flink wrote is read, in both forms; the operator that sets no timers is not said to have any; and a plan warns.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sandbox.stage import DEPLOYMENT
from tests.kit.stage import Scene
from tests.kit.staged import sandbox, stage

__all__ = ["sandbox", "stage"]

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1_800), pytest.mark.asyncio(loop_scope="session")]


async def _take(scene: Scene, form: str) -> str:
    done = await scene.tidegate("snapshot", "take", DEPLOYMENT, "--format", form, "--yes")
    assert done.status == 0, f"{done.out}\n{done.err}"
    found = re.search(r"(\S+) is a recovery point: (s3://\S+)", done.out)
    assert found is not None, done.out
    return found[2]


async def _shown(scene: Scene, location: str) -> dict[str, Any]:
    done = await scene.tidegate("snapshot", "show", location, "-o", "json")
    assert done.status == 0, f"{done.out}\n{done.err}"
    return {one["operator"]: one for one in json.loads(done.out)["keyed"].values()}


def _names(shown: dict[str, Any], operator: str) -> set[str]:
    return {one["name"] for one in shown[operator]["states"]}


async def _notes(scene: Scene, *words: str) -> list[str]:
    done = await scene.tidegate(*words, "--dry-run", "-o", "json")
    assert done.status == 0, f"{done.out}\n{done.err}"
    return [note for note in json.loads(done.out)["plan"]["notes"] if "X28" in note]


async def test_x28_timers_and_windows_of_a_real_job_are_told_and_a_restore_warns(stage: Scene):
    await stage.back_to("v2-windows")

    native = await _shown(stage, await _take(stage, "native"))
    assert set(native) == {"balance", "turnover", "silence"}
    assert all(one["problem"] is None for one in native.values())
    windows = {
        "window-contents",
        "_timer_state/event_window-timers",
        "_timer_state/processing_window-timers",
    }
    assert _names(native, "turnover") == windows
    assert native["turnover"]["windows"]
    assert native["turnover"]["timers"] == {"processing": False, "event": True, "raw": False}
    assert {"due", "_timer_state/processing_user-timers"} <= _names(native, "silence")
    assert native["silence"]["timers"] == {"processing": True, "event": False, "raw": False}
    assert {"balance", "count"} <= _names(native, "balance")
    assert native["balance"]["timers"] == {"processing": False, "event": False, "raw": False}

    # In the canonical form the same names stand; whether a timer is set is not told there.
    canonical = await _shown(stage, await _take(stage, "canonical"))
    assert {name: _names(canonical, name) for name in canonical} == {name: _names(native, name) for name in native}
    assert canonical["silence"]["timers"] == {"processing": None, "event": None, "raw": False}

    text = await stage.tidegate("snapshot", "show", f"{DEPLOYMENT}/newest")
    assert text.status == 0, text.err
    assert "silence: timers of processing time: in use" in text.out
    assert "turnover: window-contents" in text.out

    # The newest is a checkpoint of the job that runs.
    overdue, late = await _notes(stage, "restore", DEPLOYMENT)
    assert re.match(r"silence has processing-time timers: those that fell due in the last [\d,]+ s \(since ", overdue)
    assert late.startswith("turnover has event-time windows or timers: an input partition that stays empty")
