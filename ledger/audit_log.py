"""What the auditor reads: a log with partitions. Kafka's is in `ledger.audit_kafka`, one that follows a lineage in
`ledger.audit_lineage`; tests bring one from memory.
"""

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

    def aside(self) -> Iterator[Sequence[Record]]:
        """Batches of what stands where no segment is, and does not count. Raises `CannotReach`."""
        ...

    @property
    def excluded(self) -> int:
        """Records that were left out so far because they do not count."""
        ...

    def place(self, partition: int, offset: int) -> tuple[str | None, int]:
        """Region (None if there is but one) and offset in its log of what `read` calls ``offset``."""
        ...


class PlainLog:
    """What a log is that one region holds and of which all counts."""

    excluded = 0

    def aside(self) -> Iterator[Sequence[Record]]:
        """Nothing."""
        return iter(())

    def place(self, partition: int, offset: int) -> tuple[str | None, int]:
        """The offset itself."""
        return None, offset
