"""What a report says of the drill of a region: the worst and the median, and a line for each deployment. Pure."""

from __future__ import annotations

import statistics
from typing import Literal

from tidegate.model.drilled import DrillCompared, DrillLine, DrillsFacts
from tidegate.model.operation import Outcome
from tidegate.report import words
from tidegate.report.page import Cell, Table

TONES: dict[str, Literal["good", "warn", "bad"]] = {
    "good": "good",
    "failed": "bad",
    "given up": "warn",
    "not drilled": "warn",
}


def headline(facts: DrillsFacts, outcome: Outcome) -> str:
    """``drill of region east: 3 of 4 good, 1 failed · RTO worst 33.2 s · RPO worst 0.30 s``."""
    counted = [f"{len(facts.of('good'))} of {len(facts.lines)} good"]
    counted += [f"{len(found)} {result}" for result in TONES if result != "good" and (found := facts.of(result))]
    measures = [f"{label} worst {words.seconds(values[-1])}" for label, values in _measures(facts) if values]
    ended = "" if outcome is Outcome.DONE else f" ({words.OUTCOMES[outcome]})" if outcome is Outcome.REFUSED else ""
    return " · ".join([f"drill of region {facts.region}: {', '.join(counted)}{ended}", *measures])


def _measures(facts: DrillsFacts) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return ("RTO", facts.measured_s("rto_s")), ("RPO", facts.measured_s("rpo_s"))


def alerts(facts: DrillsFacts) -> list[tuple[str, Literal["bad", "warn"]]]:
    """What must not be overlooked: what is left, what failed, and what nobody can say anything about."""
    told: list[tuple[str, Literal["bad", "warn"]]] = [
        (f"Not all of the fork {line.facts.fork} of {line.deployment} is gone: {line.facts.left}", "bad")
        for line in facts.lines
        if line.facts is not None and line.facts.left is not None
    ]
    told += [(f"{line.deployment} failed: {line.why}", "bad") for line in facts.of("failed")]
    missing = facts.of("given up", "not drilled")
    if missing:
        told.append((f"Nothing is proven of {', '.join(line.deployment for line in missing)}.", "warn"))
    return told


def tables(facts: DrillsFacts) -> tuple[Table, ...]:
    """The whole, and each deployment in the order in which they were to be drilled."""

    def row(label: str, text: str) -> tuple[Cell, ...]:
        return Cell(label), Cell(text)

    rows = [
        row("region, and where its deployments were restored", f"{facts.region}, in {', '.join(facts.standbys)}"),
        row("drilled and good", f"{words.count(len(facts.of('good')))} of {words.count(len(facts.lines))}"),
    ]
    for label, values in _measures(facts):
        told = f"{words.seconds(values[-1])}, {words.seconds(statistics.median(values))}" if values else "not measured"
        rows.append(row(f"{label}, worst and median", told))
    records = sum(line.facts.compared.compared for line in facts.lines if line.facts and line.facts.compared)
    kept = f"; kept free: {facts.kept}" if facts.kept else ""
    rows += [
        row("output records compared", words.count(records)),
        row("slots that could be used at once", f"{words.count(facts.slots)}{kept}"),
        row("time, of the budget", f"{words.seconds(facts.took_s)} of {words.seconds(facts.budget_s)}"),
        *(row("not asked for", told) for told in facts.left_out),
    ]
    head = ("deployment", "tier", "slots", "result", "from", "RTO", "RPO", "compared", "why", "report")
    return Table("Drill of the region", tuple(rows)), Table("Each deployment", tuple(map(_line, facts.lines)), head)


def _line(line: DrillLine) -> tuple[Cell, ...]:
    facts = line.facts
    compared = facts.compared if facts is not None else None
    return (
        Cell(line.deployment),
        Cell(str(line.tier)),
        Cell(str(line.slots)),
        Cell(line.result, tone=TONES[line.result]),
        Cell(facts.point if facts is not None else ""),
        _measured(facts.rto_s, facts.rto_objective_s) if facts is not None else Cell(""),
        _measured(facts.rpo_s, facts.rpo_objective_s) if facts is not None else Cell(""),
        _compared(compared),
        Cell(line.why),
        Cell(line.report or line.operation or "", code=True),
    )


def _measured(took_s: float | None, objective_s: float | None) -> Cell:
    if took_s is None:
        return Cell("")
    promised = f" of {objective_s:g} s" if objective_s is not None else ""
    missed = objective_s is not None and took_s > objective_s
    return Cell(f"{words.seconds(took_s)}{promised}", tone="bad" if missed else "")


def _compared(compared: DrillCompared | None) -> Cell:
    if compared is None:
        return Cell("")
    bad = compared.missing + compared.extra + compared.differing
    return Cell(f"{words.count(compared.compared)}, {words.count(bad)} not the same", tone="bad" if bad else "")
