"""The record of a mirror link: which way it shall run, and what was about to be done (OWNERSHIP.md O1, O5).

``fence`` rises at each take, ``epoch`` at each start. The connector's own target state lives in Connect; what stands
here is what was last written there and read back.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from tidegate.model.record import Frozen, Holder, IntentState, RecordState


class MirrorVerb(StrEnum):
    """What is done to a link. Each is a target state: done twice it is done once."""

    START = "start"
    STOP = "stop"
    SET_OFFSETS = "set-offsets"
    RESTART = "restart"
    DENY = "deny"
    """Connect does not answer: its principal is shut out of the link's transactions on the target's Kafka (X17)."""


class LinkState(StrEnum):
    """What was last proven of the connector."""

    NEVER = "NEVER"
    """No connector of this link was ever started by Tidegate."""
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    """STOPPED was written and read back: it survives restarts of Connect (X17)."""
    SHUT_OUT = "SHUT_OUT"
    """Connect did not answer. Its principal is denied on the target's Kafka, and what was open there is ended."""


class MirrorIntent(Frozen):
    """One act on the link, written before it (O5). ``offsets``: ``topic/partition`` to the last mirrored offset."""

    kind: Literal["mirror"] = "mirror"
    id: str
    step: str
    n: int
    link: str
    epoch: int
    verb: MirrorVerb
    offsets: dict[str, int] | None = None
    principal: str | None = None
    """Of a DENY: whose."""
    state: IntentState = IntentState.OPEN
    note: str = ""


class Revival(Frozen):
    """A restart of a link whose task had died, by whoever keeps recovery points; written before it is done."""

    at: datetime
    """When the task was seen dead."""
    problem: str
    """First line of its trace."""
    running_at: datetime | None = None
    """When all tasks were seen to run again; None: not yet, or in vain."""
    note: str = ""
    """Why it was in vain."""


class LinkHealth(Frozen):
    """A link as its keeper sees it. ``down``: what is dead now, and why it is not restarted; None: nothing is."""

    link: str
    down: str | None = None
    revivals: tuple[Revival, ...] = ()
    """The newest first."""


class LinkRecord(Frozen):
    """``mirror/<link>.json``. ``offsets`` are those that this epoch was started from; None: where it had stopped."""

    version: Literal[1] = 1
    link: str
    source: str
    target: str
    seq: int = 0
    write_id: str = ""
    fence: int = 0
    epoch: int = 0
    state: RecordState = RecordState.IDLE
    mirror: LinkState = LinkState.NEVER
    since: datetime | None = None
    offsets: dict[str, int] | None = None
    denied: str | None = None
    """The principal that the target's Kafka refuses for this link; lifted only by a start that is asked to (X17)."""
    revivals: tuple[Revival, ...] = ()
    """Restarts that nobody asked for, the newest first."""
    holder: Holder | None = None
    intents: tuple[MirrorIntent, ...] = ()

    @property
    def shut_out(self) -> str | None:
        """The principal that is, or may be, denied: a DENY that was begun may land at any time (O5)."""
        begun = (intent.principal for intent in self.open_intents() if intent.verb is MirrorVerb.DENY)
        return self.denied or next(begun, None)

    def open_intents(self) -> tuple[MirrorIntent, ...]:
        """What was begun and is not known to have ended."""
        return tuple(intent for intent in self.intents if intent.state is IntentState.OPEN)

    def intent(self, intent_id: str) -> MirrorIntent | None:
        """The intent with this id; None if it was never written in this tenure."""
        return next((intent for intent in self.intents if intent.id == intent_id), None)

    def closing(self, closed: MirrorIntent) -> LinkRecord:
        """The record with this intent in place of the open one of the same id."""
        intents = (
            closed if intent.id == closed.id and intent.state is IntentState.OPEN else intent for intent in self.intents
        )
        return self.model_copy(update={"intents": tuple(intents)})
