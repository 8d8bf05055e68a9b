"""``make bench-rto``: how long until a lost region's jobs run in the other one and producers may write, over its floor.

    python -m benchmarks.rto --pairs 5 -o json
    python -m benchmarks.rto --counts 1000 --pairs 1 --warmup 0

FailoverRegion, unplanned, for 1, 4 and 16 deployments, in turns with the floor: the bare submits of the same shipped
snapshots to the same Flinks, all at once, until all tasks run. Ends with 0 if every bound holds, 1 if one does not.
README.md beside this file says what is real here and how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import math
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from benchmarks import pairs, running
from benchmarks.figures import Bound
from benchmarks.pairs import Comparison, Result
from benchmarks.rto_flink import COPY
from benchmarks.rto_world import ENTRY, BenchFleet
from benchmarks.running import say
from tests.kit.temporal_env import start_server
from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import RunKind, RunRequest
from tidegate.clients.s3 import open_store
from tidegate.clients.transfer import TransferStore
from tidegate.driver.base import ArtifactFile
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import NoProgress, OperationFailed
from tidegate.model.operation import OperationResult, Outcome
from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput
from tidegate.names import CONTROL_QUEUE, derive_id
from workers import runner

PER_CLUSTER = 50
"""So many jobs on one Flink at most: a cell's worth."""
A_FAMILY = 10
"""So many deployments share a mirror link, and with it are closed, shut and turned together."""
ADDED_S = 4.0
"""What it may add to the floor, whatever the count, in seconds: observe, plan, take, close, shut, cut, choose, copy."""
EACH_S = 0.5
"""And for each deployment more, in seconds: about 17 activities and a child workflow, on one machine."""
CPU_S = 1.0
"""CPU that a deployment may cost workers and workflows together, in seconds, however many there are: unlike times, it
hardly depends on what else the machine does."""
EVENTS = 51_200
"""Temporal's limit on the events of one run: FailoverRegion must get through with all of its members below it."""
POLL_S = 0.05
END_S = 3_000.0


@dataclass
class Bench:
    """What the ways share: Temporal, the control bucket, and the Flinks of the west."""

    client: Client
    store: TransferStore
    flinks: list[FlinkClient]
    jar: ArtifactFile
    cpu_s: float = 0.0
    """CPU of this process in the last failover: workers, workflows, clients."""
    events: int = 0
    """Events of the last FailoverRegion."""

    def clusters(self, count: int) -> list[SessionClusterDriver]:
        """As many as hold so many jobs."""
        return [SessionClusterDriver(flink) for flink in self.flinks[: math.ceil(count / PER_CLUSTER)]]

    async def failover(self, count: int) -> float:
        """Seconds from the request to the last topic's opening; every job runs then."""
        fleet = BenchFleet(
            f"t{uuid.uuid4().hex[:6]}", count, A_FAMILY, self.clusters(count), self.store, BUCKET, self.jar
        )
        await fleet.begin()
        request = FailoverRegionInput.model_validate(
            {"region": "east", "to": "west", "unplanned": True, "requested_by": "bench", "bake_s": 1}
        )
        activities = fleet.activities()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(runner.control_worker(self.client, activities))
            for region in ("east", "west"):
                await stack.enter_async_context(runner.region_worker(self.client, region, activities))
            began, cpu = time.monotonic(), time.process_time()
            handle: WorkflowHandle[object, object] = await self.client.start_workflow(
                FAILOVER_REGION, request, id=f"failover-{uuid.uuid4().hex[:12]}", task_queue=CONTROL_QUEUE
            )
            await self._opened(fleet, handle)
            took = max(fleet.opened_at.values()) - began
            result = OperationResult.model_validate(await asyncio.wait_for(handle.result(), END_S))
            self.cpu_s = time.process_time() - cpu
            self.events = (await handle.describe()).history_length
            say(f"all reported after {time.monotonic() - began:.1f} s, CPU {self.cpu_s:.1f} s, {self.events:,} events")
        if result.outcome is not Outcome.DONE:
            raise OperationFailed(f"the failover ended {result.outcome}: {result.why}")
        await self._cancel_all()
        return took

    async def _opened(self, fleet: BenchFleet, handle: WorkflowHandle[object, object]) -> None:
        ends = asyncio.create_task(handle.result())
        until = time.monotonic() + END_S
        told = 0.0
        try:
            while not fleet.all_open:
                if fleet.halted:
                    name, why = next(iter(fleet.halted.items()))
                    raise OperationFailed(f"{name} stands halted: {why}")
                if ends.done() and not fleet.all_open:
                    raise OperationFailed("the failover ended before all topics were open")
                if time.monotonic() > until:
                    raise NoProgress(f"{len(fleet.opened_at)} of {2 * len(fleet.worlds)} topics open in {END_S:.0f} s")
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"{len(fleet.opened_at):,} of {2 * len(fleet.worlds):,} topics are open")
                await asyncio.sleep(POLL_S)
        except WorkflowFailureError as error:
            raise OperationFailed(f"the failover failed: {error.cause}") from error
        finally:
            ends.cancel()

    async def floor(self, count: int) -> float:
        """Seconds from the first submit until all tasks of as many jobs run: nothing else is done or written."""
        flinks = self.flinks[: math.ceil(count / PER_CLUSTER)]
        jars = [(await flink.jars())[0].id for flink in flinks]
        began = time.monotonic()
        of: list[list[str]] = [[] for _ in flinks]
        for number in range(count):
            of[number % len(flinks)].append(derive_id("floor", uuid.uuid4().hex))
        await asyncio.gather(*(_bare(flink, jar, ids) for flink, jar, ids in zip(flinks, jars, of, strict=True)))
        took = time.monotonic() - began
        await self._cancel_all()
        return took

    async def warm(self) -> None:
        """The jar lies on every cluster, as ``prepare`` leaves it."""
        for flink in self.flinks:
            await SessionClusterDriver(flink).prepare(self.jar, entry_class=ENTRY, args=[], parallelism=1)

    async def _cancel_all(self) -> None:
        for flink in self.flinks:
            for job in await flink.jobs():
                if not job.state.terminal:
                    await flink.cancel(job.id)


