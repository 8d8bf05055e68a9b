"""What differs between two snapshots: operators and states that came, went or changed (X27)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tidegate.snapshot.metadata import Metadata
from tidegate.snapshot.show import OperatorView, operator_view


class Change(StrEnum):
    """What became of an operator from the first snapshot to the second."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True)
class OperatorDiff:
    """One operator in both snapshots; ``before`` or ``after`` is None where it is not there."""

    operator_id: str
    change: Change
    before: OperatorView | None
    after: OperatorView | None

    @property
    def label(self) -> str:
        """The operator for a person."""
        there = self.after or self.before
        return there.label if there is not None else self.operator_id

    @property
    def facts(self) -> tuple[str, ...]:
        """What changed, a fact each: ``parallelism 2 -> 4``."""
        if self.before is None or self.after is None:
            return ()
        found = [
            f"{name.replace('_', ' ')} {getattr(self.before, name):,} -> {getattr(self.after, name):,}"
            for name in ("parallelism", "max_parallelism", "keyed_bytes", "operator_bytes", "coordinator_bytes")
            if getattr(self.before, name) != getattr(self.after, name)
        ]
        old, new = self.before.list_states, self.after.list_states
        found += [f"state {name} gone" for name in old if name not in new]
        found += [f"state {name} new" for name in new if name not in old]
        if self.before.finished is not self.after.finished:
            found.append("has finished" if self.after.finished else "runs again")
        return tuple(found)

    @property
    def meaning(self) -> str:
        """What a start of the second snapshot's artifact from the first one would do with this operator's state."""
        if self.change is Change.REMOVED:
            return "its state would be dropped: Flink refuses the start unless the operator is cut out by name"
        if self.change is Change.ADDED:
            return "would start empty"
        return ""


@dataclass(frozen=True)
class Diff:
    """The difference of two snapshots, operators in the order of the first, then the new ones."""

    operators: tuple[OperatorDiff, ...]

    def of(self, change: Change) -> tuple[OperatorDiff, ...]:
        """The operators with that change."""
        return tuple(one for one in self.operators if one.change is change)

    @property
    def same_shape(self) -> bool:
        """Whether both have the same operators with the same states: sizes and parallelism may differ."""
        return (
            not self.of(Change.ADDED)
            and not self.of(Change.REMOVED)
            and not any(fact.startswith("state ") for one in self.operators for fact in one.facts)
        )


def diff(before: Metadata, after: Metadata) -> Diff:
    """Compare two snapshots, operator by operator; they are known by id, which Flink derives from the uid."""
    old, new = _by_id(map(operator_view, before.operators)), _by_id(map(operator_view, after.operators))
    found: list[OperatorDiff] = []
    for operator_id in (*old, *(one for one in new if one not in old)):
        was, now = old.get(operator_id), new.get(operator_id)
        change = Change.REMOVED if now is None else Change.ADDED if was is None else Change.CHANGED
        compared = OperatorDiff(operator_id, change, was, now)
        if change is Change.CHANGED and not compared.facts:
            compared = OperatorDiff(operator_id, Change.SAME, was, now)
        found.append(compared)
    return Diff(tuple(found))


def _by_id(views: Iterable[OperatorView]) -> dict[str, OperatorView]:
    return {one.operator_id: one for one in views}
