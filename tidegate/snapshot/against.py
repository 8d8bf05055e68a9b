"""What a start of an artifact from a snapshot would do with each operator's state (X27).

Flink's plan of an artifact names its vertices: the id of one is the operator id of the head of its chain, so a head is
known for certain. Of what is chained behind it the plan has only the names: those are matched by the names that
snapshots have since Flink 2.0, or by what the fleet file declares. What none of these tells is said to be not told.

Source: org.apache.flink.runtime.jobgraph.jsonplan.JsonPlanGenerator (the plan),
org.apache.flink.runtime.checkpoint.Checkpoints.loadAndValidateCheckpoint (what Flink refuses).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tidegate.clients.flink_types import PlanNode
from tidegate.model.fleet import Deployment
from tidegate.model.record import ArtifactRef, DeploymentRecord
from tidegate.snapshot.metadata import Metadata, Operator, committer_uid_of, operator_id_of
from tidegate.snapshot.show import operator_view

_VERTEX_INDEX = re.compile(r"^\[vertex-\d+\]")
_BRANCH = re.compile(r"^[ :]*[+:]- ")
_ARROW = re.compile(r" -> |, ")


def chain_of(node: PlanNode) -> tuple[str, ...]:
    """The names of the operators of a vertex, the head of the chain first.

    Flink draws them as a tree, a line each, or in one line with arrows (``pipeline.vertex-description-mode``).
    """
    text = _VERTEX_INDEX.sub("", html.unescape(node.description).strip())
    if "<br/>" in text:
        names = (_BRANCH.sub("", line).strip() for line in text.split("<br/>"))
    else:
        names = (part.strip(" ()") for part in _ARROW.split(text))
    return tuple(name for name in names if name)


class Fate(StrEnum):
    """What becomes of an operator's state."""

    KEPT = "kept"
    DROPPED = "dropped"
    GONE = "gone"
    """Not in the graph, and without state in the snapshot: Flink skips it."""
    EMPTY = "empty"
    UNTOLD = "not told"


class KnownBy(StrEnum):
    """How an operator of the snapshot was found in the graph."""

    VERTEX = "its id is a vertex"
    NAME = "chained, by its name"
    FLEET = "chained, by the fleet file's word"


@dataclass(frozen=True)
class OperatorFate:
    """An operator of the snapshot or of the graph. Without ``operator_id`` it is a chained one of which only the name
    is known. ``bytes`` is its state in the snapshot. ``refused``: Flink would not start the job because of it.
    """

    label: str
    operator_id: str | None
    uid: str | None
    fate: Fate
    bytes: int = 0
    known_by: KnownBy | None = None
    facts: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True)
class Against:
    """A snapshot against a job graph: operators in the order of the snapshot, then those of the graph alone."""

    operators: tuple[OperatorFate, ...]
    notes: tuple[str, ...] = ()

    def of(self, fate: Fate) -> tuple[OperatorFate, ...]:
        """The operators of that fate."""
        return tuple(one for one in self.operators if one.fate is fate)

    @property
    def starts(self) -> bool | None:
        """Whether Flink would start the artifact from the snapshot; None: not told."""
        if any(one.refused for one in self.operators):
            return False
        return None if self.of(Fate.UNTOLD) else True


def declared_uids(spec: Deployment) -> dict[str, str]:
    """The operator ids that the fleet file's sources and sinks have, each with its uid; a sink's committer too."""
    uids = [source.uid for source in spec.sources]
    for sink in spec.sinks:
        uids += [sink.uid, committer_uid_of(sink.uid)]
    return {operator_id_of(uid): uid for uid in uids}


def against(metadata: Metadata, graph: Sequence[PlanNode], declared: Mapping[str, str]) -> Against:
    """Compare a snapshot with a job graph. ``declared`` is as of `declared_uids`."""
    vertices = {node.id: node for node in graph}
    chained = _Chained(graph)
    found = [_of_snapshot(operator, vertices, chained, declared) for operator in metadata.operators]
    known = {operator.operator_id for operator in metadata.operators}
    for node in graph:
        if node.id not in known:
            uid = declared.get(node.id)
            label = uid or next(iter(chain_of(node)), node.id)
            found.append(OperatorFate(label, node.id, uid, Fate.EMPTY, facts=("would start empty, if it keeps state",)))
    if not chained.left:
        return Against(tuple(found))
    if any(operator.name for operator in metadata.operators):
        found += [
            OperatorFate(name, None, None, Fate.EMPTY, facts=("chained; would start empty, if it keeps state",))
            for name in chained.left
        ]
        return Against(tuple(found))
    names = ", ".join(chained.left)
    note = f"format {metadata.version} has no names, so these chained operators of the graph are not compared: {names}"
    return Against(tuple(found), (note,))


