"""How far a mirror is: lag in records and seconds, holes, and whether it is drained (X7, X19).

A side that does not answer is part of the answer: at a failover the source is what is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from tidegate.clients.connect import ConnectorStatus
from tidegate.clients.kafka_types import Heartbeat, TopicPartition
from tidegate.errors import NoProgress, Unavailable
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import connector_offsets, count_left, last_hop, target_partitions

COUNT_OFFSETS: Final = 200_000
"""A lag over more offsets than this is not counted record by record: it is told as so many at most."""
POLL_S: Final = 0.1
POLL_MAX_S: Final = 1.0
AT_ONCE: Final = 8

Known = Literal["connector", "provenance", "nothing"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartitionStatus(_Part):
    """One partition. Offsets are the source's; None where that side did not answer, or there is none.

    ``mirrored``: the last data offset that is in the target, ``by`` whose word. ``lag_records``: committed records
    that are still to come (``lag_exact`` False: at most so many). ``lag_s``: the age of the oldest of them, in seconds,
    by its timestamp and this machine's clock. ``undecided``: offsets between the last stable offset and the end.
    ``hole``: source offsets [a, b) that its log lost before they came. ``drained``: nothing is undecided, nothing is
    to come.
    """

    topic: str
    partition: int
    mirrored: int | None
    by: Known
    source_start: int | None
    source_stable: int | None
    source_end: int | None
    lag_records: int | None
    lag_exact: bool
    lag_s: float | None
    undecided: int | None
    hole: tuple[int, int] | None
    drained: bool


class MirrorStatus(_Part):
    """A link now. ``connector`` is Connect's word (stale right after a worker's death); None: it has no such one."""

    link: str
    source: str
    target: str
    connector: str | None
    tasks: tuple[str, ...]
    failures: tuple[str, ...]
    unreachable: tuple[str, ...]
    """What did not answer: ``connect``, ``source``, ``target``, with the reason."""
    partitions: tuple[PartitionStatus, ...]

    @property
    def drained(self) -> bool:
        """X19, on every partition; never without partitions."""
        return bool(self.partitions) and all(one.drained for one in self.partitions)

    @property
    def lag_records(self) -> int | None:
        """Over all partitions; None if any is not known."""
        lags = [one.lag_records for one in self.partitions]
        return None if not lags or None in lags else sum(lag or 0 for lag in lags)

    @property
    def lag_s(self) -> float | None:
        """The worst of all partitions; None if any is not known."""
        lags = [one.lag_s for one in self.partitions]
        return None if not lags or None in lags else max(lag or 0.0 for lag in lags)


@dataclass(frozen=True)
class _Source:
    start: Mapping[TopicPartition, int]
    stable: Mapping[TopicPartition, int]
    end: Mapping[TopicPartition, int]


async def look(link: MirrorLink) -> MirrorStatus:
    """The link now. Only what did not answer is missing.

    Raises InvalidInput if the source has no such topic, Refused for a log-in or a right that is missing.
    """
    unreachable: list[str] = []
    known: ConnectorStatus | None = None
    try:
        known = await link.connect.status(link.connector)
    except Unavailable as error:
        unreachable.append(f"connect: {error.message}")
    offsets = await connector_offsets(link)
    source: _Source | None = None
    try:
        # The ends last: what is written meanwhile makes a lag too large, never too small.
        start = await link.source_kafka.start_offsets(link.topics)
        stable = await link.source_kafka.last_stable_offsets(link.topics)
        source = _Source(start, stable, await link.source_kafka.end_offsets(link.topics))
    except Unavailable as error:
        unreachable.append(f"source: {error.message}")
    there: set[TopicPartition] = set()
    try:
        there = await target_partitions(link)
    except Unavailable as error:
        unreachable.append(f"target: {error.message}")
    partitions = set(source.end) if source else there | set(offsets or {})
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(tp: TopicPartition) -> PartitionStatus:
        async with turns:
            came, by = await _came(link, tp, offsets, there)
            return await _partition(link, tp, came, by, source)

    statuses = await asyncio.gather(*(one(tp) for tp in sorted(partitions)))
    return MirrorStatus(
        link=link.name,
        source=link.source,
        target=link.target,
        connector=known.connector.state.value if known else None,
        tasks=tuple(task.state.value for task in known.tasks) if known else (),
        failures=tuple(known.failures) if known else (),
        unreachable=tuple(unreachable),
        partitions=tuple(statuses),
    )


async def drained(link: MirrorLink) -> bool:
    """X19: last stable offset = end and everything committed is in the target, on every partition.

    What producers write meanwhile undoes it: they are closed first (X18). Raises as ``look``.
    """
    return (await look(link)).drained


async def wait_drained(
    link: MirrorLink,
    deadline_s: float,
    *,
    no_progress_s: float = 30.0,
    heartbeat: Heartbeat | None = None,
    said: Callable[[MirrorStatus], None] | None = None,
    revive: Callable[[], Awaitable[object]] | None = None,
) -> MirrorStatus:
    """Wait until the link is drained; gives what was seen then.

    ``revive`` is awaited whenever a task is seen FAILED: what died brings nothing, however long one waits.

    Raises:
        NoProgress: not in ``deadline_s``, or nothing moved for ``no_progress_s``; says which partition waits for what.
        What ``revive`` raises.

    """
    began = moved_at = time.monotonic()
    best: tuple[object, ...] | None = None
    pause_s = POLL_S
    while True:
        status = await look(link)
        if said is not None:
            said(status)
        if status.drained:
            return status
        if status.failures and revive is not None:
            await revive()
        now = time.monotonic()
        seen = tuple((one.mirrored, one.undecided) for one in status.partitions)
        if seen != best:
            best, moved_at, pause_s = seen, now, POLL_S
        if heartbeat is not None:
            heartbeat({"waiting_for": "mirror drained", "link": link.name, "behind": _behind(status)})
        if now - began > deadline_s or now - moved_at > no_progress_s:
            why = (
                f"after {deadline_s:g} s" if now - began > deadline_s else f"and nothing moved for {no_progress_s:g} s"
            )
            raise NoProgress(
                f"mirror link {link.name} is not drained {why}: {'; '.join(_behind(status)) or 'it has no partitions'}",
                hint=_hint(status),
                details={"behind": _behind(status)},
            )
        await asyncio.sleep(pause_s)
        pause_s = min(POLL_MAX_S, pause_s * 1.5)


def _hint(status: MirrorStatus) -> str:
    if status.failures:
        return f"{'; '.join(status.failures)}; to have it restarted:  tidegate mirror start {status.link}"
    return "; ".join(status.unreachable) or "are producers of its topics still open?"


def _behind(status: MirrorStatus) -> list[str]:
    behind = []
    for one in status.partitions:
        if one.drained:
            continue
        name = f"{one.topic}-{one.partition}"
        if one.hole is not None:
            behind.append(f"{name} lost source offsets {one.hole[0]:,} to {one.hole[1] - 1:,} before they came")
        elif one.undecided:
            behind.append(f"{name} has {one.undecided:,} offsets of open transactions")
        elif one.lag_records is None:
            behind.append(f"{name}: the source does not answer")
        else:
            behind.append(f"{name} is {one.lag_records:,} records behind")
    return behind


async def _came(
    link: MirrorLink, tp: TopicPartition, offsets: Mapping[TopicPartition, int] | None, there: set[TopicPartition]
) -> tuple[int | None, Known]:
    if offsets is not None and tp in offsets:
        return offsets[tp], "connector"
    if tp not in there:
        return None, "nothing"
    try:
        last = await last_hop(link.target_kafka, link.source, tp)
    except Unavailable:
        return None, "nothing"  # said already, as unreachable
    return (None, "nothing") if last is None else (last.source_offset, "provenance")


async def _partition(
    link: MirrorLink, tp: TopicPartition, came: int | None, by: Known, source: _Source | None
) -> PartitionStatus:
    base = PartitionStatus(
        topic=tp.topic,
        partition=tp.partition,
        mirrored=came,
        by=by,
        source_start=None,
        source_stable=None,
        source_end=None,
        lag_records=None,
        lag_exact=False,
        lag_s=None,
        undecided=None,
        hole=None,
        drained=False,
    )
    if source is None or tp not in source.stable or tp not in source.start:
        return base
    start, stable, end = source.start[tp], source.stable[tp], source.end[tp]
    hole = (came + 1, start) if came is not None and start > came + 1 else None
    first = start if came is None else max(came + 1, start)
    span = max(0, stable - first)
    exact = span <= COUNT_OFFSETS
    lag = await count_left(link, tp, first, stable, at_most=span) if exact and span else span
    return base.model_copy(
        update={
            "source_start": start,
            "source_stable": stable,
            "source_end": end,
            "lag_records": lag,
            "lag_exact": exact,
            "lag_s": await _age_s(link, tp, first, stable) if lag else 0.0,
            "undecided": max(0, end - stable),
            "hole": hole,
            "drained": lag == 0 and exact and stable >= end and hole is None,
        }
    )


async def _age_s(link: MirrorLink, tp: TopicPartition, first: int, end: int) -> float:
    """Age of the oldest batch of data in [first, end), by its largest timestamp: never too old by a batch's length."""
    async for batch in link.source_kafka.batches(tp, first, end):
        if not batch.is_control:
            return max(0.0, time.time() - batch.max_timestamp_ms / 1000)
    return 0.0
