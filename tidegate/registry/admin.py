"""What a person may do to a record by hand: release it from an operation that is lost (OWNERSHIP.md O4, O9)."""

from __future__ import annotations

import json

from tidegate.errors import BasisChanged, InvalidInput, Refused
from tidegate.model.record import DeploymentRecord, RecordState, utc_now
from tidegate.registry.ownership import History, refuse_open_intents
from tidegate.registry.records import Conflict, RecordStore, write_id

RELEASED = "released-by-person"
"""Name of the event in the history."""


async def release_by_person(
    records: RecordStore, history: History, deployment: str, *, who: str, why: str, expected_fence: int
) -> DeploymentRecord:
    """Release a held record: nobody holds it, and the fence has risen, so that the old holder is superseded (O8).

    ``expected_fence`` is the fence that the person saw. Asked again with the same words after a lost answer, it finds
    the release done and only sees to it that the history says so.

    Raises:
        InvalidInput: the deployment was never taken, so there is no record.
        Refused: nobody holds it; or intents are open, which a runbook must resolve first.
        BasisChanged: another operation has taken it since.
        Unavailable: the control bucket did not answer; ask again with the same words.
    """
    while True:
        current = await records.read(deployment)
        if current is None:
            raise InvalidInput(f"there is no record of {deployment}: no operation ever took it")
        record = current.record
        before, released = record.holder, _released(record, who, why)
        if record.fence == expected_fence + 1 and record.holder is None and _is_ours(record, who, why):
            break
        if record.fence != expected_fence:
            raise BasisChanged(
                f"{deployment} has changed hands meanwhile: fence {expected_fence} has become {record.fence}",
                hint=f"look again:  tidegate registry show {deployment}",
            )
        if before is None:
            raise Refused(
                f"nobody holds {deployment}: there is nothing to release",
                hint=f"tidegate registry show {deployment}",
            )
        refuse_open_intents(record)
        try:
            record = (await records.swap(current, released)).record
        except Conflict:
            continue  # the holder wrote in between; what it wrote decides anew
        break
    event = {
        "event": RELEASED,
        "at": utc_now().isoformat(),
        "who": who,
        "why": why,
        "fence": record.fence,
        "holder": before.model_dump(mode="json") if before else None,
    }
    await history.append(record, RELEASED, json.dumps(event, indent=1, ensure_ascii=False).encode() + b"\n")
    return record


def _released(record: DeploymentRecord, who: str, why: str) -> DeploymentRecord:
    wanted = record.model_copy(
        update={
            "seq": record.seq + 1,
            "fence": record.fence + 1,
            "state": RecordState.IDLE,
            "holder": None,
            "intents": (),
        }
    )
    return wanted.model_copy(update={"write_id": _write_id(wanted, who, why)})


def _write_id(released: DeploymentRecord, who: str, why: str) -> str:
    return write_id(f"person {who}", why, "release", released.fence, released)


def _is_ours(record: DeploymentRecord, who: str, why: str) -> bool:
    return record.write_id == _write_id(record, who, why)
