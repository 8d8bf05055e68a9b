"""Telling Temporal that a step is alive, and deferring a cancel of one that must not stop midway (O16)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from temporalio import activity

Fact = TypeVar("Fact")

DEFER_S = 30.0
"""How long a cancelled switch goes on towards its next safe point before it lets go (O16)."""


def beat(details: dict[str, object]) -> None:
    """A heartbeat with where the step stands."""
    activity.heartbeat(details)


async def beating(step: Awaitable[Fact], said: Mapping[str, object] | None = None) -> Fact:
    """Tell the server that a step which reads or waits for long is alive; ``said``: what the step has said last."""
    task = asyncio.ensure_future(step)
    try:
        while not task.done():
            beat({"phase": activity.info().activity_type, **(said or {})})
            await asyncio.wait({task}, timeout=1.0)
        return task.result()
    finally:
        task.cancel()


async def deferring_cancel(step: Awaitable[Fact]) -> Fact:
    """Let a step that must not stop in its middle go on for a while after a cancel, then raise it (O16).

    Wherever it is cut off in the end, it is re-entrant: the next attempt goes on where record and world stand.
    """
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ends = time.monotonic() + DEFER_S
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(task), max(0.0, ends - time.monotonic()))
        task.cancel()
        raise
