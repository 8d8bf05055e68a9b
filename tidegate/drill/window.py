"""Which records a drill compares: the live job's and the fork's, over the same positions of the input.

Three cuts of the live job, each a point whose outputs are attributed (X4), bound it:

- *base*: the recovery point that the fork started from. Nothing up to it counts.
- *until*: the newest point that is not ahead of the fork in any partition. What it adds to base the fork must have.
- *beyond*: the first point that is not behind the fork in any partition. What the fork wrote must all be in it.

The fork was stopped with a savepoint, so its log holds exactly what its position says. Its positions are of the
standby's Kafka; the hop of the last record before each says where that is at home (X20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.drill.compare import MOST, Inputs, record_id
from tidegate.errors import Refused
from tidegate.mirror.link import parse_partition
from tidegate.mirror.provenance import of_headers
from tidegate.model.fleet import RecordId
from tidegate.points.model import Point
from tidegate.points.superseded import ends_of

FETCH_BYTES: Final = 4 << 20
Positions = Mapping[TopicPartition, int]
"""Next offsets to read."""


def lowest(inputs: Mapping[str, Mapping[str, int]]) -> dict[TopicPartition, int]:
    """The positions of a point; of a topic that several sources read, those of the last of them."""
    found: dict[TopicPartition, int] = {}
    for known in inputs.values():
        for name, offset in known.items():
            tp = parse_partition(name)
            found[tp] = min(offset, found.get(tp, offset))
    return found


def highest(inputs: Mapping[str, Mapping[str, int]]) -> dict[TopicPartition, int]:
    """As ``lowest``, of the first of them."""
    found: dict[TopicPartition, int] = {}
    for known in inputs.values():
        for name, offset in known.items():
            tp = parse_partition(name)
            found[tp] = max(offset, found.get(tp, offset))
    return found


@dataclass
class Read:
    """The input that the fork has processed. ``home``: the position at home that its last record has, by partition."""

    inputs: Inputs
    home: dict[TopicPartition, int] = field(default_factory=dict)
    records: int = 0


async def read_inputs(
    kafka: KafkaClient, home: str, begin: Positions, end: Positions, at_home: Positions, by: RecordId | None
) -> Read:
    """Read the standby's log from where the fork began to where it ended. ``at_home``: base's positions there.

    Raises:
        Refused: too many records, or one that did not come from home.
        Unavailable: the standby's Kafka did not answer.

    """
    ids: dict[bytes, set[tuple[str, int]]] = {}
    keys: dict[bytes, set[tuple[str, int]]] = {}
    found = Read(Inputs({}, {}, len(end)), dict(at_home))
    for tp in sorted(end):
        async with aclosing(kafka.records(tp, begin.get(tp, 0), end[tp], FETCH_BYTES)) as records:  # type: ignore[type-var]
            async for record in records:
                came = of_headers(record.headers)
                if came is None or came.hop.cluster != home:
                    raise Refused(
                        f"{tp} at {record.offset:,} did not come from {home}: what the fork has read is not what the "
                        f"live job reads"
                    )
                found.home[tp] = came.hop.offset + 1
                found.records += 1
                if found.records > MOST:
                    raise Refused(f"the fork has processed more than {MOST:,} records: too many to compare")
                place = (tp.topic, tp.partition)
                of = record_id(record, by)
                if of is not None:
                    ids.setdefault(of, set()).add(place)
                if record.key is not None:
                    keys.setdefault(record.key, set()).add(place)
    found.inputs = Inputs(
        {name: frozenset(places) for name, places in ids.items()},
        {name: frozenset(places) for name, places in keys.items()},
        len(end),
    )
    return found


async def not_ahead(kafka: KafkaClient, point: Point, reached: Positions) -> bool:
    """Whether the live job at this point has read nothing that the fork has not. ``kafka``: home's."""
    for tp, position in highest(point.inputs or {}).items():
        at = reached.get(tp, 0)
        # Markers and aborted records take offsets: only data makes it ahead.
        if position > at and (await kafka.committed_data_count(tp, at, position)).count:
            return False
    return True


def not_behind(point: Point, reached: Positions) -> bool:
    """Whether the live job at this point has read all that the fork has."""
    at = lowest(point.inputs or {})
    return all(at.get(tp, 0) >= position for tp, position in reached.items())


def usable(points: Iterable[Point], base: Point) -> list[Point]:
    """The live job's points later than base that say enough, oldest first."""
    known = [one for one in points if one.outputs is not None and one.inputs is not None and _order(one) > _order(base)]
    return sorted(known, key=_order)


def _order(point: Point) -> tuple[int, int]:
    return (point.epoch if point.epoch is not None else -1, point.checkpoint_id or 0)


class LiveWindow:
    """Which of the live job's records count: of ``beyond`` and not of ``base``; ``until``'s must be there."""

    def __init__(self, base: Point, until: Point, beyond: Point) -> None:
        self._base, self._until, self._beyond = ends_of(base), ends_of(until), ends_of(beyond)

    def spans(self) -> dict[TopicPartition, tuple[int, int]]:
        """By partition, from where to where the log is read."""
        base = self._base
        return {tp: (base[tp].first if tp in base else 0, end.upto) for tp, end in self._beyond.items()}

    def side(self, tp: TopicPartition, offset: int) -> bool | None:
        """True: it must be in the drill; False: it may be; None: it does not count."""
        if tp in self._base and self._base[tp].counts(offset):
            return None
        if tp in self._until and self._until[tp].counts(offset):
            return True
        return False if tp in self._beyond and self._beyond[tp].counts(offset) else None
