"""How snapshots are printed: as lines for a person, as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from tidegate.cli import output
from tidegate.cli.regions import Found
from tidegate.snapshot.catalog import Entry
from tidegate.snapshot.diff import Change, Diff, OperatorDiff
from tidegate.snapshot.keyedstates import KeyedStates
from tidegate.snapshot.positions import COMMITTED, EARLIEST, LATEST
from tidegate.snapshot.show import OperatorView, SnapshotView
from tidegate.snapshot.word import Judged

_NOT_READ = {LATEST: "not read yet (from the end)", EARLIEST: "not read yet (from the start)",
             COMMITTED: "not read yet (from the group's offset)"}  # fmt: skip


def entries(rows: Sequence[Entry], kept: Sequence[str | None], now: datetime) -> str:
    """The list, a line each."""
    head = ("ID", "KIND", "AGE", "EPOCH", "JOB", "SIZE", "FILES", "VERIFIED", "KEPT")
    lines = [
        (
            entry.full_id,
            entry.kind.value + (f" from {entry.shipped_from}" if entry.shipped_from else ""),
            output.duration(max(0.0, (now - entry.at).total_seconds())),
            "?" if entry.epoch is None else str(entry.epoch),
            entry.job_id[:8] if entry.job_id else "-",
            "?" if entry.bytes is None else output.size(entry.bytes),
            "?" if entry.files is None else output.count(entry.files),
            "yes" if entry.verified else f"NO: {entry.problem}",
            why or "-",
        )
        for entry, why in zip(rows, kept, strict=True)
    ]
    return output.columns(lines, head=head)


def entry_json(entry: Entry) -> dict[str, object]:
    """An entry for programs."""
    return asdict(entry) | {
        "id": entry.full_id,
        "location": str(entry.location),
        "kind": entry.kind.value,
        "at": entry.at.isoformat(),
        "verified": entry.verified,
    }


def _kind(seen: SnapshotView) -> str:
    return {True: "savepoint", False: "checkpoint", None: "snapshot"}[seen.savepoint]


def view(found: Found, seen: SnapshotView, judged: Sequence[Judged], said: str | None, kept: str | None) -> str:
    """A snapshot in lines for a person."""
    what = _kind(seen)
    rows = [
        ("snapshot", found.location),
        ("", f"{what} {seen.checkpoint_id}, in {found.region}, format {seen.version}"),
    ]
    if found.entry is not None:
        entry = found.entry
        epoch = "of no epoch that could be told" if entry.epoch is None else f"epoch {entry.epoch}"
        rows.append(("written", f"{output.utc(entry.at)}, {epoch}" + (f", job {entry.job_id}" if entry.job_id else "")))
        rows.append(("verified", "yes" if entry.verified else f"NO: {entry.problem}"))
    rows.append(("kept", kept or "no: a sweep may remove it"))
    for number, operator in enumerate(seen.operators):
        rows.append(("operators" if not number else "", _operator(operator)))
    keyed = [line for one in seen.keyed for line in _keyed(one)]
    rows += [("keyed states" if not number else "", line) for number, line in enumerate(keyed)]
    for number, line in enumerate(_positions(seen)):
        rows.append(("positions" if not number else "", line))
    for number, line in enumerate(_committables(seen, judged, said)):
        rows.append(("transactions" if not number else "", line))
    rows += [("not read", note) for note in seen.notes]
    return output.columns(rows)


def _operator(operator: OperatorView) -> str:
    parts = [f"{operator.label}: {output.size(operator.bytes)}", f"parallelism {operator.parallelism}"]
    if operator.keyed_bytes:
        parts.append(f"keyed state {output.size(operator.keyed_bytes)}")
    parts += [f"{name} ({output.count(elements)})" for name, elements in operator.list_states.items()]
    if operator.finished:
        parts.append("has finished")
    return ", ".join(parts)


def _keyed(one: KeyedStates) -> list[str]:
    """An operator's keyed states in a line, and its timers in another, if it has or may have any (X28)."""
    names = [state.state.name for state in one.states if not state.state.timers]
    timers = [
        f"{of}: {'in use' if held else 'not known whether any is set'}"
        for of, held in (("processing time", one.processing_timers), ("event time", one.event_timers))
        if held is not False and (one.states or one.raw_timers)
    ]
    return [f"{one.label}: {', '.join(names)}"] * bool(names) + [f"{one.label}: timers of {'; '.join(timers)}"] * bool(
        timers
    )


