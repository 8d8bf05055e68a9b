"""What a drill notes in the control bucket while it runs, under its fork's name; gone when it is torn down."""

from __future__ import annotations

from typing import TypeVar

from tidegate import names
from tidegate.clients.kafka_types import TopicPartition
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import Superseded
from tidegate.mirror.link import parse_partition
from tidegate.model.record import DeploymentRecord, Frozen
from tidegate.points.model import Point
from tidegate.registry.records import RecordStore, Stored

N = TypeVar("N", bound=Frozen)


class BaseNote(Frozen):
    """``drills/<fork>/base.json``: the recovery point as it was, and where its positions are in the standby."""

    point: Point
    begins: dict[str, int]
    """``topic/partition`` to the next offset to read."""

    def positions(self) -> dict[TopicPartition, int]:
        """``begins``, parsed."""
        return {parse_partition(name): offset for name, offset in self.begins.items()}


class WindowNote(Frozen):
    """``drills/<fork>/window.json``: the live job's points that bound the comparison, for every attempt the same."""

    until: Point
    beyond: Point


class Notes:
    """Create-only: the first word stands. Raises Unavailable if the control bucket does not answer."""

    def __init__(self, control: ObjectStore, bucket: str, fork: str) -> None:
        self._control = control
        self._at = S3Uri(bucket, names.drill_prefix(fork).rstrip("/"))

    async def read(self, name: str, kind: type[N]) -> N | None:
        """The note of that name; None: there is none."""
        found = await self._control.get_or_none(self._at.join(f"{name}.json"))
        return None if found is None else kind.model_validate_json(found.body)

    async def keep(self, name: str, note: N) -> N:
        """Write it; the one that stands there afterwards."""
        try:
            await self._control.create(self._at.join(f"{name}.json"), note.model_dump_json(indent=1).encode() + b"\n")
        except PreconditionFailed:
            return await self.read(name, type(note)) or note
        return note


class ForkRecords(RecordStore):
    """The record of a fork, which is taken away with it: what comes late finds none, and makes none."""

    async def read_or_create(self, deployment: str) -> Stored:
        """The record now. Raises Superseded once it was taken away."""
        found = await self.read(deployment)
        if found is None:
            raise Superseded(f"{deployment} was torn down: nothing more is done for it")
        return found

    async def taken(self, fork: str) -> DeploymentRecord | None:
        """The record, if it stands."""
        found = await self.read(fork)
        return found.record if found is not None else None
