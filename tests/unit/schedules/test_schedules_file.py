"""The schedules file: what is read of it, and each mistake with its line and its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.kit.scheduled import asked
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Deployment
from tidegate.model.fleetfile import load_fleet
from tidegate.model.regiondrill import DrillRegionInput
from tidegate.model.schedule import SchedulesFile
from tidegate.schedules.file import SCHEDULES, load_schedules
from tidegate.schedules.late import objective_days
from tidegate.schedules.runbooks import SCHEDULABLE, operation_of, request_of

FLEET = load_fleet(ROOT / "runbooks/fleet-sandbox.yaml").fleet
GOOD = """version: 1
schedules:
  nightly:
    runbook: SweepSnapshots
    input: {deployment: ledger}
    cron: "30 2 * * *"
    time_zone: Europe/Berlin
"""

BERLIN, MORE = "Europe/Berlin", "Europe/Berlin\n    "
SWEEP, DRILL = "runbook: SweepSnapshots\n    input: {deployment: ledger}", "runbook: DrillRegion\n    input: "
NOTICES = "notices: [{url: http://h/x, secret: {literal: s}}]\nschedules:"


def _load(tmp_path: Path, text: str) -> SchedulesFile:
    path = tmp_path / "schedules.yaml"
    path.write_text(text)
    return load_schedules(path, FLEET).file


def test_the_example_is_good_and_names_runbooks_that_exist() -> None:
    file = load_schedules(ROOT / SCHEDULES, FLEET).file
    assert file.schedules
    assert all(request_of(one) for one in file.wanted().values())


def test_defaults_are_the_safe_ones(tmp_path: Path) -> None:
    entry = _load(tmp_path, GOOD).schedules["nightly"]
    assert (entry.skip_if, entry.catch_up_s, entry.pause_after_failure) == (
        ("incident-open", "rollout-running"), 600.0, False,
    )  # fmt: skip


def test_freezes_of_the_file_are_those_of_each_entry(tmp_path: Path) -> None:
    text = GOOD.replace("schedules:", 'freezes: [{first: "2026-12-20", last: "2027-01-06", why: year end}]\nschedules:')
    assert _load(tmp_path, text).wanted()["nightly"].entry.freezes[0].why == "year end"


@pytest.mark.parametrize(
    ("was", "becomes", "line", "told"),
    [
        ("runbook: SweepSnapshots", "runbook: SwepSnapshots", 4, "nightly.runbook: no such runbook: SwepSnapshots"),
        ("runbook: SweepSnapshots", "runbook: KeepRecoveryPoints", 4, f"expected one of: {', '.join(SCHEDULABLE)}"),
        ("{deployment: ledger}", "{deployment: leger}", 5, "nightly.input.deployment: no such deployment: leger"),
        ("{deployment: ledger}", "{deployment: ledger, kep: 3}", 5, "nightly.input.kep: unknown field of Sweep"),
        ("{deployment: ledger}", "{deployment: ledger, keep: 0}", 5, "nightly.input.keep: Input should be"),
        ("{deployment: ledger}", "{}", 5, "nightly.input.deployment: missing; SweepSnapshots needs it"),
        (SWEEP, DRILL + "{region: eatt}", 5, "nightly.input.region: no such region: eatt (did you mean east?)"),
        (SWEEP, DRILL + "{region: east, to: up}", 5, "nightly.input.to: no such region: up"),
        (SWEEP, DRILL + "{region: east, deployments: [leger]}", 5, "input.deployments[0]: no such deployment: leger"),
        (SWEEP, DRILL + "{region: east, budget_s: 0}", 5, "nightly.input.budget_s: Input should be"),
        ("30 2 * * *", "61 2 * * *", 6, "nightly.cron: minute: 61; expected 0 to 59"),
        ("30 2 * * *", "30 2 * *", 6, "nightly.cron: '30 2 * *' has 4 fields; expected 5"),
        ("30 2 * * *", "30 2 1 * mon", 6, "nightly.cron: day of month and day of week at once"),
        ("30 2 * * *", "30 2 31 2 *", 6, "names no day that ever comes"),
        ("Europe/Berlin", "Europe/Berlni", 7, "nightly.time_zone: no such time zone: Europe/Berlni (did"),
        ("Europe/Berlin", "EST", 7, "nightly.time_zone: no such time zone: EST"),
        (BERLIN, MORE + "jiter_s: 5", 8, "nightly.jiter_s: unknown field"),
        (BERLIN, MORE + "catch_up_s: 1", 8, "nightly.catch_up_s: expected at least 10"),
        (BERLIN, MORE + "skip_if: [incident]", 8, "nightly.skip_if[0]: expected incident-open"),
        (BERLIN, MORE + 'windows: [{start: "05:00", end: "01:00"}]', 8, "nightly.windows[0]: ends"),
        (BERLIN, MORE + 'windows: [{start: "5:00", end: "06:00"}]', 8, "windows[0].start: not a time of day"),
        (BERLIN, MORE + "freezes: [{first: 2026-12-20, last: x, why: y}]", 8, "freezes[0].first: YAML reads"),
        (BERLIN, MORE + 'freezes: [{first: "2026-12-20", last: x, why: y}]', 8, "freezes[0].last: not a date"),
        ("version: 1", "version: 2", 1, "version: expected 1"),
        ("schedules:", NOTICES, 2, "notices[0].secret.literal: a literal secret"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_line_and_field(
    tmp_path: Path, was: str, becomes: str, line: int, told: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        _load(tmp_path, GOOD.replace(was, becomes))
    assert any(f"schedules.yaml:{line}:" in one and told in one for one in refused.value.message.split("\n")), (
        refused.value.message
    )


def test_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such schedules file"):
        load_schedules(tmp_path / "none.yaml")


def test_an_operation_has_an_id_of_its_own_per_run_and_the_same_if_played_again_o7() -> None:
    request = asked()
    ids = [operation_of(request, run) for run in ("a", "b", "a")]
    assert ids[0] == ids[2] != ids[1]
    assert ids[0].startswith("sweep-ledger-")


GAME_DAY = "{region: east, to: west, deployments: [ledger], unattended: true}"


def _game_day(given: str) -> str:
    return GOOD.replace("SweepSnapshots", "GameDay").replace("{deployment: ledger}", given)


def test_a_game_day_by_the_clock_must_be_asked_for_in_so_many_words(tmp_path: Path) -> None:
    assert _load(tmp_path, _game_day(GAME_DAY)).schedules["nightly"].runbook == "GameDay"
    for missing in (GAME_DAY.replace(", unattended: true", ""), GAME_DAY.replace("true", "false")):
        with pytest.raises(InvalidInput) as caught:
            _load(tmp_path, _game_day(missing))
        assert "nightly.input: unattended: GameDay moves production for real" in caught.value.message


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{region: east, to: west, unattended: true}", "nightly.input.deployments: missing; GameDay needs it"),
        (GAME_DAY.replace("[ledger]", "[]"), "nightly.input.deployments"),
        (GAME_DAY.replace("[ledger]", "[leger]"), "nightly.input.deployments[0]: no such deployment: leger"),
    ],
)
def test_it_names_its_deployments(tmp_path: Path, given: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _load(tmp_path, _game_day(given))
    assert told in caught.value.message


def test_a_run_without_consent_begins_nothing_even_if_its_schedule_was_made_by_other_means() -> None:
    given = {"region": "east", "to": "west", "deployments": ["ledger"]}
    with pytest.raises(InvalidInput, match="unattended: true"):
        request_of(asked("game", runbook="GameDay", input=given))
    allowed = asked("game", runbook="GameDay", input={**given, "unattended": True})
    assert request_of(allowed).model_dump()["deployments"] == ("ledger",)
    assert operation_of(allowed, "run-1").startswith("game-day-region-east-")


def test_the_drill_of_a_region_is_named_by_it_and_is_due_by_the_least_of_its_deployments(tmp_path: Path) -> None:
    wanted = _load(tmp_path, GOOD.replace(SWEEP, DRILL + "{region: east, tiers: [1]}")).wanted()["nightly"]
    assert wanted.entry.deployment == "region-east"
    assert operation_of(wanted, "r").startswith("drill-region-east-")
    request = request_of(wanted)
    assert isinstance(request, DrillRegionInput)
    assert (request.region, request.tiers, request.requested_by) == ("east", (1,), "schedule nightly")
    ledger = FLEET.deployments["ledger"]

    def days(tier: int, promised: float | None) -> Deployment:
        objectives = ledger.objectives.model_copy(update={"drill_days": promised})
        return ledger.model_copy(update={"tier": tier, "objectives": objectives})

    several = {"a": days(0, 1.0), "b": days(1, 14.0), "c": days(1, 7.0), "d": days(1, None)}
    fleet = FLEET.model_copy(update={"deployments": several})
    assert objective_days(wanted, fleet) == 7.0
    everywhere = asked("all", runbook="DrillRegion", input={"region": "east"})
    assert objective_days(everywhere, fleet) == 1.0
    assert (
        objective_days(asked("d", runbook="DrillRegion", input={"region": "east", "deployments": ["d"]}), fleet) is None
    )
    assert objective_days(asked("w", runbook="DrillRegion", input={"region": "west"}), fleet) is None
