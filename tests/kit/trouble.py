"""What the tests of the rules do to the simulated region: faults in calls, late calls, an upgrade to go back from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.kit.world import Op, World
from tests.kit.world_gate import Call, Fault


def on(name: str, fault: Fault, *, actor: str = "", times: int = 1) -> Any:
    """The fault for the first calls whose line holds the name."""
    left = [times]

    def decide(call: Call) -> Fault:
        if left[0] and name in str(call) and call.actor.startswith(actor):
            left[0] -= 1
            return fault
        return Fault.NONE

    return decide


def deliver(w: World) -> list[str]:
    """Let what was held up on its way arrive now, and say what came of each."""
    said = [w.loop.run_until_complete(late.deliver()) for late in w.gate.late]
    w.gate.late.clear()
    return said


async def until(seen: Callable[[], bool]) -> None:
    """Wait for the simulated time in which it is so."""
    deadline = asyncio.get_running_loop().time() + 1_000
    while not seen():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def upgraded(w: World, to: str = "v2") -> Op:
    """A deployment of v1 that an operation, still holding it, has switched to another artifact."""
    w.start("v1")
    op = w.op()
    w.go("switch", lambda: op.switch(to))
    return op
