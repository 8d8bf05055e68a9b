"""Wait on a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T]], *, within_s: float = 60.0, every_s: float = 0.02) -> T:
    """The check's result, as soon as it raises no AssertionError; the last one if none came in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(every_s)
