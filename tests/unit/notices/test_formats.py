"""What Slack and PagerDuty are sent keeps to their formats and limits, whatever a notice says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.notices.samples import notice
from tidegate.model.notice import Severity
from tidegate.notices.formats import dedup_key, encoded, escaped, pagerduty, slack, webhook
from tidegate.notices.sink import pagerduty_mistakes, slack_mistakes

LONG = st.text(min_size=1, max_size=40).map(lambda text: text * 120)


def test_slack_has_the_headline_the_reason_the_facts_and_the_commands() -> None:
    body = slack(notice())
    assert list(slack_mistakes(body)) == []
    assert str(body["text"]).startswith("CRITICAL: UpgradeDeployment of ledger in east stands halted")
    told = json.dumps(body)
    for words in ("tidegate ops resume upgrade-ledger-7c1f", "*Deployment*", "&lt;41&gt; tries &amp; counting"):
        assert words in told
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "section", "context"]  # type: ignore[attr-defined]


def test_markup_in_a_message_pings_nobody() -> None:
    assert "<!channel>" not in json.dumps(slack(notice(detail="<!channel> <@U1>", title="<!here>")))


def test_pagerduty_triggers_with_what_it_needs_and_resolves_the_same_alert() -> None:
    begun = pagerduty(notice(), "KEY")
    assert list(pagerduty_mistakes(begun)) == []
    assert (begun["event_action"], begun["routing_key"]) == ("trigger", "KEY")
    payload = begun["payload"]
    assert isinstance(payload, dict)
    assert payload["severity"] == "critical"
    assert payload["source"] == "upgrade-ledger-7c1f"
    assert payload["timestamp"] == "2026-03-01T03:14:22+00:00"
    assert payload["custom_details"]["why"].startswith("Flink in east")
    over = pagerduty(notice(over=True), "KEY")
    assert over == {"routing_key": "KEY", "event_action": "resolve", "dedup_key": begun["dedup_key"]}
    assert list(pagerduty_mistakes(over)) == []


@pytest.mark.parametrize("severity", list(Severity))
def test_every_severity_is_one_of_pagerdutys(severity: Severity) -> None:
    assert list(pagerduty_mistakes(pagerduty(notice(severity=severity), "KEY"))) == []


@given(title=LONG, detail=LONG, command=LONG, subject=LONG, region=LONG)
def test_no_text_breaks_a_limit(title: str, detail: str, command: str, subject: str, region: str) -> None:
    told = notice(title=title, detail=detail, commands=(command,), subject=subject, region=region)
    assert list(slack_mistakes(slack(told))) == []
    assert list(pagerduty_mistakes(pagerduty(told, "KEY"))) == []
    assert len(dedup_key(told)) <= 255


@given(text=st.text(alphabet="a&<>", max_size=400), limit=st.integers(10, 200))
def test_no_entity_is_cut_in_half(text: str, limit: int) -> None:
    told = escaped(text, limit)
    assert len(told) <= limit
    back = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(back.removesuffix("…"))


def test_the_webhook_is_the_notice_and_the_same_bytes_each_time() -> None:
    body = encoded(webhook(notice()))
    assert json.loads(body)["event"] == "halted"
    assert body == encoded(webhook(notice()))


def test_a_checker_that_takes_anything_would_prove_nothing() -> None:
    body = slack(notice())
    assert list(slack_mistakes({**body, "blocks": []}))
    assert list(slack_mistakes({"text": "x", "blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}))
    begun = pagerduty(notice(), "KEY")
    assert list(pagerduty_mistakes({**begun, "routing_key": ""}))
    assert list(pagerduty_mistakes({**begun, "payload": {"summary": "x", "source": "y", "severity": "bad"}}))
    assert list(pagerduty_mistakes({"routing_key": "k", "event_action": "resolve"}))
