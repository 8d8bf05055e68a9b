"""``make bench-gap``: how long processing stands still in an upgrade, by three ways in turns, on the real sandbox.

    python -m benchmarks.gap --triples 15 -o json

Ends with 0 if every bound holds, 1 if one does not. README.md beside this file says how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from temporalio.client import Client

from benchmarks import figures, running
from benchmarks.figures import Sample, Summary, Ways
from benchmarks.output import OutputMeter
from benchmarks.running import say
from benchmarks.stand import Job, Stand, set_up
from benchmarks.ways import CommandLine, RestScript, Tidegate, Way, operate
from sandbox.api import Sandbox
from sandbox.stage import DEPLOYMENT, OUTPUT_TOPIC, Stage
from tidegate.errors import OperationFailed
from tidegate.model.inputs import START_DEPLOYMENT, StartInput
from tidegate.temporal.converter import data_converter

ROOT = Path(__file__).resolve().parent.parent
WAYS = Ways(tidegate=Tidegate.name, script=RestScript.name, command_line=CommandLine.name)
BASE_PORT = 26_000
_REACH_MS = 500.0
"""A way's own end (RUNNING, or the submit's answer) may come before the first output: the window reaches beyond."""


async def first_job(stand: Stand, client: Client) -> Job:
    """Start the ledger from empty state."""
    request = StartInput(deployment=DEPLOYMENT, artifact="v1", from_empty=True, bake_s=3, requested_by="bench")
    await operate(client, START_DEPLOYMENT, request, "bench-start")
    return await stand.job()


async def sample(stand: Stand, meter: OutputMeter, way: Way, job: Job, triple: int, number: int) -> tuple[Sample, Job]:
    """One upgrade by one way, from a settled job to a settled job."""
    mark = await meter.mark()
    load = os.getloadavg()[0]
    done = await way.upgrade(job, number)
    if way.name != Tidegate.name:
        await stand.adopt(done.job, done.savepoint)
    await stand.settle(done.job)
    new = await stand.flink.job(done.job.job_id)
    old = await stand.flink.job(job.job_id)
    if new is None or old is None:
        raise OperationFailed(f"Flink has forgotten job {job.job_id} or {done.job.job_id}: did it restart?")
    finished_ms = old.timestamps["FINISHED"]
    reach_ms = max(done.ended_ms, float(new.timestamps["RUNNING"])) + _REACH_MS
    pause = await meter.pause_since(mark, done.asked_ms, reach_ms)
    timeline = done.timeline
    found = Sample(
        triple=triple,
        way=way.name,
        upgrade=f"{job.artifact}->{done.job.artifact}",
        gap_ms=pause.ms,
        stop_ms=finished_ms - pause.last_before_ms,
        handover_ms=new.start_time_ms - finished_ms,
        start_ms=pause.first_after_ms - new.start_time_ms,
        between_ms=timeline.between_ms if timeline else None,
        submit_ms=timeline.submit_ms if timeline else None,
        load=load,
    )
    adds = f", adds {found.between_ms:.0f} ms" if found.between_ms is not None else ""
    say(
        f"triple {triple:>2} {way.name:<10} {found.upgrade}  gap {found.gap_ms:>6.0f} ms = stop {found.stop_ms:.0f} "
        f"+ handover {found.handover_ms:.0f} + start {found.start_ms:.0f}{adds}  load {load:.1f}"
    )
    return found, done.job


async def measure(stage: Stage, triples: int, warmup: int, rate: int) -> tuple[list[Sample], Summary]:
    """The whole run on a stage that is set up."""
    stand = Stand(stage, rate)
    try:
        client = await Client.connect(stage.sandbox.endpoints.temporal, data_converter=data_converter)
        ways: list[Way] = [Tidegate(stand, client), RestScript(stand), CommandLine(stand)]
        for way in ways:
            await way.get_ready()
        job = await first_job(stand, client)
        await stand.settle(job)
        meter = OutputMeter(stand.kafka, OUTPUT_TOPIC)
        samples: list[Sample] = []
        number = 0
        for triple in range(1 - warmup, triples + 1):
            for way in ways:
                number += 1
                found, job = await sample(stand, meter, way, job, triple, number)
                if triple > 0:
                    samples.append(found)
        say("the auditor looks at all of it")
        verdict = await stand.audit()
        return samples, figures.summarize(samples, WAYS, verdict)
    finally:
        await stand.aclose()


async def bench(asked: argparse.Namespace) -> int:
    """From nothing to the result and to nothing again. The exit status."""
    stage = Stage(Sandbox(asked.data, asked.base_port), ROOT, say)
    try:
        # What an earlier run left would be read as this one's.
        await stage.sandbox.down(delete=True)
        await set_up(stage, asked.rate)
        samples, summary = await measure(stage, asked.triples, asked.warmup, asked.rate)
    finally:
        if not asked.keep:
            await stage.sandbox.down()
    if asked.form == "json":
        answer = {
            "passed": summary.passed,
            "summary": summary.model_dump(mode="json"),
            "samples": [one.model_dump(mode="json") for one in samples],
        }
        print(json.dumps(answer, indent=1))
    else:
        print(figures.text(summary))
    return 0 if summary.passed else 1


def main() -> None:
    """Run as ``python -m benchmarks.gap``."""
    parser = running.options("gap", __doc__)
    parser.add_argument("--triples", type=int, default=15, help="measured triples of (tidegate, script, flink-cli)")
    parser.add_argument("--warmup", type=int, default=1, help="triples before those, which do not count")
    parser.add_argument("--rate", type=int, default=1_000, help="events per second")
    parser.add_argument("--data", type=Path, default=Path(".tidegate/bench"))
    parser.add_argument("--base-port", type=int, default=BASE_PORT)
    parser.add_argument("--keep", action="store_true", help="leave the sandbox up, to look at it")
    asked = parser.parse_args()
    if asked.triples < 1 or asked.warmup < 0:
        parser.error("--triples must be at least 1, --warmup at least 0")
    running.run(bench(asked))


if __name__ == "__main__":
    main()
