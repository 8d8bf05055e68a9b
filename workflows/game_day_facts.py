"""What a person reads of a game day's steps, and a few questions to what they found. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.gameday import GameDayFacts, GameDayInput, Way
    from tidegate.model.gamedaysteps import CLOSED, RUNNING, SILENT, GameDaySeen, GameDayWatched, Stand, Stands
    from tidegate.model.operation import Outcome, Verdict


def seen(found: GameDaySeen, to: str) -> str:
    """Both ways are open."""
    lags = [f"{name} {f'{lag:,} records behind' if lag is not None else '?'}" for name, lag in found.mirror_lag.items()]
    points = [f"{name} from {point}" for name, point in found.points.items()]
    told = [
        f"{len(found.members)} go, {found.slots_needed} of {found.slots_free} free slots in {to}",
        f"restorable there: {', '.join(points)}",
        f"there by {', '.join(lags)}; back by {', '.join(found.back)}",
    ]
    if found.approvals:
        told.append(f"waits for an approval of {', '.join(found.approvals)}")
    return "; ".join((*told, *found.notes))


def rules(asked: GameDayInput) -> str:
    """The limits in a line."""
    limits = [
        f"gap {asked.max_gap_s:g} s" if asked.max_gap_s is not None else "",
        f"lag {asked.max_lag_records:,} records" if asked.max_lag_records is not None else "",
        f"lag {asked.max_lag_s:g} s" if asked.max_lag_s is not None else "",
        f"restarts {asked.max_restarts}",
        f"failed checkpoints {asked.max_failed_checkpoints}",
        f"no answer {asked.max_away_s:g} s",
        "verdict 0/0/0",
    ]
    return ", ".join(limit for limit in limits if limit)


def planned(asked: GameDayInput, found: GameDaySeen) -> str:
    """What it would do."""
    names = ", ".join(one.deployment for one in found.members)
    return (
        f"would move {names} from {asked.region} to {asked.to}, leave them there for {asked.stay_s:g} s under watch, "
        f"and bring them back; it goes back at once beyond: {rules(asked)}"
    )


def went(way: Way, stands: Stands, gone: Sequence[Stand]) -> str:
    """How the failover ended, and who is there now."""
    told = f"{way.operation}: {way.outcome or 'no result'}: {way.summary}"
    gap = f", gap {way.gap_s:.1f} s" if way.gap_s is not None else ""
    rto = f", RTO {way.rto_s:.1f} s" if way.rto_s is not None else ""
    here = "" if len(gone) == len(stands.stands) else f"; {standing(stands)}"
    return f"{told}{gap}{rto}{here}"


def came_back(way: Way, stands: Stands) -> str:
    """How the failback ended; or that a person has done it."""
    if way.outcome in {Outcome.DONE, Outcome.BAD_VERDICT}:
        return went(way, stands, stands.stands)
    return f"brought back by hand, after {way.operation}: {way.outcome or 'no result'}; {standing(stands)}"


def standing(stands: Stands) -> str:
    """Where each of them is."""
    return "; ".join(one.text for one in stands.stands)


def watched(fact: GameDayWatched) -> str:
    """The worst that was seen."""
    if not fact.samples:
        return f"{fact.watched_s:,.0f} s"
    lags = [one.lag for one in fact.samples if one.lag is not None]
    ages = [one.lag_s for one in fact.samples if one.lag_s is not None]
    told = [f"{fact.watched_s:,.0f} s", f"restarts {max(one.restarts for one in fact.samples)}"]
    told.append(f"failed checkpoints {max(one.failed_checkpoints for one in fact.samples)}")
    if lags:
        told.append(f"lag at most {max(lags):,} records")
    if ages:
        told.append(f"at most {max(ages):,.1f} s behind")
    return ", ".join(told)


def comes_up(gone: Sequence[Stand]) -> str:
    """Which of them are being (re)started: they cannot be stopped with a savepoint yet. Empty: none is."""
    coming = [one for one in gone if one.state != RUNNING and not one.state.startswith(SILENT)]
    return "; ".join(one.text for one in coming)


def hopeless(way: Way) -> bool:
    """Whether the same once more would be refused again: nothing was begun, for a reason that needs a person."""
    return way.outcome is Outcome.REFUSED and not way.members


def not_back(way: Way, left: Sequence[Stand], home: str) -> str:
    """Why a person is called, and where the jobs are."""
    return f"{'; '.join(one.text for one in left)}, and not back in {home}: {way.summary}"


def not_as_it_was(stands: Stands, home: str) -> tuple[str, ...]:
    """What is not as it was before; nothing, if all is."""
    found = [one.text for one in stands.stands if one.region != home or one.state != RUNNING]
    for topic, region in stands.topics.items():
        if region != home:
            found.append(f"topic {topic} is {region if region == CLOSED else f'written in {region}'}")
    found += [f"mirror link {name} is {state}" for name, state in stands.links.items() if state != "RUNNING"]
    return tuple(found)


def as_it_was(stands: Stands) -> str:
    """All of it is."""
    links = ", ".join(stands.links)
    return f"{standing(stands)}; {len(stands.topics)} topics are written there, {links} runs"


def verdict(found: Verdict | None) -> str:
    """``0/0/0``."""
    if found is None:
        return "no output was judged, nothing had moved"
    return found.text + ("" if found.audited else " (values not audited)")


def stopped(found: GameDayFacts) -> str:
    """What has ended it, or which rules it broke on the way back, in a few words; the rest is told as why."""
    rules_broken = ", ".join(dict.fromkeys(f"rule {one.rule}" for one in found.trips))
    if found.stopped is None:
        return f"game day went to its end, but broke {rules_broken}"
    by = next((f"rule {one.rule}" for one in found.trips if one.text == found.stopped), "abort")
    return f"game day stopped: {by}"


def done(found: GameDayFacts, told: str) -> str:
    """The end of a good one."""
    back = found.back[-1] if found.back else None
    gaps = [
        f"gap {way.gap_s:.1f} s {where}"
        for way, where in ((found.there, "there"), (back, "back"))
        if way is not None and way.gap_s is not None
    ]
    return (
        f"{', '.join(found.deployments)} ran in {found.to} for {found.stayed_s or 0.0:,.0f} s and "
        f"{'are' if len(found.deployments) > 1 else 'is'} back in {found.region}: {', '.join((*gaps, told))}"
    )
