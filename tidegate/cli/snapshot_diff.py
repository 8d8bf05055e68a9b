"""``tidegate snapshot diff``: between two snapshots, or between a snapshot and the job graph of an artifact (X27)."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output, regions
from tidegate.cli import snapshot_text as text
from tidegate.cli.options import FleetOption, OutputOption, read_fleet
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import PlanNode
from tidegate.driver.base import ArtifactFile
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import InvalidInput
from tidegate.model.fleet import CellRef, Fleet, render_args
from tidegate.model.record import ArtifactRef
from tidegate.operation.move import home_of
from tidegate.registry import artifacts
from tidegate.registry.keptjars import KeptJars
from tidegate.snapshot.against import Against, OperatorFate, Stale, against, declared_uids, stale_state
from tidegate.snapshot.diff import diff as compare
from tidegate.snapshot.files import Snapshot, read_snapshot

PLAN_TIMEOUT_S = 20.0


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="SNAPSHOT", help="DEPLOYMENT/ID as in the list, DEPLOYMENT/newest, or s3://BUCKET/KEY"),
    ],
    after: Annotated[str | None, typer.Argument(metavar="[SNAPSHOT]", help="the other one, likewise")] = None,
    *,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="NAME", help="compare with this artifact's job graph")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="default: where it runs")] = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate snapshot diff ledger/newest --artifact v2

    With two snapshots: operators and states that came, went or changed, by uid. With --artifact: what a start of that
    artifact from the snapshot would keep, drop or start empty. For it the Flink of its cell builds the artifact's job
    graph; the jar is uploaded there if it is not yet, and nothing is started.
    """
    loaded = read_fleet(fleet).fleet
    if (after is None) is (artifact is None):
        raise InvalidInput(
            "expected a second snapshot or --artifact NAME, one of the two",
            hint="tidegate snapshot diff ledger/e6-chk-40 ledger/e7-chk-12\n"
            "tidegate snapshot diff ledger/newest --artifact v2",
        )
    if artifact is not None:
        start = asyncio.run(_start(loaded, before, artifact, region))
        output.answer(_json(start)) if form is output.Format.JSON else output.say(_text(start))
    elif after is not None:
        one, other = asyncio.run(_both(loaded, before, after, region))
        result = compare(one.metadata, other.metadata)
        names = str(one.directory), str(other.directory)
        output.answer(text.diff_json(*names, result)) if form is output.Format.JSON else output.say(
            text.diff(*names, result)
        )


async def _both(fleet: Fleet, before: str, after: str, region: str | None) -> tuple[Snapshot, Snapshot]:
    _, one = await _read(fleet, before, region)
    _, other = await _read(fleet, after, region)
    return one, other


async def _read(fleet: Fleet, named: str, region: str | None) -> tuple[regions.Found, Snapshot]:
    async def read(found: regions.Found) -> Snapshot:
        async with regions.open_store_of(fleet, found.region) as store:
            return await read_snapshot(store, found.location)

    return await regions.look_into(fleet, named, region, read)


@dataclass(frozen=True)
class _Start:
    """A start of an artifact from a snapshot, as it would be."""

    location: str
    artifact: ArtifactRef
    cell: CellRef
    parallelism: int
    result: Against
    stale: Stale | None
    keep_stale: bool
    notes: tuple[str, ...]


async def _start(fleet: Fleet, named: str, artifact: str, region: str | None) -> _Start:
    found, snapshot = await _read(fleet, named, region)
    deployment = await regions.deployment_of(fleet, found)
    spec = fleet.deployment(deployment)
    entry = found.entry
    if entry is None:
        _, seen = await regions.read_catalog(fleet, deployment, found.region)
        entry = next((one for one in seen.entries if str(one.location) == found.location), None)
    record = await regions.read_record(fleet, deployment)
    home = home_of(fleet, deployment, record)
    ref, graph = await _graph(fleet, deployment, artifact, home, (record.epoch if record else 0) + 1)
    stale, note = stale_state(record, entry.epoch if entry else None, ref)
    result = against(snapshot.metadata, graph, declared_uids(spec))
    notes = (*result.notes, *([note] if note else []))
    keep = spec.stale_state == "keep"
    return _Start(str(snapshot.directory), ref, home, spec.parallelism, result, stale, keep, notes)


