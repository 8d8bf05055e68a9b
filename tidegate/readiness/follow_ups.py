"""What incidents have left to be done, until it is done."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model.review import Checked
from tidegate.readiness.facts import Facts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, warning

WHY = "an incident has shown that it is needed"


def check(facts: Facts) -> Iterator[Said]:
    """Each follow-up that is open: a breach from the day after it was due."""
    if isinstance(facts.follow_ups, NotKnown):
        yield Unasked("follow-ups of incidents", facts.follow_ups)
        return
    if not facts.follow_ups:
        yield Checked(check="follow-ups of incidents", subject="", fact="none is open")
    for one in facts.follow_ups:
        of = f"{one.text} ({one.owner}, due {one.due.isoformat()}, incident {one.incident})"
        if one.overdue_days:
            days = f"{one.overdue_days} day{'s' if one.overdue_days > 1 else ''}"
            yield breach(facts, "follow-up-overdue", one.incident, f"overdue by {days}: {of}", WHY, one.command)
        else:
            yield warning(facts, "follow-up-open", one.incident, f"to be done: {of}", WHY, one.command)
