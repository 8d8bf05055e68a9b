"""A report request as a page: the first line, what stands out, the blocks, the commands. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Literal

from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.gameday import GAME_DAY
from tidegate.model.inputs import (
    RESTORE_DEPLOYMENT,
    START_DEPLOYMENT,
    STOP_DEPLOYMENT,
    TAKE_SNAPSHOT,
    UPGRADE_DEPLOYMENT,
)
from tidegate.model.operation import Outcome
from tidegate.model.region import FAILOVER_REGION
from tidegate.model.regiondrill import DRILL_REGION
from tidegate.model.steps import ReportInput
from tidegate.report import drill, drills, facts, failover, gameday, words
from tidegate.report import review as told_of_review
from tidegate.report.page import Cell, Command, Page


def page_of(request: ReportInput, key: str, sha256: str) -> Page:
    """The page for a request whose JSON lies under ``key`` and has this sha256."""
    blocks = (
        facts.plan_table(request),
        facts.replay_table(request),
        facts.jobs_table(request),
        facts.snapshot_table(request.switch),
        facts.time_table(request),
        facts.proof_table(request.prove),
        facts.settled_table(request.ensure),
        facts.notes_table(request),
        facts.undelivered_table(request),
        facts.who_table(request),
    )
    return Page(
        headline=headline(request),
        tone=_tone(request),
        subtitle=f"{request.runbook}, {words.utc(request.started)}, {words.between(request.started, request.ended)}, "
        f"asked by {request.requested_by} (a claim)",
        summary=request.summary,
        why=request.why,
        alerts=_alerts(request),
        gap_note=_gap_note(request),
        top=told_of_review.tables(request.review)
        if request.review is not None
        else drills.tables(request.drills)
        if request.drills is not None
        else tuple(
            block
            for block in (
                failover.failover_table(request.failover, request.ensure, request.verdict),
                drill.drill_table(request.drill),
                *gameday.tables(request.game_day),
                facts.verdict_table(request),
            )
            if block is not None
        ),
        blocks=tuple(block for block in blocks if block is not None),
        commands=_commands(request),
        evidence=facts.evidence_table(request, key, sha256),
    )


def headline(request: ReportInput) -> str:
    """What and verdict, in one line: ``ledger v1 → v2: done · verdict 0/0/0 · gap 2.08 s``.

    Of a failover also how the old job was left, RTO and RPO.
    """
    if request.review is not None:
        return f"readiness of {request.deployment}: {told_of_review.summary(request.review)}"
    if request.drills is not None:
        return drills.headline(request.drills, request.outcome)
    moved = request.failover
    parts = [f"{_what(request)}: {words.OUTCOMES[request.outcome]}"]
    if request.drill is not None:
        failed = request.outcome is Outcome.BAD_VERDICT
        return " · ".join([f"{_what(request)}: failed" if failed else parts[0], *drill.headline_parts(request.drill)])
    if request.game_day is not None:
        failed = request.outcome is Outcome.BAD_VERDICT
        told = [f"{_what(request)}: failed" if failed else parts[0], words.verdict_short(request.verdict)]
        return " · ".join([*told, *gameday.headline_parts(request.game_day)])
    if request.outcome is Outcome.BAD_VERDICT:
        ended = "undone, with a bad" if _went_back(request) else words.OUTCOMES[request.outcome]
        parts = [f"{_what(request)}: {ended} {words.verdict_short(request.verdict)}"]
    elif request.verdict is not None or request.outcome in {Outcome.DONE, Outcome.UNDONE}:
        parts.append(words.verdict_short(request.verdict))
    announced = words.announced(request.ensure.replay) if request.ensure else 0
    if announced and moved is None:
        parts.append(f"{words.count(announced)} replayed by manifest")
    if request.verdict is not None and request.verdict.gap_ms is not None:
        parts.append(f"gap {words.seconds(request.verdict.gap_ms / 1000)}")
    if moved is not None:
        parts[1:1] = [failover.left_as(moved)]
        parts += failover.headline_parts(moved, request.verdict)
    return " · ".join(parts)


def _what(request: ReportInput) -> str:
    plan = request.plan
    if plan is None:
        return f"{request.runbook} of {request.deployment}"
    regions = failover.route(request)
    if regions is not None:
        return f"{request.deployment} {plan.to_artifact.name} {regions[0]} → {regions[1]}"
    if plan.from_artifact is None or plan.from_artifact.sha256 == plan.to_artifact.sha256:
        return f"{request.deployment} {plan.to_artifact.name}"
    return f"{request.deployment} {plan.from_artifact.name} → {plan.to_artifact.name}"


def _tone(request: ReportInput) -> Literal["good", "warn", "bad"]:
    if request.review is not None:
        return told_of_review.tone(request.review)
    verdict = request.verdict
    if request.outcome is Outcome.BAD_VERDICT or (verdict is not None and not verdict.good):
        return "bad"
    clean = request.outcome in {Outcome.DONE, Outcome.PLANNED} and not (verdict is not None and not verdict.audited)
    open_ends = request.failover is not None and bool(failover.alerts(request.failover))
    return "good" if clean and not open_ends else "warn"


def _went_back(request: ReportInput) -> bool:
    """Whether what runs now is what ran before; a bad verdict can come on top of an undo."""
    if request.failover is not None:
        return False  # it runs elsewhere, and there is no way back but a failback
    old = request.plan.from_artifact if request.plan else None
    ensure = request.ensure
    return old is not None and ensure is not None and ensure.start.artifact.sha256 == old.sha256


def _alerts(request: ReportInput) -> tuple[Cell, ...]:
    bad: list[str] = []
    warn: list[str] = []
    verdict, ensure = request.verdict, request.ensure
    if request.break_glass is not None:
        bad.append(f"Break-glass: went on without the approval that is required: {request.break_glass}")
    if request.game_day is not None:
        bad += gameday.alerts(request.game_day)
    if verdict is not None and not verdict.good:
        bad.append("Bad verdict: the output is not right. The job runs on; the commands are below.")
    if request.take_over is not None:
        warn.append(f"Take-over: the deployment was taken from another operation: {request.take_over.why}")
    if verdict is not None and not verdict.audited:
        warn.append("Values were not audited: the verdict is transaction level.")
    if ensure is not None and ensure.replay:
        told = facts.replayed_line(request)
        warn.append(f"Committed output came again: {told}. Consumers skip the ranges of the replay manifest.")
    if request.drill is not None:
        bad += drill.alerts(request.drill)
    if request.drills is not None:
        found = drills.alerts(request.drills)
        bad += [text for text, tone in found if tone == "bad"]
        warn += [text for text, tone in found if tone == "warn"]
    if request.failover is not None:
        warn += failover.alerts(request.failover)
    if request.prove is not None and not request.prove.under_traffic:
        warn.append("Not proven under traffic: no input came while the job was watched.")
    return (*(Cell(text, tone="bad") for text in bad), *(Cell(text, tone="warn") for text in warn))


def _gap_note(request: ReportInput) -> str:
    if request.verdict is not None and request.verdict.gap_ms is not None:
        return "Shaded: the gap, the longest pause between appended, committed output records."
    return "Shaded: no job ran. The gap in the output was not measured." if request.switch else ""


def _commands(request: ReportInput) -> tuple[Command, ...]:
    """What the operation itself printed first; then what repeats it, undoes it and shows more."""
    commands = [Command("next", line) for line in request.commands]
    deployment, plan = shlex.quote(request.deployment), request.plan
    known = {command.line for command in commands}

    def add(when: str, line: str) -> None:
        if line not in known:
            known.add(line)
            commands.append(Command(when, line))

    if plan is not None and request.runbook == UPGRADE_DEPLOYMENT:
        add(_repeat_word(request.outcome), f"tidegate upgrade {deployment} --to {shlex.quote(plan.to_artifact.name)}")
        ran = request.outcome in {Outcome.DONE, Outcome.BAD_VERDICT} and not _went_back(request)
        if ran and plan.from_artifact is not None:
            add("undo it", f"tidegate upgrade {deployment} --to {shlex.quote(plan.from_artifact.name)}")
    elif plan is not None and request.runbook == START_DEPLOYMENT:
        add(_repeat_word(request.outcome), f"tidegate start {deployment} {shlex.quote(plan.to_artifact.name)}")
    elif plan is not None and request.runbook == RESTORE_DEPLOYMENT:
        add("see what there is to restore from, and its price", f"tidegate restore {deployment} --dry-run")
    elif plan is not None and request.runbook == STOP_DEPLOYMENT:
        if request.outcome is Outcome.DONE:
            add("make it run again", f"tidegate start {deployment} {shlex.quote(plan.to_artifact.name)}")
        else:
            add(_repeat_word(request.outcome), f"tidegate stop {deployment}")
    elif plan is not None and request.runbook == TAKE_SNAPSHOT:
        add("repeat it", f"tidegate snapshot take {deployment}")
    elif plan is not None and request.runbook == FAILOVER_DEPLOYMENT:
        _add_failover(request, add)
    elif request.runbook == DRILL_RECOVERY:
        add("repeat it", f"tidegate drill recovery {deployment}")
    elif request.drills is not None:
        add("repeat it", f"tidegate drill region {shlex.quote(request.drills.region)}")
    if request.runbook in {FAILOVER_REGION, DRILL_REGION, GAME_DAY}:
        add("what each of its deployments did", "tidegate ops list")
    else:
        add("what is now", f"tidegate registry show {deployment}")
    operation = shlex.quote(request.operation)
    add("this page", f"tidegate report open {operation}")
    add("check the evidence", f"tidegate report show {operation} -o json | sha256sum")
    add("check all reports of it, this one among them", f"tidegate report verify {deployment}")
    return tuple(commands)


def _add_failover(request: ReportInput, add: Callable[[str, str], None]) -> None:
    """Back to where it came from by a failover the other way; again, if all is as it was."""
    regions = failover.route(request)
    if regions is None:
        return
    deployment, (source, target) = shlex.quote(request.deployment), regions
    if request.failover is not None:
        add(
            f"back to {source}, once the mirror brings everything there",
            f"tidegate failover deployment {deployment} --to {shlex.quote(source)}",
        )
        add("where its topics are written", "tidegate lineage list")
    else:
        add(_repeat_word(request.outcome), f"tidegate failover deployment {deployment} --to {shlex.quote(target)}")


def _repeat_word(outcome: Outcome) -> str:
    return "do it" if outcome is Outcome.PLANNED else "repeat it"
