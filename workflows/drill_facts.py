"""What a person reads of a drill: what it began from, what was measured and compared, what was taken away. Pure."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.drill import DrillSeen
    from tidegate.model.drilled import DrillCompared, DrillFacts, TornDown


def told(compared: DrillCompared) -> str:
    """The comparison in one line."""
    unsure = f", {compared.undetermined:,} only counted" if compared.undetermined else ""
    return (
        f"{compared.compared:,} records compared by {compared.by}{unsure}: {compared.missing:,} missing, "
        f"{compared.extra:,} extra, {compared.differing:,} differing"
    )


def measured(found: DrillFacts) -> str:
    """RTO, RPO and the comparison in one line."""
    parts = [_against("RTO", found.rto_s, found.rto_objective_s), _against("RPO", found.rpo_s, found.rpo_objective_s)]
    if found.compared is not None:
        parts.append(told(found.compared))
    return "; ".join(parts)


def taken_away(gone: TornDown) -> str:
    """What was there and is gone."""
    parts = [f"{count:,} {name}" for name, count in gone.model_dump().items() if count and name != "denied"]
    return f"{', '.join(parts) or 'nothing was there'}; looked again: nothing is left"


def begun_from(seen: DrillSeen) -> str:
    """The point that it starts from, how old that is, and where."""
    rpo = f", RPO {seen.rpo_s:,.1f} s" if seen.rpo_s is not None else ""
    room = f"{seen.slots_free}/{seen.slots_total} slots free"
    return f"from {seen.point} ({seen.age_s:,.1f} s old{rpo}) in {seen.at}, {room}"


def examples(compared: DrillCompared) -> str:
    """Records that differ, with where they stand."""
    shown = []
    for one in compared.examples:
        places = " and ".join(
            f"{side} {place.text}" for side, place in (("live", one.live), ("drill", one.drill)) if place is not None
        )
        what = f", {one.what}" if one.what else ""
        shown.append(f"{one.kind} {one.key}: {places}{what}")
    return f" ({'; '.join(shown)})" if shown else ""


def _against(name: str, took_s: float | None, objective_s: float | None) -> str:
    if took_s is None:
        return f"{name} not measured"
    return f"{name} {took_s:,.1f} s" + (f" (objective {objective_s:g} s)" if objective_s is not None else "")
