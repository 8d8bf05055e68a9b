"""An incident as it stands in the control bucket: what, how bad, whom it hits, what people said, what is to be done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime

from tidegate.model.record import Frozen

SeverityName = Literal["sev1", "sev2", "sev3", "sev4"]
"""sev1: money or data is at risk now … sev4: a nuisance."""


class Section(StrEnum):
    """What of the review a note belongs to."""

    NOTE = "note"
    """The timeline alone."""
    IMPACT = "impact"
    WELL = "well"
    BADLY = "badly"


class IncidentNote(Frozen):
    """What a person said. ``who`` is a claim (O14)."""

    at: AwareDatetime
    who: str
    text: str
    section: Section = Section.NOTE


class FollowUp(Frozen):
    """What is to be done so that it does not come again."""

    number: int
    """From 1."""
    text: str
    owner: str
    due: date
    added_at: AwareDatetime
    added_by: str
    done_at: AwareDatetime | None = None
    done_by: str | None = None


class Incident(Frozen):
    """One compare-and-swap object. ``incidents/open/<id>`` stands beside it while it is open."""

    version: Literal[1] = 1
    id: str
    title: str
    severity: SeverityName
    deployments: tuple[str, ...] = ()
    """Those that it hits; with no region and no deployment it hits the whole fleet."""
    regions: tuple[str, ...] = ()
    began_at: AwareDatetime
    """When it began, as far as is known; its time is from here to ``closed_at``."""
    opened_at: AwareDatetime
    opened_by: str
    closed_at: AwareDatetime | None = None
    closed_by: str | None = None
    notes: tuple[IncidentNote, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    seq: int = 0
    write_id: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return self.closed_at is None

    def hits(self, deployment: str, region: str = "") -> bool:
        """Whether it is about this deployment in this region, or about the whole fleet."""
        if not self.deployments and not self.regions:
            return True
        return deployment in self.deployments or (region != "" and region in self.regions)

    def with_note(self, note: IncidentNote) -> Incident:
        """With what was said. The same again, right after it, is no second note."""
        last = self.notes[-1] if self.notes else None
        if last is not None and (last.who, last.text, last.section) == (note.who, note.text, note.section):
            return self
        return self.model_copy(update={"notes": (*self.notes, note)})

    def with_follow_up(self, text: str, owner: str, due: date, *, by: str, at: datetime) -> Incident:
        """With something to be done. The same text again is the same one, with its owner and date as they are now."""
        for known in self.follow_ups:
            if known.text == text:
                return self._put(known.model_copy(update={"owner": owner, "due": due}))
        new = FollowUp(number=len(self.follow_ups) + 1, text=text, owner=owner, due=due, added_at=at, added_by=by)
        return self.model_copy(update={"follow_ups": (*self.follow_ups, new)})

    def with_done(self, number: int, *, by: str, at: datetime) -> Incident | None:
        """With this one done; the first word on it stands. None: there is no such number."""
        known = next((one for one in self.follow_ups if one.number == number), None)
        if known is None:
            return None
        if known.done_at is not None:
            return self
        return self._put(known.model_copy(update={"done_at": at, "done_by": by}))

    def _put(self, changed: FollowUp) -> Incident:
        kept = tuple(changed if one.number == changed.number else one for one in self.follow_ups)
        return self.model_copy(update={"follow_ups": kept})


@dataclass(frozen=True)
class OpenFollowUp:
    """Something that an incident has taught and that is not done yet: a check of the readiness review."""

    incident: str
    title: str
    severity: SeverityName
    number: int
    text: str
    owner: str
    due: date
    overdue_days: int
    """0: it is not due yet."""
    deployments: tuple[str, ...]
    regions: tuple[str, ...]

    @property
    def command(self) -> str:
        """What is run when it is done."""
        return f"tidegate incident follow-up {self.incident} --done {self.number}"


def open_follow_ups(incidents: Iterable[Incident], on: date) -> tuple[OpenFollowUp, ...]:
    """What is not done yet, of open and closed incidents, the longest overdue first. Pure: ``on`` is today."""
    found = [
        OpenFollowUp(
            incident=incident.id,
            title=incident.title,
            severity=incident.severity,
            number=one.number,
            text=one.text,
            owner=one.owner,
            due=one.due,
            overdue_days=max(0, (on - one.due).days),
            deployments=incident.deployments,
            regions=incident.regions,
        )
        for incident in incidents
        for one in incident.follow_ups
        if one.done_at is None
    ]
    return tuple(sorted(found, key=lambda one: (one.due, one.severity, one.incident, one.number)))
