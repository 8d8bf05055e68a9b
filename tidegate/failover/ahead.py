"""Before producers are closed the mirror is brought current: what it lacks then keeps them closed (X18, X19).

A planned failover that closed first would wait, with nobody writing, for all that a mirror is behind; and would find
only then that a task of it is dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from tidegate.clients.connect import ConnectState
from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Refused, Unavailable
from tidegate.failover.cut import behind, was_shut
from tidegate.failover.producers import close_producers
from tidegate.failover.sides import Sides
from tidegate.mirror import control
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import mirrored_to, passed_position
from tidegate.model.failover import ShutFact, Topics
from tidegate.model.mirror import LinkState
from tidegate.registry.links import LinkStore

CURRENT_S: Final = 5.0
"""A mirror that brings within so long what was there when it was asked is current."""
AHEAD_S: Final = 60.0
NO_PROGRESS_S: Final = 20.0
RESTART_S: Final = 30.0
POLL_S: Final = 0.2
SAID_S: Final = 1.0
"""A wait that was shorter is not told."""
STEP: Final = "failover-ahead"


async def close_when_current(sides: Sides, topics: Topics, *, take_over: bool) -> ShutFact:
    """Planned: bring the links current, then close the producers. Done again, it is found current, and closed.

    Raises:
        Refused: a link does not become current. Nobody was closed yet.
        As ``close_producers``.

    """
    notes = await mirror_current(sides, topics)
    fact = await close_producers(sides, topics, take_over=take_over, home_answers=True)
    return fact.model_copy(update={"notes": (*notes, *fact.notes)})


async def mirror_current(sides: Sides, topics: Topics) -> tuple[str, ...]:
    """Wait until each link that shall run is current; restart what died. A line for each that had to be waited for.
    One that shall not run, and was not shut by a failover, must have brought all.

    Raises Refused as above; Held, if somebody else is at a link that must be restarted; Superseded.
    """
    notes: list[str] = []
    store = LinkStore(sides.away.site.control, sides.away.site.control_bucket)
    async with sides.links(topics.links) as links:
        for link in links:
            record = await store.read(link.name)
            if record is not None and record.mirror is LinkState.RUNNING:
                notes += await _Ahead(sides, link).wait()
            elif not was_shut(record) and (late := await behind(link)):
                state = record.mirror if record is not None else LinkState.NEVER
                raise Refused(
                    f"mirror link {link.name} is {state}, and has not brought all of {', '.join(map(str, late))}; no "
                    f"producer was closed",
                    hint=f"start it, and try again:  tidegate mirror start {link.name}",
                )
    return tuple(notes)


class _Ahead:
    """The wait for one link."""

    def __init__(self, sides: Sides, link: MirrorLink) -> None:
        self._sides, self._link = sides, link
        self._began = self._moved_at = time.monotonic()
        self._seen: Mapping[TopicPartition, int | None] = {}
        self._restarts = 0

    async def wait(self) -> list[str]:
        """Until it has brought, in ``CURRENT_S``, what was there when it was asked."""
        while True:
            asked_at = time.monotonic()
            at_once = await self._brought(await self._link.source_kafka.last_stable_offsets(self._link.topics))
            # How long one look takes says nothing of the mirror, where that look has found all.
            if at_once or time.monotonic() - asked_at <= CURRENT_S:
                break
        took_s = time.monotonic() - self._began
        if not self._restarts and took_s < SAID_S:
            return []
        again = f", restarted {self._restarts} times" if self._restarts else ""
        return [f"mirror link {self._link.name} current after {took_s:,.1f} s{again}"]

    async def _brought(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Wait for it; whether the first look has found all of it there. Raises Refused."""
        at_once = True
        while True:
            missing = await self._missing(ends)
            if not missing:
                return at_once
            at_once, now = False, time.monotonic()
            over = now - self._began > AHEAD_S
            if over or now - self._moved_at > NO_PROGRESS_S:
                why = f"after {AHEAD_S:g} s" if over else f"and nothing moved for {NO_PROGRESS_S:g} s"
                raise Refused(
                    f"mirror link {self._link.name} is not current {why}: {missing}; no producer was closed",
                    hint=f"see how far behind it is:  tidegate mirror status {self._link.name}",
                )
            self._sides.beat({"waiting_for": "mirror current", "link": self._link.name, "behind": missing})
            await asyncio.sleep(POLL_S)

    async def _missing(self, ends: Mapping[TopicPartition, int]) -> str:
        """What stands between it and these ends; nothing: it has brought all below them."""
        try:
            await self._revive()
            came = await mirrored_to(self._link, ends)
            passed = await passed_position(self._link, ends)
        except Unavailable as error:
            return error.message
        if came != self._seen:
            self._seen, self._moved_at = came, time.monotonic()
        return ", ".join(str(tp) for tp, there in sorted(passed.items()) if not there)

    async def _revive(self) -> None:
        """What died brings nothing, however long one waits."""
        status = await self._link.connect.status(self._link.connector)
        if status is None or ConnectState.FAILED not in {status.connector.state, *(one.state for one in status.tasks)}:
            return
        tenure = await self._sides.hold(self._link)
        self._restarts += 1
        await control.restart(
            self._link, tenure, step=STEP, n=self._restarts, deadline_s=RESTART_S, heartbeat=self._sides.beat
        )
        self._moved_at = time.monotonic()
