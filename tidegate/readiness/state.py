"""The state in the newest snapshot: can it be found again, and would any of it be dropped (X12, X27)?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.model.review import Checked
from tidegate.readiness.facts import Facts, NotKnown, StateFacts
from tidegate.readiness.sheet import Said, Unasked, breach, field_of, warning
from tidegate.snapshot.against import Against, Fate, declared_uids
from tidegate.snapshot.show import OperatorView

NAMES_SINCE = 5
"""The format of snapshots that has uids and names (Flink 2.0)."""


def check(facts: Facts) -> Iterator[Said]:
    """Uids, and what a start of what runs now would do with it."""
    state = facts.state
    if isinstance(state, NotKnown):
        yield Unasked("uids and state", state)
        return
    if state is None:
        # That there is nothing to restore is a breach of another check; here there is nothing to look at.
        yield Unasked("uids and state", NotKnown(f"snapshots of {facts.deployment}", "there is none"))
        return
    yield from _uids(facts, state)
    yield from _start(facts, state)
    record = facts.record
    if isinstance(record, NotKnown):
        yield Unasked("stale state", record)
    elif record is not None and record.stale_state_of is not None and facts.spec.stale_state == "refuse":
        yield warning(
            facts,
            "state-stale",
            state.snapshot,
            f"state that only {record.stale_state_of.name} has stands still since it went back",
            f"an upgrade to {record.stale_state_of.name} is refused: it would take it up as if it were current (X27)",
            field_of(facts, "stale_state", "keep"),
        )


def _uids(facts: Facts, state: StateFacts) -> Iterator[Said]:
    known = {one.operator_id for one in state.operators}
    declared = declared_uids(facts.spec)
    named = {*(source.uid for source in facts.spec.sources), *(sink.uid for sink in facts.spec.sinks)}
    lost = sorted(uid for operator_id, uid in declared.items() if uid in named and operator_id not in known)
    for uid in lost:
        yield breach(
            facts,
            "uid-not-in-snapshot",
            uid,
            f"the fleet file names {uid}, and {state.snapshot} has no operator of that uid",
            "its positions or transactions cannot be read, so no copy of it starts in another region (X12)",
            f"tidegate snapshot show {facts.deployment}/{state.snapshot}",
            field_of(facts, "sources and sinks"),
        )
    if state.version < NAMES_SINCE:
        why = f"format {state.version} of {state.snapshot} does not say them"
        yield Unasked("uids", NotKnown(f"uids of {facts.deployment}", why))
        return
    generated = [one for one in state.operators if one.uid is None and one.bytes and one.operator_id not in declared]
    if generated:
        yield warning(
            facts,
            "uid-not-set",
            ", ".join(one.label for one in generated),
            f"state of {_listed(generated)} has no uid of its own: Flink made one up from the job graph",
            "after a change of the graph it is not found again, and the start is refused",
            "uid(…) on these operators, before the next snapshot",
        )
    elif not lost:
        yield Checked(check="uids", subject=state.snapshot, fact=f"set on all {len(state.operators)} operators")


def _start(facts: Facts, state: StateFacts) -> Iterator[Said]:
    result = state.result
    if result is None:
        return  # nothing runs: told by another check
    if isinstance(result, NotKnown):
        yield Unasked("state that would be dropped", result)
        return
    dropped = [one for one in result.operators if one.fate is Fate.DROPPED or one.refused]
    for one in dropped:
        said = f" ({', '.join(one.facts)})" if one.facts else ""
        yield breach(
            facts,
            "state-dropped",
            one.label,
            f"what runs now has no place for the state of {one.label} in {state.snapshot}{said}",
            "it would not start from its newest snapshot",
            f"tidegate snapshot diff {facts.deployment}/{state.snapshot} --artifact {_runs(facts)}",
        )
    if not dropped:
        yield _kept(facts, state, result)


def _kept(facts: Facts, state: StateFacts, result: Against) -> Said:
    untold = result.of(Fate.UNTOLD)
    if untold:
        labels = ", ".join(one.label for one in untold)
        why = f"nothing says whether the graph has {labels}"
        return Unasked("state that would be dropped", NotKnown(f"job graph of {facts.deployment}", why))
    return Checked(check="state", subject=state.snapshot, fact="every operator with state is in the graph of what runs")


def _runs(facts: Facts) -> str:
    record = facts.record
    writer = record.writer if record is not None and not isinstance(record, NotKnown) else None
    return writer.artifact.name if writer is not None else "NAME"


def _listed(operators: Sequence[OperatorView]) -> str:
    return ", ".join(one.label for one in operators)
