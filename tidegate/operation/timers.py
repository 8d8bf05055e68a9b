"""Which timers and windows the snapshot of a plan has (X28). Reads only.

To look costs little and stops nothing: what cannot be read in time is not known, and the plan says so.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from tidegate.clients.objects import ObjectInfo, ObjectStore, S3Uri
from tidegate.errors import TidegateError
from tidegate.model.timers import OperatorTimers, TimersFound
from tidegate.operation.price import name_of
from tidegate.operation.site import Site
from tidegate.snapshot.files import METADATA_NAME, read_snapshot
from tidegate.snapshot.keyedstates import KeyedStates, keyed_states

LOOK_S: Final = 3.0
"""What has not been read by then is not known."""


async def timers_in(store: ObjectStore, location: str, name: str, taken_at: datetime | None) -> TimersFound:
    """The timers and windows in the snapshot at a location. Raises nothing: what is not known is said."""
    found = TimersFound(snapshot=location, name=name, taken_at=taken_at)
    try:
        async with asyncio.timeout(LOOK_S):
            seen = await keyed_states(store, await read_snapshot(store, location))
    except TimeoutError:
        return found.model_copy(update={"unknown": (f"{name} could not be read within {LOOK_S:g} s",)})
    except TidegateError as error:
        return found.model_copy(update={"unknown": (error.message,)})
    timers = tuple(told for one in seen if (told := _timers(one)) is not None)
    unknown = tuple(f"{one.label}: {one.problem}" for one in seen if one.problem is not None)
    return found.model_copy(update={"operators": timers, "unknown": unknown})


def _timers(one: KeyedStates) -> OperatorTimers | None:
    if one.problem is not None and not one.states:
        return None  # it is told of as unknown
    processing, event, windows = one.processing_timers, one.event_timers, one.windows
    if processing is False and event is False and not windows:
        return None
    return OperatorTimers(operator=one.label, processing=processing, event=event, windows=windows)


async def timers_of_job(site: Site, job_id: str, epoch: int) -> TimersFound:
    """As ``timers_in``, of the newest checkpoint of a job: for a snapshot that is yet to be taken of it."""
    try:
        async with asyncio.timeout(LOOK_S):
            newest = await _newest(site, job_id)
    except TimeoutError:
        return _unknown(job_id, f"its checkpoints could not be listed within {LOOK_S:g} s")
    except TidegateError as error:
        return _unknown(job_id, error.message)
    if newest is None:
        return _unknown(job_id, f"job {job_id[:8]} has no checkpoint in {site.region}")
    location = str(newest.uri.parent)
    return await timers_in(site.snapshots, location, name_of(location, epoch), None)


async def _newest(site: Site, job_id: str) -> ObjectInfo | None:
    prefix = S3Uri.parse(site.checkpoints).join(job_id, "chk-")
    found = [one async for one in site.snapshots.list(prefix) if one.uri.name == METADATA_NAME]
    return max(found, key=lambda one: one.last_modified, default=None)


def _unknown(job_id: str, why: str) -> TimersFound:
    return TimersFound(snapshot="", name=job_id[:8], unknown=(why,))
