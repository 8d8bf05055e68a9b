"""Two regions with their mirrors: all of one dies, hangs and comes back as one act, and the other does not notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from sandbox.api import Sandbox
from sandbox.probes import kafka_config, s3_client
from sandbox.stage import INPUT_TOPIC, OUTPUT_TOPIC, Stage
from tests.kit.sandbox import UP_S, running_sandbox
from tests.kit.stage import ROOT
from tidegate.clients.kafka_types import TxnState

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

RECORDS = 500
LEFT_OPEN = "connect-east-left-open"
AS_ONE_S = 1.0
"""From the first to the last signal on a busy machine."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(
        tmp_path_factory.mktemp("regions") / "data", "east", "west", taskmanagers=1, mirror=True
    ) as made:
        yield made


def produce(bootstrap: str) -> None:
    """As the producer, acknowledged; and as the mirror, left open."""
    plain = Producer({**kafka_config(bootstrap, "producer"), "acks": "all"})
    for number in range(RECORDS):
        plain.produce(INPUT_TOPIC, value=f"{number}")
    assert plain.flush(60) == 0
    transaction = Producer({**kafka_config(bootstrap, "mirror"), "transactional.id": LEFT_OPEN})
    transaction.init_transactions(60)
    transaction.begin_transaction()
    transaction.produce(OUTPUT_TOPIC, value="never")
    transaction.flush(60)


async def open_of(stage: Stage) -> list[str]:
    kafka = stage.kafka("east")
    try:
        found = await kafka.list_transactions("connect-east-")
        return [one.transactional_id for one in found if one.state is TxnState.ONGOING]
    finally:
        await kafka.aclose()


async def ends_of(stage: Stage) -> int:
    kafka = stage.kafka("east")
    try:
        return sum((await kafka.last_stable_offsets([INPUT_TOPIC])).values())
    finally:
        await kafka.aclose()


def states(sandbox: Sandbox, region: str) -> dict[str, str]:
    return {one.name: one.state for one in sandbox.status() if one.name.startswith(f"{region}/")}


async def test_x23_a_region_dies_as_a_whole_and_comes_back_in_any_order_with_its_data(both: Sandbox):
    stage = Stage(both, ROOT, print)
    await stage.create_topics("east", "west")
    await stage.publish(())
    await stage.add_workers("east", "west")
    east = both.endpoints.regions["east"]
    await asyncio.to_thread(produce, east.kafka)
    client = s3_client(east.s3)
    client.put_object(Bucket="east", Key="kept", Body=b"kept")
    assert await ends_of(stage) == RECORDS
    assert LEFT_OPEN in await open_of(stage)
    parts = set(states(both, "east"))
    assert {"east/kafka", "east/s3", "east/connect", "east/worker", "east/flink/jobmanager"} <= parts
    before = {one.name: one.pid for one in both.status()}

    began = time.monotonic()
    both.pause("east")
    took_s = time.monotonic() - began
    print(f"paused {len(parts)} processes in {took_s * 1000:.1f} ms")
    assert took_s < AS_ONE_S
    assert states(both, "east") == dict.fromkeys(parts, "paused")
    both.resume("east")
    await both.wait_ready("east", UP_S)
    assert {one.name: one.pid for one in both.status()} == before

    began = time.monotonic()
    killed = both.kill("east", for_good=True)
    print(f"killed {len(killed)} processes, all dead after {(time.monotonic() - began) * 1000:.1f} ms")
    assert len(killed) == len(parts)
    # A neighbour that is killed after it and is back shows that the supervisor has looked many times since.
    both.kill("control/s3")
    await both.wait_ready("control/s3", UP_S)
    assert states(both, "east") == dict.fromkeys(parts, "killed")
    assert set(states(both, "west").values()) == {"running"}

    # What leans on others comes first: each tries again until they are there.
    for part in ("east/connect", "east/worker", "east/flink", "east/s3", "east/kafka"):
        both.start(part)
    began = time.monotonic()
    await both.wait_ready("east", UP_S)
    print(f"the region is ready again after {time.monotonic() - began:.1f} s")
    assert await ends_of(stage) == RECORDS
    assert client.get_object(Bucket="east", Key="kept")["Body"].read() == b"kept"
    client.close()
    assert LEFT_OPEN not in await open_of(stage), "ended before the new Connect was started"
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{east.connect}/connectors", timeout=30.0)).json() == []
    west = {name: pid for name, pid in before.items() if name.startswith("west/")}
    assert {one.name: one.pid for one in both.status() if one.name in west} == west


def test_a_killed_region_is_told_by_the_command_line(both: Sandbox, capfd: pytest.CaptureFixture[str]):
    """The same by the commands that a person types, on one part of it."""

    async def typed() -> None:
        stage = Stage(both, ROOT, print)
        assert "back:  tidegate sandbox start west/connect" in await stage.must(
            "sandbox", "kill", "west/connect", "--for-good"
        )
        assert "ready      west/connect" in await stage.must("sandbox", "start", "west/connect", "--timeout", "300")

    asyncio.run(typed())
    assert Path(both.folder.log_path("west/connect")).exists()
