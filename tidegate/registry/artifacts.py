"""Artifacts: jars in the home region's object store, known by their sha256.

A jar is uploaded with its sha256 in the object's metadata. Operations pin that digest and fetch by it, so other bytes
under the same name are never run by an operation that was planned for the first. A copy is kept in the control bucket
(``keptjars``), and stands in where the region's store does not answer or has lost it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tidegate.clients.objects import ObjectStore, PreconditionFailed
from tidegate.clients.s3 import S3Store, open_store
from tidegate.errors import BasisChanged, InvalidInput, Refused, Unavailable
from tidegate.model.fleet import Fleet, S3Access
from tidegate.model.record import ArtifactRef
from tidegate.registry.keptjars import SHA256, KeptJars, LastPut


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """What stands at an artifact's uri. Absent: ``present`` is False, sha256 and size (bytes) are None.

    ``kept``: whether the same bytes lie in the control bucket, too; None: nobody looked. ``only_kept``: the uri could
    not be asked or is empty, and what is told here is what was put last, as the control bucket has it.
    """

    name: str
    uri: str
    present: bool
    sha256: str | None = None
    size: int | None = None
    kept: bool | None = None
    only_kept: bool = False


class PutOutcome(StrEnum):
    """What ``put_artifact`` did."""

    UPLOADED = "uploaded"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


def open_access(access: S3Access, timeout_s: float = 5.0) -> S3Store:
    """The store behind an S3 of the fleet file; the caller closes it. Raises InvalidInput for a missing secret."""
    secret = access.secret_key.resolve()
    return open_store(access.endpoint, access.access_key, secret, access.region_name, timeout_s)


async def inspect(store: ObjectStore, name: str, uri: str, kept: KeptJars | None = None) -> ArtifactInfo:
    """What stands at an artifact's uri. One that was uploaded without our metadata is read to know its sha256.

    With ``kept`` what was put last stands in where the store does not answer or has nothing there. Raises Unavailable
    if neither tells, and InvalidInput for a bucket that is not there.
    """
    try:
        found = await store.head(uri)
    except Unavailable:
        standing_in = await stand_in(name, uri, kept)
        if standing_in is None:
            raise
        return standing_in
    if found is None:
        return await stand_in(name, uri, kept) or ArtifactInfo(name, uri, present=False)
    sha256 = found.metadata.get(SHA256)
    if sha256 is None:
        with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
            sha256 = (await store.download_to(uri, Path(folder) / "artifact.jar")).sha256
    return ArtifactInfo(name, uri, present=True, sha256=sha256, size=found.size)


async def stand_in(name: str, uri: str, kept: KeptJars | None) -> ArtifactInfo | None:
    """What was put last under this name, as the control bucket keeps it; None: it keeps none."""
    said = await kept.last_put(name) if kept is not None else None
    if said is None:
        return None
    return ArtifactInfo(name, uri, present=True, sha256=said.sha256, size=said.size, kept=True, only_kept=True)


async def inspect_both(store: ObjectStore, name: str, uri: str, kept: KeptJars) -> ArtifactInfo:
    """As ``inspect``, and whether its bytes are kept in the control bucket, too; not known if that does not answer."""
    info = await inspect(store, name, uri, kept)
    if info.sha256 is None or info.kept is not None:
        return info
    try:
        return dataclasses.replace(info, kept=await kept.has(info.sha256))
    except Unavailable:
        return info


async def require(
    store: ObjectStore, fleet: Fleet, deployment: str, name: str, kept: KeptJars | None = None
) -> ArtifactInfo:
    """An artifact that is there. Raises InvalidInput naming the uri, what there is, and how to upload it."""
    artifact = fleet.artifact(deployment, name)
    info = await inspect(store, name, artifact.jar, kept)
    if not info.present:
        raise await not_uploaded(store, fleet, deployment, name)
    return info


async def not_uploaded(store: ObjectStore, fleet: Fleet, deployment: str, name: str) -> InvalidInput:
    """The error for an artifact that the fleet file names and the store does not have."""
    artifacts = fleet.deployment(deployment).artifacts
    heads = await asyncio.gather(*(store.head(artifact.jar) for artifact in artifacts.values()))
    there = [f"{n} ({a.jar})" for (n, a), head in zip(artifacts.items(), heads, strict=True) if head is not None]
    msg = f"deployments.{deployment}.artifacts.{name}.jar: no such object {artifacts[name].jar}"
    hint = f"uploaded artifacts of {deployment}: {', '.join(there) or 'none'}"
    return InvalidInput(msg, hint=f"{hint}\nupload it:  tidegate artifact put {deployment} {name} PATH.jar")


async def put_artifact(
    store: ObjectStore,
    kept: KeptJars,
    fleet: Fleet,
    deployment: str,
    name: str,
    path: Path,
    *,
    replace: bool = False,
) -> tuple[ArtifactInfo, PutOutcome]:
    """Upload a jar to the uri that the fleet file gives it, and keep a copy in the control bucket.

    The same bytes again change nothing, but for a copy that was not kept yet.

    Raises:
        InvalidInput: unknown name, or the file is no jar that holds the deployment's entry class.
        Refused: other bytes stand there already, and ``replace`` is False.
        Unavailable: the store or the control bucket did not answer; putting it again is harmless.

    """
    info, outcome = await _put(store, fleet, deployment, name, path, over=replace)
    if info.sha256 is not None:
        await kept.keep(path, info.sha256)
        await kept.say(LastPut(deployment=deployment, name=name, uri=info.uri, sha256=info.sha256, size=info.size or 0))
    return dataclasses.replace(info, kept=True), outcome


async def _put(
    store: ObjectStore, fleet: Fleet, deployment: str, name: str, path: Path, *, over: bool
) -> tuple[ArtifactInfo, PutOutcome]:
    uri = fleet.artifact(deployment, name).jar
    await asyncio.to_thread(check_jar, path, fleet.deployment(deployment).entry_class)
    sha256 = await asyncio.to_thread(sha256_of, path)
    info = await inspect(store, name, uri)
    if not info.present:
        try:
            return await _upload(store, name, path, uri, sha256, create_only=True), PutOutcome.UPLOADED
        except PreconditionFailed:
            info = await inspect(store, name, uri)  # somebody was quicker, or the first answer was lost
    if info.sha256 == sha256:
        return info, PutOutcome.UNCHANGED
    if not over:
        msg = f"{uri} holds other bytes already: sha256 {(info.sha256 or 'unknown')[:12]}…, {path} is {sha256[:12]}…"
        raise Refused(
            msg,
            hint="give new bytes a new name and uri in the fleet file; or overwrite:  "
            f"tidegate artifact put {deployment} {name} {path} --replace\n"
            "operations that run now have pinned the old sha256, and find it only if a copy was kept (artifact list)",
        )
    return await _upload(store, name, path, uri, sha256, create_only=False), PutOutcome.REPLACED


async def _upload(
    store: ObjectStore, name: str, path: Path, uri: str, sha256: str, *, create_only: bool
) -> ArtifactInfo:
    sent = await store.upload_file(path, uri, {SHA256: sha256}, create_only=create_only)
    if sent.sha256 != sha256:
        await store.delete(uri)  # its metadata would be a lie
        msg = f"{path} changed while it was uploaded"
        raise InvalidInput(msg, hint="put it again when the build has finished")
    return ArtifactInfo(name, uri, present=True, sha256=sha256, size=sent.size)


async def fetch(
    store: ObjectStore, uri: str, sha256: str, cache: Path, kept: KeptJars | None = None, *, kept_first: bool = False
) -> Path:
    """A jar by the digest that was pinned, as a verified file in the cache folder (made if it is not there).

    With ``kept`` the copy in the control bucket is taken where the store does not answer, or has other bytes or none;
    ``kept_first``: before the store is asked, for it may be lost, and each wait for it is downtime.

    Raises:
        BasisChanged: other bytes stand at the uri now.
        InvalidInput: nothing stands there.
        Unavailable: the store did not answer.

    """
    path = cache / f"{sha256}.jar"
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    if path.exists() and await asyncio.to_thread(sha256_of, path) == sha256:
        return path
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        fresh = Path(folder) / path.name
        try:
            if not (kept_first and kept is not None and await kept.bring(sha256, fresh)):
                await _download(store, uri, sha256, fresh)
        except (BasisChanged, InvalidInput, Unavailable):
            if kept is None or not await kept.bring(sha256, fresh):
                raise
        fresh.replace(path)
    return path


async def _download(store: ObjectStore, uri: str, sha256: str, path: Path) -> None:
    found = await store.download_to(uri, path)
    if found.sha256 != sha256:
        msg = f"{uri} has changed: sha256 {found.sha256[:12]}…, planned was {sha256[:12]}…"
        raise BasisChanged(msg, hint="put the planned bytes back, or plan again with those that are there now")


async def keep_jar(store: ObjectStore, kept: KeptJars, artifact: ArtifactRef, cache: Path) -> bool:
    """Keep the jar that a job runs, if it was put before copies were kept; False: it is kept already.

    Raises:
        BasisChanged, InvalidInput: the bytes that run stand at their uri no more.
        Unavailable: the store or the control bucket did not answer.

    """
    if await kept.has(artifact.sha256):
        return False
    path = await fetch(store, artifact.uri, artifact.sha256, cache)
    size = (await asyncio.to_thread(path.stat)).st_size
    sent = await kept.keep(path, artifact.sha256)
    said = LastPut(deployment=kept.deployment, name=artifact.name, uri=artifact.uri, sha256=artifact.sha256, size=size)
    await kept.say(said, only_first=True)
    return sent


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hex digits. Raises InvalidInput if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path}: cannot read it: {error.strerror}"
        raise InvalidInput(msg) from error


def check_jar(path: Path, entry_class: str) -> None:
    """Refuse what Flink could not run as this job. Raises InvalidInput saying what the file is not."""
    expected = f"expected a jar with {entry_class}"
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        msg = f"{path}: {what}; {expected}"
        raise InvalidInput(msg)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic != b"PK\x03\x04":
            msg = f"{path}: no jar: it begins with {magic.hex(' ') or 'nothing'}, a zip with 50 4b 03 04; {expected}"
            raise InvalidInput(msg)
        with zipfile.ZipFile(path) as jar:
            entries = set(jar.namelist())
    except zipfile.BadZipFile as error:
        msg = f"{path}: no whole jar: {error}; {expected}"
        raise InvalidInput(msg, hint="was the build or the copy cut off?") from error
    except OSError as error:
        msg = f"{path}: cannot read it: {error.strerror}"
        raise InvalidInput(msg) from error
    if "META-INF/MANIFEST.MF" not in entries:
        msg = f"{path}: no jar: a zip without META-INF/MANIFEST.MF; {expected}"
        raise InvalidInput(msg)
    if f"{entry_class.replace('.', '/')}.class" not in entries:
        msg = f"{path}: has no class {entry_class}, which the fleet file names as entry_class"
        raise InvalidInput(msg, hint="is it the jar of another deployment, or one without its dependencies' classes?")
