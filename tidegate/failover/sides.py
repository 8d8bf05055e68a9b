"""The two regions of a failover, with what reaches them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tidegate.clients.kafka_types import Heartbeat, TopicPartition
from tidegate.lineage.model import Former
from tidegate.lineage.store import LineageStore
from tidegate.mirror.control import fresh_record
from tidegate.mirror.link import MirrorLink, open_link, parse_partition
from tidegate.model.fleet import Fleet
from tidegate.model.record import Holder
from tidegate.operation.run import Run
from tidegate.registry.links import HolderClosed, LinkStore, LinkTenure, take_link
from tidegate.registry.ownership import Takeover


@dataclass(frozen=True)
class Sides:
    """A deployment between two regions. Both runs stand under the same tenure; each acts in its own region."""

    home: Run
    """The region that is left."""
    away: Run
    """The region where it goes on."""
    holder_closed: HolderClosed | None = None
    takes_over: bool = False
    """A person has said that what a lost operation held is this one's."""

    @property
    def fleet(self) -> Fleet:
        """The fleet file that the operation pinned."""
        return self.away.site.fleet

    @property
    def deployment(self) -> str:
        """Its name in the fleet file."""
        return self.away.site.deployment

    @property
    def holder(self) -> Holder:
        """The operation that does it."""
        return self.away.tenure.claim.holder

    @property
    def operation(self) -> str:
        """Who turns topics and writes lineage: this run of this operation and no other."""
        return f"{self.holder.operation}/{self.holder.run_id}"

    @property
    def lineage(self) -> LineageStore:
        """The lineage of all topics."""
        return LineageStore(self.away.site.control, self.away.site.control_bucket)

    @property
    def beat(self) -> Heartbeat:
        """Tells the watcher where a wait stands."""
        return lambda seen: self.away.say(**dict(seen))

    @asynccontextmanager
    async def links(self, names: Collection[str], timeout_s: float = 10.0) -> AsyncIterator[list[MirrorLink]]:
        """Mirror links by name, with their clients."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(open_link(self.fleet, name, timeout_s)) for name in names]

    async def hold(self, link: MirrorLink) -> LinkTenure:
        """Take a link for this operation; held already, it is given again. Raises Held, Unavailable."""
        store = LinkStore(self.away.site.control, self.away.site.control_bucket)
        known = await store.read(link.name)
        takeover: Takeover | None = None
        if known is not None and known.holder is not None and not known.holder.is_same(self.holder):
            record = await self.away.tenure.read()
            # Whoever held the deployment before us held the link for it: who has taken over the one has the other.
            ours = record.holder is not None and record.holder.is_same(self.holder) and self._was_of_us(known.holder)
            if ours or await self._was_taken_over(link, known.holder) or await self._had_opened(link, known.holder):
                takeover = Takeover(self.holder.who, f"{self.deployment} was taken over")
        return await take_link(
            store, fresh_record(link), self.holder, takeover=takeover, holder_closed=self.holder_closed
        )

    async def _was_taken_over(self, link: MirrorLink, other: Holder) -> bool:
        """Whether this operation has taken a topic of the link over from the other one, by a person's word: a region's
        failover, or one whose id was given by hand, holds the link under a name of its own.
        """
        for topic in link.topics:
            known = await self.lineage.read(topic)
            if known is None or known.former.get(f"{other.operation}/{other.run_id}") is not Former.SUPERSEDED:
                continue
            if self.operation == known.holder or self.operation in known.former:
                return True
        return False

    async def _had_opened(self, link: MirrorLink, other: Holder) -> bool:
        """Whether the other one was lost behind its end at a topic of the link: it gave that back, and the link not."""
        if not self.takes_over:
            return False
        for topic in link.topics:
            known = await self.lineage.read(topic)
            if known is not None and known.former.get(f"{other.operation}/{other.run_id}") is Former.DONE:
                return True
        return False

    def _was_of_us(self, other: Holder) -> bool:
        return self.is_of_us(other.operation)

    def is_of_us(self, operation: str) -> bool:
        """Whether an operation is called as a failover of this deployment is."""
        # Its whole name: a failover of ``eu-ledger`` or ``ledger-eu`` is none of ``ledger``.
        return re.fullmatch(rf"(failover|break-glass)-{re.escape(self.deployment)}-[0-9a-z]+", operation) is not None


def positions(offsets: Mapping[str, int]) -> dict[TopicPartition, int]:
    """Offsets by ``topic/partition``, parsed."""
    return {parse_partition(name): offset for name, offset in offsets.items()}


def of_topics(offsets: Mapping[TopicPartition, int], topics: Collection[str]) -> dict[str, dict[int, int]]:
    """Offsets by topic and partition number, of these topics only."""
    found: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    for tp, offset in offsets.items():
        if tp.topic in found:
            found[tp.topic][tp.partition] = offset
    return found
