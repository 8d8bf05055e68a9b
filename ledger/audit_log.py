"""What the auditor reads: a log with partitions. Kafka's is in `ledger.audit_kafka`; tests bring one from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Record = tuple[int, int, int, bytes | None, bytes]
"""(partition, offset, log append time in UTC ms or -1 without one, key, value). A bare tuple: millions go by."""


class Bounds(NamedTuple):
    """Of one partition: first offset still held, last stable offset (all before it is decided), end offset."""

    start: int
    stable: int
    end: int


class Log(Protocol):
    """A topic, read forward once, committed records only."""

    def bounds(self) -> dict[int, Bounds]:
        """The offsets now, of every partition. Raises `CannotReach`."""
        ...

    def read(self, to: Mapping[int, int]) -> Iterator[Sequence[Record]]:
        """Batches from where the last read ended (at first: the log's start) up to the offsets ``to``, those not
        included; each partition in offset order. Raises `CannotReach` when nothing comes any more.
        """
        ...
