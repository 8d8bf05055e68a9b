"""The rules of a game day: what stops it. Pure functions of what was seen and when.

``quiet`` is the live stand-in for the gap: for how long no committed output has come. On the way nobody writes input,
so it counts once output was seen to move; while they run there it counts only while input waits, for a topic may be
silent at night. The gap itself is measured by the audit at the end of each way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from pydantic import Field

from tidegate.model.gameday import Rule, Rules, Sample, Trip, Way
from tidegate.model.operation import MemberResult, Outcome, Verdict
from tidegate.model.record import Frozen

MOST_SAMPLES: Final = 120
"""So many go into the report of each deployment: of a longer stay, the worst of several looks."""
ENDED: Final = frozenset({"FAILED", "CANCELED", "FINISHED", "CANCELLING", "FAILING"})
NOT_KNOWN: Final = "not known to Flink any more"


class Reading(Frozen):
    """What was read of a deployment at a moment. ``away``: why nothing could be read; the rest is void then."""

    at: datetime
    away: str | None = None
    taken: str | None = None
    """Who has moved or restarted it meanwhile, in words."""
    state: str = ""
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    lag: int | None = None
    lag_s: float | None = None
    inputs: int = 0
    """Sum of the inputs' ends."""
    outputs: int = 0
    """Sum of the outputs' committed ends."""
    first_error: str = ""


class Memory(Frozen):
    """What must be known of earlier readings. It travels in the heartbeat: the next attempt goes on from it."""

    inputs: int
    outputs: int
    waits_since: datetime | None = None
    """When input was first seen to come after the last output; None: none did."""
    outputs_at: datetime
    """When output was last seen to come."""
    moved: bool = False
    """Whether output was ever seen to come."""
    away_since: datetime | None = None
    known: bool = False
    """Whether anything was read yet; what Flink has counted before the first look is not counted here."""
    first_restarts: int = 0
    last_restarts: int = 0
    last_completed: int = 0
    last_failed: int = 0
    failed: int = 0
    """Failed checkpoints that count: those of a job that is just (re)started do not, until one is complete."""
    settling: bool = False
    behind: tuple[Sample, ...] = ()
    step_s: float = Field(default=0.0, ge=0)
    """A sample stands for so many seconds."""


def see(memory: Memory | None, reading: Reading) -> Memory:
    """The memory after one more reading."""
    at = reading.at
    if memory is None:
        away = at if reading.away is not None else None
        fresh = Memory(inputs=reading.inputs, outputs=reading.outputs, outputs_at=at, away_since=away)
        return fresh if away is not None else fresh.model_copy(update=_counted(fresh, reading))
    if reading.away is not None:
        return memory.model_copy(update={"away_since": memory.away_since or at})
    update: dict[str, object] = {"away_since": None, **_counted(memory, reading)}
    if reading.inputs > memory.inputs:
        update |= {"inputs": reading.inputs, "waits_since": memory.waits_since or at}
    if reading.outputs > memory.outputs:
        update |= {"outputs": reading.outputs, "outputs_at": at, "moved": True, "waits_since": None}
    return memory.model_copy(update=update)


def _counted(memory: Memory, reading: Reading) -> dict[str, object]:
    """Restarts and failed checkpoints, from the first look on.

    Flink counts a checkpoint that comes while tasks are still being deployed as failed: a dozen in a slow start.
    """
    update: dict[str, object] = {
        "known": True,
        "last_restarts": reading.restarts,
        "last_completed": reading.checkpoints,
        "last_failed": reading.failed_checkpoints,
    }
    if not memory.known:
        return {**update, "first_restarts": reading.restarts}
    begun = reading.restarts > memory.last_restarts or reading.state != "RUNNING"
    settling = begun or (memory.settling and reading.checkpoints <= memory.last_completed)
    more = 0 if settling or memory.settling else max(0, reading.failed_checkpoints - memory.last_failed)
    return {**update, "settling": settling, "failed": memory.failed + more}


