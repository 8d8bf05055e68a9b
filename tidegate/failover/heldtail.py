"""``tails/<deployment>/<operation>/<run>/``: the inputs of a returned region that were held back, written out (X23).

They stand in that region's log, too, but that may meet its retention; and a person who is to decide what becomes of
them wants to read them. ``index.json`` comes last, and names the other objects, which hold a record a line.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tidegate import names
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri

PART_RECORDS: Final = 2_000
PART_BYTES: Final = 4 << 20
WRITTEN_MAX: Final = 100_000
"""So many of a partition are written out; of those beyond only their number and offsets."""
INDEX_NAME: Final = "index.json"


@dataclass
class _Partition:
    first: int
    last: int
    count: int = 0
    written: int = 0
    why: Counter[str] = field(default_factory=Counter)
    parts: list[dict[str, Any]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0


class HeldTail:
    """What one run of a return holds back. Written again by another attempt of it, it says the same."""

    def __init__(
        self, control: ObjectStore, bucket: str, *, deployment: str, operation: str, run_id: str, region: str
    ) -> None:
        self._control = control
        self._home = S3Uri(bucket, names.tail_prefix(deployment, operation, run_id))
        self._about = {"deployment": deployment, "operation": operation, "region": region}
        self._held: dict[TopicPartition, _Partition] = {}

    async def add(self, tp: TopicPartition, record: LogRecord, why: str) -> None:
        """Hold a record of the region's log. Records come in the order of their offsets. Raises Unavailable."""
        held = self._held.setdefault(tp, _Partition(record.offset, record.offset))
        held.last = record.offset
        held.count += 1
        held.why[why] += 1
        if held.written >= WRITTEN_MAX:
            return
        line = json.dumps(shown(record, why), ensure_ascii=False).encode() + b"\n"
        held.lines.append(line)
        held.bytes += len(line)
        held.written += 1
        if len(held.lines) >= PART_RECORDS or held.bytes >= PART_BYTES:
            await self._part(tp, held)

    async def close(self) -> str | None:
        """Write what is left and the index; where that is. None: nothing is held. Raises Unavailable.

        Where nothing is, the index says that: an operation before this one may have held what was fed since.
        """
        for tp, held in self._held.items():
            await self._part(tp, held)
        index = self._about | {
            "partitions": [
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "first": held.first,
                    "last": held.last,
                    "count": held.count,
                    "written_out": held.written,
                    "why": dict(held.why),
                    "objects": held.parts,
                }
                for tp, held in sorted(self._held.items())
            ],
        }
        at = self._home.join(INDEX_NAME)
        await self._control.put(at, json.dumps(index, indent=1, ensure_ascii=False).encode() + b"\n")
        return str(at) if self._held else None

    async def _part(self, tp: TopicPartition, held: _Partition) -> None:
        if not held.lines:
            return
        body = b"".join(held.lines)
        first = json.loads(held.lines[0])["offset"]
        digest = hashlib.sha256(body).hexdigest()
        # Named by what it holds: an attempt that comes late can overwrite nothing.
        at = self._home.join(f"{tp.topic}-{tp.partition}-{first:020d}-{digest[:8]}.jsonl")
        with suppress(PreconditionFailed):
            await self._control.create(at, body)
        held.parts.append({"key": at.key, "first": first, "records": len(held.lines), "sha256": digest})
        held.lines, held.bytes = [], 0


def shown(record: LogRecord, why: str) -> dict[str, Any]:
    """A record as a person reads it: text where it is text, else base64."""
    at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat() if record.timestamp_ms >= 0 else None
    return {
        "offset": record.offset,
        "at": at,
        "timestamp_ms": record.timestamp_ms,
        **_text("key", record.key),
        **_text("value", record.value),
        "headers": [{"name": name, **_text("value", value)} for name, value in record.headers],
        "why": why,
    }


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    with suppress(UnicodeDecodeError):
        text = data.decode()
        if text.isprintable():
            return {name: text}
    return {f"{name}_base64": base64.b64encode(data).decode()}
