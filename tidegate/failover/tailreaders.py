"""Who reads an input of which a tail is left, what each of them had read of it, and what becomes of it (X22, X23).

A topic may be read by several deployments, and is fed once for all of them. So it is judged over all: the strictest
policy counts, and what one of them had read and another had not is fed to neither, but held for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from tidegate.clients.kafka_types import TopicPartition
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.failover.sides import Sides
from tidegate.failover.turning import inputs_of
from tidegate.model.fleet import RecordId
from tidegate.model.record import DeploymentRecord
from tidegate.model.returning import TailPolicy
from tidegate.registry.records import RecordStore
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord

STRICTEST: Final[tuple[TailPolicy, ...]] = ("by-hand", "hold", "feed")


@dataclass(frozen=True)
class Read:
    """What a state had read in the region that returns: next offsets by partition.

    Below ``surely`` it had read everything; from there to ``perhaps`` nobody can tell, for it went on from more than
    one copy. ``all``: it reads that region's own log. ``unknown``: why nothing can be told at all.
    """

    surely: Mapping[TopicPartition, int] = field(default_factory=dict)
    perhaps: Mapping[TopicPartition, int] = field(default_factory=dict)
    all: bool = False
    unknown: str | None = None

    def had(self, tp: TopicPartition, offset: int) -> bool | None:
        """Whether a record had been read; None: nobody can tell."""
        if self.all:
            return True
        if self.unknown is not None:
            return None
        if offset < self.surely.get(tp, 0):
            return True
        return None if offset < self.perhaps.get(tp, 0) else False


@dataclass(frozen=True)
class Reader:
    """A deployment that reads the topic."""

    deployment: str
    policy: TailPolicy
    record_id: RecordId | None
    read: Read


@dataclass(frozen=True)
class Rule:
    """What becomes of a topic's tail. ``hold``: why what nobody had read is not fed; None: it is fed.

    ``by``: what tells one that its producer has sent again; None: nothing does.
    """

    readers: tuple[Reader, ...]
    hold: str | None
    by: RecordId | None

    def had(self, tp: TopicPartition, offset: int) -> bool | str:
        """Whether the readers had read a record before; in words, why it can neither be fed nor left out."""
        words = {one.deployment: one.read.had(tp, offset) for one in self.readers}
        if None in words.values():
            unsure = next(one for one in self.readers if words[one.deployment] is None)
            why = unsure.read.unknown or "it has gone on from more than one copy since"
            return f"nobody can tell whether {unsure.deployment} had read them before its region was lost: {why}"
        if len(set(words.values())) > 1:
            had = ", ".join(name for name, word in words.items() if word)
            lacks = ", ".join(name for name, word in words.items() if not word)
            return f"{had} had read them before the region was lost (X22), and {lacks} had not"
        return next(iter(words.values())) is True

    def read_to(self, tp: TopicPartition, first: int, end: int) -> int:
        """Up to where, from ``first`` on, all readers had surely read everything."""
        surely = [end if one.read.all else one.read.surely.get(tp, 0) for one in self.readers if not one.read.unknown]
        known = len(surely) == len(self.readers) and surely
        return max(first, min(end, *surely)) if known else first


async def rule_for(sides: Sides, topic: str, record: DeploymentRecord, asked: TailPolicy | None) -> Rule:
    """Judge a topic over all deployments that read it and have ever run. ``asked``: a person's word, which counts for
    all of them instead of the fleet file's. Raises Unavailable.
    """
    records = RecordStore(sides.away.site.control, sides.away.site.control_bucket)
    readers: list[Reader] = []
    for name, spec in sides.fleet.deployments.items():
        if topic not in inputs_of(spec):
            continue
        if name == sides.deployment:
            known: DeploymentRecord | None = record
        else:
            stored = await records.read(name)
            known = stored.record if stored is not None else None
        if known is not None and known.writer is not None:
            readers.append(Reader(name, spec.tail, spec.record_id, await read_before(sides, known)))
    hold, by = judge(readers, asked)
    return Rule(tuple(readers), hold, by)


def judge(readers: Sequence[Reader], asked: TailPolicy | None) -> tuple[str | None, RecordId | None]:
    """Why what nobody had read is held, None: it is fed; and what tells one that was sent again."""
    ids = list(dict.fromkeys(one.record_id for one in readers if one.record_id is not None))
    by = ids[0] if len(ids) == 1 else None
    policy = asked or min((one.policy for one in readers), key=STRICTEST.index)
    if policy != "feed":
        if asked is not None:
            return "it was asked for", by
        says = next(one for one in readers if one.policy == policy)
        others = ", ".join(one.deployment for one in readers if one.policy != policy)
        strictest = f", which counts for {others}, too: they read the same topic" if others else ""
        return f"deployments.{says.deployment}.tail is {policy}{strictest}", by
    if len(ids) > 1:
        named = " and ".join(one.deployment for one in readers if one.record_id is not None)
        return f"the fleet file gives {named} different record_id, so none can be told from one sent again", None
    if not ids:
        return (
            f"deployments.{readers[0].deployment}.record_id is not given, so none can be told from one sent again",
            by,
        )
    return None, by


async def read_before(sides: Sides, record: DeploymentRecord) -> Read:
    """What the state of a deployment had read in the region that returns, by what it was started from since.

    Raises Unavailable.
    """
    home, store = sides.home.site.region, sides.away.site.snapshots
    if record.writer is not None and record.writer.region == home:
        return Read(all=True)
    gone = record.gone.get(home)
    if gone is None:
        # Left by a version that did not write it down: only as long as the first start's copy is still the base.
        found = await _positions(store, record.base.location, home) if record.base is not None else None
        if found is None:
            return Read(unknown=f"its record does not say from which copy it went on when it left {home}")
        return found
    if gone.to != sides.away.site.region:
        return Read(unknown=f"it went on in {gone.to} when it left {home}")
    first = gone.snapshots[0]
    known: list[Read] = []
    for location in gone.snapshots:
        found = Read() if location is None else await _positions(store, location, home)
        if found is not None:
            known.append(found)
        elif location == first:
            return Read(unknown=f"{location}, from which it went on, does not say what had been read in {home}")
    every = {tp for found in known for tp in found.perhaps}
    return Read(
        {tp: min(found.surely.get(tp, 0) for found in known) for tp in every},
        {tp: max(found.perhaps.get(tp, 0) for found in known) for tp in every},
    )


async def _positions(store: ObjectStore, location: str, home: str) -> Read | None:
    """What a copy's original had read in a region; None: it is no copy of a snapshot of that region's."""
    found = await store.get_or_none(S3Uri.parse(location).join(REBASED_NAME))
    if found is None:
        return None
    try:
        copied = RebasedRecord.model_validate_json(found.body)
    except ValidationError:
        return None
    if copied.source_region != home:
        return None
    # Two sources of a job may read one topic, and not equally far.
    offsets: dict[TopicPartition, list[int]] = {}
    for one in copied.moved:
        tp = TopicPartition(str(one["topic"]), int(str(one["partition"])))
        offsets.setdefault(tp, []).append(int(str(one["offset"])))
    return Read({tp: min(at) for tp, at in offsets.items()}, {tp: max(at) for tp, at in offsets.items()})
