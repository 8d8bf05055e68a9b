"""Find and read the reports in the control bucket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from tidegate.clients.objects import ObjectInfo, ObjectStore, S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.nearest import did_you_mean
from tidegate.model.operation import Outcome
from tidegate.model.steps import ReportInput

PREFIX = "reports/"
EARLIER = 6
"""How many earlier upgrades tell what to expect."""
RECENT: Final = 40
"""So many of the newest reports of a deployment are read at a time."""
RECENT_MOST: Final = 600
"""And so many at most."""
_AT_ONCE: Final = 8
_SUFFIXES = (".json", ".html", ".md")


@dataclass(frozen=True)
class StoredReport:
    """A report as it lies in the bucket. ``sha256`` is of ``body``, the JSON."""

    key: str
    body: bytes
    sha256: str
    report: ReportInput

    def key_of(self, suffix: str) -> str:
        """The key of another form of it: md or html."""
        return f"{self.key.removesuffix('.json')}.{suffix}"


async def list_reports(store: ObjectStore, bucket: str, deployment: str | None = None) -> list[ObjectInfo]:
    """The JSON objects of all reports, the newest first.

    Raises:
        Unavailable: the control bucket did not answer.
    """
    prefix = S3Uri(bucket, f"{PREFIX}{deployment}/" if deployment else PREFIX)
    found = [info async for info in store.list(prefix) if info.uri.key.endswith(".json")]
    return sorted(found, key=lambda info: (info.last_modified, info.uri.key), reverse=True)


async def find_report(store: ObjectStore, bucket: str, name: str) -> str:
    """The key of a report's JSON: by its operation (the newest run), by its key, or by its ``s3://`` location.

    Raises:
        InvalidInput: there is none, or the operation's name stands under several deployments.
        Unavailable: the control bucket did not answer.
    """
    asked = S3Uri.parse(name).key if name.startswith("s3://") else name
    suffix = next((end for end in _SUFFIXES if asked.endswith(end)), "")
    if asked.startswith(PREFIX) and suffix:
        key = f"{asked.removesuffix(suffix)}.json"
        if await store.head(S3Uri(bucket, key)) is None:
            raise InvalidInput(f"no such report: s3://{bucket}/{key}", hint="see:  tidegate report list")
        return key
    reports = await list_reports(store, bucket)
    there = [info.uri.key for info in reports if operation_of(info.uri.key) == asked]
    if len({deployment_of(key) for key in there}) == 1:
        return there[0]
    if there:
        raise InvalidInput(f"{asked} has {len(there)} reports; name one by its key", hint="\n".join(there))
    known = [operation_of(info.uri.key) for info in reports]
    raise InvalidInput(
        f"no report of an operation {asked}{did_you_mean(asked, known)}", hint="see:  tidegate report list"
    )


async def recent_reports(
    store: ObjectStore, bucket: str, deployment: str, enough: Callable[[Sequence[ReportInput]], bool]
) -> tuple[ReportInput, ...]:
    """The newest reports of a deployment, newest first: so many at a time, until those that are read are ``enough``.

    One that this version cannot read is passed over: it proves nothing.

    Raises:
        Unavailable: the control bucket did not answer.
    """
    infos = (await list_reports(store, bucket, deployment))[:RECENT_MOST]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(key: str) -> ReportInput | None:
        async with turn:
            try:
                return (await load_report(store, bucket, key)).report
            except InvalidInput:
                return None

    known: list[ReportInput] = []
    for first in range(0, len(infos), RECENT):
        found = await asyncio.gather(*(one(info.uri.key) for info in infos[first : first + RECENT]))
        known += [report for report in found if report is not None]
        if enough(known):
            break
    return tuple(sorted(known, key=lambda report: report.ended, reverse=True))


async def earlier_gaps_s(store: ObjectStore, bucket: str, deployment: str, newest: int = EARLIER) -> tuple[float, ...]:
    """How long processing stood still, in seconds, in the newest upgrades that were done; the newest first.

    Reports that this version cannot read are passed over: what is expected decides nothing.

    Raises:
        Unavailable: the control bucket did not answer.
    """
    infos = (await list_reports(store, bucket, deployment))[: 2 * newest]  # starts and undone ones are among them
    gaps_s = await asyncio.gather(*(_gap_s(store, bucket, info.uri.key) for info in infos))
    return tuple(gap_s for gap_s in gaps_s if gap_s is not None)[:newest]


async def _gap_s(store: ObjectStore, bucket: str, key: str) -> float | None:
    try:
        report = (await load_report(store, bucket, key)).report
    except InvalidInput:
        return None
    done = report.outcome is Outcome.DONE and report.switch is not None
    gap_ms = report.verdict.gap_ms if report.verdict and done else None
    return gap_ms / 1000 if gap_ms is not None else None


def deployment_of(key: str) -> str:
    """The deployment in a report's key."""
    return key.removeprefix(PREFIX).partition("/")[0]


def operation_of(key: str) -> str:
    """The operation in a report's key."""
    return key.removeprefix(PREFIX).partition("/")[2].rpartition("/")[0]


async def load_report(store: ObjectStore, bucket: str, key: str) -> StoredReport:
    """A report by the key of its JSON.

    Raises:
        InvalidInput: there is none, or it cannot be read: what is wrong with it.
        Unavailable: the control bucket did not answer.
    """
    uri = S3Uri(bucket, key)
    body = (await store.get(uri)).body
    try:
        report = ReportInput.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        msg = f"{uri}: no report that this version can read: {where}: {first['msg']}"
        raise InvalidInput(
            msg, hint=f"the HTML beside it may still open:  {uri.parent.join(operation_of(key))}.html"
        ) from error
    return StoredReport(key, body, hashlib.sha256(body).hexdigest(), report)
