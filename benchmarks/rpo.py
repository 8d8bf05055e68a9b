"""``make bench-rpo``: how old the newest usable recovery point in the standby is, under traffic, on the real sandbox.

    python -m benchmarks.rpo --seconds 120 -o json

Ends with 0 if every bound holds, 1 if one does not. README.md beside this file says how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import Client

from benchmarks import ages, running
from benchmarks.ages import Look
from benchmarks.gap import ROOT, first_job
from benchmarks.running import say
from benchmarks.stand import REGION, Stand, set_up
from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, Stage
from tidegate.errors import NoProgress, OperationFailed
from tidegate.points.index import restorability
from tidegate.points.model import Restorability
from tidegate.points.store import PointStore
from tidegate.temporal.converter import data_converter

STANDBY, LINK = "west", "east-to-west"
BASE_PORT = 26_300
_FIRST_POINT_S = 300.0
_LOOK_S = 1.0


class Index:
    """The restorability index of the two regions, as ``tidegate points`` reads it."""

    def __init__(self, stand: Stand) -> None:
        self._store = PointStore(stand.control, stand.control_bucket)

    async def line(self, region: str) -> Restorability:
        """The line of a region as it is now."""
        found = await self._store.read(DEPLOYMENT, region)
        return restorability(found.points, DEPLOYMENT, region, datetime.now(UTC))

    async def wait_usable(self) -> None:
        """Until the standby has its first recovery point.

        Raises:
            NoProgress: it did not come; what stands against it is in the message.
        """
        deadline = time.monotonic() + _FIRST_POINT_S
        told: str | None = ""
        while not (line := await self.line(STANDBY)).restorable:
            if line.why_not != told:
                told = line.why_not
                say(f"{STANDBY}: {told}")
            if time.monotonic() > deadline:
                raise NoProgress(f"no recovery point in {STANDBY} within {_FIRST_POINT_S:.0f} s: {told}")
            await asyncio.sleep(_LOOK_S)

    async def looks(self, seconds: float) -> list[Look]:
        """Look each second, for so long."""
        found: list[Look] = []
        began = time.monotonic()
        while (at_s := time.monotonic() - began) <= seconds:
            home, away = await self.line(REGION), await self.line(STANDBY)
            look = Look(
                at_s=at_s,
                home_s=home.age_s if home.restorable else None,
                away_s=away.age_s if away.restorable else None,
                why_not=away.why_not,
                load=os.getloadavg()[0],
            )
            found.append(look)
            if away.restorable is False or len(found) % 30 == 0:
                age = "none usable: " + (away.why_not or "") if look.away_s is None else f"{look.away_s:.1f} s old"
                say(f"{at_s:>4.0f} s  {STANDBY}: {age}  load {look.load:.1f}")
            await asyncio.sleep(max(0.0, began + len(found) * _LOOK_S - time.monotonic()))
        return found


async def bring_up(stage: Stage, rate: int) -> None:
    """Both regions, the mirror running, the ledger's fleet under traffic; no job yet."""
    # A start of the mirror asks the Connect of the way back, too.
    await stage.sandbox.up((REGION,), mirror=True, progress=say)
    # The standby needs no Flink: nothing is started there.
    await stage.sandbox.up((STANDBY,), taskmanagers=0, mirror=True, progress=say)
    await set_up(stage, rate)
    say("the mirror")
    await stage.must("mirror", "start", LINK, "--yes", "--timeout", "180")


async def measure(stage: Stage, seconds: float, rate: int) -> ages.Ages:
    """The whole run on a stage that is up."""
    stand = Stand(stage, rate)
    try:
        client = await Client.connect(stage.sandbox.endpoints.temporal, data_converter=data_converter)
        job = await first_job(stand, client)
        await stand.settle(job)
        config = await stand.flink.checkpoint_config(job.job_id)
        if config is None:
            raise OperationFailed(f"Flink does not say how often job {job.job_id} makes checkpoints")
        await stage.must("points", DEPLOYMENT, "--keep")
        index = Index(stand)
        await index.wait_usable()
        say(f"recovery points are kept; sampling for {seconds:.0f} s")
        return ages.judge(await index.looks(seconds), REGION, STANDBY, config.interval / 1000)
    finally:
        await stand.aclose()


async def bench(asked: argparse.Namespace) -> int:
    """From nothing to the result and to nothing again. The exit status."""
    stage = Stage(Sandbox(asked.data, asked.base_port), ROOT, say)
    try:
        # What an earlier run left would be read as this one's.
        await stage.sandbox.down(delete=True)
        await bring_up(stage, asked.rate)
        found = await measure(stage, asked.seconds, asked.rate)
    finally:
        if not asked.keep:
            await stage.sandbox.down()
    if asked.form == "json":
        print(json.dumps({"passed": found.passed, **found.model_dump(mode="json")}, indent=1))
    else:
        print(ages.text(found))
    return 0 if found.passed else 1


def main() -> None:
    """Run as ``python -m benchmarks.rpo``."""
    parser = running.options("rpo", __doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the ages are sampled (default 600)")
    parser.add_argument("--rate", type=int, default=1_000, help="events per second")
    parser.add_argument("--data", type=Path, default=Path(".tidegate/bench-rpo"))
    parser.add_argument("--base-port", type=int, default=BASE_PORT)
    parser.add_argument("--keep", action="store_true", help="leave the sandbox up, to look at it")
    asked = parser.parse_args()
    if asked.seconds < 1:
        parser.error("--seconds must be at least 1")
    running.run(bench(asked))


if __name__ == "__main__":
    main()
