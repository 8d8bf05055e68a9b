"""After turns between regions: what an old recovery point and a new consumer group make of all that was written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from sandbox.fleet import Ledger
from sandbox.stage import execute, kafka_properties
from tests.integration.failover.scene import REGIONS, Scene

AGO = 2
"""So many epochs before the one that runs: the same region, and another one between."""


async def restore_from_long_ago(scene: Scene, deployment: str, region: str, epoch: int) -> str:
    """Go on from the savepoint with which an epoch of this region ended, two starts ago, at its price; its name."""
    listed = await scene.run("snapshot", "list", deployment, "--region", region, "-o", "json")
    known = [one for one in json.loads(listed.out)["snapshots"] if one["epoch"] == epoch - AGO and one["verified"]]
    savepoints = [one for one in known if one["kind"] == "savepoint" and one["shipped_from"] is None]
    assert savepoints, listed.out
    name = savepoints[0]["id"].partition("/")[2]
    wanted = ("restore", deployment, "--from", name, "--bake", "3s", "--yes")
    refused = await scene.run(*wanted, status=4)
    assert f"--accept-replay {name}" in refused.out + refused.err
    done = await scene.run(*wanted, "--accept-replay", name)
    assert "lost 0 · duplicated 0 · wrong 0" in done.out
    return name


async def read_by_a_new_group(scene: Scene, one: Ledger, region: str, folder: Path) -> Counter[str]:
    """What a consumer group that never was reads from the beginning, until nothing comes: records by payment."""
    regions = scene.sandbox.endpoints.regions
    out = folder / f"{one.name}.txt"
    argv = [
        "python", "-m", "ledger.consumer", "--topic", one.output, "--group", f"new-{one.name}", "--from-start",
        *(word for name in REGIONS for word in ("--region", f"{name}={regions[name].kafka}")),
        "--idle-s", "5", "--out", str(out), "-o", "json", *kafka_properties("consumer"),
    ]  # fmt: skip
    done = await execute(argv, scene.stage.root, scene.stage.environment, 300.0)
    assert done.status == 0, done.err[-1_000:]
    lines = [line.split(",", 3) for line in out.read_text().splitlines()]
    assert {line[0] for line in lines} == {region}
    found = Counter(line[3].split(",", 1)[0] for line in lines)
    scene.say(f"{one.name}: a new group reads {len(lines):,} records in {region}, {len(found):,} payments")
    return found
