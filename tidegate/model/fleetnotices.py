"""The part of a fleet file that names who is told what: ``notices``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from pydantic import Field

from tidegate.model.fleetfields import Name
from tidegate.model.fleetpart import Part
from tidegate.model.notice import Event, EventName, Notice, Severity, SeverityName
from tidegate.model.secret import Secret

PAGERDUTY_URL: Final = "https://events.pagerduty.com/v2/enqueue"
"""Source: PagerDuty's developer documentation, Events API v2."""
_NEEDS: Final = {"webhook": ("url", "secret"), "slack": ("url",), "pagerduty": ("routing_key",)}
_MAY: Final = {"webhook": (), "slack": (), "pagerduty": ("url",)}
_FIELDS: Final = ("url", "secret", "routing_key")


class NoticeTarget(Part):
    """One receiver of notices, and which it wants. Its address is a secret: who knows it can write there."""

    name: Name = Field(description="what it is called: oncall")
    kind: Literal["webhook", "slack", "pagerduty"] = Field(description="webhook, slack or pagerduty")
    url: Secret | None = Field(
        default=None,
        description="where to: {env: NAME}, {file: PATH} or, on loopback only, {literal: URL}; pagerduty has a default",
    )
    secret: Secret | None = Field(default=None, description="of a webhook: a secret, as url; it signs each request")
    routing_key: Secret | None = Field(default=None, description="of pagerduty: the integration's key, as url")
    events: tuple[EventName, ...] | None = Field(
        default=None, min_length=1, description="a list of events; default: all"
    )
    min_severity: SeverityName | None = Field(
        default=None, description="info, warning, error or critical; default: warning for pagerduty, else info"
    )

    def wants(self, notice: Notice) -> bool:
        """Whether this one is for it. A test is for everybody."""
        if notice.event is Event.TEST:
            return True
        if self.events is not None and notice.event.value not in self.events:
            return False
        least = self.min_severity or ("warning" if self.kind == "pagerduty" else "info")
        return notice.severity.rank >= Severity(least).rank


def mistakes_of(target: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Fields of a target that are missing or mean nothing for its kind, each with what is wrong."""
    kind = target.get("kind")
    if not isinstance(kind, str) or kind not in _NEEDS:
        return
    for field in _FIELDS:
        there = target.get(field) is not None
        if field in _NEEDS[kind] and not there:
            yield field, f"missing; expected for kind {kind}"
        if there and field not in _NEEDS[kind] and field not in _MAY[kind]:
            yield field, f"means nothing for kind {kind}; expected {', '.join((*_NEEDS[kind], *_MAY[kind]))}"
