"""What is planned, and what is refused, for what was found."""

from __future__ import annotations

import pytest

from tests.unit.report.samples import V1, V2, observation, record
from tidegate.cli.follow import expected_gap
from tidegate.errors import Refused
from tidegate.model.inputs import UpgradeInput
from tidegate.model.operation import ArtifactFacts, Observation
from tidegate.model.record import ArtifactRef
from tidegate.operation.plan import make_plan

V3 = ArtifactRef(name="v3", sha256="3" * 64, uri="s3://east/artifacts/ledger-v3.jar")
KNOWN = (
    ArtifactFacts(ref=V1, size_bytes=1),
    ArtifactFacts(ref=V2, size_bytes=1, readable_by=("v1",)),
    ArtifactFacts(ref=V3, size_bytes=1, readable_by=("v2",)),
)


def seen(target: str, running: ArtifactRef = V1, stale: ArtifactRef | None = None, **changes: object) -> Observation:
    known = record()
    writer = known.writer.model_copy(update={"artifact": running})
    known = known.model_copy(update={"writer": writer, "stale_state_of": stale})
    facts = next(facts for facts in KNOWN if facts.ref.name == target)
    return observation(record=known, artifacts=KNOWN, target=facts, **changes)


def asked(to: str) -> UpgradeInput:
    return UpgradeInput(deployment="ledger", to=to, bake_s=5, requested_by="ana")


def test_x27_an_explicit_way_back_says_what_will_stand_still() -> None:
    plan = make_plan(asked("v1"), seen("v1", running=V2))
    assert any("state that only v2 has" in note and "stale_state: keep" in note for note in plan.notes)
    assert not any("this goes back" in note for note in make_plan(asked("v2"), seen("v2")).notes)


@pytest.mark.parametrize("target", ["v2", "v3"])
def test_x27_state_that_stood_still_is_not_taken_up_unasked(target: str) -> None:
    with pytest.raises(Refused, match="only v2 has, and that has stood still") as raised:
        make_plan(asked(target), seen(target, stale=V2))
    assert "deployments.ledger.stale_state: keep" in str(raised.value.hint)
    assert make_plan(asked(target), seen(target, stale=V2, stale_state="keep")).to_artifact.name == target


def test_x27_going_further_back_takes_nothing_up() -> None:
    assert make_plan(asked("v1"), seen("v1", running=V2, stale=V3)).to_artifact == V1


def test_the_expected_gap_is_what_earlier_upgrades_took() -> None:
    plan = make_plan(asked("v2"), seen("v2", expected_gap_s=2.1, earlier_gaps_s=(2.1, 2.6, 1.9)))
    assert expected_gap(plan) == "2.1 s (last 3 runs: 1.9 to 2.6 s)"
    none = make_plan(asked("v2"), seen("v2", expected_gap_s=None, earlier_gaps_s=()))
    assert expected_gap(none) == "not known yet (no earlier runs)"
