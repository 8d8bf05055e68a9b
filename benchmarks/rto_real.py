"""The RTO of one deployment on the real sandbox: the east is killed for good, under traffic, and the west goes on.

    python -m benchmarks.rto_real -o json

One pair: the failover from its request to the first output of the new job, and then the bare submit of the very copy
that it started, to the same Flink and warm JVMs, from the submit until all tasks run. Needs about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import pairs, running
from benchmarks.pairs import Pair, Result
from benchmarks.running import say
from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT
from tests.integration.failover.scene import Scene
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import RunKind, RunRequest
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import NoProgress, OperationFailed
from tidegate.model.fleet import render_args
from tidegate.names import derive_id

HOME, AWAY = "east", "west"
BASE_PORT = 26_600
RATIO = 4.0
"""The gap of the data is in it, too: from RUNNING to the first output is Flink's own time, and no part of the floor."""
_POINT_S = 180.0
_RUNS_S = 120.0
_LOOK_S = 1.0


async def restorable(scene: Scene) -> None:
    """Wait until the west has a recovery point. Raises NoProgress with what stands against it."""
    until = time.monotonic() + _POINT_S
    while True:
        done = await scene.stage.tidegate("points", DEPLOYMENT, "-o", "json")
        line = next(one for one in json.loads(done.out)["index"] if one["region"] == AWAY)
        if line["restorable"]:
            return
        if time.monotonic() > until:
            raise NoProgress(f"no recovery point in {AWAY} within {_POINT_S:.0f} s: {line['why_not']}")
        await asyncio.sleep(_LOOK_S)


async def failover(scene: Scene) -> float:
    """Kill the east and go on in the west; seconds from the request to the first output, by the operation's report."""
    await restorable(scene)
    killed = datetime.now(UTC)
    scene.sandbox.kill(HOME, for_good=True)
    done = await scene.run(
        *("failover", "deployment", DEPLOYMENT, "--to", AWAY, "--unplanned", "--yes", "-o", "json"),
        *("--bake", "3s", "--detected-at", killed.isoformat()),
    )
    took = json.loads(done.out).get("rto_s")
    if took is None:
        raise OperationFailed(f"the failover gave no RTO: {done.out[-1_000:]}")
    return float(took)


async def floor(scene: Scene) -> float:
    """Submit the copy that the failover started once more, bare; seconds until all tasks run."""
    record = await scene.record()
    writer = record.writer
    if writer is None or writer.started_from is None:
        raise OperationFailed("the record names no job that was started from a copy")
    spec = scene.fleet.deployment(DEPLOYMENT)
    async with FlinkClient(scene.sandbox.endpoints.regions[AWAY].flink) as flink:
        driver = SessionClusterDriver(flink)
        await driver.cancel(writer.job_id)
        await driver.wait_terminal(writer.job_id, deadline_s=_RUNS_S, heartbeat=_silent)
        jar = (await flink.jars())[0].id
        request = RunRequest(
            job_id=derive_id("rto-floor", uuid.uuid4().hex),
            entry_class=spec.entry_class,
            args=render_args(scene.fleet, DEPLOYMENT, AWAY, writer.cell, record.epoch + 1),
            parallelism=writer.parallelism,
            savepoint_path=writer.started_from,
        )
        began = time.monotonic()
        outcome = await flink.run_jar(jar, request)
        if outcome.kind is not RunKind.ACCEPTED:
            raise OperationFailed(f"bare submit: {outcome.message}")
        await driver.wait_running(request.job_id, deadline_s=_RUNS_S, heartbeat=_silent)
        return time.monotonic() - began


def _silent(_: object) -> None:
    """Nobody watches the bare submit."""


async def bench(asked: argparse.Namespace) -> int:
    """From nothing to the result and to nothing again. The exit status."""
    sandbox = Sandbox(asked.data, asked.base_port)
    try:
        await sandbox.down(delete=True)
        # Its commands' output is progress; standard output holds the result alone.
        with contextlib.redirect_stdout(sys.stderr):
            scene = Scene(sandbox)
            await scene.set_up(asked.rate, keep=True)
            load = os.getloadavg()[0]
            pair = Pair(ours_s=await failover(scene), other_s=await floor(scene), load=load)
        say(f"failover {pair.ours_s:.2f} s, bare submit {pair.other_s:.2f} s, ratio {pair.ratio:.2f}")
    finally:
        if not asked.keep:
            await sandbox.down()
    found = pairs.compare(
        [pair], "1 deployment, real parts", "failover", "bare submit", amount=1.0, unit="deployments", at_most=RATIO
    )
    return running.answer(Result(benchmark="rto", comparisons=(found,)), asked.form)


def main() -> None:
    """Run as ``python -m benchmarks.rto_real``."""
    parser = running.options("rto_real", __doc__)
    parser.add_argument("--rate", type=int, default=300, help="events per second")
    parser.add_argument("--data", type=Path, default=Path(".tidegate/bench-rto"))
    parser.add_argument("--base-port", type=int, default=BASE_PORT)
    parser.add_argument("--keep", action="store_true", help="leave the sandbox up, to look at it")
    running.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
