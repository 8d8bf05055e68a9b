"""Virtual time: an event loop whose clock jumps to the next thing that is due, so that waits cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from datetime import datetime
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

EPOCH_S = 1_700_000_000.0
"""The time of day when a virtual loop begins, in seconds since 1970."""


class _Jump(selectors.SelectSelector):
    """Does not wait: says how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else: nothing is due, ever")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` moves only when everything waits, and then straight to the next timer."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.set_exception_handler(lambda loop, context: None)  # processes that die leave tasks behind

    def time(self) -> float:
        return self._jump.now


@contextlib.contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A loop of virtual time; within the block every module of tidegate reads its clock, and no other."""
    loop = VirtualLoop()
    clock = SimpleNamespace(monotonic=loop.time, time=lambda: EPOCH_S + loop.time(), sleep=time.sleep)
    calendar = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(EPOCH_S + loop.time(), zone))
    with ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            if name.startswith("tidegate.") and getattr(module, "time", None) is time:
                patches.enter_context(patch.object(module, "time", clock))
        patches.enter_context(patch("tidegate.model.record.datetime", calendar))
        try:
            yield loop
        finally:
            stop_all(loop)
            loop.close()


def stop_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, as the end of a process does."""
    for _ in range(10):
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits (those of the fake Kafka), from a place that cannot await."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("it waited for something")