def _keyed_json(one: KeyedStates) -> dict[str, object]:
    return {
        "operator": one.label,
        "states": [
            {"name": state.state.name, "kind": state.state.kind.name, "in_use": state.holds} for state in one.states
        ],
        "timers": {"processing": one.processing_timers, "event": one.event_timers, "raw": one.raw_timers},
        "windows": one.windows,
        "problem": one.problem,
    }


def _positions(seen: SnapshotView) -> list[str]:
    if seen.positions is None:
        return []
    return [
        f"{uid}: {topic}-{partition} next {_NOT_READ.get(offset) or output.count(offset)}"
        for uid, known in seen.positions.items()
        for (topic, partition), offset in sorted(known.items())
    ]


def _committables(seen: SnapshotView, judged: Sequence[Judged], said: str | None) -> list[str]:
    if seen.committables is None:
        return []
    if not seen.committables:
        return ["none: all output of its intervals was committed before it, or there was none"]
    if said is not None:
        return [f"{len(seen.committables)}; {said}", *(one.transactional_id for one in seen.committables)]
    lines = []
    for one in judged:
        until = f" ({output.utc(one.until)})" if one.until else ""
        lines.append(
            f"{one.committable.transactional_id}: {one.word.meaning}{until}; Kafka says {one.status.state.value}"
        )
    lost = sum(one.word.lost for one in judged)
    if lost:
        lines.append(f"{lost} of {len(judged)} are LOST: a start from here misses their outputs")
    return lines


def view_json(found: Found, seen: SnapshotView, judged: Sequence[Judged], said: str | None) -> dict[str, object]:
    """A snapshot for programs."""
    words: Mapping[str, Judged] = {one.committable.transactional_id: one for one in judged}
    positions = None
    if seen.positions is not None:
        positions = {
            uid: {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(known.items())}
            for uid, known in seen.positions.items()
        }
    transactions = None
    if seen.committables is not None:
        transactions = [
            asdict(one) | {"state": one.state.name} | _word_json(words.get(one.transactional_id))
            for one in seen.committables
        ]
    return {
        "location": found.location,
        "region": found.region,
        "id": found.entry.full_id if found.entry else None,
        "at": found.entry.at.isoformat() if found.entry else None,
        "verified": found.entry.verified if found.entry else None,
        "version": seen.version,
        "checkpoint_id": seen.checkpoint_id,
        "kind": _kind(seen),
        "operators": [asdict(one) | {"bytes": one.bytes} for one in seen.operators],
        "keyed": {one.operator_id: _keyed_json(one) for one in seen.keyed},
        "positions": positions,
        "transactions": transactions,
        "kafka": said,
        "notes": list(seen.notes),
    }


def _word_json(judged: Judged | None) -> dict[str, object]:
    if judged is None:
        return {"word": None, "lost": None, "broker": None, "until": None}
    until = judged.until.isoformat() if judged.until else None
    word = judged.word
    return {"word": word.value, "lost": word.lost, "broker": judged.status.state.value, "until": until}


def wrong_file(one: Mapping[str, object]) -> str:
    """A file that is not as ``_metadata`` says, as verify's error has it."""
    found, expected = one.get("found"), one.get("expected")
    said = "missing" if found is None else f"{found} bytes"
    return f"{one.get('uri')}: {said}; expected {expected if expected is not None else 'any number of'} bytes"


def diff(before: str, after: str, result: Diff) -> str:
    """The difference in lines for a person."""
    rows = [("from", before), ("to", after)]
    rows += [(one.change.value, _difference(one)) for one in result.operators]
    verdict = "the same operators with the same states" if result.same_shape else "the operators or their states differ"
    return output.columns([*rows, ("so", verdict)])


def _difference(one: OperatorDiff) -> str:
    if one.change is Change.SAME:
        return one.label
    view = one.after or one.before
    size = f" ({output.size(view.bytes)})" if view is not None and one.change is not Change.CHANGED else ""
    return f"{one.label}{size}: {one.meaning or ', '.join(one.facts)}"


def diff_json(before: str, after: str, result: Diff) -> dict[str, object]:
    """The difference for programs."""
    return {
        "from": before,
        "to": after,
        "same_shape": result.same_shape,
        "operators": [
            {"operator": one.label, "id": one.operator_id, "change": one.change.value, "facts": list(one.facts),
             "meaning": one.meaning, "before": asdict(one.before) if one.before else None,
             "after": asdict(one.after) if one.after else None}
            for one in result.operators
        ],
    }  # fmt: skip
