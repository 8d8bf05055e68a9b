"""The RTO of one deployment on the real sandbox: the east is killed for good, under traffic, and the west goes on.

    python -m benchmarks.rto_real -o json

One pair: the failover from its request to the first output of the new job, and then the bare submit of the very copy
that it started, from the submit to the first output. Both find a Flink that has just been started: its classes are not
loaded, which is most of what a start costs. Needs about three minutes.
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
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from benchmarks import pairs, running
from benchmarks.pairs import Pair, Result
from benchmarks.running import say
from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT
from tests.integration.failover.scene import FIRST, Scene
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import RunKind, RunRequest
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import TopicPartition
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import NoProgress, OperationFailed
from tidegate.model.fleet import render_args
from tidegate.model.record import Writer
from tidegate.names import derive_id

HOME, AWAY = "east", "west"
BASE_PORT = 26_600
RATIO = 4.0
"""A failover looks at both regions, closes, shuts out and cuts before it submits: so many times the submit at most."""
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
    result = json.loads(done.out)
    took = result.get("rto_s")
    if took is None:
        raise OperationFailed(f"the failover gave no RTO: {done.out[-1_000:]}")
    client = await Client.connect(scene.sandbox.endpoints.temporal)
    handle = client.get_workflow_handle(result["operation"])
    for line in activities([one async for one in handle.fetch_history_events()]):
        say(line)
    return float(took)


def activities(events: Iterable[HistoryEvent]) -> list[str]:
    """Each activity of a run that has ended: when it was asked for, in seconds of the run; how long it waited, ran."""
    known = list(events)
    began = known[0].event_time.ToDatetime()
    asked = {one.event_id: one for one in known if one.HasField("activity_task_scheduled_event_attributes")}
    taken = {one.event_id: one for one in known if one.HasField("activity_task_started_event_attributes")}
    lines = []
    for one in known:
        done = one.activity_task_completed_event_attributes
        if one.HasField("activity_task_completed_event_attributes"):
            ask, take = asked[done.scheduled_event_id], taken[done.started_event_id]
            times = [event.event_time.ToDatetime() for event in (ask, take, one)]
            waited_s, ran_s = ((later - before).total_seconds() for before, later in pairwise(times))
            name = ask.activity_task_scheduled_event_attributes.activity_type.name
            at_s = (times[0] - began).total_seconds()
            lines.append(f"at {at_s:5.2f} s  {name:<20} waited {waited_s:.2f} s, ran {ran_s:.2f} s")
    return lines


async def floor(scene: Scene) -> tuple[float, float]:
    """Submit the copy that the failover started twice more, bare: to a Flink as the failover found it, that has just
    been started and has run nothing; and then to the same, warm. Seconds from the submit to the first output of each.
    """
    record = await scene.record()
    writer = record.writer
    if writer is None or writer.started_from is None:
        raise OperationFailed("the record names no job that was started from a copy")
    async with FlinkClient(scene.sandbox.endpoints.regions[AWAY].flink) as flink:
        jar = (await flink.jars())[0].id
        await _cancel(flink, writer.job_id)
        scene.sandbox.kill(f"{AWAY}/flink", for_good=True)
        scene.sandbox.start(f"{AWAY}/flink")
        await scene.sandbox.wait_ready(f"{AWAY}/flink", _RUNS_S)
        until = time.monotonic() + _RUNS_S
        while (await flink.overview()).slots_available < writer.parallelism:
            if time.monotonic() > until:
                raise NoProgress(f"Flink in {AWAY} has too few slots {_RUNS_S:.0f} s after it was started")
            await asyncio.sleep(_LOOK_S / 10)
        args = render_args(scene.fleet, DEPLOYMENT, AWAY, writer.cell, record.epoch + 1)
        cold_s, warm_s = [await _bare(scene, flink, jar, args, writer) for _ in range(2)]
    return cold_s, warm_s


async def _bare(scene: Scene, flink: FlinkClient, jar: str, args: list[str], writer: Writer) -> float:
    """One submit; seconds until its first output, as the broker has dated it. The job is cancelled after it."""
    kafka = scene.stage.kafka(AWAY)
    try:
        before = await kafka.end_offsets([FIRST.output])
        request = RunRequest(
            job_id=derive_id("rto-floor", uuid.uuid4().hex),
            entry_class=scene.fleet.deployment(DEPLOYMENT).entry_class,
            args=args,
            parallelism=writer.parallelism,
            savepoint_path=writer.started_from,
        )
        asked = datetime.now(UTC)
        outcome = await flink.run_jar(jar, request)
        if outcome.kind is not RunKind.ACCEPTED:
            raise OperationFailed(f"bare submit: {outcome.message}")
        first_ms = await _first_output_ms(kafka, before)
    finally:
        await kafka.aclose()
    await _cancel(flink, request.job_id)
    return first_ms / 1000 - asked.timestamp()


async def _cancel(flink: FlinkClient, job_id: str) -> None:
    driver = SessionClusterDriver(flink)
    await driver.cancel(job_id)
    await driver.wait_terminal(job_id, deadline_s=_RUNS_S, heartbeat=_silent)


async def _first_output_ms(kafka: Kafka, before: Mapping[TopicPartition, int]) -> int:
    """When the first committed record behind these ends was appended, in ms of the epoch."""
    until = time.monotonic() + _RUNS_S
    while True:
        ends = await kafka.last_stable_offsets([FIRST.output])
        dates = [one.timestamp_ms for tp, end in ends.items() async for one in kafka.records(tp, before[tp], end)]
        if dates:
            return min(dates)
        if time.monotonic() > until:
            raise NoProgress(f"bare submit: nothing was committed to {FIRST.output} in {_RUNS_S:.0f} s")
        await asyncio.sleep(_LOOK_S / 10)


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
            took_s = await failover(scene)
            cold_s, warm_s = await floor(scene)
        say(f"RTO {took_s:.2f} s; bare submit {cold_s:.2f} s, to a Flink that has run it before {warm_s:.2f} s")
    finally:
        if not asked.keep:
            await sandbox.down()
    found = pairs.compare(
        [Pair(ours_s=took_s, other_s=cold_s, load=load)],
        *("1 deployment, real parts, to the first output", "failover", "bare submit"),
        amount=1.0,
        unit="deployments",
        at_most=RATIO,
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
