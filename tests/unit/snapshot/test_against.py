"""A snapshot against a job graph: what would be kept, dropped, begin empty, or is not told (X27)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.snapshots import list_state
from tidegate.clients.flink_types import PlanNode
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import ArtifactRef, DeploymentRecord, Pinned, Writer
from tidegate.snapshot.against import Fate, KnownBy, against, chain_of, declared_uids, stale_state
from tidegate.snapshot.metadata import Metadata, committer_uid_of, operator_id_of, parse

ROOT = Path(__file__).parents[3]
STATE = [w.subtask(0, managed=list_state("SourceReaderState", b"split"))]
V1, V2, V3 = (ArtifactRef(name=name, sha256=name * 32, uri=f"s3://east/{name}.jar") for name in ("v1", "v2", "v3"))


def operator(uid: str, *, state: bool = True, max_parallelism: int = 128) -> bytes:
    subtasks = STATE if state else [w.subtask(0)]
    return w.operator(uid, subtasks, operator_id=bytes.fromhex(operator_id_of(uid)), max_parallelism=max_parallelism)


def nameless(metadata: Metadata) -> Metadata:
    """As formats up to 4 have it."""
    return replace(
        metadata, version=4, operators=tuple(replace(one, name=None, uid=None) for one in metadata.operators)
    )


def vertex(uid: str, *chain: str, parallelism: int = 2) -> PlanNode:
    lines = [uid + " name", *(f"{'   ' * depth}+- {name}" for depth, name in enumerate(chain))]
    return PlanNode(id=operator_id_of(uid), parallelism=parallelism, description="<br/>".join([*lines, ""]))


SNAPSHOT = parse(w.metadata(*map(operator, ("source", "balance", "out", committer_uid_of("out")))))
GRAPH = [vertex("source"), vertex("balance", "out name", "Sink Committer: out name")]
DECLARED = {operator_id_of(uid): uid for uid in ("source", "out", committer_uid_of("out"))}


def fates(snapshot: Metadata, graph: list[PlanNode], declared: dict[str, str] | None = None) -> dict[str, Fate]:
    return {one.label: one.fate for one in against(snapshot, graph, declared or {}).operators}


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("Source: payments<br/>", ("Source: payments",)),
        ("balance<br/>+- out: Writer<br/>   +- out: Committer<br/>", ("balance", "out: Writer", "out: Committer")),
        ("a<br/>:- b<br/>:  +- c<br/>+- d<br/>", ("a", "b", "c", "d")),
        ("Source: a -> b -> (c, d)", ("Source: a", "b", "c", "d")),
        ("[vertex-3]caf&eacute; &amp; more<br/>", ("café & more",)),
        ("", ()),
    ],
)
def test_a_vertex_says_what_is_chained_in_it(description: str, names: tuple[str, ...]):
    assert chain_of(PlanNode(id="0" * 32, description=description)) == names


def test_all_is_kept_and_it_says_how_that_is_known():
    result = against(SNAPSHOT, GRAPH, DECLARED)
    assert {one.label: one.known_by for one in result.operators} == {
        "source": KnownBy.VERTEX,
        "balance": KnownBy.VERTEX,
        "out": KnownBy.NAME,
        "Sink Committer: out": KnownBy.NAME,
    }
    assert result.starts is True
    assert all(one.fate is Fate.KEPT for one in result.operators)


def test_x27_an_operator_that_the_graph_does_not_have_would_be_dropped_and_refuses_the_start():
    graph = [vertex("source"), vertex("balance-2", "out name", "Sink Committer: out name")]
    result = against(SNAPSHOT, graph, DECLARED)
    (dropped,) = result.of(Fate.DROPPED)
    assert (dropped.uid, dropped.operator_id, dropped.refused) == ("balance", operator_id_of("balance"), True)
    assert [one.label for one in result.of(Fate.EMPTY)] == ["balance-2 name"]
    assert result.starts is False


def test_one_without_state_is_skipped_by_flink_and_refuses_nothing():
    snapshot = parse(w.metadata(operator("source"), operator("text", state=False)))
    result = against(snapshot, [vertex("source")], {})
    assert [(one.label, one.fate) for one in result.operators] == [("source", Fate.KEPT), ("text", Fate.GONE)]
    assert result.starts is True


def test_one_that_is_chained_now_and_was_not_is_known_by_its_name():
    graph = [vertex("source", "balance name", "out name", "Sink Committer: out name")]
    assert set(fates(SNAPSHOT, graph).values()) == {Fate.KEPT}


def test_a_chained_one_of_the_graph_alone_would_start_empty():
    graph = [vertex("source"), vertex("balance", "enrich", "out name", "Sink Committer: out name")]
    assert fates(SNAPSHOT, graph)["enrich"] is Fate.EMPTY


def test_without_names_only_vertices_and_the_fleet_files_word_are_known():
    snapshot = nameless(parse(w.metadata(*map(operator, ("source", "balance", "lists", "out")))))
    graph = [vertex("source"), vertex("balance", "lists name", "out name")]
    result = against(snapshot, graph, DECLARED)
    by_id = {one.operator_id: (one.fate, one.known_by) for one in result.operators}
    assert by_id == {
        operator_id_of("source"): (Fate.KEPT, KnownBy.VERTEX),
        operator_id_of("balance"): (Fate.KEPT, KnownBy.VERTEX),
        operator_id_of("lists"): (Fate.UNTOLD, None),
        operator_id_of("out"): (Fate.KEPT, KnownBy.FLEET),
    }
    assert result.starts is None
    assert result.notes
    assert "lists name" in result.notes[0]


def test_without_names_and_without_chains_nothing_is_left_to_guess():
    snapshot = nameless(parse(w.metadata(operator("source"), operator("old"))))
    result = against(snapshot, [vertex("source"), vertex("new")], {})
    assert [one.fate for one in result.operators] == [Fate.KEPT, Fate.DROPPED, Fate.EMPTY]
    assert result.starts is False


def test_a_declared_uid_whose_name_is_not_there_is_not_told():
    graph = [vertex("source"), vertex("balance", "renamed writer", "Sink Committer: out name")]
    result = against(SNAPSHOT, graph, DECLARED)
    assert {one.label for one in result.of(Fate.UNTOLD)} == {"out"}
    assert result.starts is None


def test_a_parallelism_above_the_maximum_refuses_the_start():
    snapshot = parse(w.metadata(operator("source", max_parallelism=4)))
    for parallelism, starts in ((4, True), (5, False)):
        result = against(snapshot, [vertex("source", parallelism=parallelism)], {})
        assert result.starts is starts
    assert "above its max parallelism 4" in result.operators[0].facts[0]


def test_what_has_finished_would_not_run_again():
    snapshot = parse(w.metadata(w.operator("rules", None, operator_id=bytes.fromhex(operator_id_of("rules")))))
    (one,) = against(snapshot, [vertex("rules")], {}).operators
    assert "would not run again" in one.facts[-1]


def test_a_real_snapshot_against_the_graph_of_its_own_job():
    """The names in both come from Flink 2.3: ``Sink: Writer``, a name with letters that HTML knows."""
    metadata = parse((ROOT / "tests/vectors/data/2.3.0/heap-checkpoint/_metadata").read_bytes())
    graph = [
        PlanNode(id=operator_id_of("numbers"), parallelism=2, description="Source: numbers<br/>"),
        PlanNode(id=operator_id_of("rules"), parallelism=1, description="Source: rules<br/>"),
        PlanNode(id=operator_id_of("ruled"), parallelism=2, description="ruled<br/>+- lists<br/>"),
        PlanNode(
            id=operator_id_of("counts"),
            parallelism=2,
            description="counts &eacute;漢\U0001f642<br/>+- Map<br/>"
            "   +- Sink: Writer<br/>      +- Sink: Committer<br/>",
        ),
    ]
    assert set(fates(metadata, graph).values()) == {Fate.KEPT}
    without = [*graph[:2], graph[2].model_copy(update={"description": "ruled<br/>"}), graph[3]]
    assert fates(metadata, without)["lists"] is Fate.DROPPED


def test_what_the_fleet_file_declares_has_a_committer_for_each_sink():
    fleet = load_fleet(ROOT / "runbooks" / "fleet-sandbox.yaml").fleet
    declared = declared_uids(fleet.deployment("ledger"))
    assert set(declared.values()) == {"payments-source", "balances-sink", "Sink Committer: balances-sink"}
    assert all(operator_id_of(uid) == known for known, uid in declared.items())


def record(**fields: object) -> DeploymentRecord:
    writer = Writer(
        region="east", cell="cell-1", job_id="1" * 32, epoch=7, artifact=V1, parallelism=2, started_from=None,
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return DeploymentRecord(deployment="ledger", epoch=7, writer=writer).model_copy(update=fields)


def pinned(epoch: int, artifact: ArtifactRef, stale: ArtifactRef | None = None) -> Pinned:
    return Pinned(
        location="s3://east/x", epoch=epoch, job_id="2" * 32, artifact=artifact, parallelism=2, output_ends={},
        at=datetime(2026, 1, 1, tzinfo=UTC), stale_state_of=stale,
    )  # fmt: skip


def test_x27_state_that_stood_still_is_named_with_what_the_artifact_would_do():
    known = record(stale_state_of=V2)
    meanings = {}
    for target in (V1, V2, V3):
        stale, note = stale_state(known, 7, target)
        assert stale is not None
        assert (stale.of, note) == (V2, "")
        meanings[target.name] = stale.meaning
    assert "leaves it as it is" in meanings["v1"]
    assert "v2 would take it up" in meanings["v2"]
    assert "if it knows it" in meanings["v3"]


def test_x27_of_an_older_epoch_only_what_is_pinned_is_known():
    known = record(pinned=pinned(5, V2, stale=V3), base=pinned(6, V1))
    stale, note = stale_state(known, 5, V3)
    assert (stale.of if stale else None, note) == (V3, "")
    assert stale_state(known, 6, V2) == (None, "")
    assert stale_state(known, 7, V2) == (None, "")
    assert "epoch 4 is over" in stale_state(known, 4, V2)[1]
    assert stale_state(None, 7, V2)[1]
    assert stale_state(known, None, V2)[1]
