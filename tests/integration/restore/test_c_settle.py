"""C: ``tidegate kafka transactions`` on what a dead job left open: found, decided, done, and readers move (X15)."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as At

from sandbox.probes import kafka_config
from sandbox.stage import DEPLOYMENT, OUTPUT_TOPIC
from tests.integration.restore.conftest import NOTES
from tests.integration.restore.crash import records_of, restore
from tests.integration.restore.frozen import NEVER_MS, frozen
from tests.kit.stage import Scene, ended_well, summary
from tidegate.clients.kafka_types import TopicPartition
from tidegate.model.operation import Outcome

pytestmark = pytest.mark.matrix

_BLOCKED_S, _MOVES_S = 3.0, 60.0


def read(bootstrap: str, offsets: dict[TopicPartition, int], wanted: int, within_s: float) -> int:
    """How many records a reader of committed output gets from these offsets on; it stops at ``wanted``."""
    settings = {**kafka_config(bootstrap), "group.id": "reader", "isolation.level": "read_committed"}
    deadline, found = time.monotonic() + within_s, 0
    with closing(Consumer(settings)) as consumer:
        consumer.assign([At(tp.topic, tp.partition, offset) for tp, offset in offsets.items()])
        while found < wanted and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                found += 1
    return found


async def transactions(scene: Scene, *arguments: str) -> dict[str, Any]:
    """The command's answer."""
    done = await scene.tidegate("kafka", "transactions", *arguments, "-o", "json")
    assert done.status == 0, done.err
    answer: dict[str, Any] = json.loads(done.out)
    return answer


async def test_x15_what_a_dead_job_left_open_is_listed_settled_and_readers_move(scene: Scene):
    announced = await scene.announced()
    async with frozen(scene, [0, 1], NEVER_MS) as found:
        pass
    bootstrap = scene.sandbox.endpoints.regions["east"].kafka
    stable = await scene.kafka.last_stable_offsets([OUTPUT_TOPIC])
    ends = await scene.kafka.end_offsets([OUTPUT_TOPIC])
    blocked = {tp: stable[tp] for tp in ends if stable[tp] < ends[tp]}
    assert blocked, "nobody is kept back"
    assert await asyncio.to_thread(read, bootstrap, blocked, 1, _BLOCKED_S) == 0

    before = await transactions(scene, "list", DEPLOYMENT)
    rows = {row["transactional_id"]: row for row in before["transactions"] if row["state"] == "Ongoing"}
    own = {one.transactional_id for one in found.own}
    assert own <= rows.keys()
    assert (before["job_state"], before["snapshot"]) == (None, found.location)
    assert {name: row["settling"] for name, row in rows.items()} == {
        name: "commit" if name in own else "end" for name in rows
    }
    assert all(found.name in rows[name]["listed_by"] for name in own)
    held_back = {place for row in rows.values() for place in row["holds_back"]}
    assert held_back >= {str(tp) for tp in blocked}, "who keeps a reader back is named"

    counted = await records_of(scene, found.own)
    done = await transactions(scene, "settle", DEPLOYMENT, "--yes")
    assert done["proof"].keys() == {str(tp) for tp in ends}
    assert all(proof["last_stable_offset"] == proof["end"] for proof in done["proof"].values())
    assert not [row for row in done["transactions"] if row["state"] == "Ongoing"]
    moved = await asyncio.to_thread(read, bootstrap, blocked, counted, _MOVES_S)
    more = await asyncio.to_thread(read, bootstrap, blocked, counted + 1, _BLOCKED_S)
    assert (moved, more) == (counted, counted), "readers get what the snapshot counts as written, and nothing else"
    ended = len(rows.keys() - own)
    NOTES.append(
        f"{len(blocked)} partitions blocked by {len(rows)} transactions; {len(own)} committed, so that readers got "
        f"{counted:,} records; {ended} ended"
    )

    again = await transactions(scene, "settle", DEPLOYMENT, "--yes")
    assert {row["settling"] for row in again["transactions"]} == {"nothing"}
    result = await (await restore(scene)).result()
    NOTES.append(f"restored after it was settled: {summary(result)}")
    assert result.outcome is Outcome.DONE, summary(result)
    ended_well(result)
    assert await scene.announced() == announced, "nothing comes again by it"
    await scene.check(result.verdict)
