"""Incidents in the control bucket: one compare-and-swap object each, and a small one beside it while it is open."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import InvalidInput
from tidegate.incidents.model import Incident
from tidegate.model.nearest import did_you_mean
from tidegate.registry.swap import SwapConflict, SwapStore

LAST: Final = "last"
CONTROL_WAIT_S: Final = 10.0
"""A person waits less long for the control bucket than an operation does."""
_AT_ONCE: Final = 8
_SLUG: Final = 40
"""Characters of a title that go into its id."""


class IncidentStore:
    """Incidents in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._records = SwapStore(store, bucket, Incident, control_wait_s=CONTROL_WAIT_S)

    async def open(self, wanted: Incident) -> tuple[Incident, bool]:
        """Open it, and whether it is new: one of the same id that is open is the same incident.

        One of the same id that is closed leaves its id alone: ``-2``, ``-3``, … is put behind it.

        Raises:
            Unavailable: the control bucket did not answer; the same again finishes what was begun.

        """
        number = 1
        while True:
            named = wanted if number == 1 else wanted.model_copy(update={"id": f"{wanted.id}-{number}"})
            stood = (await self._records.read_or_create(names.incident_key(named.id), named)).record
            if stood.is_open:
                await self.mark(stood.id)
                return stood, stood == named
            number += 1

    async def change(self, incident: str, change: Callable[[Incident], Incident]) -> Incident:
        """Apply ``change`` to it as it stands, once. What changes nothing is not written.

        Raises:
            InvalidInput: there is no such incident.
            Unavailable: the control bucket did not answer; whether it was written is not known.

        """
        key = names.incident_key(incident)
        basis = await self._records.read(key)
        if basis is None:
            raise await self._unknown(incident)
        while True:
            wanted = change(basis.record)
            if wanted != basis.record:
                seq = basis.record.seq + 1
                content = wanted.model_copy(update={"seq": seq, "write_id": ""}).model_dump_json()
                wanted = wanted.model_copy(update={"seq": seq, "write_id": names.derive_id(incident, content)})
                try:
                    basis = await self._records.swap(key, basis, wanted)
                except SwapConflict as conflict:
                    basis = conflict.current
                    continue
            await self.mark(incident)
            return basis.record

    async def resolve(self, name: str) -> str:
        """The id that is meant: ``last`` is the newest that is open, else the newest. Raises InvalidInput."""
        if name != LAST:
            return name
        found = await self.all()
        if not found:
            raise InvalidInput("there is no incident yet", hint="open one:  tidegate incident open TITLE")
        return next((one.id for one in found if one.is_open), found[0].id)

    async def mark(self, incident: str) -> None:
        """The mark of open incidents as the incident itself says: what a command left half-done is mended by the next.

        Looked at again afterwards, so that who marks while another closes leaves no mark.
        """
        uri = S3Uri(self._bucket, names.incident_open_key(incident))
        while True:
            found = await self._records.read(names.incident_key(incident))
            if found is not None and found.record.is_open:
                one = found.record
                said = one.model_dump(
                    mode="json", include={"id", "title", "severity", "deployments", "regions", "opened_at"}
                )
                await self._store.put(uri, json.dumps(said, sort_keys=True, indent=1).encode() + b"\n")
            else:
                await self._store.delete(uri)
            again = await self._records.read(names.incident_key(incident))
            if (again is not None and again.record.is_open) == (found is not None and found.record.is_open):
                return

    async def read(self, incident: str) -> Incident:
        """As it stands. Raises InvalidInput for one that there is not, Unavailable."""
        found = await self._records.read(names.incident_key(incident))
        if found is None:
            raise await self._unknown(incident)
        return found.record

    async def all(self) -> tuple[Incident, ...]:
        """All of them, the newest first. Raises Unavailable, InvalidInput for one that cannot be read."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def read(key: str) -> Incident | None:
            async with turn:
                try:
                    found = await self._records.read(key)
                except ValidationError as error:
                    msg = (
                        f"s3://{self._bucket}/{key}: no incident that this version can read: {error.errors()[0]['msg']}"
                    )
                    raise InvalidInput(msg) from error
                return found.record if found is not None else None

        found = await asyncio.gather(*(read(key) for key in await self._keys()))
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.opened_at, reverse=True))

    async def mend(self, incidents: tuple[Incident, ...]) -> None:
        """The marks of all of them as they should be: one that a command left behind would stop drills for ever."""
        prefix = S3Uri(self._bucket, names.INCIDENTS_OPEN_PREFIX)
        marked = {info.uri.key.removeprefix(names.INCIDENTS_OPEN_PREFIX) async for info in self._store.list(prefix)}
        still_open = {one.id for one in incidents if one.is_open}
        for wrong in sorted(marked ^ still_open):
            await self.mark(wrong)

    async def _keys(self) -> list[str]:
        prefix = S3Uri(self._bucket, names.INCIDENTS_PREFIX)
        keys = [info.uri.key async for info in self._store.list(prefix)]
        return [key for key in keys if key.endswith(".json") and "/" not in key.removeprefix(names.INCIDENTS_PREFIX)]

    async def _unknown(self, incident: str) -> InvalidInput:
        known = [key.removeprefix(names.INCIDENTS_PREFIX).removesuffix(".json") for key in await self._keys()]
        return InvalidInput(
            f"no such incident: {incident}{did_you_mean(incident, known)}", hint="see:  tidegate incident list --all"
        )


def incident_id(title: str, day: str) -> str:
    """The id of an incident: its day (``20261128``) and its title, as a person can say it."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG].strip("-")
    return f"{day}-{slug or names.derive_id(title)[:8]}"
