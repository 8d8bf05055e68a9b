"""Artifacts by sha256: put once, never overwritten unasked, fetched only as planned."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from activities.sites import Sites
from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tidegate.errors import BasisChanged, InvalidInput, Refused, Unavailable
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import ArtifactRef
from tidegate.registry.artifacts import PutOutcome, fetch, inspect, inspect_both, keep_jar, put_artifact, require
from tidegate.registry.keptjars import KeptJars

FLEET = load_fleet(SMALL).fleet
URI = "s3://east/jars/v1.jar"


def keeper(control: MemoryStore | None = None) -> KeptJars:
    return KeptJars(control or MemoryStore("tidegate"), "tidegate", "ledger")


async def gone(op, uri):
    raise Unavailable("east is gone")


def jar(path, *, entry="a/b/Job.class", manifest="META-INF/MANIFEST.MF", salt="1"):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(manifest, "Manifest-Version: 1.0\n")
        out.writestr(entry, salt)
    return path


async def test_put_once(tmp_path):
    store, path = MemoryStore("east"), jar(tmp_path / "job.jar")
    kept = keeper()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    info, outcome = await put_artifact(store, kept, FLEET, "ledger", "v1", path)
    assert (outcome, info.sha256, info.uri, info.present) == (PutOutcome.UPLOADED, sha256, URI, True)
    assert info.size == path.stat().st_size
    assert (await store.head(URI)).metadata == {"sha256": sha256}
    assert await inspect_both(store, "v1", URI, kept) == info
    assert info.kept
    assert await put_artifact(store, kept, FLEET, "ledger", "v1", path) == (info, PutOutcome.UNCHANGED)


async def test_other_bytes_are_refused_unless_asked(tmp_path):
    store = MemoryStore("east")
    kept = keeper()
    await put_artifact(store, kept, FLEET, "ledger", "v1", jar(tmp_path / "one.jar"))
    other = jar(tmp_path / "two.jar", salt="2")
    with pytest.raises(Refused, match="holds other bytes already") as error:
        await put_artifact(store, kept, FLEET, "ledger", "v1", other)
    assert "have pinned the old sha256" in error.value.hint
    info, outcome = await put_artifact(store, kept, FLEET, "ledger", "v1", other, replace=True)
    assert (outcome, info.sha256) == (PutOutcome.REPLACED, hashlib.sha256(other.read_bytes()).hexdigest())


async def test_a_twin_that_was_quicker(tmp_path):
    store, path = MemoryStore("east"), jar(tmp_path / "job.jar")
    kept = keeper()
    raced = False

    async def before(op, uri):
        nonlocal raced
        if op == "upload_file" and not raced:
            raced = True
            await store.upload_file(path, uri, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})

    store.before = before
    assert (await put_artifact(store, kept, FLEET, "ledger", "v1", path))[1] is PutOutcome.UNCHANGED


async def test_what_is_no_jar_is_refused(tmp_path):
    store = MemoryStore("east")
    kept = keeper()
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
            await put_artifact(store, kept, FLEET, "ledger", "v1", tmp_path / name)
    with pytest.raises(InvalidInput, match="no such artifact of ledger: v3"):
        await put_artifact(store, kept, FLEET, "ledger", "v3", jar(tmp_path / "good.jar"))
    assert not store.objects


async def test_an_artifact_that_was_not_uploaded_is_named_with_the_way_to_upload_it(tmp_path):
    store = MemoryStore("east")
    kept = keeper()
    await put_artifact(store, kept, FLEET, "ledger", "v1", jar(tmp_path / "one.jar"))
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


async def test_a_jar_that_was_put_outlives_its_region(tmp_path):
    store, control = MemoryStore("east"), MemoryStore("tidegate")
    kept, path = keeper(control), jar(tmp_path / "job.jar")
    info, _ = await put_artifact(store, kept, FLEET, "ledger", "v1", path)
    names = sorted(uri.key for uri in control.objects)
    assert names == sorted([f"artifacts/{info.sha256}.jar", "artifacts/ledger/v1.json"])

    store.before = gone
    with pytest.raises(Unavailable):
        await inspect(store, "v1", URI)
    found = await inspect(store, "v1", URI, kept)
    assert (found.present, found.sha256, found.size, found.only_kept) == (True, info.sha256, info.size, True)
    assert await require(store, FLEET, "ledger", "v1", kept) == found
    with pytest.raises(Unavailable):
        await fetch(store, URI, info.sha256, tmp_path / "cache")
    assert (await fetch(store, URI, info.sha256, tmp_path / "cache", kept)).read_bytes() == path.read_bytes()
    with pytest.raises(Unavailable):  # never put: nothing stands in
        await inspect(store, "v2", "s3://east/jars/v2.jar", kept)
    with pytest.raises(Unavailable):
        await fetch(store, URI, "0" * 64, tmp_path / "cache", kept)


async def test_a_jar_that_its_region_lost_or_that_was_replaced_there_is_taken_from_the_copy(tmp_path):
    store, kept, path = MemoryStore("east"), keeper(), jar(tmp_path / "job.jar")
    info, _ = await put_artifact(store, kept, FLEET, "ledger", "v1", path)
    other = jar(tmp_path / "two.jar", salt="2")
    second, _ = await put_artifact(store, kept, FLEET, "ledger", "v1", other, replace=True)
    assert (await fetch(store, URI, info.sha256, tmp_path / "cache", kept)).read_bytes() == path.read_bytes()
    await store.delete(URI)
    assert (await inspect(store, "v1", URI, kept)).sha256 == second.sha256, "what was put last"
    assert (await fetch(store, URI, second.sha256, tmp_path / "cache", kept)).read_bytes() == other.read_bytes()


async def test_i4_a_put_whose_copy_was_lost_is_made_whole_by_putting_again(tmp_path):
    store, control = MemoryStore("east"), MemoryStore("tidegate")
    kept, path = keeper(control), jar(tmp_path / "job.jar")
    for broken in ("upload_file", "put"):

        async def before(op, uri, broken=broken):
            if op == broken:
                raise Unavailable("the control bucket is away")

        control.before = before
        with pytest.raises(Unavailable):
            await put_artifact(store, kept, FLEET, "ledger", "v1", path)
        control.before = MemoryStore().before
        assert await kept.last_put("v1") is None
    info, outcome = await put_artifact(store, kept, FLEET, "ledger", "v1", path)
    assert (outcome, info.kept) == (PutOutcome.UNCHANGED, True)
    said = await kept.last_put("v1")
    assert said is not None
    assert said.sha256 == info.sha256


async def test_a_jar_of_before_is_kept_once_and_the_word_of_a_later_put_stands(tmp_path):
    store, control = MemoryStore("east"), MemoryStore("tidegate")
    kept = keeper(control)
    await store.put(URI, b"old")
    ran = ArtifactRef(name="v1", sha256=hashlib.sha256(b"old").hexdigest(), uri=URI)
    assert (await inspect_both(store, "v1", URI, kept)).kept is False
    assert await keep_jar(store, kept, ran, tmp_path / "cache")
    assert not await keep_jar(store, kept, ran, tmp_path / "cache")
    assert (await inspect_both(store, "v1", URI, kept)).kept
    info, _ = await put_artifact(store, kept, FLEET, "ledger", "v1", jar(tmp_path / "job.jar"), replace=True)
    await control.delete(kept.uri(ran.sha256))
    assert await keep_jar(store, kept, ran, tmp_path / "cache")
    said = await kept.last_put("v1")
    assert said is not None
    assert said.sha256 == info.sha256
    lost = ran.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(BasisChanged):
        await keep_jar(store, kept, lost, tmp_path / "cache")


async def test_bytes_that_are_not_what_their_name_says_are_never_given(tmp_path):
    store, control = MemoryStore("east"), MemoryStore("tidegate")
    kept, path = keeper(control), jar(tmp_path / "job.jar")
    info, _ = await put_artifact(store, kept, FLEET, "ledger", "v1", path)
    await control.put(kept.uri(info.sha256), b"others")
    store.before = gone
    with pytest.raises(Unavailable, match="damaged"):
        await fetch(store, URI, info.sha256, tmp_path / "cache", kept)
    await control.put("s3://tidegate/artifacts/ledger/v1.json", b"{}")
    with pytest.raises(InvalidInput, match="damaged"):
        await inspect(store, "v1", URI, kept)


async def test_a_worker_fetches_and_sees_the_jars_of_a_region_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("EAST", "secret")
    east, control = MemoryStore("east"), MemoryStore("tidegate")
    path = jar(tmp_path / "job.jar")
    info, _ = await put_artifact(east, keeper(control), FLEET, "ledger", "v1", path)
    access = FLEET.artifact_store("ledger")
    stores = {f"{access.endpoint} {access.access_key}": east}
    site = Sites(control, "tidegate", tmp_path / "cache", _stores=stores).site(FLEET, "ledger")
    east.before = gone
    ran = ArtifactRef(name="v1", sha256=info.sha256, uri=URI)
    assert (await site.fetch(ran)).read_bytes() == path.read_bytes()
    assert await inspect(site.jars, "v1", URI, site.kept_jars) == (await inspect(east, "v1", URI, keeper(control)))
