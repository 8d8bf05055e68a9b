"""``tidegate break-glass`` as a process of its own over faked activities: for tests that interrupt or kill it.

Its last step but one never ends: ``BLOCKED`` on stdout says that it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from tests.kit.shared_record import Shared, SharedWorld
from tidegate.cli import main
from tidegate.cli.control import ControlBucket
from workers import alone, break_glass, runner


def run(*args: str) -> int:
    shared = Shared()
    asyncio.run(shared.set_up())
    world = SharedWorld(shared, Path(tempfile.gettempdir()) / "unused")

    async def blocked() -> None:
        print("BLOCKED", flush=True)
        await asyncio.Event().wait()

    world.always["rebase_copy"] = blocked

    @contextlib.asynccontextmanager
    async def opened(_fleet: Path | None, _timeout_s: float) -> AsyncIterator[ControlBucket]:
        yield shared.control

    vars(runner)["GRACE"] = timedelta(seconds=0.5)
    vars(break_glass)["open_control"] = opened
    vars(alone)["all_activities"] = lambda _sites, client: world.activities_of(client)
    main.known_commands = lambda: {"break-glass": "workers.break_glass:app"}
    return main.run(["break-glass", "failover", *args])


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
