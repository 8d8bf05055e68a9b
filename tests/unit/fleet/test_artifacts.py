"""Artifacts by sha256: put once, never overwritten unasked, fetched only as planned."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tidegate.errors import BasisChanged, InvalidInput, Refused
from tidegate.model.fleetfile import load_fleet
from tidegate.registry.artifacts import PutOutcome, fetch, inspect, put_artifact, require

FLEET = load_fleet(SMALL).fleet
URI = "s3://east/jars/v1.jar"


def jar(path, *, entry="a/b/Job.class", manifest="META-INF/MANIFEST.MF", salt="1"):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(manifest, "Manifest-Version: 1.0\n")
        out.writestr(entry, salt)
    return path


async def test_put_once(tmp_path):
    store, path = MemoryStore("east"), jar(tmp_path / "job.jar")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    info, outcome = await put_artifact(store, FLEET, "ledger", "v1", path)
    assert (outcome, info.sha256, info.uri, info.present) == (PutOutcome.UPLOADED, sha256, URI, True)
    assert info.size == path.stat().st_size
    assert (await store.head(URI)).metadata == {"sha256": sha256}
    assert await inspect(store, "v1", URI) == info
    assert await put_artifact(store, FLEET, "ledger", "v1", path) == (info, PutOutcome.UNCHANGED)


async def test_other_bytes_are_refused_unless_asked(tmp_path):
    store = MemoryStore("east")
    await put_artifact(store, FLEET, "ledger", "v1", jar(tmp_path / "one.jar"))
    other = jar(tmp_path / "two.jar", salt="2")
    with pytest.raises(Refused, match="holds other bytes already") as error:
        await put_artifact(store, FLEET, "ledger", "v1", other)
    assert "have pinned the old sha256" in error.value.hint
    info, outcome = await put_artifact(store, FLEET, "ledger", "v1", other, replace=True)
    assert (outcome, info.sha256) == (PutOutcome.REPLACED, hashlib.sha256(other.read_bytes()).hexdigest())


async def test_a_twin_that_was_quicker(tmp_path):
    store, path = MemoryStore("east"), jar(tmp_path / "job.jar")
    raced = False

    async def before(op, uri):
        nonlocal raced
        if op == "upload_file" and not raced:
            raced = True
            await store.upload_file(path, uri, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})

    store.before = before
    assert (await put_artifact(store, FLEET, "ledger", "v1", path))[1] is PutOutcome.UNCHANGED


async def test_what_is_no_jar_is_refused(tmp_path):
    store = MemoryStore("east")
    cases = {
        "text.jar": (lambda path: path.write_text("hello"), "no jar: it begins with 68 65 6c 6c"),
        "empty.jar": (lambda path: path.write_bytes(b""), "no jar: it begins with nothing"),
        "cut.jar": (lambda path: path.write_bytes(jar(path).read_bytes()[:60]), "no whole jar"),
        "zip.jar": (lambda path: jar(path, manifest="README"), r"a zip without META-INF/MANIFEST\.MF"),
        "other.jar": (lambda path: jar(path, entry="x/Y.class"), r"has no class a\.b\.Job"),
        "folder.jar": (lambda path: path.mkdir(), "is a folder"),
        "absent.jar": (lambda path: None, "no such file"),
    }
    for name, (make, expected) in cases.items():
        make(tmp_path / name)
        with pytest.raises(InvalidInput, match=expected):
            await put_artifact(store, FLEET, "ledger", "v1", tmp_path / name)
    with pytest.raises(InvalidInput, match="no such artifact of ledger: v3"):
        await put_artifact(store, FLEET, "ledger", "v3", jar(tmp_path / "good.jar"))
    assert not store.objects


async def test_an_artifact_that_was_not_uploaded_is_named_with_the_way_to_upload_it(tmp_path):
    store = MemoryStore("east")
    await put_artifact(store, FLEET, "ledger", "v1", jar(tmp_path / "one.jar"))
    assert (await require(store, FLEET, "ledger", "v1")).present
    with pytest.raises(InvalidInput) as error:
        await require(store, FLEET, "ledger", "v2")
    assert error.value.message == "deployments.ledger.artifacts.v2.jar: no such object s3://east/jars/v2.jar"
    assert error.value.hint.split("\n") == [
        "uploaded artifacts of ledger: v1 (s3://east/jars/v1.jar)",
        "upload it:  tidegate artifact put ledger v2 PATH.jar",
    ]


async def test_one_that_came_by_other_means_is_known_by_its_bytes():
    store = MemoryStore("east")
    assert await inspect(store, "v1", URI) == type(await inspect(store, "v1", URI))("v1", URI, present=False)
    await store.put(URI, b"bytes")
    assert (await inspect(store, "v1", URI)).sha256 == hashlib.sha256(b"bytes").hexdigest()


async def test_fetch_gives_the_planned_bytes_or_nothing(tmp_path):
    store = MemoryStore("east")
    await store.put(URI, b"one")
    sha256 = hashlib.sha256(b"one").hexdigest()
    path = await fetch(store, URI, sha256, tmp_path / "cache")
    assert path.read_bytes() == b"one"
    downloads = [op for op, _ in store.calls].count("download_to")
    assert await fetch(store, URI, sha256, tmp_path / "cache") == path
    assert [op for op, _ in store.calls].count("download_to") == downloads
    path.write_bytes(b"rotten")
    assert (await fetch(store, URI, sha256, tmp_path / "cache")).read_bytes() == b"one"
    with pytest.raises(BasisChanged, match="has changed"):
        await fetch(store, URI, hashlib.sha256(b"two").hexdigest(), tmp_path / "cache")
    with pytest.raises(InvalidInput):
        await fetch(store, "s3://east/jars/none.jar", sha256, tmp_path / "empty")
    assert [found.name for found in (tmp_path / "cache").iterdir()] == [path.name]
