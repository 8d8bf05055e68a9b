"""Four ledgers in one region: each has its own traffic, and together they fit its two TaskManagers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sandbox.api import Sandbox
from sandbox.fleet import input_topics, ledgers
from sandbox.stage import Stage
from tests.kit.eventually import eventually
from tests.kit.sandbox import running_sandbox
from tests.kit.stage import ROOT, publish
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import JobState
from tidegate.driver.session import SessionClusterDriver

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

WITHIN_S = 180.0
RATE = 50


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("four") / "data", "east") as made:
        yield made


async def test_four_run_side_by_side_and_each_writes_its_own_output(region: Sandbox):
    stage = Stage(region, ROOT, print)
    await stage.build_ledger()
    await stage.create_topics(deployments=4)
    await stage.publish(("v1",), deployments=4)
    await publish(stage)
    await stage.add_workers()
    for topic in input_topics(4):
        stage.add_generator(RATE, topic=topic)
    starts = [("start", one.name, "v1", "--from-empty", "--bake", "1s", "--yes") for one in ledgers(4)]
    await asyncio.gather(*(stage.must(*words, timeout_s=600.0) for words in starts))

    async with FlinkClient(region.endpoints.regions["east"].flink) as client:
        states = (await SessionClusterDriver(client).list_jobs()).values()
        assert list(states) == [JobState.RUNNING] * 4
    kafka = stage.kafka()
    try:

        async def all_write() -> None:
            for one in ledgers(4):
                assert sum((await kafka.last_stable_offsets([one.output])).values()) > RATE, one.name

        await eventually(all_write, within_s=WITHIN_S)
    finally:
        await kafka.aclose()
    for topic in input_topics(4):
        await stage.stop_generator(topic=topic)