class _Chained:
    """The names of the graph that are not the head of a chain; each is found once, with its vertex."""

    def __init__(self, graph: Iterable[PlanNode]) -> None:
        self._rest = [(name, node) for node in graph for name in chain_of(node)[1:]]

    @property
    def left(self) -> list[str]:
        return [name for name, _ in self._rest]

    def take(self, name: str | None) -> PlanNode | None:
        at = next((at for at, (known, _) in enumerate(self._rest) if known == name), None)
        return None if at is None else self._rest.pop(at)[1]


def _of_snapshot(
    operator: Operator, vertices: Mapping[str, PlanNode], chained: _Chained, declared: Mapping[str, str]
) -> OperatorFate:
    uid = operator.uid or declared.get(operator.operator_id)
    view = operator_view(operator)
    label = uid or view.label

    def fate(what: Fate, *facts: str, known_by: KnownBy | None = None, refused: bool = False) -> OperatorFate:
        return OperatorFate(label, operator.operator_id, uid, what, view.bytes, known_by, facts, refused)

    node, known_by = vertices.get(operator.operator_id), KnownBy.VERTEX
    if node is None:
        node, known_by = chained.take(operator.name), KnownBy.NAME
    if node is not None:
        facts, refused = _facts(operator, node)
        return fate(Fate.KEPT, *facts, known_by=known_by, refused=refused)
    if operator.name is None and chained.left and operator.operator_id in declared:
        return fate(Fate.KEPT, known_by=KnownBy.FLEET)
    if not _has_state(operator):
        return fate(Fate.GONE, "not in the graph; it holds no state")
    if operator.name is None and chained.left:
        return fate(Fate.UNTOLD, "no vertex has its id; it may be chained, and the snapshot does not know its name")
    if operator.operator_id in declared and chained.left:
        return fate(Fate.UNTOLD, f"the fleet file declares its uid, but no chained operator is called {operator.name}")
    return fate(
        Fate.DROPPED,
        "its state would be dropped: Flink refuses the start unless the operator is cut out by name",
        refused=True,
    )


def _facts(operator: Operator, node: PlanNode) -> tuple[list[str], bool]:
    facts: list[str] = []
    refused = not operator.finished and node.parallelism > operator.max_parallelism
    if refused:
        facts.append(
            f"parallelism {node.parallelism:,} is above its max parallelism {operator.max_parallelism:,}: "
            "Flink refuses the start"
        )
    elif node.parallelism != operator.parallelism:
        facts.append(f"parallelism {operator.parallelism:,} -> {node.parallelism:,}")
    if operator.finished:
        facts.append("has finished: it would not run again")
    return facts, refused


def _has_state(operator: Operator) -> bool:
    if operator.coordinator is not None:
        return True
    return any(next(subtask.streams(), None) is not None for subtask in operator.subtasks.values())


@dataclass(frozen=True)
class Stale:
    """State in a snapshot that stood still: only ``of`` has it, and others ran since (X27)."""

    of: ArtifactRef
    meaning: str


def stale_state(record: DeploymentRecord | None, epoch: int | None, target: ArtifactRef) -> tuple[Stale | None, str]:
    """What the record knows of state in a snapshot of ``epoch`` that stood still, and a note if it does not know.

    The graph cannot tell: such state lies inside operators that both artifacts have.
    """
    if record is None or epoch is None:
        return None, "whether state in it has stood still (X27) is not known: the record does not tell whose it is"
    if record.writer is not None and record.writer.epoch == epoch:
        wrote, stale = record.writer.artifact, record.stale_state_of
    else:
        kept = next((one for one in (record.pinned, record.base) if one is not None and one.epoch == epoch), None)
        if kept is None:
            return None, f"whether state in it has stood still (X27) is not known any more: epoch {epoch} is over"
        wrote, stale = kept.artifact, kept.stale_state_of
    if stale is None:
        return None, ""
    if target.sha256 == wrote.sha256:
        meaning = f"{target.name} wrote this snapshot and leaves it as it is"
    elif target.sha256 == stale.sha256:
        meaning = f"{target.name} would take it up as if it were current"
    else:
        meaning = f"{target.name} would, if it knows it, take it up as if it were current"
    return Stale(stale, meaning), ""