async def _bare(flink: FlinkClient, jar: str, ids: list[str]) -> None:
    """A script's way: submit all, then look until all tasks run."""

    async def submit(job_id: str) -> None:
        done = await flink.run_jar(
            jar, RunRequest(job_id=job_id, entry_class=ENTRY, parallelism=1, savepoint_path=COPY)
        )
        if done.kind is not RunKind.ACCEPTED:
            raise OperationFailed(f"bare submit: {done.message}")

    await asyncio.gather(*(submit(job_id) for job_id in ids))
    wanted = set(ids)
    while True:
        if wanted <= {job.id for job in await flink.jobs_overview() if job.all_running}:
            return
        await asyncio.sleep(POLL_S)


@contextlib.contextmanager
def fake_flinks(clusters: int, slots: int, start_s: float) -> Iterator[list[str]]:
    """Their URLs."""
    argv = [sys.executable, "-m", "benchmarks.rto_flink", "--clusters", str(clusters), "--slots", str(slots)]
    with subprocess.Popen(
        [*argv, "--start-s", str(start_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdout is None:
                raise OperationFailed("the fake Flinks have no output")
            yield [process.stdout.readline().strip() for _ in range(clusters)]
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def set_up(most: int, start_s: float) -> AsyncIterator[Bench]:
    """All that a run needs, for up to so many deployments."""
    clusters = math.ceil(most / PER_CLUSTER)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        jar = folder / "ledger.jar"
        jar.write_bytes(b"jar")
        endpoint = stack.enter_context(running_weed())
        urls = stack.enter_context(fake_flinks(clusters, min(most, PER_CLUSTER), start_s))
        store = await stack.enter_async_context(open_store(endpoint, ACCESS, SECRET, "us-east-1", 10.0))
        flinks = [await stack.enter_async_context(FlinkClient(url)) for url in urls]
        server = await stack.enter_async_context(await start_server(time_skipping=False))
        sha256 = hashlib.sha256(jar.read_bytes()).hexdigest()
        bench = Bench(server.client, store, flinks, ArtifactFile(path=jar, sha256=sha256, name="ledger"))
        await bench.warm()
        yield bench


async def bench(asked: argparse.Namespace) -> int:
    """All counts, one after another. The exit status."""
    found: list[Comparison] = []
    also: list[Bound] = []
    async with set_up(max(asked.counts), asked.start_s) as made:
        for count in asked.counts:

            async def ours(count: int = count) -> float:
                return await made.failover(count)

            async def other(count: int = count) -> float:
                return await made.floor(count)

            turns = await running.in_turns(f"{count} deployments", ours, other, asked.pairs, asked.warmup)
            also += [
                Bound(
                    what=f"{count:,} deployments: CPU s each", value=made.cpu_s / count, at_most=CPU_S * (1 + 2 / count)
                ),
                Bound(what=f"{count:,} deployments: events of one run", value=made.events, at_most=EVENTS),
            ]
            floor_s = min(pair.other_s for pair in turns)
            found.append(
                pairs.compare(
                    turns,
                    f"{count:,} deployments",
                    "FailoverRegion",
                    "bare submits",
                    amount=float(count),
                    unit="deployments",
                    at_most=1.0 + (ADDED_S + EACH_S * count) / floor_s,
                )
            )
    return running.answer(Result(benchmark="rto", comparisons=tuple(found), also=tuple(also)), asked.form)


def main() -> None:
    """Run as ``python -m benchmarks.rto``."""
    parser = running.options("rto", __doc__)
    parser.add_argument("--pairs", type=int, default=5, help="measured pairs (default 5)")
    parser.add_argument("--warmup", type=int, default=1, help="pairs before those, which do not count (default 1)")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 16], help="deployments (default 1 4 16)")
    parser.add_argument("--start-s", type=float, default=1.5, help="a Flink's own time from accepted to running")
    asked = parser.parse_args()
    if min(asked.counts) < 1:
        parser.error("--counts must be at least 1")
    if asked.pairs < 1 or asked.warmup < 0:
        parser.error("--pairs must be at least 1, --warmup at least 0")
    running.run(bench(asked))


if __name__ == "__main__":
    main()