async def _graph(
    fleet: Fleet, deployment: str, artifact: str, home: CellRef, epoch: int
) -> tuple[ArtifactRef, list[PlanNode]]:
    """The job graph of an artifact as the Flink of its cell builds it; ``epoch`` is only one of its arguments."""
    spec = fleet.deployment(deployment)
    cell = fleet.cell(home)
    with tempfile.TemporaryDirectory(prefix="tidegate-") as cache:
        async with (
            artifacts.open_access(fleet.artifact_store(deployment), regions.TIMEOUT_S) as store,
            artifacts.open_access(fleet.control.s3, regions.TIMEOUT_S) as control,
        ):
            kept = KeptJars(control, fleet.control.bucket, deployment)
            info = await artifacts.require(store, fleet, deployment, artifact, kept)
            jar = await artifacts.fetch(store, info.uri, info.sha256 or "", Path(cache), kept)
        ref = ArtifactRef(name=artifact, sha256=info.sha256 or "", uri=info.uri)
        async with FlinkClient(cell.flink.rest, timeout_s=PLAN_TIMEOUT_S) as client:
            graph = await SessionClusterDriver(client).plan(
                ArtifactFile(path=jar, sha256=ref.sha256, name=artifact),
                entry_class=spec.entry_class,
                args=render_args(fleet, deployment, home.region, home.cell, epoch),
                parallelism=spec.parallelism,
            )
    return ref, graph


def _text(start: _Start) -> str:
    artifact = f"artifact {start.artifact.name} (sha256 {start.artifact.sha256[:12]}), parallelism {start.parallelism}"
    rows = [("from", start.location), ("to", f"{artifact}, its graph as Flink in {start.cell} builds it")]
    rows += [(one.fate.value, _line(one)) for one in start.result.operators]
    if start.stale is not None:
        rows.append(("stale", f"state that only {start.stale.of.name} has has stood still; {start.stale.meaning}"))
        if start.keep_stale:
            rows.append(("", "the fleet file says stale_state: keep"))
    rows += [("note", note) for note in start.notes]
    return output.columns([*rows, ("so", _verdict(start.result))])


def _line(one: OperatorFate) -> str:
    size = f" ({output.size(one.bytes)})" if one.bytes else ""
    said = [*([one.known_by.value] if one.known_by is not None else []), *one.facts]
    return f"{one.label}{size}: {', '.join(said)}"


def _verdict(result: Against) -> str:
    refused = [one.label for one in result.operators if one.refused]
    if refused:
        return f"Flink refuses this start, because of {', '.join(refused)}"
    untold = [one.label for one in result.operators if one.fate.value == "not told"]
    if untold:
        return f"not told for {', '.join(untold)}: only a start tells"
    return "every operator with state in the snapshot is in the graph"


def _json(start: _Start) -> dict[str, object]:
    return {
        "from": start.location,
        "artifact": start.artifact.model_dump(mode="json"),
        "cell": str(start.cell),
        "parallelism": start.parallelism,
        "starts": start.result.starts,
        "operators": [
            {"operator": one.label, "id": one.operator_id, "uid": one.uid, "fate": one.fate.value, "bytes": one.bytes,
             "known_by": one.known_by.value if one.known_by else None, "facts": list(one.facts),
             "refused": one.refused}
            for one in start.result.operators
        ],
        "stale": asdict(start.stale) | {"of": start.stale.of.model_dump(mode="json")} if start.stale else None,
        "notes": list(start.notes),
    }  # fmt: skip
