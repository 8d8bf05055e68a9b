"""What a step makes of a lineage: pure, and what stands against it said in words. ``store`` writes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tidegate.errors import InvalidInput, Refused, Superseded, TidegateError
from tidegate.lineage.model import Excluded, Former, Gate, Partition, Segment, TopicLineage, Turn


def turned(
    known: TopicLineage,
    operation: str,
    target: str,
    *,
    planned: bool,
    ends: Mapping[int, int | None],
    cuts: Mapping[int, int],
    epoch: int | None,
    excluded: Sequence[tuple[int, Excluded]],
) -> TopicLineage:
    """Every segment that goes on is ended, and one of the target begun at the cut. Raises InvalidInput."""
    if known.region == target:
        raise InvalidInput(f"topic {known.topic} lives in {target} already")
    number = known.turn + 1
    partitions: dict[str, Partition] = {}
    for name in sorted({*known.partitions, *map(str, cuts)}, key=int):
        what = f"{known.topic}/{name}"
        cut = cuts.get(int(name))
        if cut is None:
            raise InvalidInput(
                f"{what}: {target} has no such partition, so nothing can go on there",
                hint=f"give the topic as many partitions in {target} as it has in {known.region}",
            )
        begins = Segment(turn=number, region=target, epoch=epoch, first=cut)
        partition = known.partitions.get(name)
        if partition is None:
            partitions[name] = Partition(segments=(begins,))
            continue
        last = partition.segments[-1]
        end = _end_of(what, last, ends.get(int(name)), planned=planned)
        ended = last.model_copy(update={"end": end, "cut": cut})
        partitions[name] = partition.model_copy(update={"segments": (*partition.segments[:-1], ended, begins)})
    turn = Turn(number=number, source=known.region, target=target, operation=operation, planned=planned)
    wanted = known.model_copy(
        update={"turn": number, "region": target, "partitions": partitions, "turns": (*known.turns, turn)}
    )
    return with_excluded(wanted, excluded)


def _end_of(what: str, last: Segment, end: int | None, *, planned: bool) -> int | None:
    if planned and end is None:
        raise InvalidInput(f"{what}: nobody has said where {last.region} ends, and the switch is planned")
    if end is None or end >= last.first:
        return end
    if planned:
        raise InvalidInput(f"{what}: {last.region} ends at {end:,}, before it began, at {last.first:,}")
    return last.first  # the newest that came is of an earlier segment: of this one nothing did


def taken_on(
    known: TopicLineage, operation: str, ends: Mapping[int, int | None], excluded: Sequence[tuple[int, Excluded]]
) -> TopicLineage:
    """The last turn as this operation's own: its cut stays what it is.

    What the one before it excluded with that turn, and where it had the segment before end, was by the point that it
    went on from; this one may go on from another, and what that one holds counts. ``ends``: up to where, by partition;
    a segment that ends behind it stays as it is, and what is too much of it is in ``excluded``.
    """
    last = known.turns[-1]
    if last.operation != operation:
        known = _as_own(known, operation)
        before = known.turns[-1].taken_over
        partitions = {
            name: one.model_copy(update={"excluded": tuple(gone for gone in one.excluded if gone.by not in before)})
            for name, one in known.partitions.items()
        }
        known = known.model_copy(update={"partitions": partitions})
    for number, end in ends.items():
        if end is not None and str(number) in known.partitions:
            known = _reaching(known, str(number), end)
    return with_excluded(known, excluded)


def _reaching(known: TopicLineage, name: str, end: int) -> TopicLineage:
    """The segment before the last turn ends here at the earliest; one of which nobody could say it stays so."""
    partition = known.partitions[name]
    before = partition.segments[-2] if len(partition.segments) > 1 else None
    if before is None or before.end is None or before.end >= end:
        return known
    segments = (*partition.segments[:-2], before.model_copy(update={"end": end}), partition.segments[-1])
    return known.model_copy(
        update={"partitions": known.partitions | {name: partition.model_copy(update={"segments": segments})}}
    )


def _as_own(known: TopicLineage, operation: str) -> TopicLineage:
    last = known.turns[-1]
    mine = last.model_copy(update={"operation": operation, "taken_over": (*last.taken_over, last.operation)})
    return known.model_copy(update={"turns": (*known.turns[:-1], mine)})


def turned_back(known: TopicLineage) -> TopicLineage:
    """Without the last turn and what was excluded with it; as it is, if the gate was opened since."""
    last = unopened(known)
    if last is None or last.source is None:
        return known
    by = {last.operation, *last.taken_over}
    partitions = {
        name: _without_last(partition, by)
        for name, partition in known.partitions.items()
        if len(partition.segments) > 1  # else it was made with the turn
    }
    return known.model_copy(
        update={
            "turn": known.turn - 1,
            "region": last.source,
            "partitions": partitions,
            "turns": known.turns[:-1],
        }
    )


def _without_last(partition: Partition, by: Collection[str]) -> Partition:
    before = partition.segments[:-1]
    again = before[-1].model_copy(update={"end": None, "cut": None})
    kept = tuple(one for one in partition.excluded if one.by not in by)
    return Partition(segments=(*before[:-1], again), excluded=kept)


def opened(known: TopicLineage, operation: str) -> TopicLineage:
    """The gate open where the topic lives now. A turn that another one has left behind is this one's from here on:
    whether it was opened is told by who made it, and it is turned back by nobody any more (X24).
    """
    last = unopened(known)
    return released(known if last is None or last.operation == operation else _as_own(known, operation), operation)


def released(known: TopicLineage, operation: str) -> TopicLineage:
    """The gate open, and the operation done with it."""
    former = known.former | {operation: Former.DONE}
    return known.model_copy(update={"gate": Gate.OPEN, "holder": None, "former": former})


def with_excluded(known: TopicLineage, ranges: Sequence[tuple[int, Excluded]]) -> TopicLineage:
    """Each range once, by region, first and last. Raises InvalidInput for an unknown partition."""
    partitions = dict(known.partitions)
    for number, one in ranges:
        there = partitions.get(str(number))
        if there is None:
            raise _no_partition(known, number)
        if not any((one.region, one.first, one.last) == (old.region, old.first, old.last) for old in there.excluded):
            partitions[str(number)] = there.model_copy(update={"excluded": (*there.excluded, one)})
    return known.model_copy(update={"partitions": partitions})


def amended(known: TopicLineage, partition: int, turn: int, end: int) -> TopicLineage:
    """The end of a segment that had none. Raises InvalidInput, Refused."""
    segments = segments_of(known, partition)
    what = f"{known.topic}/{partition}, turn {turn}"
    at = next((number for number, segment in enumerate(segments[:-1]) if segment.turn == turn), None)
    if at is None:
        raise InvalidInput(f"{what}: there is no such segment, or it goes on")
    segment = segments[at]
    if segment.end == end:
        return known
    if segment.end is not None:
        raise Refused(f"{what} of {segment.region} has ended at {segment.end:,}, not at {end:,}")
    if end < segment.first:
        raise InvalidInput(f"{what} of {segment.region} ends at {end:,}, before it began, at {segment.first:,}")
    wanted = (*segments[:at], segment.model_copy(update={"end": end}), *segments[at + 1 :])
    changed = known.partitions[str(partition)].model_copy(update={"segments": wanted})
    return known.model_copy(update={"partitions": known.partitions | {str(partition): changed}})


def extended(known: TopicLineage, partition: int, turn: int, end: int) -> TopicLineage:
    """A segment that has ended, as one that goes on to ``end``; it grows only. Raises InvalidInput."""
    segments = segments_of(known, partition)
    at = next((number for number, segment in enumerate(segments[:-1]) if segment.turn == turn), None)
    if at is None or segments[at].end is None:
        raise InvalidInput(f"{known.topic}/{partition}, turn {turn}: there is no such segment that has ended")
    segment = segments[at]
    if segment.end is not None and end <= segment.end:
        return known
    wanted = (*segments[:at], segment.model_copy(update={"end": end}), *segments[at + 1 :])
    changed = known.partitions[str(partition)].model_copy(update={"segments": wanted})
    return known.model_copy(update={"partitions": known.partitions | {str(partition): changed}})


def segments_of(known: TopicLineage, partition: int) -> tuple[Segment, ...]:
    """The segments of a partition, oldest first. Raises InvalidInput if there is no such partition."""
    there = known.partitions.get(str(partition))
    if there is None:
        raise _no_partition(known, partition)
    return there.segments


def turned_by(known: TopicLineage) -> frozenset[str]:
    """Who has made the last turn, or taken it on, if the gate was not opened after it."""
    last = unopened(known)
    return frozenset() if last is None else frozenset({last.operation, *last.taken_over})


def unopened(known: TopicLineage) -> Turn | None:
    """The last turn, if the gate was not opened after it."""
    if known.gate is Gate.OPEN or not known.turns:
        return None
    last = known.turns[-1]
    return None if known.former.get(last.operation) is Former.DONE else last


def opened_by(known: TopicLineage, operation: str) -> bool:
    """Whether the last turn is of this operation, and was opened by it."""
    return bool(known.turns) and known.turns[-1].operation == operation and known.former.get(operation) is Former.DONE


def lives_open_in(known: TopicLineage, operation: str, target: str) -> bool:
    """Whether the topic lives there already, opened by another one: this operation has nothing to turn of it."""
    return known.region == target and known.gate is Gate.OPEN and operation not in known.former


def require_held(known: TopicLineage, operation: str) -> None:
    """Raises Superseded unless the operation holds the topic."""
    if known.holder != operation:
        raise _superseded(known, operation)


def require_not_superseded(known: TopicLineage, operation: str) -> None:
    """Raises Superseded if the topic was taken over from the operation."""
    if known.former.get(operation) is Former.SUPERSEDED:
        raise _superseded(known, operation)


def require_not_anothers(known: TopicLineage, operation: str) -> None:
    """Raises Superseded if another operation holds the topic, or took it over."""
    require_not_superseded(known, operation)
    if known.holder not in {operation, None}:
        raise _superseded(known, operation)


def too_late(known: TopicLineage, operation: str) -> TidegateError:
    """The error for an operation that has no more to say on the topic."""
    why = known.former[operation]
    if why is Former.SUPERSEDED:
        return _superseded(known, operation)
    return Refused(
        f"{operation} has {'turned back' if why is Former.TURNED_BACK else 'given back'} topic {known.topic}: what it "
        f"sends now comes too late",
        hint=f"tidegate lineage show {known.topic}",
        details={"topic": known.topic, "fence": known.fence},
    )


def _superseded(known: TopicLineage, operation: str) -> Superseded:
    holder = known.holder or "nobody: its gate is open"
    return Superseded(
        f"topic {known.topic} is not {operation.partition('/')[0]}'s to turn: it is held by {holder}",
        hint=f"tidegate lineage show {known.topic}",
        details={"topic": known.topic, "fence": known.fence},
    )


def _no_partition(known: TopicLineage, number: int) -> InvalidInput:
    there = ", ".join(sorted(known.partitions, key=int))
    return InvalidInput(f"the lineage of {known.topic} has no partition {number}; it has {there}")