def quiet_s(memory: Memory, at: datetime, *, moving: bool) -> float:
    """For how long no output has come though it should have. ``moving``: it is on its way to the other region."""
    since = (memory.outputs_at if memory.moved else None) if moving else memory.waits_since
    return max(0.0, (at - since).total_seconds()) if since is not None else 0.0


def sample_of(deployment: str, memory: Memory, reading: Reading) -> Sample:
    """What is kept of a reading."""
    return Sample(
        at=reading.at,
        deployment=deployment,
        state=reading.state,
        restarts=memory.last_restarts - memory.first_restarts,
        checkpoints=reading.checkpoints,
        failed_checkpoints=memory.failed,
        lag=reading.lag,
        lag_s=reading.lag_s,
        quiet_s=round(quiet_s(memory, reading.at, moving=False), 1),
    )


def broken(rules: Rules, deployment: str, memory: Memory, reading: Reading, *, moving: bool) -> Trip | None:
    """The rule that is broken now; None: none is."""

    def trip(rule: Rule, what: str) -> Trip:
        return Trip(rule=rule, deployment=deployment, at=reading.at, what=f"{deployment} {what}")

    if reading.taken is not None:
        return trip(Rule.TAKEN, reading.taken)
    if reading.away is not None:
        since = memory.away_since or reading.at
        away_s = (reading.at - since).total_seconds()
        if away_s < rules.max_away_s or moving:
            return None  # on the way the failover itself knows what to do without a part
        return trip(
            Rule.AWAY, f"cannot be looked at for {away_s:,.0f} s (limit {rules.max_away_s:g} s): {reading.away}"
        )
    silent_s = quiet_s(memory, reading.at, moving=moving)
    if rules.max_gap_s is not None and silent_s > rules.max_gap_s:
        waits = "" if moving else " though input waits"
        return trip(Rule.GAP, f"has had no output for {silent_s:,.1f} s{waits} (limit {rules.max_gap_s:g} s)")
    if moving:
        return None
    if reading.state in ENDED or reading.state == NOT_KNOWN:
        return trip(Rule.JOB, f"is {reading.state}. {reading.first_error}".strip())
    restarts = memory.last_restarts - memory.first_restarts
    if restarts > rules.max_restarts:
        why = f". {reading.first_error}" if reading.first_error else ""
        return trip(Rule.RESTARTS, f"restarted {restarts} times (limit {rules.max_restarts}){why}")
    if memory.failed > rules.max_failed_checkpoints:
        limit = rules.max_failed_checkpoints
        return trip(Rule.CHECKPOINTS, f"has {memory.failed} failed checkpoints (limit {limit})")
    if rules.max_lag_records is not None and reading.lag is not None and reading.lag > rules.max_lag_records:
        return trip(Rule.LAG, f"is {reading.lag:,} records behind (limit {rules.max_lag_records:,})")
    if rules.max_lag_s is not None and reading.lag_s is not None and reading.lag_s > rules.max_lag_s:
        return trip(Rule.LAG, f"is {reading.lag_s:,.1f} s behind its input (limit {rules.max_lag_s:g} s)")
    return None


def keep(memory: Memory, sample: Sample) -> Memory:
    """One more sample; when there are too many, two become one that is as bad as the worse of them."""
    kept, step_s = [*memory.behind], memory.step_s
    if kept and (sample.at - kept[-1].at).total_seconds() < step_s:
        kept[-1] = worse(kept[-1], sample)
    else:
        kept.append(sample)
    if len(kept) > MOST_SAMPLES:
        pairs = [kept[at : at + 2] for at in range(0, len(kept), 2)]
        kept = [worse(pair[0], pair[-1]) for pair in pairs]
        lasts_s = (kept[-1].at - kept[0].at).total_seconds()
        step_s = max(2 * step_s, lasts_s / (MOST_SAMPLES / 2))
    return memory.model_copy(update={"behind": tuple(kept), "step_s": step_s})


