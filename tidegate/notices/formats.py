"""A notice as its receivers want it: our own JSON, Slack's incoming webhook, PagerDuty's Events API v2. Pure.

Sources: Slack's reference of Block Kit (header, section, context) and its guide to incoming webhooks; PagerDuty's
developer documentation, Events API v2, "Send an Alert Event". Their limits are kept here: what is longer is cut.
"""

from __future__ import annotations

import json
from typing import Final

from tidegate import names
from tidegate.model.notice import Notice, Severity

SLACK_HEADER: Final = 150
"""Characters of a header block's text."""
SLACK_TEXT: Final = 3_000
"""Characters of a section block's text."""
SLACK_FIELD: Final = 2_000
"""Characters of one of a section's fields, of which there may be 10."""
PAGERDUTY_SUMMARY: Final = 1_024
PAGERDUTY_DEDUP_KEY: Final = 255
_WORD: Final = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "ERROR",
    Severity.CRITICAL: "CRITICAL",
}


def encoded(body: object) -> bytes:
    """The bytes of a body: the same for the same body."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def headline(notice: Notice) -> str:
    """One line for a person who reads nothing else."""
    return f"over: {notice.title}" if notice.over else f"{_WORD[notice.severity]}: {notice.title}"


def webhook(notice: Notice) -> dict[str, object]:
    """Our own format: the notice as it is."""
    return notice.model_dump(mode="json")


def slack(notice: Notice) -> dict[str, object]:
    """``text`` is what a telephone shows of it; ``blocks`` what the channel does."""
    first = headline(notice)
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(first, SLACK_HEADER), "emoji": False}}
    ]
    if notice.detail:
        blocks.append(_section(escaped(notice.detail, SLACK_TEXT)))
    fields = [
        {"type": "mrkdwn", "text": f"*{label}*\n{escaped(value, SLACK_FIELD - len(label) - 3)}"}
        for label, value in _facts(notice)
    ]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if notice.commands:
        # Three backquotes would end the block: a command that holds them is shown without.
        lines = "\n".join(command.replace("```", "") for command in notice.commands)
        blocks.append(_section(f"```{escaped(lines, SLACK_TEXT - 6)}```"))
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": escaped(_last(notice), SLACK_TEXT)}]})
    return {"text": escaped(first, SLACK_TEXT), "blocks": blocks}


def pagerduty(notice: Notice, routing_key: str) -> dict[str, object]:
    """An alert event: ``trigger``, or ``resolve`` for what is over. One alert stands for one subject."""
    event: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": "resolve" if notice.over else "trigger",
        "dedup_key": dedup_key(notice),
    }
    if notice.over:
        return event
    details = {label.lower().replace(" ", "_"): value for label, value in _facts(notice)}
    if notice.detail:
        details["why"] = notice.detail
    if notice.commands:
        details["commands"] = "\n".join(notice.commands)
    if notice.report:
        details["report"] = notice.report
    payload = {
        "summary": cut(notice.title, PAGERDUTY_SUMMARY),
        "source": notice.operation
        or "/".join(part for part in (notice.region, notice.deployment) if part)
        or "tidegate",
        "severity": notice.severity.value,
        "timestamp": notice.at.isoformat(),
        "component": notice.deployment or "tidegate",
        "group": notice.region or "fleet",
        "class": notice.event.value,
        "custom_details": details,
    }
    return {**event, "client": "tidegate", "payload": payload}


def dedup_key(notice: Notice) -> str:
    """What PagerDuty keeps one alert for; a subject that is too long is known by its hash."""
    key = f"tidegate/{notice.subject}"
    return key if len(key) <= PAGERDUTY_DEDUP_KEY else f"tidegate/{names.derive_id(notice.subject)}"


def escaped(text: str, limit: int) -> str:
    """Text that Slack reads as text and not as markup, at most so many characters with its entities.

    Cut before it is escaped, so that no entity is cut in half.
    """
    shorter = text
    while True:
        told = shorter.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        if len(told) <= limit:
            return told
        shorter = cut(shorter, len(shorter) - (len(told) - limit + 4) // 5 - 1)


def cut(text: str, limit: int) -> str:
    """At most so many characters, in one piece, ``…`` at the end of what was longer."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def _section(text: str) -> dict[str, object]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _facts(notice: Notice) -> list[tuple[str, str]]:
    facts = (
        ("Deployment", notice.deployment),
        ("Region", notice.region),
        ("Operation", notice.operation),
        ("Runbook", notice.runbook),
        ("Requested by", notice.requested_by),
    )
    return [(label, value) for label, value in facts if value]


def _last(notice: Notice) -> str:
    report = f" · report {notice.report}" if notice.report else ""
    return f"{notice.event.value} · {notice.at:%Y-%m-%d %H:%M:%S} UTC{report} · {notice.id}"
