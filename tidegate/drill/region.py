"""What of a region can be drilled, what its reports say of the last time, and who needs the standby's slots more.

Reads only. In which order, and when each begins, is in ``queue``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.drill.queue import in_order, largest_first
from tidegate.driver.base import DeploymentDriver
from tidegate.errors import Held, InvalidInput, Unavailable
from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.fleet import Fleet
from tidegate.model.operation import Outcome
from tidegate.model.record import DeploymentRecord
from tidegate.model.region import FAILOVER_MEMBER
from tidegate.model.regiondrill import CellRoom, DrillCandidate, LeftOut, LookDrillsInput
from tidegate.model.steps import ReportInput
from tidegate.operation.move import cell_in, home_of, standby_of, why_not_running
from tidegate.readiness.drills import proves
from tidegate.registry.records import RecordStore
from tidegate.report.read import recent_reports

FAILOVERS: Final = frozenset({FAILOVER_DEPLOYMENT, FAILOVER_MEMBER})
"""Runbooks that need slots where they go, and to which drills give theirs."""
ROOM_S: Final = 10.0
Records = Mapping[str, DeploymentRecord | None]
WATCH: Final = "watch"
"""The step of a drill whose time is asked for, not needed."""


async def records_of(store: RecordStore, fleet: Fleet) -> dict[str, DeploymentRecord | None]:
    """The record of each deployment of the fleet file; None: it has none yet. Raises Unavailable."""

    async def one(name: str) -> DeploymentRecord | None:
        stored = await store.read(name)
        return stored.record if stored is not None else None

    return dict(zip(fleet.deployments, await asyncio.gather(*map(one, fleet.deployments)), strict=True))


def chosen(fleet: Fleet, records: Records, asked: LookDrillsInput) -> tuple[list[DrillCandidate], list[LeftOut]]:
    """The deployments that shall be drilled, and what of the region there is nothing to be drilled of.

    Raises:
        InvalidInput: no such region or deployment; one that was named does not live there, does not run, or has no
            standby there; or there is none.

    """
    for region in (asked.region, *([asked.to] if asked.to is not None else [])):
        fleet.region(region)
    for name in asked.deployments:
        fleet.deployment(name)
    found: list[DrillCandidate] = []
    left_out: list[LeftOut] = []
    for name, spec in fleet.deployments.items():
        if asked.deployments and name not in asked.deployments:
            continue
        record = records[name]
        home = home_of(fleet, name, record)
        if home.region != asked.region:
            if name in asked.deployments:
                raise InvalidInput(f"deployments: {name} lives in {home.region}, not in {asked.region}")
            continue
        if asked.tiers and spec.tier not in asked.tiers:
            if name in asked.deployments:
                raise InvalidInput(f"tiers: {name} is of tier {spec.tier}")
            continue
        standby = standby_of(fleet, name, home.region)
        why = why_not_running(record) or _no_standby(standby, asked.to)
        if why is not None:
            if name in asked.deployments:
                raise InvalidInput(f"deployments: {name} cannot be drilled: {why}")
            left_out.append(LeftOut(deployment=name, why=why))
            continue
        if standby is None or record is None or record.writer is None:
            raise AssertionError(name)  # told above
        at, against = "", ""
        try:
            at = str(cell_in(fleet, name, standby, None))
        except InvalidInput as error:
            against = error.message
        found.append(
            DrillCandidate(
                deployment=name, tier=spec.tier, parallelism=record.writer.parallelism, at=at, against=against
            )
        )
    if not found:
        told = "; ".join(f"{one.deployment}: {one.why}" for one in left_out) or "none of those asked for lives there"
        raise InvalidInput(f"region: nothing in {asked.region} can be drilled: {told}")
    return found, left_out


def _no_standby(standby: str | None, to: str | None) -> str | None:
    if standby is None:
        return "it has no standby region in the fleet file"
    if to is not None and standby != to:
        return f"its standby is {standby}, not {to}"
    return None


def what_goes_there(fleet: Fleet, records: Records, cells: Collection[str]) -> dict[str, list[DrillCandidate]]:
    """By cell: the deployments that run and would go on there if they lost their region, whether drilled or not."""
    found: dict[str, list[DrillCandidate]] = {cell: [] for cell in cells}
    for name, spec in fleet.deployments.items():
        record = records[name]
        if record is None or record.writer is None or why_not_running(record) is not None:
            continue
        standby = standby_of(fleet, name, home_of(fleet, name, record).region)
        if standby is None:
            continue
        try:
            at = str(cell_in(fleet, name, standby, None))
        except InvalidInput:
            continue  # it can go to no cell there, so no slots are kept for it
        if at in found:
            found[at].append(
                DrillCandidate(deployment=name, tier=spec.tier, parallelism=record.writer.parallelism, at=at)
            )
    return found


async def rooms(
    fleet: Fleet, records: Records, found: Iterable[DrillCandidate], driver: Callable[[str], DeploymentDriver]
) -> tuple[CellRoom, ...]:
    """The slots of each cell where something shall be drilled. ``driver``: of a cell, ``region/cell``.

    Raises:
        Unavailable: a cell's Flink did not answer.

    """
    at = sorted({one.at for one in found if not one.against})
    capacities = await asyncio.gather(*(_capacity(cell, driver(cell)) for cell in at))
    going = what_goes_there(fleet, records, at)
    told = []
    for cell, (free, total) in zip(at, capacities, strict=True):
        first = largest_first(going[cell])
        told.append(
            CellRoom(
                at=cell,
                slots_free=free,
                slots_total=total,
                keep=first.parallelism if first is not None else 0,
                keep_for=first.deployment if first is not None else "",
            )
        )
    return tuple(told)


async def _capacity(cell: str, driver: DeploymentDriver) -> tuple[int, int]:
    try:
        seen = await asyncio.wait_for(driver.capacity(), ROOM_S)
    except TimeoutError as error:
        raise Unavailable(f"Flink in {cell} gave no answer within {ROOM_S:g} s") from error
    return seen.slots_free, seen.slots_total


async def with_history(store: ObjectStore, bucket: str, found: Sequence[DrillCandidate]) -> tuple[DrillCandidate, ...]:
    """What their reports say, and the order in which they shall be drilled. Raises Unavailable."""
    turn = asyncio.Semaphore(4)

    async def one(candidate: DrillCandidate) -> DrillCandidate:
        async with turn:
            reports = await recent_reports(store, bucket, candidate.deployment, lambda known: any(map(proves, known)))
        return told_by(candidate, reports)

    return in_order(await asyncio.gather(*(one(candidate) for candidate in found)))


def told_by(candidate: DrillCandidate, reports: Sequence[ReportInput]) -> DrillCandidate:
    """With what these reports say, the newest first."""
    proof = next((one for one in reports if proves(one)), None)
    drilled = next((taken for one in reports if (taken := besides_s(one)) is not None), None)
    return candidate.model_copy(
        update={
            "proven_at": proof.ended if proof is not None else None,
            "proof": proof.operation if proof is not None else "",
            "besides_s": drilled,
        }
    )


def besides_s(report: ReportInput) -> float | None:
    """What a drill took from its beginning to its end, without its watch, in seconds; None: it did not come so far."""
    drill = report.drill
    if report.runbook != DRILL_RECOVERY or drill is None or drill.compared is None:
        return None
    if report.outcome not in {Outcome.DONE, Outcome.BAD_VERDICT}:
        return None
    watched = sum(
        (row.ended - row.started).total_seconds()
        for row in report.steps
        if row.name == WATCH and row.started is not None and row.ended is not None
    )
    return max(0.0, (report.ended - report.started).total_seconds() - watched)


def failover_there(fleet: Fleet, records: Records, standbys: Collection[str]) -> str | None:
    """The operation that takes a deployment to, or from, one of these regions now, in words; None: there is none."""
    for name in fleet.deployments:
        record = records[name]
        if record is None or record.holder is None or record.holder.runbook not in FAILOVERS:
            continue
        region = home_of(fleet, name, record).region
        if {region, standby_of(fleet, name, region)} & set(standbys):
            holder = record.holder
            return f"{name} is held by {holder.operation} ({holder.runbook}, {holder.who})"
    return None


def refuse_if_failover(fleet: Fleet, records: Records, standbys: Collection[str]) -> None:
    """Raises Held while an operation needs the slots of one of these regions."""
    if (holder := failover_there(fleet, records, standbys)) is not None:
        raise Held(
            f"a failover is under way, and drills give way to it: {holder}",
            hint="start it again when that has ended:  tidegate ops list --running",
        )
