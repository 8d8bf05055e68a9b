"""A mirror whose task died is brought back by whoever watches it, where it shall run and nobody else is at it (X17).

Connect restarts no task that failed: without this the standby grows old until a person comes. What is done is the
restart of what FAILED, and no target state: one that comes late leaves a link that was STOPPED meanwhile as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tidegate.clients.connect import ConnectorStatus, ConnectState
from tidegate.clients.kafka_types import Heartbeat
from tidegate.errors import TidegateError
from tidegate.mirror import control
from tidegate.mirror.link import MirrorLink
from tidegate.model.mirror import LinkHealth, LinkRecord, LinkState, MirrorVerb, Revival
from tidegate.model.record import Holder, utc_now
from tidegate.registry.links import BY_HAND, LinkStore, LinkTenure, take_link

PAUSES_S: Final = (0.0, 10.0, 60.0, 300.0, 900.0)
"""So long after the last restart comes the next within ``WINDOW``; after the last of these a person is needed."""
WINDOW: Final = timedelta(hours=1)
KEPT: Final = 20
"""So many restarts of a link are written down, the newest."""
RESTART_S: Final = 30.0
STEP: Final = "revive"


@dataclass
class LinkRevival:
    """Looks after one link. All keepers of a link are one holder: whoever comes next ends what one that died began."""

    link: MirrorLink
    links: LinkStore
    deployment: str
    """Whose recovery points are kept; goes on record."""
    beat: Heartbeat | None = None
    now: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self._health = LinkHealth(link=self.link.name)

    async def look(self) -> LinkHealth:
        """The link now, after what could be done for it. What is away ends no watch: it is told as ``down``."""
        try:
            self._health = await self._look()
        except TidegateError as error:
            self._health = self._health.model_copy(update={"down": error.message})
        return self._health

    async def _look(self) -> LinkHealth:
        status = await self.link.connect.status(self.link.connector)
        record = await self.links.read(self.link.name)
        if status is None or not _dead(status):
            if record is not None and self._ours(record):
                record = await self._end(await self._take(), None)
            return self._told(record, None)
        problem = status.failures[0] if status.failures else f"connector {status.connector.state}"
        against = self._against(record)
        if against is not None:
            return self._told(record, f"{problem}; not restarted: {against}")
        return await self._restart(problem)

    async def _restart(self, problem: str) -> LinkHealth:
        tenure = await self._take()
        at = self.now()

        def counted(record: LinkRecord) -> LinkRecord:
            if self._against(record) is not None:
                return record
            kept = (Revival(at=at, problem=problem), *record.revivals)[:KEPT]
            return record.model_copy(update={"revivals": kept})

        # Counted before it is done: one that dies at it has had its turn, and a twin finds that somebody is at it.
        n = tenure.record.seq
        record = await tenure.change(STEP, n, counted)
        if not any(one.at == at for one in record.revivals):
            return self._told(record, f"{problem}; not restarted: {self._against(record)}")
        try:
            await control.restart(self.link, tenure, step=STEP, n=n, deadline_s=RESTART_S, heartbeat=self.beat)
        except TidegateError as error:
            record = await self._end(tenure, error.message)
            return self._told(record, f"{problem}; restarted in vain: {error.message}")
        return self._told(await self._end(tenure, None), None)

    async def _take(self) -> LinkTenure:
        holder = Holder(
            operation=f"keep-mirror-{self.link.name}",
            run_id="keeper",
            runbook=BY_HAND,
            cluster_id="",
            namespace="",
            who=f"the keeper of recovery points of {self.deployment}",
            why="its task died",
            since=self.now(),
        )
        return await take_link(self.links, control.fresh_record(self.link), holder, only_free=True)

    async def _end(self, tenure: LinkTenure, in_vain: str | None) -> LinkRecord:
        """Say how it ended, and give the link back, in vain or not: a restart that lands late harms nothing.

        Raises Superseded, Unavailable.
        """

        def ended(record: LinkRecord) -> LinkRecord:
            if not record.revivals or record.revivals[0].running_at is not None:
                return record
            end: Mapping[str, object] = {"running_at": self.now()} if in_vain is None else {"note": in_vain}
            newest = record.revivals[0].model_copy(update=end)
            return record.model_copy(update={"revivals": (newest, *record.revivals[1:])})

        record = await tenure.change(f"{STEP}-ended", tenure.record.seq, ended)
        for begun in record.open_intents():
            if begun.verb is MirrorVerb.RESTART:
                await tenure.void(begun, in_vain or "all tasks run")
        return await tenure.release()

    def _against(self, record: LinkRecord | None) -> str | None:
        """Why it is not to be restarted now; None: it is."""
        by_hand = f"by hand:  tidegate mirror start {self.link.name}"
        if record is None or record.mirror is not LinkState.RUNNING or record.shut_out is not None:
            return f"its record says {LinkState.NEVER if record is None else record.mirror}"
        if record.holder is not None and not self._ours(record):
            return f"it is held by {record.holder.operation} (claimed by {record.holder.who})"
        recent = [one.at for one in record.revivals if self.now() - one.at < WINDOW]
        if len(recent) >= len(PAUSES_S):
            return f"it was restarted {len(recent)} times in the last hour; {by_hand}"
        if recent and (left := PAUSES_S[len(recent)] - (self.now() - recent[0]).total_seconds()) > 0:
            return f"it was {len(recent)} times in the last hour, again in {left:,.0f} s; {by_hand}"
        return None

    def _ours(self, record: LinkRecord) -> bool:
        return record.holder is not None and record.holder.operation == f"keep-mirror-{self.link.name}"

    def _told(self, record: LinkRecord | None, down: str | None) -> LinkHealth:
        return LinkHealth(link=self.link.name, down=down, revivals=record.revivals if record is not None else ())


def _dead(status: ConnectorStatus) -> bool:
    """Whether something of it FAILED that its target state wants to run: what a person paused is his."""
    if status.connector.state not in {ConnectState.RUNNING, ConnectState.FAILED}:
        return False
    return ConnectState.FAILED in {status.connector.state, *(task.state for task in status.tasks)}
