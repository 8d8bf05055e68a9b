"""What a report says of a game day: both ways, the rules and what broke them, what was seen there. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.model.gameday import GameDayFacts, Rules, Sample, Way
from tidegate.model.operation import MemberResult
from tidegate.report import words
from tidegate.report.page import Cell, Table

Row = tuple[Cell, ...]


def headline_parts(facts: GameDayFacts) -> list[str]:
    """Both gaps and how long they were there, as the first line says them."""
    parts = []
    for way, where in _both(facts):
        if way.gap_s is not None:
            parts.append(f"gap {words.seconds(way.gap_s)} {where}")
    if facts.stayed_s is not None:
        parts.append(f"{words.seconds(facts.stayed_s)} in {facts.to}")
    return parts


def alerts(facts: GameDayFacts) -> list[str]:
    """What must not be overlooked: why it was stopped, and every rule that was broken."""
    stopped = [f"Stopped: {facts.stopped}"] if facts.stopped is not None else []
    return [*stopped, *(f"Broke a {one.text}" for one in facts.trips if one.text != facts.stopped)]


def tables(facts: GameDayFacts | None) -> tuple[Table, ...]:
    """The game day, its ways, and what was seen of each deployment while it was away."""
    if facts is None:
        return ()
    return tuple(table for table in (_summary(facts), _ways(facts), _rules(facts), _seen(facts)) if table is not None)


def _both(facts: GameDayFacts) -> list[tuple[Way, str]]:
    there = [(facts.there, "there")] if facts.there is not None else []
    return [*there, *((way, "back") for way in facts.back[-1:])]


def _summary(facts: GameDayFacts) -> Table:
    stayed = words.seconds(facts.stayed_s) if facts.stayed_s is not None else "not at all"
    rows: list[Row] = [
        (Cell("deployments"), Cell(", ".join(facts.deployments))),
        (Cell("from, and back to"), Cell(facts.region)),
        (Cell("in the meantime in"), Cell(facts.to)),
        (Cell("stayed there under watch"), Cell(f"{stayed} of {words.seconds(facts.stay_s)}")),
        (
            Cell("cut short"),
            Cell(facts.stopped, tone="warn") if facts.stopped is not None else Cell("no, it went to its end"),
        ),
    ]
    rows += [(Cell("at the end"), Cell(one)) for one in facts.stands]
    rows += [(Cell("note"), Cell(note)) for note in facts.notes]
    return Table("Game day", tuple(rows))


def _ways(facts: GameDayFacts) -> Table | None:
    ways = [*([facts.there] if facts.there is not None else []), *facts.back]
    rows = [
        (
            Cell(f"{way.source} → {way.target}"),
            Cell(one.deployment),
            Cell(one.outcome.value),
            Cell(_gap(one)),
            Cell(words.seconds(one.rto_s) if one.rto_s is not None else "not measured"),
            Cell(words.verdict_word(one.verdict), tone="bad" if one.verdict and not one.verdict.good else ""),
            Cell(one.operation or way.operation, code=True),
        )
        for way in ways
        for one in way.members
    ]
    head = ("way", "deployment", "outcome", "gap", "RTO", "verdict", "operation")
    return Table("There and back", tuple(rows), head) if rows else None


def _gap(one: MemberResult) -> str:
    gap_ms = one.verdict.gap_ms if one.verdict is not None else None
    return words.seconds(gap_ms / 1000) if gap_ms is not None else "not measured"


def _rules(facts: GameDayFacts) -> Table:
    rows: list[Row] = [(Cell(name), Cell(limit), Cell("")) for name, limit in _limits(facts.rules)]
    rows += [(Cell(f"broken: {one.rule}", tone="bad"), Cell(one.what), Cell(words.utc(one.at))) for one in facts.trips]
    return Table("Rules", tuple(rows), ("rule", "limit, or what was seen", "when"))


def _limits(rules: Rules) -> list[tuple[str, str]]:
    off = "not looked at"
    records = f"{words.count(rules.max_lag_records)} records behind" if rules.max_lag_records is not None else off
    return [
        ("gap", words.seconds(rules.max_gap_s) if rules.max_gap_s is not None else off),
        ("lag", words.seconds(rules.max_lag_s) if rules.max_lag_s is not None else off),
        ("lag in records", records),
        ("restarts", f"at most {rules.max_restarts}"),
        ("failed checkpoints", f"at most {rules.max_failed_checkpoints}"),
        ("no answer", words.seconds(rules.max_away_s)),
        ("verdict", "nothing lost, duplicated, wrong"),
    ]


def _seen(facts: GameDayFacts) -> Table | None:
    of: dict[str, list[Sample]] = {}
    for sample in facts.samples:
        of.setdefault(sample.deployment, []).append(sample)
    rows = [_worst(name, samples) for name, samples in of.items()]
    head = ("deployment", "looks", "restarts", "failed checkpoints", "lag at most", "behind at most", "no output for")
    lead = "The worst of all looks; each of them stands in the report's JSON."
    return Table(f"What was seen in {facts.to}", tuple(rows), head, lead) if rows else None


def _worst(name: str, samples: Sequence[Sample]) -> Row:
    lags = [one.lag for one in samples if one.lag is not None]
    ages = [one.lag_s for one in samples if one.lag_s is not None]
    return (
        Cell(name),
        Cell(words.count(len(samples))),
        Cell(str(max(one.restarts for one in samples))),
        Cell(str(max(one.failed_checkpoints for one in samples))),
        Cell(f"{words.count(max(lags))} records" if lags else "not known"),
        Cell(words.seconds(max(ages)) if ages else "not known"),
        Cell(words.seconds(max(one.quiet_s for one in samples))),
    )
