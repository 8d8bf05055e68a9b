"""Timers and windows of a snapshot, as far as a plan warns of them (X28)."""

from __future__ import annotations

from datetime import datetime

from tidegate.model.record import Frozen


class OperatorTimers(Frozen):
    """An operator that has timers or windows. None: it may have some; whether any is set is not known."""

    operator: str
    processing: bool | None = False
    event: bool | None = False
    windows: bool = False
    """It is a window, of whichever time."""

    @property
    def event_time(self) -> bool | None:
        """Whether it has timers or windows of event time; an idle window's time is not known."""
        if self.windows and self.event is False and self.processing is not True:
            return None
        return self.event


class TimersFound(Frozen):
    """What was looked at, and what was found. ``unknown``: why it, or some of it, is not known."""

    snapshot: str
    name: str
    """``e7-chk-212``, or whatever people know it by."""
    taken_at: datetime | None = None
    """None: it only stands for the one that is yet to be taken."""
    operators: tuple[OperatorTimers, ...] = ()
    unknown: tuple[str, ...] = ()
