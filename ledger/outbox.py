"""Payments that were made and whose fate is not known yet, and the file of those that were confirmed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, NamedTuple

from ledger.faults import BadInput

FLUSH_S = 1.0


class Waiting(NamedTuple):
    """A payment in the outbox. ``at_ms``: when it was made, UTC; its record carries this time wherever it goes."""

    key: bytes
    value: bytes
    at_ms: int


class Outbox:
    """By id, in the order in which they were made: so handed over again, each account stays in order."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, payment: Waiting) -> None:
        """A payment was made."""
        self._waiting[rid_of(payment.value)] = payment

    def settle(self, rid: bytes) -> bool:
        """It is in the topic for good. False if that was known."""
        return self._waiting.pop(rid, None) is not None

    def drop(self, rid: bytes) -> None:
        """It was never handed over and is unmade."""
        del self._waiting[rid]

    def all(self) -> list[Waiting]:
        """All of them, oldest first."""
        return list(self._waiting.values())


class AckedFile:
    """``id,region,partition,offset,how`` a line, appended; in the file a second later and at the end.

    ``how`` is ``acked`` (Kafka confirmed it to us) or ``found`` (that got lost, and it was read in the log).
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"--acked {path}: {error.strerror}") from error
        self._flushed_s = time.monotonic()

    def add(self, rid: bytes, region: str, partition: int, offset: int, how: str = "acked") -> None:
        """One more."""
        self._file.write(f"{rid.decode()},{region},{partition},{offset},{how}\n")

    def tick(self) -> None:
        """Flush if it is time."""
        now = time.monotonic()
        if now - self._flushed_s >= FLUSH_S:
            self._flushed_s = now
            self._file.flush()

    def close(self) -> None:
        """Flush and let go."""
        self._file.close()


def rid_of(value: bytes) -> bytes:
    """The id of a payment: its first column."""
    return value.split(b",", 1)[0]
