"""The deployments of a game day on their way and in the standby: read, remembered, held against the rules.

Reads only. What is remembered travels in the heartbeat, so that a watch whose worker died goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.drill.rules import NOT_KNOWN, Memory, Reading, broken, keep, quiet_s, sample_of, see
from tidegate.errors import TidegateError, Unavailable
from tidegate.model.gameday import Trip
from tidegate.model.gamedaysteps import GameDayWatched, GameDayWatchStep
from tidegate.model.record import Frozen, utc_now
from tidegate.model.region import Member
from tidegate.operation.prove import first_line
from tidegate.operation.site import Site
from tidegate.registry.records import RecordStore

LOOK_EVERY_S: Final = 1.0
READ_S: Final = 15.0
"""A look that takes longer counts as no answer."""
SURE_S: Final = 5.0
"""A lag that seems as old as this is looked at: offsets that hold no records (markers) are nobody's lag."""
GLANCE: Final = 64
"""So many offsets are read for it."""
ENDS_KEPT: Final = 4_096


class Memories(Frozen):
    """What a watch remembers, by deployment: the second part of its heartbeat."""

    of: dict[str, Memory]


Said = Callable[[dict[str, object], Memories], None]
"""Told after each look: figures for a person, and what the next attempt must know."""


@dataclass
class Ends:
    """How the ends of the inputs moved, by this machine's clock: how long a position has waited."""

    kept: deque[tuple[datetime, Mapping[TopicPartition, int]]] = field(default_factory=lambda: deque(maxlen=ENDS_KEPT))

    def add(self, at: datetime, ends: Mapping[TopicPartition, int]) -> None:
        """One more look."""
        self.kept.append((at, ends))

    def waited_s(self, tp: TopicPartition, position: int, at: datetime) -> float:
        """For how long what stands at this position has been there; at least, if it was there at the first look."""
        since = self.kept[0][0] if self.kept else at
        for seen_at, ends in reversed(self.kept):
            if ends.get(tp, 0) <= position:
                since = seen_at
                break
        return max(0.0, (at - since).total_seconds())


@dataclass
class Watcher:
    """One deployment. ``job`` None: it is on its way; else the job that the failover has left in the standby."""

    member: Member
    home: Site
    away: Site
    records: RecordStore
    job: str | None
    ends: Ends = field(default_factory=Ends)

    async def read(self) -> Reading:
        """One look; what does not answer is part of it."""
        at = utc_now()
        try:
            return await asyncio.wait_for(self._moving(at) if self.job is None else self._there(at, self.job), READ_S)
        except Unavailable as error:
            return Reading(at=utc_now(), away=error.message)
        except TimeoutError:
            return Reading(at=utc_now(), away=f"no answer within {READ_S:g} s")
        except TidegateError as error:
            return Reading(at=utc_now(), away=error.message)

    async def _moving(self, at: datetime) -> Reading:
        """Output of either region: the mirror brings the last of home, the job there begins its own."""
        ends = await asyncio.gather(
            *(one.kafka.last_stable_offsets(one.output_topics) for one in (self.home, self.away))
        )
        return Reading(at=at, outputs=sum(sum(one.values()) for one in ends))

    async def _there(self, at: datetime, job: str) -> Reading:
        stored = await self.records.read(self.member.deployment)
        writer = stored.record.writer if stored is not None else None
        if stored is None or writer is None or writer.job_id != job:
            who = stored.record.holder if stored is not None else None
            by = f" by {who.operation} ({who.runbook})" if who is not None else ""
            now = f"; it is job {writer.job_id} in {writer.region} now" if writer is not None else ""
            return Reading(at=at, taken=f"was moved or restarted{by}{now}")
        kafka, topics = self.away.kafka, self.away.input_topics
        view, outputs = await asyncio.gather(
            self.away.driver.observe(job), kafka.last_stable_offsets(self.away.output_topics)
        )
        lag, lag_s, inputs = await self._lag(kafka, topics, at, sure=view.checkpoints_completed > 0)
        return Reading(
            at=at,
            state=view.state.value if view.state is not None else NOT_KNOWN,
            restarts=view.restarts,
            checkpoints=view.checkpoints_completed,
            failed_checkpoints=view.checkpoints_failed,
            lag=lag,
            lag_s=lag_s,
            inputs=inputs,
            outputs=sum(outputs.values()),
            first_error=first_line(view.first_error) if view.first_error else "",
        )

    async def _lag(
        self, kafka: KafkaClient, topics: list[str], at: datetime, *, sure: bool
    ) -> tuple[int | None, float | None, int]:
        """Records and seconds behind, and the sum of the inputs' ends.

        ``sure``: the job has completed a checkpoint. Before that its group stands where an earlier stay has left it.
        """
        positions: dict[TopicPartition, int] = {}
        for source in self.away.spec.sources:
            positions |= await kafka.group_offsets(source.group)
        ends = await kafka.last_stable_offsets(topics)
        self.ends.add(at, ends)
        if not sure or not set(ends) <= set(positions):
            return None, None, sum(ends.values())
        oldest_s = 0.0
        for tp, end in ends.items():
            position = positions[tp]
            waited_s = self.ends.waited_s(tp, position, at) if position < end else 0.0
            if waited_s > oldest_s and (waited_s < SURE_S or await _holds_records(kafka, tp, position, end)):
                oldest_s = waited_s
        lag = sum(max(0, end - positions[tp]) for tp, end in ends.items())
        return lag, round(oldest_s, 1), sum(ends.values())


