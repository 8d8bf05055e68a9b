"""``groups/<deployment>/<region>.json``: where consumer groups stood in a region, for when it is lost (X25).

One writer: whoever keeps the recovery points of the deployment. Each region has an object of its own, so that what was
known of a lost one is not written over when the deployment is kept in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import BasisChanged, InvalidInput, Refused, Unavailable
from tidegate.mirror.link import parse_partition, partition_text
from tidegate.model.fleet import Consumer
from tidegate.model.record import Frozen, utc_now


def groups_key(deployment: str, region: str) -> str:
    """Where the groups of a deployment's topics in a region stand."""
    return f"groups/{deployment}/{region}.json"


class KeptGroup(Frozen):
    """What a group had committed in the region: ``topic/partition`` to the next offset to read."""

    at: datetime
    """When Kafka was asked."""
    offsets: dict[str, int] = Field(default_factory=dict)

    def positions(self) -> dict[TopicPartition, int]:
        """The offsets, parsed."""
        return {parse_partition(name): offset for name, offset in self.offsets.items()}


class KeptGroups(Frozen):
    """The object."""

    version: Literal[1] = 1
    deployment: str
    region: str
    seq: int = 0
    groups: dict[str, KeptGroup] = Field(default_factory=dict)
    """By the group's name."""


class GroupStore:
    """Kept groups in one control bucket."""

    def __init__(self, control: ObjectStore, bucket: str) -> None:
        self._control = control
        self._bucket = bucket

    async def read(self, deployment: str, region: str) -> KeptGroups | None:
        """What was kept; None: nothing ever. Raises Unavailable, InvalidInput for what this version cannot read."""
        return (await self._read(deployment, region))[0]

    async def write(self, deployment: str, region: str, groups: Mapping[str, KeptGroup]) -> None:
        """Put these in place of what stands there; groups that are not among them stay as they were known.

        Raises:
            BasisChanged: another keeper writes, too.
            Unavailable: whether it was written is not known; write again.

        """
        known, etag = await self._read(deployment, region)
        if known is None:
            known = KeptGroups(deployment=deployment, region=region)
        wanted = known.model_copy(update={"seq": known.seq + 1, "groups": known.groups | dict(groups)})
        uri = S3Uri(self._bucket, groups_key(deployment, region))
        body = wanted.model_dump_json(indent=1).encode() + b"\n"
        try:
            if etag is None:
                await self._control.create(uri, body)
            else:
                await self._control.replace(uri, body, if_match=etag)
        except (PreconditionFailed, Unavailable) as error:
            # An answer may have been lost: what stands there tells (O3).
            if (await self._read(deployment, region))[0] == wanted:
                return
            if isinstance(error, Unavailable):
                raise
            raise BasisChanged(
                f"{uri} was written by somebody else meanwhile",
                hint="only one may keep the recovery points of a deployment",
            ) from error

    async def _read(self, deployment: str, region: str) -> tuple[KeptGroups | None, str | None]:
        uri = S3Uri(self._bucket, groups_key(deployment, region))
        found = await self._control.get_or_none(uri)
        if found is None:
            return None, None
        try:
            return KeptGroups.model_validate_json(found.body), found.etag
        except ValidationError as error:
            raise InvalidInput(f"{uri}: damaged: {error.errors()[0]['msg']}") from error


@dataclass
class GroupKeeper:
    """Keeps where the consumer groups of a deployment stand in the region where it lives."""

    kafka: KafkaClient
    store: GroupStore
    deployment: str
    region: str
    consumers: Sequence[Consumer]
    now: Callable[[], datetime] = utc_now

    async def keep(self) -> list[str]:
        """One look; what could not be looked at, a line each. Raises BasisChanged, Unavailable."""
        found: dict[str, KeptGroup] = {}
        notes: list[str] = []
        for one in self.consumers:
            at = self.now()
            try:
                offsets = await self.kafka.group_offsets(one.group)
            except Refused as error:
                notes.append(f"consumer group {one.group} is not kept: {error.message}")
                continue
            kept = {partition_text(tp): offset for tp, offset in sorted(offsets.items()) if tp.topic in one.topics}
            before = found.get(one.group)
            found[one.group] = KeptGroup(at=at, offsets=(before.offsets if before is not None else {}) | kept)
        if found:
            try:
                await self.store.write(self.deployment, self.region, found)
            except InvalidInput as error:
                notes.append(f"consumer groups are not kept: {error.message}")  # recovery points are all the same
        return notes
