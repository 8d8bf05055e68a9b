"""Shutting out the job of a region that is given up, as far as it can be reached, and what is gone on from (X14, X15).

Whatever answers is used: Flink cancels, Kafka denies and ends what is open. What does not answer is superseded: the
lineage excludes what it commits, and it is quarantined when the region returns.
"""

from __future__ import annotations

from typing import Final

from tidegate.errors import NoProgress, Refused, Superseded, TidegateError, Unavailable
from tidegate.failover.cut import shut_links
from tidegate.failover.look import answers_of, judged
from tidegate.failover.plan import no_point
from tidegate.failover.sides import Sides
from tidegate.model.failover import Answers, CutInput, HomeFact, PointChoice, ShutInput, Topics
from tidegate.model.record import (
    ArtifactRef,
    DeploymentRecord,
    IntentState,
    Left,
    Pinned,
    StartIntent,
    StopIntent,
    Writer,
    starts_of,
    utc_now,
)
from tidegate.model.recovery import Strength
from tidegate.operation.appraise import artifact_of
from tidegate.operation.resolve import cancel_job, deny_epoch
from tidegate.operation.run import Deadline, Run
from tidegate.operation.settle import Settled, end_the_rest
from tidegate.points.model import Point
from tidegate.points.store import PointStore

END_S: Final = 60.0
STEP: Final = "leave"


async def shut_home(sides: Sides, request: ShutInput, wanted: str | None) -> HomeFact:
    """Shut out the job at home as strongly as can be, and the mirror; then write what it is left for in the record.

    Where home's Kafka still answers, the mirror brings what it can in ``drain_s`` before. Once it is shut, what the
    standby holds is final (X17). Done again, what was chosen stands.

    Raises:
        Refused: no recovery point can be gone on from; each is named with what stands against it.
        Held: somebody else acts on a mirror link.
        Superseded, Unavailable.

    """
    record = await sides.away.tenure.read()
    writer = record.writer
    if writer is None:
        raise Refused(f"{sides.deployment} has never run: there is nothing to go on from")
    known = record.pinned.left if record.pinned is not None and record.pinned.epoch == writer.epoch else None
    if known is not None and known.operation == sides.operation:
        return _fact(known, ())
    answers = request.answers or await answers_of(sides.home.site)
    notes: list[str] = list(answers.silent)
    strength = await fence(sides.home, record, answers, notes)
    if not request.links_shut:
        notes += await _shut_mirror(sides, request, drain=strength is not Strength.SUPERSEDED and answers.kafka is None)
    choice, point = await choose_point(sides, request.topics, wanted, ask_home=answers.kafka is None)
    left = Left(
        region=sides.away.site.region,
        strength=strength.value,
        point=choice.id,
        snapshot=choice.snapshot,
        point_epoch=choice.epoch,
        later={name: cut.later for name, cut in (point.outputs or {}).items() if cut.later},
        operation=sides.operation,
        taken_at=choice.taken_at,
        epoch=writer.epoch,
    )
    pinned = _pinned(record, writer, choice, point, left)
    why = f"{sides.home.site.region} was given up ({strength.value}); gone on from {choice.id}"

    def change(current: DeploymentRecord) -> DeploymentRecord:
        mine = [one for one in current.open_intents() if not _of(one, current, sides.away.site.region)]
        closed = current.closing(*(one.model_copy(update={"state": IntentState.VOID, "note": why}) for one in mine))
        return closed.model_copy(update={"pinned": pinned})

    await sides.away.tenure.change(STEP, sides.away.n, change)
    return _fact(left, tuple(notes))


async def _shut_mirror(sides: Sides, request: CutInput, *, drain: bool) -> list[str]:
    """Shut the links, drained if that can be had in time; what to say of it."""
    if drain:
        try:
            await shut_links(sides, request, drain=True)
        except (NoProgress, Unavailable) as error:
            await shut_links(sides, request, drain=False)
            return [f"the mirror did not bring everything, what is left is tail: {error.message}"]
        return ["the mirror has brought everything that home has committed"]
    await shut_links(sides, request, drain=False)
    return []


