"""``tidegate fleet check --online``: ask every endpoint of a fleet file, look for every object. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from tidegate.cli import output
from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.clients.objects import S3Uri
from tidegate.clients.s3 import S3Store
from tidegate.errors import InvalidInput, TidegateError, Unavailable
from tidegate.model.fleet import Cell, Fleet, S3Access
from tidegate.model.fleetcheck import Path
from tidegate.model.fleetfile import LoadedFleet, dotted
from tidegate.names import FLEET_POINTER_KEY
from tidegate.registry import artifacts

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one field: a fact, or what is wrong with it and what to do."""

    path: Path
    fact: str = ""
    wrong: str | None = None
    hint: str | None = None
    away: bool = False
    """The endpoint did not answer: nothing is known of the field itself."""

    @property
    def field(self) -> str:
        """The field, dotted."""
        return dotted(self.path)


async def examine(loaded: LoadedFleet) -> list[Finding]:
    """A finding for each endpoint and object that the file names, in the file's order. Raises nothing of ours."""
    fleet = loaded.fleet
    tasks: list[Awaitable[list[Finding]]] = [_control(fleet)]
    for name, region in fleet.regions.items():
        tasks.append(_region_s3(("regions", name), region.s3, list(region.cells.items())))
        tasks.append(_kafka(fleet, name))
        tasks += [_flink(("regions", name, "cells", cell, "flink"), at) for cell, at in region.cells.items()]
    tasks += [_artifacts(fleet, name) for name in fleet.deployments]
    found: dict[Path, Finding] = {}
    for findings in await asyncio.gather(*tasks):
        for finding in findings:
            found.setdefault(finding.path, finding)
    return list(found.values())


async def _finding(path: Path, ask: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(path, fact=await ask())
    except TidegateError as error:
        return Finding(path, wrong=error.message, hint=error.hint, away=isinstance(error, Unavailable))


async def _with_store(
    path: Path, access: S3Access, ask: Callable[[S3Store], Awaitable[list[Finding]]]
) -> list[Finding]:
    try:
        store = artifacts.open_access(access, TIMEOUT_S)
    except InvalidInput as error:
        return [Finding((*path, "secret_key"), wrong=error.message, hint=error.hint)]
    async with store:
        findings = await ask(store)
    # An endpoint that does not answer is one mistake, not one for each object behind it.
    silent = [finding for finding in findings if finding.away][:1]
    told = [replace(finding, path=(*path, "endpoint")) for finding in silent]
    return [*told, *(finding for finding in findings if not finding.away)]


async def _control(fleet: Fleet) -> list[Finding]:
    bucket = fleet.control.bucket

    async def ask(store: S3Store) -> list[Finding]:
        async def look() -> str:
            found = await store.head(S3Uri(bucket, FLEET_POINTER_KEY))
            return f"{bucket} answers; a fleet file {'is' if found else 'was never'} published"

        return [await _finding(("control", "bucket"), look)]

    return await _with_store(("control", "s3"), fleet.control.s3, ask)


async def _region_s3(path: Path, access: S3Access, cells: list[tuple[str, Cell]]) -> list[Finding]:
    async def ask(store: S3Store) -> list[Finding]:
        async def look(uri: str) -> str:
            await store.list_names(uri)
            return f"{uri} answers"

        asked = [
            _finding((*path, "cells", name, kind), partial(look, uri))
            for name, cell in cells
            for kind, uri in (("savepoints", cell.savepoints), ("checkpoints", cell.checkpoints))
        ]
        return list(await asyncio.gather(*asked))

    return await _with_store((*path, "s3"), access, ask)


async def _flink(path: Path, cell: Cell) -> list[Finding]:
    async def look() -> str:
        async with FlinkClient(cell.flink.rest, timeout_s=TIMEOUT_S) as client:
            found = await client.overview()
        slots = f"{output.count(found.slots_available)} of {output.count(found.slots_total)} slots free"
        return f"Flink {found.flink_version}, {output.count(found.taskmanagers)} TaskManagers, {slots}"

    return [await _finding((*path, "rest"), look)]


async def _kafka(fleet: Fleet, region: str) -> list[Finding]:
    access, path = fleet.region(region).kafka, ("regions", region, "kafka")
    login = None
    given = access.security
    if given.mechanism is not None and given.username is not None and given.password is not None:
        try:
            login = KafkaSecurity(given.protocol, given.mechanism, given.username, given.password.resolve())
        except InvalidInput as error:
            return [Finding((*path, "security", "password"), wrong=error.message, hint=error.hint)]
    try:
        async with Kafka(access.bootstrap, login, timeout_s=TIMEOUT_S) as client:
            topics = frozenset(await client.topics())
    except TidegateError as error:
        return [Finding((*path, "bootstrap"), wrong=error.message, hint=error.hint)]
    found = [Finding((*path, "bootstrap"), fact=f"{access.bootstrap} answers, {output.count(len(topics))} topics")]
    for name, deployment in fleet.deployments.items():
        if deployment.home_ref.region != region:
            continue
        used = [("sources", index, source.topics) for index, source in enumerate(deployment.sources)]
        used += [("sinks", index, sink.topics) for index, sink in enumerate(deployment.sinks)]
        for kind, index, names in used:
            for at, topic in enumerate(names):
                wrong = None if topic in topics else f"no such topic {topic} on {access.bootstrap}"
                where: Path = ("deployments", name, kind, index, "topics", at)
                found.append(Finding(where, fact=f"{topic} is there", wrong=wrong))
    return found


async def _artifacts(fleet: Fleet, deployment: str) -> list[Finding]:
    path: Path = ("deployments", deployment, "artifacts")
    region = fleet.deployment(deployment).home_ref.region

    async def ask(store: S3Store) -> list[Finding]:
        async def look(name: str, uri: str) -> str:
            found = await artifacts.inspect(store, name, uri)
            if not found.present:
                hint = f"upload it:  tidegate artifact put {deployment} {name} PATH.jar"
                raise InvalidInput(f"no such object {uri}", hint=hint)
            return f"{uri}, {output.size(found.size or 0)}, sha256 {(found.sha256 or '')[:12]}"

        jars = fleet.deployment(deployment).artifacts
        asked = (_finding((*path, name, "jar"), partial(look, name, of.jar)) for name, of in jars.items())
        return list(await asyncio.gather(*asked))

    return await _with_store(("regions", region, "s3"), fleet.artifact_store(deployment), ask)
