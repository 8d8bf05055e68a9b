"""Record the histories that the replay test replays:  .venv/bin/python -m tests.replay.record

Run it when a runbook changes on purpose, behind `workflow.patched`: new files are added under a new name (the first
argument is a suffix; a second one names the scenarios to play, by how they begin), and the old ones stay, because
operations that began under the old code may still be waiting.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowFailureError

from tests.kit.temporal_env import Run, start_server, upgrade, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_drill import DrillWorld
from tests.kit.temporal_world_drills import DrillsWorld
from tests.kit.temporal_world_gameday import GameDayWorld
from tests.kit.temporal_world_lost import LostWorld
from tests.kit.temporal_world_region import RegionWorld
from tests.replay.scenarios import drills, jobs, lost, moves, upkeep
from tests.replay.scenarios.playing import Scenario

HISTORIES = Path(__file__).parent / "histories"
SCENARIOS: dict[str, Scenario] = {
    **jobs.SCENARIOS,
    **upkeep.SCENARIOS,
    **drills.SCENARIOS,
    **moves.SCENARIOS,
    **lost.LOST_ALONE,
}
NO_REGION_WORKER = "upgrade-without-region-worker"


def _world(scenario: str) -> Any:
    if scenario.startswith("game-day-"):
        return GameDayWorld({"a": 0})
    if scenario.startswith("drills-"):
        return DrillsWorld({"a": (0, 1), "b": (1, 1), "c": (2, 2)})
    return DrillWorld() if scenario.startswith("drill-") else World()


async def record(suffix: str = "", only: str = "") -> None:
    """Play every scenario (those that begin with ``only``) and write its history."""
    HISTORIES.mkdir(exist_ok=True)
    async with await start_server(time_skipping=False) as env:
        for name, scenario in SCENARIOS.items():
            if not name.startswith(only):
                continue
            world = _world(name)
            async with workers(env.client, world, regions=("east", "west")):
                await _keep(await scenario(env.client, world), name + suffix)
        for name, of_region in moves.REGION_SCENARIOS.items():
            if name.startswith(only):
                several = RegionWorld({"a": 0})
                async with workers(env.client, several, regions=("east", "west")):
                    await _keep(await of_region(env.client, several), name + suffix)
        for name, of_lost in lost.LOST_REGIONS.items():
            if not name.startswith(only):
                continue
            left = LostWorld(env.client, {"a": 0, "b": 1, "c": 2})
            async with workers(env.client, left, regions=("east", "west")):
                await _keep(await of_lost(env.client, left), name + suffix)
                if name in lost.MEMBERS:
                    member = [one.operation for one in left.requests["take"] if one.deployment == "b"][-1]
                    await _keep(Run(env.client.get_workflow_handle(member)), lost.MEMBERS[name] + suffix)
        if not NO_REGION_WORKER.startswith(only):
            return
        world = World()
        async with workers(env.client, world, regions=()):
            await _keep(await upgrade(env.client), NO_REGION_WORKER + suffix)


async def _keep(run: Run, name: str) -> None:
    try:
        await run.handle.result()
    except WorkflowFailureError as error:
        print(f"{name}: {error.cause}")
    history = await run.handle.fetch_history()
    path = HISTORIES / f"{name}.json.gz"
    # mtime 0: the same history is the same file.
    path.write_bytes(gzip.compress(json.dumps(_without_traces(json.loads(history.to_json()))).encode(), mtime=0))
    print(f"{path.name}: {len(history.events)} events")


def _without_traces(value: Any) -> Any:
    """The history without what tells the machine it was recorded on: stacks, process ids, host names."""
    if isinstance(value, list):
        return [_without_traces(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_traces(one) for key, one in value.items() if key != "stackTrace"}
    return kept | {key: "worker" for key in kept if key.lower().endswith("identity")}


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:3]))
