"""What a report says of a failover: from where to where, how the old job was left, RTO and RPO, what waits. Pure."""

from __future__ import annotations

from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.operation import Verdict
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.steps import EnsureFact, ReportInput
from tidegate.report import words
from tidegate.report.page import Cell, Table

STRENGTHS = {
    Strength.STOPPED: "Flink says that every task has ended",
    Strength.SHUT_OUT: "Kafka refuses its transactions",
    Strength.SUPERSEDED: "it could not be reached and may run on; the lineage excludes what it commits",
}


def route(request: ReportInput) -> tuple[str, str] | None:
    """The region that was to be left and the one to go on in; None: it is no failover, or neither was found."""
    if request.failover is not None:
        return request.failover.source, request.failover.target
    writer = request.observation.record.writer if request.observation else None
    if request.runbook != FAILOVER_DEPLOYMENT or request.observation is None or writer is None:
        return None
    return writer.region, request.observation.region


def headline_parts(facts: FailoverFacts, verdict: Verdict | None) -> list[str]:
    """RTO, RPO and what was superseded, as the first line says them."""
    parts = ["RTO not measured"]
    if facts.rto_s is not None:
        detected = facts.rto_detected_s
        missed = ", missed" if _over(_worst_s(facts), facts.rto_objective_s) else ""
        objective = f" (objective {facts.rto_objective_s:g} s{missed})" if facts.rto_objective_s is not None else ""
        since = f", from detection {words.seconds(detected)}" if detected is not None else ""
        parts = [f"RTO {words.seconds(facts.rto_s)}{since}{objective}"]
    if facts.rpo_s is not None or not facts.planned:
        parts.append(f"RPO {words.seconds(facts.rpo_s) if facts.rpo_s is not None else 'not known'}")
    elif _rpo(facts, verdict):
        parts.append("RPO 0")
    if facts.superseded:
        parts.append(f"{words.count(facts.superseded)} superseded")
    return parts


def left_as(facts: FailoverFacts) -> str:
    """``planned`` or ``unplanned``, and what keeps the old job from committing."""
    return f"{'planned' if facts.planned else 'unplanned'}, old job {facts.strength}"


def alerts(facts: FailoverFacts) -> list[str]:
    """What must not be overlooked."""
    found: list[str] = []
    if facts.strength is Strength.SUPERSEDED:
        found.append(
            f"The old job in {facts.source} could not be reached and may run on there. What it commits does not count; "
            f"read {facts.source} by the lineage only, until it has been returned."
        )
    worst_s = _worst_s(facts)
    if worst_s is not None and _over(worst_s, facts.rto_objective_s):
        since = " from when the loss was noticed" if worst_s == facts.rto_detected_s else ""
        found.append(f"RTO missed: {words.seconds(worst_s)}{since}, objective {facts.rto_objective_s:g} s.")
    if facts.rpo_s is not None and _over(facts.rpo_s, facts.rpo_objective_s):
        found.append(f"RPO missed: {words.seconds(facts.rpo_s)}, objective {facts.rpo_objective_s:g} s.")
    left = [one for one in facts.groups if one.left]
    if left:
        names = ", ".join(one.group for one in left)
        found.append(
            f"Consumer groups that do not go on in {facts.target} where they were: {names}. Without "
            "offsets there its consumers begin as they are set to: at the log's start, or at its end, past all of it."
        )
    if facts.waiting:
        found.append(f"Not mirrored back to {facts.source} yet: {'; '.join(facts.waiting)}")
    return found


def failover_table(facts: FailoverFacts | None, ensure: EnsureFact | None, verdict: Verdict | None) -> Table | None:
    """How the deployment has changed regions."""
    if facts is None:
        return None

    def row(label: str, text: str, *, late: bool = False, code: bool = False) -> tuple[Cell, ...]:
        return (Cell(label), Cell(text, code=code, tone="warn" if late else ""))

    rows = [
        row("from", facts.source),
        row("to", facts.target),
        row(
            "old job",
            f"{facts.strength}: {STRENGTHS[facts.strength]}",
            late=facts.strength is Strength.SUPERSEDED,
        ),
    ]
    if facts.point is not None:
        rows.append(row("gone on from recovery point", facts.point, code=True))
    if facts.state_as_of is not None:
        rows.append(row("its state is of", words.utc(facts.state_as_of)))
    if facts.input_until is not None:
        rows.append(row("newest input that had come", words.utc(facts.input_until)))
    took = "not measured: no output of the new job was seen"
    if facts.rto_s is not None:
        took = _against(facts.rto_s, facts.rto_objective_s)
    rows.append(
        row(
            "recovery time (RTO), from the command to the first new output",
            took,
            late=_over(facts.rto_s, facts.rto_objective_s),
        )
    )
    if facts.rto_detected_s is not None:
        since = _against(facts.rto_detected_s, facts.rto_objective_s)
        late = _over(facts.rto_detected_s, facts.rto_objective_s)
        rows.append(row("the same, from when the loss was noticed", since, late=late))
    rpo = _rpo(facts, verdict)
    if rpo:
        what = "recovery point (RPO), age of the newest input that had come" if not facts.planned else "RPO"
        rows.append(row(what, rpo, late=_over(facts.rpo_s, facts.rpo_objective_s)))
    rows.append(_superseded(facts, ensure))
    rows.append(row("lineage", f"turn {facts.lineage_turn}: the topics are written in {facts.target}"))
    rows += [row("consumer group", one.text, late=bool(one.left)) for one in facts.groups]
    rows += [row(f"mirror back to {facts.source} waits", name, late=True) for name in facts.waiting]
    rows += [row("note", note) for note in facts.notes]
    return Table("Failover", tuple(rows))


def _superseded(facts: FailoverFacts, ensure: EnsureFact | None) -> tuple[Cell, ...]:
    label = "superseded output"
    if not facts.superseded:
        return (Cell(label), Cell("none"))
    manifest = ensure.manifest if ensure is not None and ensure.manifest is not None else "not kept"
    text = f"{words.count(facts.superseded)} records in {facts.target}'s log; ranges in {manifest} and in the lineage"
    return (Cell(label), Cell(text))


def _worst_s(facts: FailoverFacts) -> float | None:
    """The longer of both, in seconds: what the objective is held against."""
    return max((took for took in (facts.rto_s, facts.rto_detected_s) if took is not None), default=None)


def _rpo(facts: FailoverFacts, verdict: Verdict | None) -> str:
    """Planned: 0 if the audit found nothing lost. Unplanned: the age of the newest input that had come."""
    if facts.rpo_s is not None:
        return _against(facts.rpo_s, facts.rpo_objective_s)
    if not facts.planned:
        return "not known"
    return "0, nothing lost" if verdict is not None and verdict.audited and not verdict.lost else ""


def _against(took_s: float, objective_s: float | None) -> str:
    if objective_s is None:
        return words.seconds(took_s)
    word = "missed" if _over(took_s, objective_s) else "met"
    return f"{words.seconds(took_s)} (objective {objective_s:g} s, {word})"


def _over(took_s: float | None, objective_s: float | None) -> bool:
    return took_s is not None and objective_s is not None and took_s > objective_s
