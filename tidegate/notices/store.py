"""What became of notices, in the control bucket: one create-only object each, in the order of their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.model.fleetnotices import NoticeTarget
from tidegate.model.notice import Notice, NotifyFact
from tidegate.notices.send import send

MOST: Final = 10_000
"""So many are read at once, the newest."""


class NoticeStore:
    """Notices in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def read(self, notice: Notice) -> NotifyFact | None:
        """What became of this one; None: nothing is written of it. Raises Unavailable."""
        found = await self._store.get_or_none(S3Uri(self._bucket, names.notice_key(notice.at, notice.id)))
        return None if found is None else _fact(found.body)

    async def append(self, fact: NotifyFact) -> None:
        """Write it down. Done again, the first stays. Raises Unavailable."""
        body = fact.model_dump_json(indent=1).encode() + b"\n"
        try:
            await self._store.create(S3Uri(self._bucket, names.notice_key(fact.notice.at, fact.notice.id)), body)
        except PreconditionFailed:
            return

    async def between(self, since: datetime | None = None, until: datetime | None = None) -> list[NotifyFact]:
        """Those of this time, oldest first; what cannot be read is passed over. Raises Unavailable."""
        prefix = S3Uri(self._bucket, names.NOTICES_PREFIX)
        keys = sorted([info.uri.key async for info in self._store.list(prefix)])[-MOST:]
        first = names.notice_key(since, "") if since is not None else ""
        facts = []
        for key in keys:
            if key.removesuffix(".json") < first.removesuffix(".json"):
                continue
            found = await self._store.get_or_none(S3Uri(self._bucket, key))
            fact = _fact(found.body) if found is not None else None
            if fact is not None and (until is None or fact.notice.at <= until):
                facts.append(fact)
        return facts


async def tell(targets: Sequence[NoticeTarget], notice: Notice, kept: NoticeStore) -> NotifyFact:
    """Send a notice once, and write down what became of it. Told already: nobody is told again.

    Raises Unavailable: the control bucket did not answer before anything was sent.
    """
    if not any(target.wants(notice) for target in targets):
        return NotifyFact(notice=notice)
    known = await kept.read(notice)
    if known is not None:
        return known
    fact = NotifyFact(notice=notice, sent=await send(targets, notice))
    await kept.append(fact)
    return fact


def _fact(body: bytes) -> NotifyFact | None:
    try:
        return NotifyFact.model_validate_json(body)
    except ValidationError:
        return None  # of a later version; what it says is no worse for being passed over here
