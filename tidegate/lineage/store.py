"""The lineage of topics in the control bucket, changed by compare-and-swap only (O1, O3, X20).

Who turns a topic holds it: the operation that closed its gate. What another one writes is refused; who has taken over
the deployment takes the topic over with ``close(take_over=True)``, and the former holder is superseded from then on.
Every change is a target state: done twice by the same operation it is done once. An operation is one *run* of a
runbook: it holds a topic once. What it still sends when it has opened the gate, turned back or lost the topic, be it
late or doubled, is refused by ``former``, and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import Held, InvalidInput, Refused
from tidegate.lineage import turning
from tidegate.lineage.model import Excluded, Former, Gate, Partition, Segment, TopicLineage, check
from tidegate.model.record import utc_now
from tidegate.registry.swap import CONTROL_WAIT_S, Stood, SwapConflict, SwapStore, encode

Change = Callable[[TopicLineage], TopicLineage]


class LineageStore:
    """The lineage objects of one control bucket. What is not consistent in itself is neither read nor written."""

    def __init__(self, control: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._control = control
        self._bucket = bucket
        self._swaps: SwapStore[TopicLineage] = SwapStore(control, bucket, TopicLineage, control_wait_s=control_wait_s)

    async def read(self, topic: str) -> TopicLineage | None:
        """The lineage now; None if it was never begun. Raises Unavailable, InvalidInput for a damaged one."""
        found = await self._read(topic)
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
        return (await self._swaps.read_or_create(names.lineage_key(topic), check(fresh))).record

    async def close(
        self, topic: str, operation: str, *, take_over: bool = False, target: str | None = None
    ) -> TopicLineage:
        """Close the gate: nobody writes the topic until it is open again; the topic is this operation's.

        One that lives in ``target`` and is open there stays open: others use it, and there is nothing to turn.

        Raises:
            InvalidInput: the topic has no lineage.
            Held: another operation holds it; with ``take_over`` it is superseded instead.
            Refused: this operation has opened the gate already.
            Superseded: another operation took the topic over from this one.

        """

        def closed(known: TopicLineage) -> TopicLineage:
            if known.holder == operation or (target and turning.lives_open_in(known, operation, target)):
                return known
            former = known.former
            if operation in former:
                raise turning.too_late(known, operation)
            if known.holder is not None:
                if not take_over:
                    raise Held(
                        f"topic {topic} is being turned by {known.holder}",
                        hint=f"watch it:  tidegate ops watch {known.holder.partition('/')[0]}\n"
                        f"take it over, if that operation is lost:  add --take-over --why TEXT",
                        details={"operation": known.holder, "fence": known.fence},
                    )
                former = former | {known.holder: Former.SUPERSEDED}
            return known.model_copy(
                update={"gate": Gate.CLOSED, "holder": operation, "fence": known.fence + 1, "former": former}
            )

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

        ``ends``: the first offset of the old region's log that is not included (None: nobody could say; one that lies
        before the segment says, unless it was planned, that nothing of it counts); ``cuts``: where, in the new region's
        log, what came of it ends and its own begins. A turn to the same region that a superseded operation has made
        and not opened is taken on as it stands: what its job wrote there stands behind that cut. A topic that lives
        there and is open stays as it is.

        Raises:
            Superseded: the topic is another operation's.
            Refused: this operation has turned it back, or has turned it elsewhere.
            InvalidInput: a partition has no cut, or it lies before the segment that it ends.

        """

        def turned(known: TopicLineage) -> TopicLineage:
            if turning.opened_by(known, operation) and known.region == target:
                return known
            if turning.lives_open_in(known, operation, target):
                return known
            turning.require_held(known, operation)
            if operation in known.former:
                raise turning.too_late(known, operation)
            unopened = turning.unopened(known)
            if unopened is None:
                return turning.turned(
                    known, operation, target, planned=planned, ends=ends, cuts=cuts, epoch=epoch, excluded=excluded
                )
            if unopened.target != target:
                raise Refused(
                    f"topic {topic} was turned to {unopened.target} by {unopened.operation}, and not opened there: it "
                    f"cannot be turned on to {target}",
                    hint="the way back first",
                )
            # Of an output the point says up to where it counts; of an input nothing can have come since.
            upto = ends if epoch is not None and not planned else {}
            return turning.taken_on(known, operation, upto, excluded)

        return await self._change(topic, operation, f"turn-{target}", turned)

    async def unturn(self, topic: str, operation: str) -> TopicLineage:
        """The way back: the last turn is taken back if the gate was not opened since, and the topic is not turned
        by this operation any more (X24). One that this operation does not hold stays as it is.

        Raises:
            Superseded: another operation took the topic over from this one.
            Refused: the gate was opened after the turn: writers have gone on there.

        """

        def back(known: TopicLineage) -> TopicLineage:
            if known.holder != operation:
                turning.require_not_superseded(known, operation)
                if turning.opened_by(known, operation):
                    raise Refused(
                        f"topic {topic} was opened in {known.region} by {operation}: there is no way back but another "
                        f"turn (X24)",
                        hint=f"tidegate lineage show {topic}",
                    )
                return known
            former = known.former | {operation: Former.TURNED_BACK}
            return turning.turned_back(known).model_copy(update={"former": former})

        return await self._change(topic, operation, "unturn", back)

    async def open(self, topic: str, operation: str, *, target: str | None = None) -> TopicLineage:
        """Open the gate where the topic lives now; it is nobody's then. Raises Superseded if it is not this one's.

        ``target``: as for ``close``.
        """

        def opened(known: TopicLineage) -> TopicLineage:
            if known.gate is Gate.OPEN and known.former.get(operation) is Former.DONE:
                return known
            if target and turning.lives_open_in(known, operation, target):
                return known
            turning.require_held(known, operation)
            return turning.opened(known, operation)

        return await self._change(topic, operation, "open", opened)

    async def leave(self, topic: str, operation: str) -> TopicLineage | None:
        """As ``open``, on the way back: also a topic that this operation had not come to close is left for good.

        A close of its that is still under way is refused from then on. None: the topic has no lineage. Raises
        Superseded if another operation took the topic over from this one.
        """

        def left(known: TopicLineage) -> TopicLineage:
            turning.require_not_superseded(known, operation)
            if known.former.get(operation) is Former.DONE:
                return known
            if known.holder not in {operation, None}:
                return known.model_copy(update={"former": known.former | {operation: Former.DONE}})
            return turning.released(known, operation)

        if await self._read(topic) is None:
            return None
        return await self._change(topic, operation, "leave", left)

    async def exclude(self, topic: str, operation: str, partition: int, ranges: Sequence[Excluded]) -> TopicLineage:
        """Say that ranges of a region's log do not count; said again, they stand once.

        Raises:
            InvalidInput: there is no such partition, or no such range.
            Superseded: another operation holds the topic, or took it over from this one.

        """

        def with_them(known: TopicLineage) -> TopicLineage:
            turning.require_not_anothers(known, operation)
            turning.segments_of(known, partition)
            return turning.with_excluded(known, [(partition, one) for one in ranges])

        return await self._change(topic, operation, f"exclude-{partition}", with_them)

    async def amend_end(self, topic: str, operation: str, partition: int, turn: int, end: int) -> TopicLineage:
        """Say where a segment ended of which nobody could say it when it was left: the first offset not included.

        Raises:
            InvalidInput: there is no such segment, it goes on, or ``end`` lies before it began.
            Refused: it is known to have ended elsewhere.
            Superseded: another operation holds the topic, or took it over from this one.

        """

        def amended(known: TopicLineage) -> TopicLineage:
            turning.require_not_anothers(known, operation)
            return turning.amended(known, partition, turn, end)

        return await self._change(topic, operation, f"end-{partition}-{turn}", amended)

    async def extend(self, topic: str, operation: str, partition: int, turn: int, end: int) -> TopicLineage:
        """Say that more of a segment counts than what had crossed: up to ``end``, not included. It grows only.

        Raises:
            InvalidInput: there is no such segment, or it has no end.
            Superseded: another operation holds the topic, or took it over from this one.

        """

        def extended(known: TopicLineage) -> TopicLineage:
            turning.require_not_anothers(known, operation)
            return turning.extended(known, partition, turn, end)

        return await self._change(topic, operation, f"extend-{partition}-{turn}", extended)

    async def _read(self, topic: str) -> Stood[TopicLineage] | None:
        key = names.lineage_key(topic)
        try:
            found = await self._swaps.read(key)
        except ValidationError as error:
            at = S3Uri(self._bucket, key)
            raise InvalidInput(f"{at}: damaged, or of a later version: {error.errors()[0]['msg']}") from error
        if found is not None:
            check(found.record)
        return found

    async def _change(self, topic: str, operation: str, step: str, change: Change) -> TopicLineage:
        key = names.lineage_key(topic)
        basis = await self._read(topic)
        if basis is None:
            raise InvalidInput(f"topic {topic} has no lineage", hint="begin it:  tidegate lineage begin")
        while True:
            wanted = change(basis.record)
            if wanted == basis.record:
                return wanted
            check(wanted)
            wanted = wanted.model_copy(update={"seq": basis.record.seq + 1, "updated_at": utc_now(), "write_id": ""})
            mark = hashlib.sha256(encode(wanted)).hexdigest()
            wanted = wanted.model_copy(update={"write_id": names.derive_id(operation, step, mark)})
            try:
                return (await self._swaps.swap(key, basis, wanted)).record
            except SwapConflict as conflict:
                basis = conflict.current
