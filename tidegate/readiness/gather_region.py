"""What a region says of itself: its Kafka, its Flinks, its S3, and whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from tidegate.clients.kafka_types import ClusterShape, KafkaSecurity, TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.driver.readings import slot_memory
from tidegate.errors import InvalidInput
from tidegate.model.fleet import CellRef, Deployment
from tidegate.readiness.facts import Access, CellFacts, NotKnown, RegionFacts
from tidegate.readiness.reach import Reach, ask, may


async def look_at_region(reach: Reach, region: str, topics: Collection[str]) -> RegionFacts:
    """All of it at once; what does not answer is told as not known. Writes one small object and removes it again."""
    cells = {name: CellRef(region, name) for name in reach.fleet.region(region).cells}
    kafka, flinks, stores = await asyncio.gather(
        ask(f"Kafka in {region}", partial(_kafka, reach, region, topics)),
        asyncio.gather(*(ask(f"Flink in {at}", partial(_flink, reach, at)) for at in cells.values())),
        asyncio.gather(*(_store(reach, at) for at in cells.values())),
    )
    shape, starts = (kafka, kafka) if isinstance(kafka, NotKnown) else kafka
    return RegionFacts(
        name=region,
        kafka=shape,
        starts=starts,
        cells=dict(zip(cells, flinks, strict=True)),
        s3=dict(zip(cells, stores, strict=True)),
    )


async def _kafka(
    reach: Reach, region: str, topics: Collection[str]
) -> tuple[ClusterShape, Mapping[TopicPartition, int]]:
    async with reach.kafka(region) as kafka:
        await kafka.ping()  # at once where nothing listens, instead of after the client's whole patience
        shape = await kafka.shape(topics)
        return shape, await kafka.start_offsets(list(shape.topics)) if shape.topics else {}


async def _flink(reach: Reach, at: CellRef) -> CellFacts:
    async with reach.flink(reach.fleet.cell(at).flink.rest) as flink:
        overview, config, taskmanagers = await asyncio.gather(
            flink.overview(), flink.jobmanager_config(), flink.taskmanagers()
        )
    kind = config.get("high-availability.type") or config.get("high-availability") or "NONE"
    return CellFacts(
        at=at,
        version=overview.flink_version,
        taskmanagers=overview.taskmanagers,
        slots_free=overview.slots_available,
        slots_total=overview.slots_total,
        high_availability=kind.upper() != "NONE",
        slot_memory=slot_memory(taskmanagers),
    )


async def _store(reach: Reach, at: CellRef) -> Access:
    try:
        reach.fleet.region(at.region).s3.secret_key.resolve()
    except InvalidInput as error:
        # This machine does not have it: that says nothing of the machines that need it.
        return NotKnown(f"S3 in {at.region}", error.message, error.hint or "")
    return await may(f"S3 in {at.region}", partial(_probe, reach, at))


async def _probe(reach: Reach, at: CellRef) -> None:
    base = S3Uri.parse(reach.fleet.cell(at).savepoints)
    # One name a cell: one that a dead review left is overwritten and removed by the next.
    probe = base.join("tidegate-ready")
    async with reach.store(at.region) as store:
        await store.put(probe, b"written by a readiness review; it may be removed\n")
        await store.list_names(base)
        await store.delete(probe)


async def login(reach: Reach, region: str, spec: Deployment, topics: Collection[str]) -> Access:
    """Whether the job's own principal is let in to a region's Kafka, and sees its topics there."""
    security = reach.fleet.region(region).kafka.security
    of = f"Kafka in {region}"
    if security.mechanism is None:
        return await may(of, partial(_sees, reach, region, None, topics))
    if spec.principal_password is None:
        field = "fleet file:  principal_password of the deployment"
        return NotKnown(f"log-in of {spec.principal}", "the fleet file has no principal_password for it", field)
    try:
        password = spec.principal_password.resolve()
    except InvalidInput as error:
        return NotKnown(f"log-in of {spec.principal}", error.message, error.hint or "")
    who = KafkaSecurity(security.protocol, security.mechanism, spec.principal, password)
    return await may(of, partial(_sees, reach, region, who, topics))


async def _sees(reach: Reach, region: str, who: KafkaSecurity | None, topics: Collection[str]) -> None:
    async with reach.kafka(region) if who is None else reach.kafka_as(region, who) as kafka:
        await kafka.ping()
        await kafka.describe_topics(topics)
