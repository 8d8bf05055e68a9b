"""The fork's output against the live job's, record by record. Pure.

What is compared, and why it is sound. Both jobs run the same artifact from the same state, over the same records in the
same order within each input partition; what one key of the output says is therefore the same on both sides, as long as
all input of that key came in one partition. It does not matter in which partition, or between which others, an output
stands. So outputs are matched within (topic, key, record id), without looking at their places, and must be equal in
every byte of value and headers.

An output's input is found by its record id and by its key: what came under either is its input. Where the input of one
key came in several partitions, their order among each other is not determined: then values may
differ though both are right, and only the number of records is compared (``undetermined``). Nothing else is guessed: a
key that cannot be traced to input is undetermined, unless there is but one input partition.

Not every output has to be on both sides, since the two jobs do not stand at the same position when the comparison ends.
``must``: the live job wrote it for input that the fork has certainly processed, so it may not be missing. What it wrote
beyond that may be on the fork's side or not. All that the fork wrote must be among both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import Refused
from tidegate.mirror.provenance import HOP, ORIGIN
from tidegate.model.drilled import EXAMPLES, Difference, Place
from tidegate.model.fleet import RecordId

MOST = 5_000_000
"""So many records are held against each other at most: all of them are kept in memory."""
Group = tuple[str, bytes | None, bytes | None]
"""Topic of the live job, key, record id."""
Body = tuple[bytes | None, tuple[tuple[str, bytes | None], ...]]


@dataclass(frozen=True)
class Inputs:
    """What of the input window tells which output is determined."""

    ids: Mapping[bytes, frozenset[tuple[str, int]]]
    """By record id, the partitions in which it came; empty without ids."""
    keys: Mapping[bytes, frozenset[tuple[str, int]]]
    """By key, the partitions in which it came."""
    partitions: int
    """Input partitions that the fork reads, all together."""


@dataclass(frozen=True)
class _Out:
    body: Body
    place: Place
    must: bool


@dataclass
class Compared:
    """The outcome in numbers."""

    compared: int = 0
    missing: int = 0
    extra: int = 0
    differing: int = 0
    undetermined: int = 0
    examples: list[Difference] = field(default_factory=list)

    def tell(self, difference: Difference) -> None:
        """Keep the first ones."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(difference)


def record_id(record: LogRecord, by: RecordId | None) -> bytes | None:
    """The id that a record carries where the fleet file says; None: it carries none."""
    if by is None:
        return None
    if by.header is not None:
        return next((value for name, value in record.headers if name == by.header), None)
    if by.column is None or record.value is None:
        return None
    columns = record.value.split(by.separator.encode())
    return columns[by.column] if by.column < len(columns) else None


