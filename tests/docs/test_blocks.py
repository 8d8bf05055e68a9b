"""The pages can be followed: their commands are run, from top to bottom, as they stand there."""

from __future__ import annotations

import asyncio
import json

import pytest

from sandbox.stage import DEPLOYMENT, Finished, Stage, execute
from tests.docs.pages import ROOT, Block, blocks, missing_lines
from tests.kit.eventually import eventually

BLOCK_S = 300.0
"""A block ends within this: a bound against standing still, no measure of speed."""

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]


def _run(stage: Stage, block: Block) -> Finished:
    argv = ["bash", "-euo", "pipefail", "-c", block.body]
    environment = {**stage.environment, "TIDEGATE_WHO": "ana"}
    return asyncio.run(execute(argv, ROOT, environment, BLOCK_S))


async def _stands(stage: Stage, operation: str, phase: str) -> None:
    async def there() -> None:
        shown = await stage.tidegate("ops", "show", operation, "-o", "json")
        assert shown.status == 0, shown.err
        assert (json.loads(shown.out)["status"] or {}).get("phase") == phase, shown.out

    await eventually(there, within_s=120.0)


def _follow(stage: Stage, page: str) -> None:
    for block in (block for block in blocks(page) if block.is_test):
        if block.wait is not None:
            asyncio.run(_stands(stage, *block.wait))
        done = _run(stage, block)
        told = f"{block.where}\n$ {block.body}{done.out}{done.err}"
        print(told, flush=True)  # what a page shows is copied from here
        assert done.status == block.exit, f"ended with {done.status}, expected {block.exit}: {told}"
        for line in missing_lines(block.shown, done.out):
            pytest.fail(f"did not print {line!r}: {told}")


def _runs(stage: Stage, artifact: str) -> None:
    """What a page assumes that begins with a running job. The page of the first start comes before it."""
    shown = asyncio.run(stage.tidegate("registry", "show", DEPLOYMENT, "-o", "json"))
    if shown.status != 0:
        asyncio.run(stage.must("start", DEPLOYMENT, artifact, "--from-empty", "--bake", "0s", "--yes"))


def test_the_page_of_a_first_start(stage: Stage) -> None:
    _follow(stage, "runbooks/start-deployment.md")


def test_the_readme(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "README.md")


def test_the_page_of_shipping(stage: Stage) -> None:
    asyncio.run(stage.sandbox.up(("west",), taskmanagers=0))  # the other region's S3 is where they go
    _runs(stage, "v1")
    _follow(stage, "runbooks/ship-snapshots.md")


def test_the_page_of_schedules(stage: Stage) -> None:
    _follow(stage, "runbooks/schedules.md")


def test_the_page_of_sweeping(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/sweep-snapshots.md")


def test_the_page_of_a_review(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/review-readiness.md")


def test_the_page_of_an_upgrade(stage: Stage) -> None:
    _runs(stage, "v2")
    _follow(stage, "runbooks/upgrade-deployment.md")


def test_the_page_of_a_restore(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/restore-deployment.md")


def test_the_page_of_a_stop(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/stop-deployment.md")


def test_the_page_of_a_snapshot(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/take-snapshot.md")


def test_the_page_of_a_failover(stage: Stage) -> None:
    """What of it needs no second region: where the topics live, what is refused."""
    _runs(stage, "v1")
    _follow(stage, "runbooks/failover-deployment.md")


def test_the_page_of_an_incident(stage: Stage) -> None:
    _runs(stage, "v1")
    _follow(stage, "runbooks/incident.md")
