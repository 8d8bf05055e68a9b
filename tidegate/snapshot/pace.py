"""How fast and how wide a transfer goes, and how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

PART_BYTES = 8 << 20
"""Bytes of a part; S3 takes no smaller ones than 5 MiB but for the last, and at most 10,000 of an object."""
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Pace:
    """``parallel``: parts and files under way at once, each of which takes up to ``part_bytes`` of memory.

    ``bytes_per_s`` bounds what is sent; None: as fast as it goes.
    """

    parallel: int = 8
    part_bytes: int = PART_BYTES
    bytes_per_s: float | None = None


class Throttle:
    """Lets bytes through at a rate, whoever asks. The first ones pass at once."""

    def __init__(
        self,
        bytes_per_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_s
        self._clock = clock
        self._pause = pause
        self._free_at = clock()

    async def take(self, n_bytes: int) -> None:
        """Wait until these bytes may be sent."""
        if self._rate is None or n_bytes == 0:
            return
        now = self._clock()
        begins = max(now, self._free_at)
        self._free_at = begins + n_bytes / self._rate
        if begins > now:
            await self._pause(begins - now)


@dataclass
class Progress:
    """How far a shipment is; sizes in bytes. ``sent`` is what went over the wire: more than ``bytes`` of new files only
    if something had to be sent twice, less if something was there already.
    """

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0
    files_sent: int = 0
    sent: int = 0

    def as_details(self) -> dict[str, object]:
        """For a heartbeat."""
        return {
            "files": self.files,
            "of_files": self.of_files,
            "bytes": self.bytes,
            "of_bytes": self.of_bytes,
            "sent_bytes": self.sent,
        }
