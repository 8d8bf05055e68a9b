"""What an operation finds before it plans. Reads only; every runbook shares it."""

from __future__ import annotations

import asyncio
import time

from tidegate.errors import Unavailable
from tidegate.model.fleet import CellRef
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation
from tidegate.model.record import ArtifactRef, DeploymentRecord, utc_now
from tidegate.operation.site import Site
from tidegate.registry.artifacts import ArtifactInfo, inspect, stand_in
from tidegate.registry.records import RecordStore

ELSEWHERE_S = 5.0
"""So long the S3 of another region may take to tell of an artifact."""


async def observe(site: Site, records: RecordStore, fleet_digest: str, target: str | None) -> Observation:
    """Read record, Flink, Kafka and S3.

    Raises:
        InvalidInput: ``target`` is no artifact of the deployment in the fleet file; known ones are named.
        Unavailable: a part did not answer.
    """
    spec = site.spec
    if target is not None:
        site.fleet.artifact(site.deployment, target)
    stored, (artifacts, unseen), capacity = await asyncio.gather(
        records.read(site.deployment), _artifacts(site), site.driver.capacity()
    )
    record = stored.record if stored else DeploymentRecord(deployment=site.deployment)
    job, warnings = await _job(site, record)
    return Observation(
        at=utc_now(),
        fleet_digest=fleet_digest,
        deployment=site.deployment,
        region=site.region,
        cell=site.cell,
        tier=spec.tier,
        parallelism=spec.parallelism,
        approval_required=spec.approval == "required",
        record=record,
        job=job,
        lag=await lag_of(site) if job else None,
        flink_version=capacity.version,
        slots_free=capacity.slots_free,
        slots_total=capacity.slots_total,
        target=next((facts for facts in artifacts if facts.ref.name == target), None),
        artifacts=artifacts,
        stale_state=spec.stale_state,
        warnings=tuple(warnings + unseen + await _stray_jobs(site, record)),
    )


async def _artifacts(site: Site) -> tuple[tuple[ArtifactFacts, ...], list[str]]:
    """The artifacts of the deployment that are there, in the fleet file's order; and what nobody can tell of others."""
    named = site.spec.artifacts
    found = await asyncio.gather(*(_artifact(site, name, artifact.jar) for name, artifact in named.items()))
    unseen = [name for name, info in zip(named, found, strict=True) if info is None]
    facts = tuple(
        ArtifactFacts(
            ref=ArtifactRef(name=info.name, sha256=info.sha256, uri=info.uri),
            size_bytes=info.size or 0,
            readable_by=named[info.name].readable_by,
        )
        for info in found
        if info is not None and info.present and info.sha256
    )
    home = site.spec.home_ref.region
    return facts, [f"S3 in {home} cannot say whether these are there: {', '.join(unseen)}"] if unseen else []


async def _artifact(site: Site, name: str, uri: str) -> ArtifactInfo | None:
    """What is known of an artifact. In another region than its home that may be nothing: home may be lost."""
    if site.region == site.spec.home_ref.region:
        return await inspect(site.jars, name, uri, site.kept_jars)
    try:
        return await asyncio.wait_for(inspect(site.jars, name, uri, site.kept_jars), ELSEWHERE_S)
    except TimeoutError:
        return await stand_in(name, uri, site.kept_jars)
    except Unavailable:
        return None


async def _job(site: Site, record: DeploymentRecord) -> tuple[JobFacts | None, list[str]]:
    if record.writer is None:
        return None, []
    lives = CellRef(record.writer.region, record.writer.cell)
    if lives.region != site.region:
        return None, [f"its job ran in {lives} last; it is to go on in {site.region}/{site.cell}"]
    view = await site.driver.observe(record.writer.job_id)
    if view.state is None:
        return None, [f"job {record.writer.job_id} of the record is not known to Flink: did Flink restart?"]
    last = view.last_checkpoint
    warnings = []
    if lives != site.spec.home_ref:
        warnings.append(f"the job runs in {lives}, its home in the fleet file is {site.spec.home}")
    return (
        JobFacts(
            job_id=record.writer.job_id,
            state=view.state.value,
            parallelism=view.parallelism or None,
            checkpoints_completed=view.checkpoints_completed,
            last_checkpoint_age_s=round(max(0.0, time.time() - last.completed_ms / 1000), 1) if last else None,
            restarts=view.restarts,
        ),
        warnings,
    )


async def _stray_jobs(site: Site, record: DeploymentRecord) -> list[str]:
    """Jobs that run on the cluster and are in no record of this deployment: named, not touched."""
    ours = set(record.job_ids())
    jobs = await site.driver.list_jobs()
    stray = sorted(job_id for job_id, state in jobs.items() if not state.terminal and job_id not in ours)
    return [f"{len(stray)} other jobs run on this cluster: {', '.join(stray[:3])}"] if stray else []


async def lag_of(site: Site) -> int | None:
    """Records between the committed positions of the deployment's groups and the end of its inputs.

    None if no position is committed yet, or Kafka does not answer: the lag decides nothing before a plan.
    """
    total = 0
    try:
        for source in site.spec.sources:
            positions = await site.kafka.group_offsets(source.group)
            if not positions:
                return None
            total += sum((await site.kafka.lag(positions, list(source.topics))).values())
    except Unavailable:
        return None
    return total