def worse(first: Sample, second: Sample) -> Sample:
    """Two looks as one: the first's time, the worst of each figure."""
    lags = [one.lag for one in (first, second) if one.lag is not None]
    ages = [one.lag_s for one in (first, second) if one.lag_s is not None]
    return second.model_copy(
        update={
            "at": first.at,
            "state": first.state if first.state != "RUNNING" else second.state,
            "restarts": max(first.restarts, second.restarts),
            "failed_checkpoints": max(first.failed_checkpoints, second.failed_checkpoints),
            "lag": max(lags) if lags else None,
            "lag_s": max(ages) if ages else None,
            "quiet_s": max(first.quiet_s, second.quiet_s),
        }
    )


# -- at the end of a way


def broken_by_way(rules: Rules, way: Way, where: str) -> tuple[Trip, ...]:
    """What the failover there, or the way back (``where``), has broken: its end, its gaps, its verdicts."""
    found: list[Trip] = []
    for one in way.members:
        verdict = one.verdict
        if verdict is not None and not verdict.good:
            what = f"{one.deployment} has a bad verdict {where}: {verdict.text}"
            what += f" and {verdict.unexpected} unexpected" if verdict.unexpected else ""
            found.append(Trip(rule=Rule.VERDICT, deployment=one.deployment, at=way.ended, what=what))
        if verdict is not None and not verdict.audited and verdict.note.startswith("no verdict could be had"):
            what = f"{one.deployment} has no verdict {where}: {verdict.note}"
            found.append(Trip(rule=Rule.VERDICT, deployment=one.deployment, at=way.ended, what=what))
        gap_s = verdict.gap_ms / 1000 if verdict is not None and verdict.gap_ms is not None else None
        if rules.max_gap_s is not None and gap_s is not None and gap_s > rules.max_gap_s:
            what = f"{one.deployment} had a gap of {gap_s:,.1f} s {where} (limit {rules.max_gap_s:g} s)"
            found.append(Trip(rule=Rule.GAP, deployment=one.deployment, at=way.ended, what=what))
    if not found and way.outcome is not Outcome.DONE:
        bad = next((one for one in way.members if one.outcome is not Outcome.DONE), None)
        why = (bad.why or bad.summary) if bad is not None else way.summary
        who = bad.deployment if bad is not None else way.source
        word = way.outcome.value if way.outcome is not None else "not done"
        found.append(Trip(rule=Rule.FAILOVER, deployment=who, at=way.ended, what=f"{who} {where}: {word}: {why}"))
    return tuple(found)


def union(ways: Iterable[Way]) -> Verdict | None:
    """One verdict over all deployments and both ways; None: nothing was looked at.

    An audit reads whole topics: what one of the first way has found, one of the second finds again. So of a deployment
    the worse of both counts, and deployments are added up. There is no rate: between the ways nobody has counted.
    """
    of: dict[str, list[Verdict]] = {}
    for member in (member for way in ways for member in way.members):
        if member.verdict is not None:
            of.setdefault(member.deployment, []).append(member.verdict)
    if not of:
        return None

    def total(name: str) -> int:
        return sum(max(int(getattr(one, name)) for one in verdicts) for verdicts in of.values())

    def last(name: str) -> int | None:
        found = [getattr(verdicts[-1], name) for verdicts in of.values()]
        return None if None in found else sum(found)

    every = [one for verdicts in of.values() for one in verdicts]
    longest = max(every, key=lambda one: one.gap_ms if one.gap_ms is not None else -1.0)
    return Verdict(
        audited=all(one.audited for one in every),
        **{name: total(name) for name in ("lost", "duplicated", "wrong", "unexpected", "replayed", "superseded")},
        input=last("input"),
        output=last("output"),
        gap_ms=longest.gap_ms,
        gap_from_ms=longest.gap_from_ms,
        gap_to_ms=longest.gap_to_ms,
        samples=tuple(sample for one in every for sample in one.samples)[:20],
        note="; ".join(dict.fromkeys(one.note for one in every if one.note)),
    )


def slim(member: MemberResult) -> MemberResult:
    """For the report: the verdict without its rates and offsets, which stand in the member's own."""
    if member.verdict is None:
        return member
    verdict = member.verdict.model_copy(update={"rate": (), "checked_to": {}, "samples": member.verdict.samples[:5]})
    return member.model_copy(update={"verdict": verdict})
