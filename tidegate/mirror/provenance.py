"""The headers that our mirror puts on each record: *origin* and *hop* (X20).

The form, big-endian, nothing before or after it; ``mirror/`` (Java) writes it, and both are held to the same vectors
(``mirror/src/test/resources/provenance-vectors.tsv``):

    u8  version    1
    u8  length     of the cluster's name in bytes, 1 to 255
        cluster    UTF-8: the name of the region as the fleet file has it
    u8  length     of the topic's name in bytes, 1 to 249 (Kafka's limit)
        topic      UTF-8
    i32 partition  at least 0
    i64 offset     at least 0
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import OperationFailed

ORIGIN: Final = "tidegate.origin"
"""Header: where the record was first written; set once, kept by every later mirror."""
HOP: Final = "tidegate.hop"
"""Header: where the last mirror read it; replaced at each mirror."""
VERSION: Final = 1

_TAIL = struct.Struct(">iq")


@dataclass(frozen=True, slots=True)
class Provenance:
    """A place in a cluster's log. ``cluster`` is a region's name."""

    cluster: str
    topic: str
    partition: int
    offset: int

    @property
    def tp(self) -> TopicPartition:
        """The partition, without the offset."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Both headers of a mirrored record."""

    origin: Provenance
    hop: Provenance


def encode(place: Provenance) -> bytes:
    """The header's bytes. Raises ValueError for what the form cannot hold."""
    if place.partition < 0 or place.offset < 0:
        msg = f"no place in a log: partition {place.partition}, offset {place.offset}"
        raise ValueError(msg)
    return bytes([VERSION]) + _name(place.cluster) + _name(place.topic) + _TAIL.pack(place.partition, place.offset)


def decode(data: bytes) -> Provenance:
    """The place that a header's bytes name.

    Raises:
        OperationFailed: they are not of the form; a record of that kind was not written by our mirror.

    """
    if not data or data[0] != VERSION:
        raise _unreadable(data, f"version {data[0] if data else 'missing'}; expected {VERSION}")
    cluster, at = _read_name(data, 1)
    topic, at = _read_name(data, at)
    if len(data) != at + _TAIL.size:
        raise _unreadable(data, f"{len(data)} bytes; expected {at + _TAIL.size}")
    partition, offset = _TAIL.unpack_from(data, at)
    if partition < 0 or offset < 0:
        raise _unreadable(data, f"partition {partition}, offset {offset}")
    return Provenance(cluster, topic, partition, offset)


def of_headers(headers: Iterable[tuple[str, bytes | None]]) -> Mirrored | None:
    """What a record's headers say; None for a native record, which no mirror of ours brought.

    Raises:
        OperationFailed: one of the two is there without the other, or cannot be read.

    """
    found = {name: value for name, value in headers if name in {ORIGIN, HOP}}
    if not found:
        return None
    origin, hop = found.get(ORIGIN), found.get(HOP)
    if origin is None or hop is None:
        raise OperationFailed(f"a record with {', '.join(sorted(found))} alone: not as our mirror writes them")
    return Mirrored(decode(origin), decode(hop))


def _name(text: str) -> bytes:
    raw = text.encode()
    if not 1 <= len(raw) <= 255:
        msg = f"a name of {len(raw)} bytes; expected 1 to 255: {text}"
        raise ValueError(msg)
    return bytes([len(raw)]) + raw


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    length = data[at] if at < len(data) else 0
    raw = data[at + 1 : at + 1 + length]
    if not length or len(raw) != length:
        raise _unreadable(data, f"a name cut off at byte {at}")
    try:
        return raw.decode(), at + 1 + length
    except UnicodeDecodeError as error:
        raise _unreadable(data, f"a name at byte {at} that is not UTF-8") from error


def _unreadable(data: bytes, what: str) -> OperationFailed:
    return OperationFailed(f"unreadable provenance {data[:64].hex()}: {what}")
