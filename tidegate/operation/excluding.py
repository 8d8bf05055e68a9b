"""Output that a job writes again counts no more: for readers by the lineage, too, and where it was written (X21, X26).

A start from an older snapshot repeats what was committed after it; the manifest names the ranges in the log of the
region where it starts. What stands there may have been written in another region and mirrored, before the topic was
turned: each record says where it was written, and there, too, it counts no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.lineage.model import Excluded, Gate
from tidegate.lineage.store import LineageStore
from tidegate.mirror.provenance import of_headers
from tidegate.model.operation import ReplayRange
from tidegate.operation.run import Deadline, Run, patiently

READ_S: Final = 600.0
BEAT_EVERY: Final = 10_000
WHY: Final = "superseded (X26)"


async def exclude_superseded(run: Run, ranges: Iterable[ReplayRange]) -> None:
    """Say it in the lineage of each topic that has one and lives here. Done again, it stands once.

    A topic whose gate is closed is being turned: whoever turns it says so when it opens.

    Raises:
        Superseded: another operation has the deployment, or turns the topic.
        Unavailable: Kafka or the control bucket did not answer in time; call again.

    """
    site = run.site
    store = LineageStore(site.control, site.control_bucket)
    holder = run.tenure.claim.holder
    by = f"{holder.operation}/{holder.run_id}"
    for one in ranges:
        deadline = Deadline("saying which output counts no more", READ_S)
        known = await patiently(deadline, run, lambda topic=one.topic: store.read(topic))  # type: ignore[misc]
        if known is None or known.gate is Gate.CLOSED or known.region != site.region:
            continue
        said = known.partitions[str(one.partition)].excluded if str(one.partition) in known.partitions else ()
        if (site.region, one.first, one.last) in {(x.region, x.first, x.last) for x in said}:
            continue  # with all that was written elsewhere: they are one write
        written = await patiently(deadline, run, lambda part=one: _written_elsewhere(run, part))  # type: ignore[misc]
        gone = [
            Excluded(region=region, first=first, last=last, why=WHY, by=by)
            for region, (first, last) in {site.region: (one.first, one.last), **written}.items()
        ]
        await run.tenure.read()
        await patiently(
            deadline,
            run,
            lambda part=one, gone=gone: store.exclude(part.topic, by, part.partition, gone),  # type: ignore[misc]
        )


async def _written_elsewhere(run: Run, part: ReplayRange) -> dict[str, tuple[int, int]]:
    """By region that wrote records of a range: the first and the last of them in its own log. Between these it wrote
    nothing else that counts, for the mirror keeps their order.
    """
    found: dict[str, tuple[int, int]] = {}
    looked = 0
    tp = TopicPartition(part.topic, part.partition)
    async with aclosing(run.site.kafka.records(tp, part.first, part.last + 1)) as records:  # type: ignore[type-var]
        async for record in records:
            looked += 1
            if looked % BEAT_EVERY == 0:
                run.say(phase="exclude", partition=str(tp), looked_at=looked)
            came = of_headers(record.headers)
            if came is not None and came.origin.tp == tp:
                at = came.origin.offset
                first, last = found.get(came.origin.cluster, (at, at))
                found[came.origin.cluster] = (min(first, at), max(last, at))
    found.pop(run.site.region, None)
    return found