async def fence(home: Run, record: DeploymentRecord, answers: Answers, notes: list[str]) -> Strength:
    """Keep every job of home from committing, as strongly as what answers allows (X14)."""
    strength = Strength.SUPERSEDED
    jobs = {
        (intent.job_id, intent.epoch)
        for intent in record.intents
        if isinstance(intent, StopIntent) or (isinstance(intent, StartIntent) and intent.region == home.site.region)
    }
    if record.writer is not None:
        jobs.add((record.writer.job_id, record.writer.epoch))
    if answers.kafka is None:
        # First: it holds also against a Flink that is about to bring its jobs back (X14).
        try:
            for epoch in sorted({epoch for _, epoch in jobs}):
                record = await deny_epoch(home, epoch)
            await end_the_rest(home, Deadline("ending what home left open", END_S), record.epoch, set(), Settled())
            strength = Strength.SHUT_OUT
        except Superseded:
            raise
        except TidegateError as error:
            notes.append(f"Kafka in {home.site.region} answered, and could not be made to refuse: {error.message}")
    if answers.flink is None:
        ended: set[str] = set()
        try:
            for job_id, epoch in sorted(jobs):
                if await home.site.driver.state(job_id) is not None:
                    await cancel_job(home, record, job_id, epoch)
                    ended.add(job_id)
        except Superseded:
            raise
        except TidegateError as error:
            notes.append(f"Flink in {home.site.region} answered, and could not be made to cancel: {error.message}")
        # One that Flink does not know may come yet: a submit on its way, or what high availability brings back (O6).
        if ended and _may_commit(record, home.site.region) <= ended:
            strength = Strength.STOPPED
    return strength


def _may_commit(record: DeploymentRecord, region: str) -> set[str]:
    """The jobs of a region of which nothing on record says that they have ended."""
    found = {one.job_id for one in starts_of(record.intents) if one.region == region and one.state is IntentState.OPEN}
    return found | ({record.writer.job_id} if record.writer is not None else set())


async def choose_point(
    sides: Sides, topics: Topics, wanted: str | None, *, ask_home: bool
) -> tuple[PointChoice, Point]:
    """The recovery point that is gone on from: the newest that holds now. Raises Refused, Unavailable."""
    away = sides.away.site
    kept = (await PointStore(away.control, away.control_bucket).read(sides.deployment, away.region)).points
    choices = await judged(away, kept, topics, wanted, ask_home=ask_home, count=False)
    good = next((one for one in choices if one.problem is None), None)
    point = next((one for one in kept.points if good is not None and one.id == good.id), None) if kept else None
    if good is None or point is None:
        raise no_point(sides.deployment, away.region, choices, wanted)
    return good, point


def _pinned(record: DeploymentRecord, writer: Writer, choice: PointChoice, point: Point, left: Left) -> Pinned:
    wrote: ArtifactRef | None = artifact_of(record, choice.epoch) if choice.epoch is not None else None
    return Pinned(
        location=choice.source,
        epoch=writer.epoch,
        job_id=writer.job_id,
        artifact=wrote or writer.artifact,
        parallelism=writer.parallelism,
        output_ends={name: cut.upto for name, cut in (point.outputs or {}).items()},
        committed=True,
        at=utc_now(),
        stale_state_of=record.stale_state_of,
        left=left,
    )


def _of(intent: object, record: DeploymentRecord, region: str) -> bool:
    """Whether an intent is about the region that is gone on in: it is not given up with the other."""
    if isinstance(intent, StartIntent):
        return intent.region == region
    job_id = getattr(intent, "job_id", None)
    return any(one.job_id == job_id and one.region == region for one in starts_of(record.intents))


def _fact(left: Left, notes: tuple[str, ...]) -> HomeFact:
    return HomeFact(
        strength=Strength(left.strength),
        point=left.point,
        snapshot=left.snapshot,
        taken_at=left.taken_at,
        notes=notes,
    )
