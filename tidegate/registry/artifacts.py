"""Artifacts: jars in the object store, known by their sha256.

A jar is uploaded with its sha256 in the object's metadata. Operations pin that digest and fetch by it, so other bytes
under the same name are never run by an operation that was planned for the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tidegate.clients.objects import ObjectStore, PreconditionFailed
from tidegate.clients.s3 import S3Store, open_store
from tidegate.errors import BasisChanged, InvalidInput, Refused
from tidegate.model.fleet import Fleet, S3Access

SHA256 = "sha256"
"""The metadata key under which a jar's digest stands (``x-amz-meta-sha256``)."""


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """What stands at an artifact's uri. Absent: ``present`` is False, sha256 and size (bytes) are None."""

    name: str
    uri: str
    present: bool
    sha256: str | None = None
    size: int | None = None


class PutOutcome(StrEnum):
    """What ``put_artifact`` did."""

    UPLOADED = "uploaded"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


def open_access(access: S3Access, timeout_s: float = 5.0) -> S3Store:
    """The store behind an S3 of the fleet file; the caller closes it. Raises InvalidInput for a missing secret."""
    secret = access.secret_key.resolve()
    return open_store(access.endpoint, access.access_key, secret, access.region_name, timeout_s)


async def inspect(store: ObjectStore, name: str, uri: str) -> ArtifactInfo:
    """What stands at an artifact's uri. One that was uploaded without our metadata is read to know its sha256.

    Raises Unavailable, and InvalidInput for a bucket that is not there.
    """
    found = await store.head(uri)
    if found is None:
        return ArtifactInfo(name, uri, present=False)
    sha256 = found.metadata.get(SHA256)
    if sha256 is None:
        with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
            sha256 = (await store.download_to(uri, Path(folder) / "artifact.jar")).sha256
    return ArtifactInfo(name, uri, present=True, sha256=sha256, size=found.size)


async def require(store: ObjectStore, fleet: Fleet, deployment: str, name: str) -> ArtifactInfo:
    """An artifact that is there. Raises InvalidInput naming the uri, what there is, and how to upload it."""
    artifact = fleet.artifact(deployment, name)
    info = await inspect(store, name, artifact.jar)
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
    store: ObjectStore, fleet: Fleet, deployment: str, name: str, path: Path, *, replace: bool = False
) -> tuple[ArtifactInfo, PutOutcome]:
    """Upload a jar to the uri that the fleet file gives it. The same bytes again change nothing.

    Raises:
        InvalidInput: unknown name, or the file is no jar that holds the deployment's entry class.
        Refused: other bytes stand there already, and ``replace`` is False.
        Unavailable: the store did not answer; putting it again is harmless.

    """
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
    if not replace:
        msg = f"{uri} holds other bytes already: sha256 {(info.sha256 or 'unknown')[:12]}…, {path} is {sha256[:12]}…"
        raise Refused(
            msg,
            hint="give new bytes a new name and uri in the fleet file; or overwrite:  "
            f"tidegate artifact put {deployment} {name} {path} --replace\n"
            "operations that run now have pinned the old sha256 and will not find it any more",
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


async def fetch(store: ObjectStore, uri: str, sha256: str, cache: Path) -> Path:
    """A jar by the digest that was pinned, as a verified file in the cache folder (made if it is not there).

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
        found = await store.download_to(uri, fresh)
        if found.sha256 != sha256:
            msg = f"{uri} has changed: sha256 {found.sha256[:12]}…, planned was {sha256[:12]}…"
            raise BasisChanged(msg, hint="put the planned bytes back, or plan again with those that are there now")
        fresh.replace(path)
    return path


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
