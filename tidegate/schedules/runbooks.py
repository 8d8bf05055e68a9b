"""Which runbooks may be started by a schedule, with their inputs and the word that their operations begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from tidegate.errors import InvalidInput
from tidegate.model.drill import DRILL_RECOVERY, DrillInput
from tidegate.model.gameday import GAME_DAY, GameDayInput
from tidegate.model.inputs import TAKE_SNAPSHOT, Input, SnapshotInput
from tidegate.model.nearest import did_you_mean
from tidegate.model.regiondrill import DRILL_REGION, DrillRegionInput
from tidegate.model.review import REVIEW_READINESS, ReviewInput
from tidegate.model.schedule import ScheduledInput
from tidegate.model.ship import SHIP_SNAPSHOTS, ShipInput
from tidegate.model.sweep import SWEEP_SNAPSHOTS, SweepInput
from tidegate.names import derive_id


@dataclass(frozen=True)
class Schedulable:
    """A runbook that nobody need watch: it moves and stops no job of its own accord, or the entry says yes to that."""

    model: type[Input]
    verb: str
    """What the ids of its operations begin with, as those that its command starts."""
    drill: bool = False
    """Its last success must not be older than ``objectives.drill_days`` of its deployment, of several the least."""
    consent: str | None = None
    """The field of its input that says yes to what it moves: only with it a schedule may begin it."""


SCHEDULABLE: Final[Mapping[str, Schedulable]] = {
    SWEEP_SNAPSHOTS: Schedulable(SweepInput, "sweep"),
    TAKE_SNAPSHOT: Schedulable(SnapshotInput, "take"),
    SHIP_SNAPSHOTS: Schedulable(ShipInput, "ship"),
    DRILL_RECOVERY: Schedulable(DrillInput, "drill", drill=True),
    GAME_DAY: Schedulable(GameDayInput, "game-day", consent="unattended"),
    DRILL_REGION: Schedulable(DrillRegionInput, "drill", drill=True),
    REVIEW_READINESS: Schedulable(ReviewInput, "review"),
}
"""One line each. What moves or stops a job for good is begun by a person and is not here; a game day brings back what
it moves, and its entry must say in so many words that production may move while nobody looks."""

OWN_FIELDS: Final = ("requested_by", "reason")
"""Of the input: filled in by the run, if the entry does not say otherwise."""


def unknown(runbook: str) -> str | None:
    """What is wrong with the name of a runbook; None: it is known."""
    if runbook in SCHEDULABLE:
        return None
    return f"no such runbook: {runbook}{did_you_mean(runbook, SCHEDULABLE)}; expected one of: {', '.join(SCHEDULABLE)}"


def no_consent(runbook: str, given: Mapping[str, object]) -> str | None:
    """Why a schedule may not begin it: what moves production unattended must be asked for in so many words."""
    field = SCHEDULABLE[runbook].consent
    if field is None or given.get(field) is True:
        return None
    return (
        f"{field}: {runbook} moves production for real, by the clock and with nobody there; a schedule may begin it "
        f"only with {field}: true in its input. With people watching, begin it by its command"
    )


def request_of(asked: ScheduledInput) -> Input:
    """The input of the runbook, as a person would give it. Raises InvalidInput with what does not fit."""
    if (wrong := unknown(asked.entry.runbook)) is not None:
        raise InvalidInput(f"schedules.{asked.name}.runbook: {wrong}")
    model = SCHEDULABLE[asked.entry.runbook].model
    if (wrong := no_consent(asked.entry.runbook, asked.entry.input)) is not None:
        raise InvalidInput(f"schedules.{asked.name}.input.{wrong}")
    own = {"requested_by": f"schedule {asked.name}", "reason": f"due by schedule {asked.name}"}
    given = {name: value for name, value in own.items() if name in model.model_fields} | dict(asked.entry.input)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"schedules.{asked.name}.input.{field}: {first['msg']}") from error


def operation_of(asked: ScheduledInput, run: str) -> str:
    """The id of the operation that a run begins: its own, and the same however often the run is played again."""
    runbook = SCHEDULABLE[asked.entry.runbook]
    region = asked.entry.input.get("region")
    on = asked.entry.deployment or (f"region-{region}" if region else "fleet")
    return f"{runbook.verb}-{on}-{derive_id('scheduled', asked.name, run)[:8]}"
