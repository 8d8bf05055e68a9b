"""What a report says of a drill: the measures against what is promised, the comparison, what was taken away. Pure."""

from __future__ import annotations

from tidegate.model.drilled import Difference, DrillFacts
from tidegate.report import words
from tidegate.report.page import Cell, Table


def headline_parts(facts: DrillFacts) -> list[str]:
    """RTO, RPO and the comparison, as the first line says them."""
    parts = [
        f"RTO {_measure(facts.rto_s, facts.rto_objective_s)}",
        f"RPO {_measure(facts.rpo_s, facts.rpo_objective_s)}",
    ]
    if facts.compared is not None:
        done = facts.compared
        bad = done.missing + done.extra + done.differing
        parts.append(f"{words.count(done.compared)} records compared, {words.count(bad)} not the same")
    return parts


def alerts(facts: DrillFacts) -> list[str]:
    """What must not be overlooked: why it failed, and what is left."""
    left = [f"Not all of the fork {facts.fork} is gone: {facts.left}"] if facts.left is not None else []
    return [*left, *facts.failures]


def drill_table(facts: DrillFacts | None) -> Table | None:
    """What was drilled, what it took, what came of the comparison."""
    if facts is None:
        return None

    def row(label: str, text: str, *, bad: bool = False) -> tuple[Cell, ...]:
        return (Cell(label), Cell(text, tone="bad" if bad else ""))

    rows = [row("fork", facts.fork), row("where", facts.at or "not begun")]
    if facts.point:
        age = f", {words.seconds(facts.age_s)} old" if facts.age_s is not None else ""
        rows.append(row("from recovery point", f"{facts.point}{age}"))
    rows.append(
        row(
            "recovery time (RTO), from the command to the fork's first output",
            _measure(facts.rto_s, facts.rto_objective_s),
            bad=_over(facts.rto_s, facts.rto_objective_s),
        )
    )
    rows.append(
        row(
            "recovery point (RPO), by how much the newest input had not crossed",
            _measure(facts.rpo_s, facts.rpo_objective_s),
            bad=_over(facts.rpo_s, facts.rpo_objective_s),
        )
    )
    if facts.caught_up_s is not None:
        rows.append(row("caught up after", words.seconds(facts.caught_up_s)))
    done = facts.compared
    if done is not None:
        rows += [
            row("input records processed by the fork", words.count(done.replayed)),
            row(f"output records compared, by {done.by}", words.count(done.compared)),
            row("missing in the drill", words.count(done.missing), bad=done.missing > 0),
            row("extra in the drill", words.count(done.extra), bad=done.extra > 0),
            row("differing", words.count(done.differing), bad=done.differing > 0),
            row("only counted: their order is not determined", words.count(done.undetermined)),
            row("nothing may be missing up to", done.until),
        ]
        rows += [row(one.kind, _places(one), bad=True) for one in done.examples]
    gone = facts.torn_down
    if gone is not None:
        parts = [f"{words.count(number)} {name}" for name, number in gone.model_dump().items() if number]
        rows.append(row("taken away, and looked for again", ", ".join(parts) or "nothing was there"))
    if facts.left is not None:
        rows.append(row("left", facts.left, bad=True))
    rows += [row("note", note) for note in facts.notes]
    return Table("Drill", tuple(rows))


def _places(one: Difference) -> str:
    places = [f"{side} {at.text}" for side, at in (("live", one.live), ("drill", one.drill)) if at is not None]
    return ", ".join([one.key, *places, *([one.what] if one.what else [])])


def _measure(took_s: float | None, objective_s: float | None) -> str:
    if took_s is None:
        return "not measured"
    if objective_s is None:
        return words.seconds(took_s)
    return f"{words.seconds(took_s)} (objective {objective_s:g} s, {'missed' if _over(took_s, objective_s) else 'met'})"


def _over(took_s: float | None, objective_s: float | None) -> bool:
    return took_s is not None and objective_s is not None and took_s > objective_s
