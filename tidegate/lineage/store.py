"""The lineage of topics in the control bucket, changed by compare-and-swap only (O1, O3, X20).

Who turns a topic holds it: the operation that closed its gate. What another one writes is refused; who has taken over
the deployment takes the topic over with ``close(take_over=True)``, and the former holder is superseded from then on.
Every change is a target state: done twice by the same operation it is done once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import Held, InvalidInput, Superseded
from tidegate.lineage.model import Excluded, Gate, Partition, Segment, TopicLineage, Turn
from tidegate.model.record import utc_now
from tidegate.registry.swap import CONTROL_WAIT_S, Stood, SwapConflict, SwapStore, encode

Change = Callable[[TopicLineage], TopicLineage]


class LineageStore:
    """The lineage objects of one control bucket."""

    def __init__(self, control: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._control = control
        self._bucket = bucket
        self._swaps: SwapStore[TopicLineage] = SwapStore(control, bucket, TopicLineage, control_wait_s=control_wait_s)

    async def read(self, topic: str) -> TopicLineage | None:
        """The lineage now; None if it was never begun. Raises Unavailable."""
        found = await self._swaps.read(names.lineage_key(topic))
        return None if found is None else found.record

    async def topics(self) -> list[str]:
        """Every topic that has a lineage. Raises Unavailable."""
        found = [
            info.uri.key.removeprefix(names.LINEAGE_PREFIX).removesuffix(".json")
            async for info in self._control.list(S3Uri(self._bucket, names.LINEAGE_PREFIX))
        ]
        return sorted(found)

    async def begin(
        self, topic: str, region: str, firsts: Mapping[int, int], *, epoch: int | None = None
    ) -> TopicLineage:
        """The topic lives in a region since its first offset there; one that has a lineage keeps it."""
        fresh = TopicLineage(
            topic=topic,
            region=region,
            write_id=names.derive_id("begin", topic, region),
            partitions={
                str(number): Partition(segments=(Segment(turn=0, region=region, epoch=epoch, first=first),))
                for number, first in sorted(firsts.items())
            },
        )
        return (await self._swaps.read_or_create(names.lineage_key(topic), fresh)).record

    async def close(self, topic: str, operation: str, *, take_over: bool = False) -> TopicLineage:
        """Close the gate: nobody writes the topic until it is open again; the topic is this operation's.

        Raises:
            InvalidInput: the topic has no lineage.
            Held: another operation holds it; with ``take_over`` it is superseded instead.

        """

        def closed(known: TopicLineage) -> TopicLineage:
            if known.holder == operation:
                return known
            if known.holder is not None and not take_over:
                raise Held(
                    f"topic {topic} is being turned by {known.holder}",
                    hint=f"watch it:  tidegate ops watch {known.holder.partition('/')[0]}\n"
                    f"take it over, if that operation is lost:  add --take-over --why TEXT",
                )
            return known.model_copy(update={"gate": Gate.CLOSED, "holder": operation, "fence": known.fence + 1})

        return await self._change(topic, operation, "close", closed)

    async def turn(
        self,
        topic: str,
        operation: str,
        target: str,
        *,
        planned: bool,
        ends: Mapping[int, int | None],
        cuts: Mapping[int, int],
        epoch: int | None = None,
        excluded: Sequence[tuple[int, Excluded]] = (),
    ) -> TopicLineage:
        """End the segment of every partition and begin the next in another region; the gate stays closed.

        ``ends``: the first offset of the old region's log that is not included; ``cuts``: where, in the new region's
        log, what came of it ends and its own begins.

        Raises:
            Superseded: the topic is another operation's.
            InvalidInput: a partition has no cut, or lies before the segment that it ends.

        """

        def turned(known: TopicLineage) -> TopicLineage:
            last = known.turns[-1] if known.turns else None
            if last is not None and last.operation == operation and known.region == target:
                return known
            self._mine(known, operation)
            if known.region == target:
                raise InvalidInput(f"topic {topic} lives in {target} already")
            number = known.turn + 1
            partitions = {
                name: self._turned(topic, name, known.partitions.get(name), target, number, ends, cuts, epoch)
                for name in sorted({*known.partitions, *map(str, cuts)}, key=int)
            }
            for at, one in excluded:
                partition = partitions[str(at)]
                partitions[str(at)] = partition.model_copy(update={"excluded": (*partition.excluded, one)})
            turn = Turn(number=number, source=known.region, target=target, operation=operation, planned=planned)
            return known.model_copy(
                update={
                    "turn": number,
                    "region": target,
                    "partitions": partitions,
                    "turns": (*known.turns, turn),
                }
            )

        return await self._change(topic, operation, f"turn-{target}", turned)

    def _turned(
        self,
        topic: str,
        name: str,
        known: Partition | None,
        target: str,
        number: int,
        ends: Mapping[int, int | None],
        cuts: Mapping[int, int],
        epoch: int | None,
    ) -> Partition:
        cut = cuts.get(int(name))
        if cut is None:
            raise InvalidInput(f"{topic}/{name}: {target} has no such partition, so nothing can go on there")
        begins = Segment(turn=number, region=target, epoch=epoch, first=cut)
        if known is None or not known.segments:
            return Partition(segments=(begins,))
        last, end = known.segments[-1], ends.get(int(name))
        if end is not None and end < last.first:
            raise InvalidInput(f"{topic}/{name}: {last.region} ends at {end:,}, before it began, at {last.first:,}")
        ended = last.model_copy(update={"end": end, "cut": cut})
        return known.model_copy(update={"segments": (*known.segments[:-1], ended, begins)})

    async def unturn(self, topic: str, operation: str) -> TopicLineage:
        """The way back: the last turn is taken back, if it is this operation's and was not opened (X24).

        Raises Superseded if the topic is another operation's.
        """

        def back(known: TopicLineage) -> TopicLineage:
            last = known.turns[-1] if known.turns else None
            if last is None or last.operation != operation or known.holder != operation:
                return known
            partitions = {}
            for name, partition in known.partitions.items():
                before = partition.segments[:-1]
                if not before:
                    continue
                again = before[-1].model_copy(update={"end": None, "cut": None})
                kept = tuple(one for one in partition.excluded if one.by != operation)
                partitions[name] = Partition(segments=(*before[:-1], again), excluded=kept)
            return known.model_copy(
                update={
                    "turn": known.turn - 1,
                    "region": last.source or known.region,
                    "partitions": partitions,
                    "turns": known.turns[:-1],
                }
            )

        return await self._change(topic, operation, "unturn", back)

    async def open(self, topic: str, operation: str) -> TopicLineage:
        """Open the gate where the topic lives now; it is nobody's then. Raises Superseded."""

        def opened(known: TopicLineage) -> TopicLineage:
            if known.gate is Gate.OPEN and known.holder is None and self._was_of(known, operation):
                return known
            self._mine(known, operation)
            return known.model_copy(update={"gate": Gate.OPEN, "holder": None})

        return await self._change(topic, operation, "open", opened)

    async def exclude(self, topic: str, operation: str, partition: int, ranges: Sequence[Excluded]) -> TopicLineage:
        """Say that ranges of a region's log do not count; said again, they stand once. Raises InvalidInput."""

        def with_them(known: TopicLineage) -> TopicLineage:
            there = known.partitions.get(str(partition))
            if there is None:
                raise InvalidInput(f"topic {topic} has no partition {partition} in its lineage")
            marks = {(one.region, one.first, one.last) for one in there.excluded}
            fresh = tuple(one for one in ranges if (one.region, one.first, one.last) not in marks)
            if not fresh:
                return known
            partitions = known.partitions | {
                str(partition): there.model_copy(update={"excluded": (*there.excluded, *fresh)})
            }
            return known.model_copy(update={"partitions": partitions})

        return await self._change(topic, operation, f"exclude-{partition}", with_them)

    async def _change(self, topic: str, operation: str, step: str, change: Change) -> TopicLineage:
        key = names.lineage_key(topic)
        basis = await self._swaps.read(key)
        if basis is None:
            raise InvalidInput(f"topic {topic} has no lineage", hint=f"begin it:  tidegate lineage begin {topic}")
        while True:
            wanted = change(basis.record)
            if wanted == basis.record:
                return wanted
            wanted = wanted.model_copy(update={"seq": basis.record.seq + 1, "updated_at": utc_now()})
            mark = hashlib.sha256(encode(wanted.model_copy(update={"write_id": ""}))).hexdigest()
            wanted = wanted.model_copy(update={"write_id": names.derive_id(operation, step, mark)})
            try:
                stood: Stood[TopicLineage] = await self._swaps.swap(key, basis, wanted)
            except SwapConflict as conflict:
                basis = conflict.current
                continue
            return stood.record

    @staticmethod
    def _was_of(known: TopicLineage, operation: str) -> bool:
        """Whether the gate that is open was opened by this operation: its turn is the last, or there was none."""
        return known.turns[-1].operation == operation if known.turns else True

    @staticmethod
    def _mine(known: TopicLineage, operation: str) -> None:
        if known.holder != operation:
            holder = known.holder or "nobody: its gate is open"
            raise Superseded(
                f"topic {known.topic} is not {operation.partition('/')[0]}'s to turn: it is held by {holder}",
                hint=f"tidegate lineage show {known.topic}",
                details={"topic": known.topic, "fence": known.fence},
            )
