"""How a review reaches what it asks: by the fleet file, with little patience, each part for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaClient, KafkaSecurity
from tidegate.clients.objects import ObjectStore
from tidegate.errors import InvalidInput, TidegateError
from tidegate.errors import Refused as RefusedError
from tidegate.mirror.link import MirrorLink, access_of, open_link
from tidegate.model.fleet import Fleet
from tidegate.readiness.facts import Access, NotKnown, Refused, ScheduledDrill
from tidegate.registry import artifacts

T = TypeVar("T")
PATIENCE_S: Final = 4.0
"""One question to one server."""
LINK_PATIENCE_S: Final = 2.5
"""A link asks two clusters, one after the other, in more than one question."""
ASK_S: Final = 12.0
"""All questions of one fact together: what has not answered by then is not known."""

Pollers = Callable[[str], Awaitable[int]]
"""How many workers poll a task queue. Raises Unavailable."""
Drills = Callable[[], Awaitable[tuple[ScheduledDrill, ...]]]
"""All drills by the clock. Raises Unavailable."""


async def no_drills() -> tuple[ScheduledDrill, ...]:
    """Where nothing goes by the clock."""
    return ()


@dataclass(frozen=True)
class Reach:
    """Opens clients; whoever opens one closes it. Tests put their own in place."""

    fleet: Fleet
    control: ObjectStore
    bucket: str
    pollers: Pollers
    drills: Drills = field(default=no_drills, kw_only=True)

    def store(self, region: str) -> AbstractAsyncContextManager[ObjectStore]:
        """The S3 of a region. Raises InvalidInput for a secret that is not there."""
        return artifacts.open_access(self.fleet.region(region).s3, PATIENCE_S)

    def kafka(self, region: str) -> AbstractAsyncContextManager[KafkaClient]:
        """The Kafka of a region, as Tidegate logs in. Raises InvalidInput for a secret that is not there."""
        return Kafka(*access_of(self.fleet, region), PATIENCE_S)

    def kafka_as(self, region: str, login: KafkaSecurity) -> AbstractAsyncContextManager[KafkaClient]:
        """The same as somebody else."""
        return Kafka(self.fleet.region(region).kafka.bootstrap, login, PATIENCE_S)

    def flink(self, rest: str) -> AbstractAsyncContextManager[FlinkClient]:
        """A Flink by its REST URL."""
        return FlinkClient(rest, timeout_s=PATIENCE_S)

    def link(self, name: str) -> AbstractAsyncContextManager[MirrorLink]:
        """A mirror link. Raises InvalidInput for a secret that is not there."""
        return open_link(self.fleet, name, LINK_PATIENCE_S)


async def ask(of: str, question: Callable[[], Awaitable[T]]) -> T | NotKnown:
    """The answer; or, in bounded time and whatever of ours was raised, that there is none."""
    try:
        return await asyncio.wait_for(question(), ASK_S)
    except TimeoutError:
        return NotKnown(of, f"no answer within {ASK_S:g} s")
    except TidegateError as error:
        return NotKnown(of, error.message, error.hint or "")


async def may(of: str, question: Callable[[], Awaitable[object]]) -> Access:
    """Whether it is let in: a refusal is an answer."""
    try:
        await asyncio.wait_for(question(), ASK_S)
    except TimeoutError:
        return NotKnown(of, f"no answer within {ASK_S:g} s")
    except (RefusedError, InvalidInput) as error:
        return Refused(error.message)
    except TidegateError as error:
        return NotKnown(of, error.message, error.hint or "")
    return None
