"""Committed records of a partition's log, whole: what a read_committed consumer gets, without a consumer.

For looking at single places of a log (a search, a tail) and at small topics. Batches that are compressed by gzip are
read; snappy, lz4 and zstd need a library that is not among Tidegate's: refused by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from tidegate.clients import kafka_fetch
from tidegate.clients.kafka_fetch import FETCH_BYTES, READ_COMMITTED, Aborted, Leader, batches, control_type
from tidegate.clients.kafka_messages import kafka_errors
from tidegate.clients.kafka_types import ControlType, LogRecord, TopicPartition
from tidegate.clients.kafka_wire import Again, Wire
from tidegate.errors import Refused

TURN_RECORDS: Final = 500
"""After so many records whoever else waits gets its turn: the heartbeat of whoever reads has seconds, not minutes."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one fetch gave: committed data records, and the offset to fetch next (None: nothing more now)."""

    records: list[LogRecord]
    next_offset: int | None


def parse(data: bytes, aborted: Iterable[Aborted], at: int) -> Page:
    """Committed data records from offset ``at`` on, as the Java consumer tells them (``CompletedFetch``)."""
    waiting = sorted(aborted, key=lambda row: row.first_offset)
    out: set[int] = set()
    records: list[LogRecord] = []
    next_offset: int | None = None
    for raw in batches(data, at, "headers"):
        next_offset = raw.last_offset + 1
        while waiting and waiting[0].first_offset <= raw.last_offset:
            out.add(waiting.pop(0).producer_id)
        if raw.is_control_batch:
            if control_type(raw) is ControlType.ABORT:
                out.discard(raw.producer_id)
            continue
        if raw.is_transactional and raw.producer_id in out:
            continue
        records.extend(_records(raw, at))
    return Page(records, next_offset)


def _records(raw: Any, at: int) -> Iterable[LogRecord]:  # noqa: ANN401 (kafka-python has no types)
    try:
        return [
            LogRecord(one.offset, one.timestamp, one.key, one.value, tuple(one.headers))
            for one in raw
            if one.offset >= at
        ]
    except kafka_errors.UnsupportedCodecError as cause:
        raise Refused(
            f"records at offset {raw.base_offset:,} are compressed in a way that is not read here: {cause}",
            hint="gzip and uncompressed batches are; see compression.type of the topic and of its producers",
        ) from cause


async def fetch(wire: Wire, tp: TopicPartition, leader: int, offset: int, max_bytes: int) -> Page:
    """One read_committed fetch without a wait. Raises Again; Refused if the log no longer holds ``offset``."""
    got = await kafka_fetch.fetch(wire, tp, leader, offset, isolation=READ_COMMITTED, max_bytes=max_bytes)
    # Some ten thousand records are work for a second: not on the event loop, where heartbeats wait for their turn.
    page = await asyncio.to_thread(parse, got.data, got.aborted, offset)
    if page.next_offset is None and offset < got.last_stable_offset:
        raise Again(f"{tp}: no batch comes at offset {offset:,} though it is stable up to {got.last_stable_offset:,}")
    return page


async def read(
    wire: Wire, tp: TopicPartition, leader: Leader, first: int, end: int, max_bytes: int = FETCH_BYTES
) -> AsyncGenerator[LogRecord, None]:
    """Committed data records in [first, end), up to the last stable offset as it is when that is reached."""
    offset = first
    while offset < end:

        async def fetch_next(at: int = offset) -> Page:
            return await fetch(wire, tp, await leader(tp), at, max_bytes)

        page = await wire.until(f"read {tp} from offset {offset:,}", fetch_next)
        for number, record in enumerate(page.records, 1):
            if record.offset >= end:
                return
            yield record
            if number % TURN_RECORDS == 0:
                await asyncio.sleep(0)
        if page.next_offset is None:
            return
        offset = page.next_offset
