"""``make demo``: a first run. Set everything up, upgrade a live job under traffic, show the verdict, tear down.

``make up`` and ``make down`` are its two ends, for those who want to type the commands in between.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox.api import Sandbox
from sandbox.layout import S3_ACCESS_KEY, S3_SECRET_KEY
from sandbox.stage import DEPLOYMENT, Stage
from tidegate import names
from tidegate.clients.flink import FlinkClient
from tidegate.clients.objects import S3Uri
from tidegate.clients.s3 import open_store
from tidegate.errors import TidegateError
from tidegate.model.record import DeploymentRecord

ROOT = Path(__file__).resolve().parent.parent
UPGRADES = ("v1", "v2")


async def up(stage: Stage, artifacts: Sequence[str], rate: int) -> None:
    """The fleet, and the ledger running on it: from empty the first time, from its newest snapshot after a ``down``."""
    await stage.set_up(artifacts, rate)
    uri = S3Uri(stage.sandbox.endpoints.control_bucket, names.record_key(DEPLOYMENT))
    async with open_store(stage.sandbox.endpoints.control_s3, S3_ACCESS_KEY, S3_SECRET_KEY) as control:
        found = await control.get_or_none(uri)
    writer = DeploymentRecord.model_validate_json(found.body).writer if found else None
    if writer is None:
        await shown(stage, "start", DEPLOYMENT, "v1", "--from-empty", "--bake", "5s", "--yes")
        return
    async with FlinkClient(stage.sandbox.endpoints.regions[writer.region].flink) as flink:
        state = await flink.job_state(writer.job_id)
    if state is None or state.terminal:
        await shown(stage, "start", DEPLOYMENT, writer.artifact.name, "--bake", "5s", "--yes")


async def demo(stage: Stage, bake: str, rate: int) -> int:
    """Up, the upgrade under traffic, down. The exit status is the upgrade's. What an earlier demo left is removed."""
    await stage.sandbox.down(delete=True)
    try:
        await up(stage, UPGRADES, rate)
        return await shown(stage, "upgrade", DEPLOYMENT, "--to", "v2", "--bake", bake, "--yes", check=False)
    finally:
        say("tearing down")
        await stage.sandbox.down(delete=True)


async def shown(stage: Stage, *arguments: str, check: bool = True) -> int:
    """Run a command as a person would, with what it prints on this terminal."""
    print(f"\n$ tidegate {' '.join(arguments)}", flush=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", *arguments, cwd=stage.root, env={**os.environ, **stage.environment}
    )
    status = await process.wait()
    if check and status != 0:
        raise SystemExit(status)
    return status


_began = time.monotonic()


def say(line: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _began:5.1f} s] {line}", flush=True)


def main() -> None:
    """Run as ``python -m sandbox.demo [run|up|down]``."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "up", "down"], default="run")
    parser.add_argument("--data", type=Path, default=None, help="the sandbox's data folder")
    parser.add_argument("--base-port", type=int, default=None)
    parser.add_argument("--rate", type=int, default=1_000, help="events per second")
    parser.add_argument("--bake", default="20s", help="how long the new job must prove healthy")
    parser.add_argument("--artifacts", default="v1,v2", help="to upload, with commas; or all")
    asked = parser.parse_args()
    try:
        folder = ".tidegate/demo" if asked.what == "run" else os.environ.get("TIDEGATE_SANDBOX", ".tidegate/sandbox")
        stage = Stage(Sandbox(asked.data or Path(folder), asked.base_port), ROOT, say)
        if asked.what == "down":
            asyncio.run(stage.sandbox.down())
            return
        if asked.what == "up":
            names = asked.artifacts.split(",") if asked.artifacts != "all" else list(ALL)
            asyncio.run(up(stage, names, asked.rate))
            say("up. Next:  tidegate upgrade ledger --to v2      and then:  make down")
            return
        raise SystemExit(asyncio.run(demo(stage, asked.bake, asked.rate)))
    except TidegateError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"       {error.hint}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error


ALL = (
    "v1",
    "v2",
    "v2-windows",
    "v2-rejected",
    "v2-restore-fails",
    "v2-crash-early",
    "v2-crash-late",
    "v2-crash-late-unreadable",
    "v2-stuck",
    "v2-wrong",
)
"""Every artifact of the ledger; ledger/README.md says what each does."""

if __name__ == "__main__":
    main()
