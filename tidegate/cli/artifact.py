"""``tidegate artifact``: jars by name, in the object store."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.cli.options import DryRunOption, FleetOption, OutputOption, read_fleet
from tidegate.model.fleet import Fleet
from tidegate.registry import artifacts
from tidegate.registry.artifacts import ArtifactInfo, PutOutcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="jars by name, in the object store",
    rich_markup_mode=None,
    help="Example:  tidegate artifact list ledger\n\nJars by name, in the object store.",
)


@app.command("put", short_help="upload a jar")
def put(
    deployment: Annotated[str, typer.Argument(help="a deployment of the fleet file")],
    name: Annotated[str, typer.Argument(help="an artifact of that deployment")],
    path: Annotated[Path, typer.Argument(metavar="PATH.jar", help="the jar on this machine")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="overwrite other bytes that stand there")] = False,
    dry_run: DryRunOption = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate artifact put ledger v2 ledger/target/ledger-v2.jar

    Upload a jar to the place that the fleet file gives it. The same bytes again change nothing.
    """
    loaded = read_fleet(fleet).fleet
    uri = loaded.artifact(deployment, name).jar
    if dry_run:
        artifacts.check_jar(path, loaded.deployment(deployment).entry_class)
        sha256 = artifacts.sha256_of(path)
        if form is output.Format.JSON:
            output.answer({"outcome": "dry-run", "uri": uri, "sha256": sha256})
        else:
            output.say(f"would put {path} (sha256 {sha256[:12]}) at {uri}")
        return
    info, outcome = asyncio.run(_put(loaded, deployment, name, path, replace=replace))
    if form is output.Format.JSON:
        output.answer({"outcome": outcome.value, **asdict(info)})
        return
    output.say(f"{outcome.value}  {info.uri}  {output.size(info.size or 0)}  sha256 {(info.sha256 or '')[:12]}")
    if outcome is PutOutcome.REPLACED:
        output.note("warning: operations that run now have pinned the old sha256 and will not find it any more")


async def _put(
    fleet: Fleet, deployment: str, name: str, path: Path, *, replace: bool
) -> tuple[ArtifactInfo, PutOutcome]:
    async with artifacts.open_access(fleet.artifact_store(deployment)) as store:
        return await artifacts.put_artifact(store, fleet, deployment, name, path, replace=replace)


@app.command("list", short_help="what there is, and what of it is uploaded")
def show(
    deployment: Annotated[str | None, typer.Argument(help="one deployment; default all")] = None,
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate artifact list ledger

    The artifacts of the fleet file, and what of them is in the object store.
    """
    loaded = read_fleet(fleet).fleet
    if deployment is not None:
        loaded.deployment(deployment)
    names = [deployment] if deployment is not None else list(loaded.deployments)
    found = asyncio.run(_inspect_all(loaded, names))
    if form is output.Format.JSON:
        output.answer({name: [asdict(info) for info in infos] for name, infos in found.items()})
        return
    rows = [
        (
            name,
            info.name,
            output.size(info.size or 0) if info.present else "not uploaded",
            (info.sha256 or "")[:12],
            ", ".join(loaded.artifact(name, info.name).readable_by),
            info.uri,
        )
        for name, infos in found.items()
        for info in infos
    ]
    head = ("DEPLOYMENT", "ARTIFACT", "SIZE", "SHA256", "STATE READABLE BY", "URI")
    output.say(output.columns(rows, head=head) if rows else "the fleet file has no deployments")


async def _inspect_all(fleet: Fleet, names: list[str]) -> dict[str, list[ArtifactInfo]]:
    found = {}
    for name in names:
        async with artifacts.open_access(fleet.artifact_store(name)) as store:
            jars = fleet.deployment(name).artifacts.items()
            found[name] = list(await asyncio.gather(*(artifacts.inspect(store, of, a.jar) for of, a in jars)))
    return found