class Comparison:
    """Feed both sides, then ask. Raises Refused beyond ``most`` records."""

    def __init__(self, by: RecordId | None, inputs: Inputs, most: int = MOST) -> None:
        self._by = by
        self._inputs = inputs
        self._most = most
        self._held = 0
        self._live: dict[Group, list[_Out]] = defaultdict(list)
        self._drill: dict[Group, list[_Out]] = defaultdict(list)

    def live(self, tp: TopicPartition, record: LogRecord, *, must: bool) -> None:
        """A record of the live job, later than the recovery point."""
        self._keep(self._live, tp.topic, tp, record, must=must)

    def drill(self, topic: str, tp: TopicPartition, record: LogRecord) -> None:
        """A record of the fork, which the live job writes to ``topic``."""
        self._keep(self._drill, topic, tp, record, must=True)

    def _keep(
        self, side: dict[Group, list[_Out]], topic: str, tp: TopicPartition, record: LogRecord, *, must: bool
    ) -> None:
        self._held += 1
        if self._held > self._most:
            raise Refused(
                f"more than {self._most:,} records would have to be compared",
                hint="drill from a newer recovery point, or over a shorter window:  tidegate drill recovery --help",
            )
        headers = tuple((name, value) for name, value in record.headers if name not in {ORIGIN, HOP})
        place = Place(topic=tp.topic, partition=tp.partition, offset=record.offset)
        group = (topic, record.key, record_id(record, self._by))
        side[group].append(_Out((record.value, headers), place, must))

    def result(self) -> Compared:
        """What came of it; the same whenever it is asked."""
        done = Compared()
        unsure = self._not_determined()
        for group in sorted({*self._live, *self._drill}, key=repr):
            live, drill = self._live.get(group, []), self._drill.get(group, [])
            if (group[0], group[1]) in unsure:
                _count(done, group, live, drill)
            else:
                _match(done, group, live, drill)
        return done

    def _not_determined(self) -> set[tuple[str, bytes | None]]:
        """The (topic, key) pairs whose input came in several partitions, or from nobody knows where."""
        if self._inputs.partitions <= 1:
            return set()
        came: dict[tuple[str, bytes | None], set[tuple[str, int]]] = defaultdict(set)
        unknown: set[tuple[str, bytes | None]] = set()
        for side in (self._live, self._drill):
            for (topic, key, of), outs in side.items():
                if side is self._live and not any(one.must for one in outs):
                    continue  # later than the window: its input was not read
                known = set(self._inputs.ids.get(of, ())) if of is not None else set()
                known |= self._inputs.keys.get(key, frozenset()) if key is not None else set()
                if known:
                    came[(topic, key)] |= known
                else:
                    unknown.add((topic, key))
        several = {at for at, partitions in came.items() if len(partitions) > 1}
        return several | {at for at in unknown if at not in came}


def _name(group: Group) -> str:
    _, key, of = group
    named = of if of is not None else key
    return "" if named is None else named[:80].decode(errors="replace")


def _count(done: Compared, group: Group, live: Sequence[_Out], drill: Sequence[_Out]) -> None:
    done.undetermined += min(len(live), len(drill))
    must = [one for one in live if one.must]
    for one in must[len(drill) :]:
        _missing(done, group, one)
    for one in drill[len(live) :]:
        _extra(done, group, one)


def _match(done: Compared, group: Group, live: Sequence[_Out], drill: Sequence[_Out]) -> None:
    """Equal ones first, those that must be there before those that may; what is left over is told."""
    left: dict[Body, list[_Out]] = defaultdict(list)
    for one in drill:
        left[one.body].append(one)
    unmatched: list[_Out] = []
    for one in sorted(live, key=lambda one: not one.must):
        if left.get(one.body):
            left[one.body].pop(0)
            done.compared += 1
        else:
            unmatched.append(one)
    rest = sorted(
        (one for outs in left.values() for one in outs), key=lambda one: (one.place.partition, one.place.offset)
    )
    for here, there in zip(unmatched, rest, strict=False):
        done.compared += 1
        done.differing += 1
        what = _first_difference(here.body, there.body)
        done.tell(Difference(kind="differing", key=_name(group), live=here.place, drill=there.place, what=what))
    for one in unmatched[len(rest) :]:
        if one.must:
            _missing(done, group, one)
    for one in rest[len(unmatched) :]:
        _extra(done, group, one)


def _missing(done: Compared, group: Group, one: _Out) -> None:
    done.missing += 1
    done.tell(Difference(kind="missing", key=_name(group), live=one.place, drill=None))


def _extra(done: Compared, group: Group, one: _Out) -> None:
    done.extra += 1
    done.tell(Difference(kind="extra", key=_name(group), live=None, drill=one.place))


def _first_difference(live: Body, drill: Body) -> str:
    if live[0] == drill[0]:
        return "headers"
    if live[0] is None or drill[0] is None:
        return f"no value {'of the live job' if live[0] is None else 'in the drill'}"
    at = next(
        (n for n, (one, other) in enumerate(zip(live[0], drill[0], strict=False)) if one != other),
        min(len(live[0]), len(drill[0])),
    )
    return f"value from byte {at:,} on"
