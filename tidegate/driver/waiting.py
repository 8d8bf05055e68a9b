"""A bounded wait on something that can only be asked (I6): deadline, heartbeat, a pause that spares who is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.driver.base import Heartbeat
from tidegate.errors import NoProgress, Unavailable

_LONGEST_LOOK_S = 2.5
"""A look that takes longer is given up: a part that hangs must not keep the heartbeat from being sent."""

_LONGEST_PAUSE_S = 0.25


class Watch:
    """One wait. Look, return from within if it is there, else pause; pause raises NoProgress at the deadline.

    Unavailable within a look counts as seen nothing: the part may come back before the deadline.
    """

    def __init__(
        self, what: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int, details: dict[str, object]
    ) -> None:
        self._what = what
        self._deadline_s = deadline_s
        self._heartbeat = heartbeat
        self._poll_s = poll_ms / 1000
        self._details = details
        self._began = time.monotonic()
        self._look_s = 0.0
        self._seen: dict[str, object] = {}

    @property
    def waited_ms(self) -> float:
        """Milliseconds since the wait began."""
        return (time.monotonic() - self._began) * 1000

    def saw(self, figures: dict[str, object]) -> None:
        """Note what was seen, for the heartbeat and for the message at the deadline."""
        self._seen |= figures

    @asynccontextmanager
    async def look(self) -> AsyncIterator[None]:
        """Around one look."""
        began = time.monotonic()
        self._seen.pop("unavailable", None)
        try:
            async with asyncio.timeout(_LONGEST_LOOK_S):
                yield
        except Unavailable as error:
            self._seen["unavailable"] = error.message
        except TimeoutError:
            self._seen["unavailable"] = f"no answer within {_LONGEST_LOOK_S:g} s"
        self._look_s = time.monotonic() - began

    async def pause(self) -> None:
        """Tell the watcher, then wait for the next look. Raises NoProgress at the deadline."""
        self._heartbeat({"waiting_for": self._what, "waited_ms": round(self.waited_ms), **self._seen})
        left_s = self._deadline_s - self.waited_ms / 1000
        if left_s <= 0:
            last = ", ".join(f"{name} {value}" for name, value in self._seen.items()) or "nothing"
            raise NoProgress(
                f"waited {self._deadline_s:g} s for {self._what}; last seen: {last}",
                details={**self._details, **self._seen, "deadline_s": self._deadline_s},
            )
        # As long as the look took, so that looking costs who is asked half of the time at most.
        await asyncio.sleep(min(max(self._poll_s, min(self._look_s, _LONGEST_PAUSE_S)), left_s))