async def _holds_records(kafka: KafkaClient, tp: TopicPartition, first: int, end: int) -> bool:
    return (await kafka.committed_data_count(tp, first, min(end, first + GLANCE))).count > 0


async def watch(watchers: list[Watcher], step: GameDayWatchStep, before: Memories | None, said: Said) -> GameDayWatched:
    """Look at all of them until a rule is broken, or ``step.until`` has come. ``before``: of an earlier attempt."""
    memories = dict(before.of) if before is not None else {}
    moving = step.jobs is None
    while True:
        trip: Trip | None = None
        readings = await asyncio.gather(*(one.read() for one in watchers))
        for watcher, reading in zip(watchers, readings, strict=True):
            name = watcher.member.deployment
            memory = see(memories.get(name), reading)
            if not moving and reading.away is None and reading.taken is None:
                memory = keep(memory, sample_of(name, memory, reading))
            memories[name] = memory
            trip = trip or broken(step.rules, name, memory, reading, moving=moving)
        now = utc_now()
        said(_figures(watchers, readings, memories, step, now, moving=moving), Memories(of=memories))
        if trip is not None or now >= step.until:
            return so_far(watchers, step, Memories(of=memories), trip)
        await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, (step.until - now).total_seconds())))


def so_far(
    watchers: list[Watcher], step: GameDayWatchStep, known: Memories, trip: Trip | None = None
) -> GameDayWatched:
    """What is known of it now."""
    names = [one.member.deployment for one in watchers]
    samples = tuple(sample for name in names if name in known.of for sample in known.of[name].behind)
    watched_s = max(0.0, (min(utc_now(), step.until) - step.began).total_seconds())
    return GameDayWatched(samples=samples, trip=trip, watched_s=round(watched_s, 1))


def _figures(
    watchers: list[Watcher],
    readings: list[Reading],
    memories: Mapping[str, Memory],
    step: GameDayWatchStep,
    now: datetime,
    *,
    moving: bool,
) -> dict[str, object]:
    """For a person: the worst of all of them."""
    if moving:
        silent_s = max(quiet_s(memories[one.member.deployment], now, moving=True) for one in watchers)
        return {"phase": "fail over", "no output for": f"{silent_s:,.0f} s"}
    known = [one for one in readings if one.away is None]
    told: dict[str, object] = {"phase": "watch", "left": f"{max(0.0, (step.until - now).total_seconds()):,.0f} s"}
    if known:
        lags = [one.lag for one in known if one.lag is not None]
        told |= {
            "restarts": max(one.restarts for one in known),
            "checkpoints": min(one.checkpoints for one in known),
            "lag": f"{max(lags):,}" if lags else None,
        }
    if away := next((one.away for one in readings if one.away is not None), None):
        told["waiting_for"] = away[:300]
    return told
