"""The verdict by the fleet file's command: JSON out, exit status by verdict (I2)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from tidegate.errors import InvalidInput, JobLost, OperationFailed, Unavailable
from tidegate.lineage.store import LineageStore
from tidegate.model.fleet import render_audit
from tidegate.model.operation import Verdict
from tidegate.operation.note import notes_that_count
from tidegate.operation.run import Run

_TAIL_CHARS = 600
_NOT_CAUGHT_UP = 5
_NOTE_CHARS = 300
_RATE_MARGIN_S = 30.0
_RATE_MAX = 1_800
"""The picture shows the operation and what is around it; a verdict is a small payload (O19)."""


async def audit(run: Run, epoch: int, gap_from: datetime | None, gap_to: datetime | None) -> Verdict:
    """Run the audit command of the deployment; without one the verdict says that values were not audited.

    Every replay manifest that the deployment ever had is handed over: the audit reads whole topics.

    Raises:
        InvalidInput: the command cannot be run, or does not print the JSON that is expected.
        Unavailable: it could not reach Kafka, or the output had not caught up; it may be run again.
        JobLost: the output will not catch up, for the job has ended since it was proven.
    """
    site = run.site
    turned = await _turned(run)
    command = render_audit(site.fleet, site.deployment, site.region, site.cell, epoch, turned=turned)
    limits = site.spec.audit
    if command is None or limits is None:
        return Verdict(audited=False, note="values not audited: the fleet file names no audit command")
    superseded = await _superseded(run)
    with tempfile.TemporaryDirectory(prefix="tidegate-audit-") as folder:
        arguments = list(command)
        for number, (topic, ranges) in enumerate(superseded.items()):
            manifest = Path(folder) / f"manifest-{number}.json"
            manifest.write_text(json.dumps({"topic": topic, "superseded": ranges}))
            arguments += ["--manifest", str(manifest)]
        if gap_from is not None and gap_to is not None:
            arguments += ["--from-ms", str(_ms(gap_from)), "--to-ms", str(_ms(gap_to))]
        status, out, err = await _execute(run, arguments, limits.timeout_s)
    if status == _NOT_CAUGHT_UP:
        await _must_live(run)
        raise Unavailable(f"the audit did not come to an end: {_tail(err)}")
    verdict = _parse(out, err, status)
    if gap_from is None or gap_to is None:
        return verdict.model_copy(update={"rate": ()})
    first, last = gap_from.timestamp() - _RATE_MARGIN_S, gap_to.timestamp() + _RATE_MARGIN_S
    return verdict.model_copy(
        update={"rate": tuple(point for point in verdict.rate if first <= point[0] <= last)[:_RATE_MAX]}
    )


async def _must_live(run: Run) -> None:
    """Output that is missing is worth a wait only while the job lives. Raises JobLost, Unavailable."""
    writer = (await run.tenure.read()).writer
    if writer is None:
        return
    state = await run.site.driver.state(writer.job_id)
    if state is None or state.terminal:
        what = "Flink does not know it any more" if state is None else f"it is {state.value}"
        raise JobLost(
            f"job {writer.job_id} of {run.site.deployment} was lost after it had been proven, before its output was "
            f"audited: {what}",
            hint=f"go on from its newest snapshot:  tidegate restore {run.site.deployment}",
        )


async def _turned(run: Run) -> bool:
    """Whether one of the deployment's topics has been turned between regions."""
    store = LineageStore(run.site.control, run.site.control_bucket)
    known = [await store.read(topic) for topic in {*run.site.input_topics, *run.site.output_topics}]
    return any(one is not None and one.turn > 0 for one in known)


async def _superseded(run: Run) -> dict[str, list[dict[str, int]]]:
    """The replay manifests that count and are of this region's logs, by topic, in the form that the auditor takes."""
    ranges: dict[str, list[dict[str, int]]] = {}
    for note in await notes_that_count(run.site.control, run.site.control_bucket, run.site.deployment):
        if note.region not in {None, run.site.region}:
            continue
        for part in note.superseded:
            found = {"partition": part.partition, "first": part.first, "last": part.last}
            ranges.setdefault(part.topic, []).append(found)
    return ranges


async def _execute(run: Run, arguments: list[str], timeout_s: float) -> tuple[int, bytes, bytes]:
    """Run the command with this process's Python first on the path; ended with its group if it takes too long."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PATH": path},
        )
    except OSError as error:
        raise InvalidInput(
            f"deployments.{run.site.deployment}.audit.command: cannot run {arguments[0]}: {error.strerror}"
        ) from error
    run.say(phase="audit", waiting_for="the audit command")
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError as error:
        raise OperationFailed(
            f"the audit command did not end within {timeout_s:.0f} s",
            hint=f"raise deployments.{run.site.deployment}.audit.timeout_s",
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out, err


def _parse(out: bytes, err: bytes, status: int) -> Verdict:
    try:
        found = json.loads(out)
        samples = [
            f"{kind}: {sample.get('id')} expected {sample.get('expected')}, found {sample.get('found')}"
            for kind, listed in (found.get("samples") or {}).items()
            for sample in listed[:5]
        ]
        known = {name: found[name] for name in Verdict.model_fields if name in found and name not in _OURS}
        known["note"] = str(known.get("note") or "")[:_NOTE_CHARS]
        known["checked_to"] = {str(partition): offset for partition, offset in (found.get("checked_to") or {}).items()}
        return Verdict(audited=True, samples=tuple(samples[:20]), **known)
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        raise InvalidInput(
            f"the audit command (exit status {status}) did not print a verdict as JSON: {error}; it said: {_tail(err)}"
        ) from error


_OURS = {"audited", "samples", "checked_to"}


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _tail(text: bytes) -> str:
    return text.decode(errors="replace").strip()[-_TAIL_CHARS:]
