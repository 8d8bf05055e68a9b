"""What every step of an operation works with: the deployment's site, the tenure, the heartbeat, the derived ids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tidegate import names
from tidegate.errors import NoProgress, Unavailable
from tidegate.model.record import DeploymentRecord
from tidegate.operation.site import Site
from tidegate.registry.ownership import History, Tenure

T = TypeVar("T")

Beat = Callable[[dict[str, object]], None]
"""Called often with where the step stands; small, for a person to read."""


def no_beat(_details: dict[str, object]) -> None:
    """For callers that nobody watches."""


@dataclass
class Run:
    """One step of one operation on one deployment."""

    site: Site
    tenure: Tenure
    beat: Beat = no_beat
    n: int = 1
    facts: dict[str, object] = field(default_factory=dict)

    def id(self, record: DeploymentRecord, step: str, n: int | None = None) -> str:
        """O7: derived from deployment, fence, operation, step and n, so that every attempt names the same thing.

        The fence stands for the tenure: the same workflow that takes a deployment a second time begins anew.
        """
        holder = self.tenure.claim.holder
        return names.derive_id(
            record.deployment,
            self.tenure.claim.fence,
            holder.operation,
            holder.run_id,
            step,
            self.n if n is None else n,
        )

    @property
    def history(self) -> History:
        """Where this deployment's events go."""
        return History(self.site.control, self.site.control_bucket)

    def say(self, **details: object) -> None:
        """Tell the watcher where the step stands. Kept from call to call, so that each beat carries the whole."""
        self.facts.update(details)
        self.beat(dict(self.facts))


class Deadline:
    """A bounded wait (I6): what for, how long, and the last thing that was seen."""

    def __init__(self, what: str, seconds: float, *, poll_s: float = 0.02, poll_max_s: float = 0.5) -> None:
        self.what = what
        self.seconds = seconds
        self.last = "nothing yet"
        self._ends = time.monotonic() + seconds
        self._poll_s = poll_s
        self._poll_max_s = poll_max_s

    @property
    def left_s(self) -> float:
        """Seconds until it passes, not below 0."""
        return max(0.0, self._ends - time.monotonic())

    async def pause(self, seen: str) -> None:
        """Wait a little, longer each time; raises NoProgress once the time is up."""
        self.last = seen
        if self.left_s <= 0:
            raise NoProgress(f"{self.what} did not happen within {self.seconds:.0f} s; last seen: {seen}")
        await asyncio.sleep(min(self._poll_s, self.left_s))
        self._poll_s = min(self._poll_s * 1.3, self._poll_max_s)


async def patiently(deadline: Deadline, run: Run, call: Callable[[], Awaitable[T]]) -> T:
    """Call until it answers: a part that is away (Unavailable) is waited for until the deadline.

    Raises:
        Unavailable: the last one, once the deadline has passed.

    """
    while True:
        try:
            return await call()
        except Unavailable as error:
            run.say(waiting_for=error.message[:300])
            if deadline.left_s <= 0:
                raise
            await asyncio.sleep(min(0.2, deadline.left_s))
