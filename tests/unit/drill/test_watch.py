"""State that a restore drops is named; what a drop is meant to drop is not."""

from __future__ import annotations

from tests.kit import snapshot_bytes as w
from tests.kit.snapshots import Job, list_state
from tidegate.drill.watch import dropped
from tidegate.snapshot.metadata import Metadata, parse

JOB = Job()
POSITIONS = {("payments", 0): 40}


def whole(**options) -> Metadata:
    return parse(JOB.metadata(12, {"s": 400}, {}, positions=POSITIONS, **options))


def test_the_same_state_in_another_size_is_whole_and_the_sinks_own_is_meant_to_go():
    assert dropped(whole(), whole(parallelism=2)) == []
    assert dropped(whole(sink=True), whole(sink=False)) == []


def test_state_that_the_restore_has_dropped_is_named():
    source = w.operator(
        "payments-source",
        [w.subtask(0, managed=list_state("SourceReaderState", w.split("payments", 0, 50)))],
    )
    without = parse(w.metadata(source, checkpoint_id=2))
    assert [line.split(" with ")[0] for line in dropped(whole(), without)] == ["operator balance"]
    empty = parse(w.metadata(source, w.operator("balance", [w.subtask(0)], parallelism=2), checkpoint_id=2))
    (line,) = dropped(whole(), empty)
    assert line.startswith("the keyed state of balance (")
    bare = parse(w.metadata(w.operator("payments-source", [w.subtask(0)]), checkpoint_id=2))
    assert "state SourceReaderState of payments-source is gone" in dropped(whole(), bare)
