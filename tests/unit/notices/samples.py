from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tidegate.model.fleetnotices import NoticeTarget
from tidegate.model.notice import Event, Notice, Severity

AT = datetime(2026, 3, 1, 3, 14, 22, tzinfo=UTC)
SECRET = "a long secret"


def notice(**changes: Any) -> Notice:
    told: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "event": Event.HALTED,
        "severity": Severity.CRITICAL,
        "title": "UpgradeDeployment of ledger in east stands halted and needs a person",
        "detail": "Flink in east answers no request since 03:13:58 (<41> tries & counting)",
        "subject": "operation/upgrade-ledger-7c1f/abcdef012345",
        "operation": "upgrade-ledger-7c1f",
        "runbook": "UpgradeDeployment",
        "deployment": "ledger",
        "region": "east",
        "requested_by": "ana",
        "at": AT,
        "commands": ("tidegate ops resume upgrade-ledger-7c1f",),
        "report": "reports/ledger/upgrade-ledger-7c1f/abc.json",
    }
    return Notice.model_validate(told | changes)


def target(kind: str, url: str | dict[str, str], **changes: Any) -> NoticeTarget:
    more: dict[str, Any] = {
        "webhook": {"secret": {"literal": SECRET}},
        "slack": {},
        "pagerduty": {"routing_key": {"literal": "R0UT1NGK3Y"}},
    }[kind]
    return NoticeTarget.model_validate(
        {"name": kind, "kind": kind, "url": {"literal": url} if isinstance(url, str) else url, **more, **changes}
    )
