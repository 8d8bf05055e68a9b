"""Entries of a schedules file for tests."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tidegate.model.schedule import Entry, ScheduledInput

SWEEP: dict[str, Any] = {
    "runbook": "SweepSnapshots",
    "input": {"deployment": "ledger", "keep": 3},
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
}


def entry(**fields: Any) -> Entry:
    """An entry that sweeps the ledger every night."""
    return Entry.model_validate(SWEEP | fields, strict=False)


def asked(name: str = "sweep-ledger", **fields: Any) -> ScheduledInput:
    """What the runs of such an entry are given."""
    return ScheduledInput(name=name, entry=entry(**fields))


async def delete_schedules(client: Client) -> None:
    """All that the server lists. Its list is a moment behind: one that is gone already is no error."""
    async for one in await client.list_schedules():
        try:
            await client.get_schedule_handle(one.id).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
