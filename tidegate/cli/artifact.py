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
from tidegate.registry.keptjars import KeptJars

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

    Upload a jar to the place that the fleet file gives it, and keep a copy in the control bucket. The same bytes again
    change nothing.
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
        output.note("warning: operations that run now have pinned the old sha256, and find it only if a copy was kept")


async def _put(
    fleet: Fleet, deployment: str, name: str, path: Path, *, replace: bool
) -> tuple[ArtifactInfo, PutOutcome]:
    async with (
        artifacts.open_access(fleet.artifact_store(deployment)) as store,
        artifacts.open_access(fleet.control.s3) as control,
    ):
        kept = KeptJars(control, fleet.control.bucket, deployment)
        return await artifacts.put_artifact(store, kept, fleet, deployment, name, path, replace=replace)


@app.command("list", short_help="what there is, and what of it is uploaded")
def show(
    deployment: Annotated[str | None, typer.Argument(help="one deployment; default all")] = None,
    *,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate artifact list ledger

    The artifacts of the fleet file, what of them is in the object store, and whether a copy is kept in the control
    bucket: without one a deployment cannot go on in another region when its own is gone.
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
            _kept(loaded, name, info),
            ", ".join(loaded.artifact(name, info.name).readable_by),
            info.uri,
        )
        for name, infos in found.items()
        for info in infos
    ]
    head = ("DEPLOYMENT", "ARTIFACT", "SIZE", "SHA256", "OUTSIDE ITS REGION", "STATE READABLE BY", "URI")
    output.say(output.columns(rows, head=head) if rows else "the fleet file has no deployments")


def _kept(fleet: Fleet, deployment: str, info: ArtifactInfo) -> str:
    """Whether a copy outlives the home region."""
    if info.kept is None:
        return "the control bucket does not answer" if info.present else ""
    if not info.kept:
        return "no"
    if fleet.control.s3.endpoint == fleet.artifact_store(deployment).endpoint:
        return "no, the control bucket is on the same S3"
    return "only there" if info.only_kept else "yes"


async def _inspect_all(fleet: Fleet, names: list[str]) -> dict[str, list[ArtifactInfo]]:
    found = {}
    for name in names:
        async with (
            artifacts.open_access(fleet.artifact_store(name)) as store,
            artifacts.open_access(fleet.control.s3) as control,
        ):
            kept = KeptJars(control, fleet.control.bucket, name)
            jars = fleet.deployment(name).artifacts.items()
            looks = (artifacts.inspect_both(store, of, a.jar, kept) for of, a in jars)
            found[name] = list(await asyncio.gather(*looks))
    return found
