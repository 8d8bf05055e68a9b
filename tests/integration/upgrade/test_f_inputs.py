"""F: what a person gets for bad input, and for parts that are not there. Nothing is changed by any of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sandbox.stage import CONTROL_WORKERS, DEPLOYMENT, Finished
from tests.integration.upgrade.conftest import MESSAGES
from tests.kit.stage import Scene
from tidegate.clients.objects import S3Uri

pytestmark = pytest.mark.matrix

V2_JAR = "s3://east/artifacts/ledger-v2.jar"
V2 = f"v2: {{jar: {V2_JAR}, "


@dataclass(frozen=True)
class Bad:
    name: str
    command: tuple[str, ...]
    status: int
    says: tuple[str, ...]
    replace: tuple[str, str] | None = None
    """In the published fleet file: these words by those; ``{port}`` is Flink's port."""
    files: dict[str, str] = field(default_factory=dict)


def upgrade(deployment: str = DEPLOYMENT, to: str = "v2") -> tuple[str, ...]:
    return ("upgrade", deployment, "--to", to, "--bake", "1s", "--yes")


CASES = [
    Bad("unknown-deployment", upgrade("ledgr"), 2, ("ledgr", "ledger")),
    Bad("unknown-artifact", upgrade(to="v9"), 2, ("v9", "v1", "v2")),
    Bad(
        "file-that-is-no-jar",
        ("artifact", "put", DEPLOYMENT, "v2", "{folder}/notes.txt"),
        2,
        ("notes.txt", "no jar"),
        files={"notes.txt": "to do: write a jar"},
    ),
    Bad(
        "artifact-that-is-no-jar",
        upgrade(),
        2,
        ("artifact v2", "s3://east/artifacts/notes.jar", "zip"),
        replace=(V2, "v2: {jar: s3://east/artifacts/notes.jar, "),
        files={"s3://east/artifacts/notes.jar": "to do: write a jar"},
    ),
    Bad(
        "s3-key-missing",
        upgrade(),
        2,
        ("v2", "not there", "tidegate artifact put"),
        replace=(V2, "v2: {jar: s3://east/artifacts/nowhere.jar, "),
    ),
    Bad(
        "unreadable-fleet-file",
        ("fleet", "check", "{folder}/broken.yaml"),
        2,
        ("broken.yaml:3:1", "not YAML", "expected"),
        files={"broken.yaml": "version: 1\nregions: [east\n"},
    ),
    Bad(
        "mistake-in-the-fleet-file",
        ("fleet", "check", "{folder}/mistake.yaml"),
        2,
        ("mistake.yaml:", "parallelsm"),
        files={"mistake.yaml": "{fleet:parallelism: 2:parallelsm: 2}"},
    ),
    Bad(
        "flink-unreachable",
        upgrade(),
        1,
        ("127.0.0.1:1", "nothing was changed"),
        replace=("127.0.0.1:{port}", "127.0.0.1:1"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_says_what_is_wrong(scene: Scene, case: Bad):
    before = await scene.record()
    folder = scene.sandbox.folder.path / "bad"
    folder.mkdir(exist_ok=True)
    for name, content in case.files.items():
        text = content
        if content.startswith("{fleet:"):
            old, new = content.removeprefix("{fleet:").removesuffix("}").split(": 2:")
            text = scene.stage.fleet_file.read_text().replace(f"{old}: 2", new)
        if name.startswith("s3://"):
            uri = S3Uri.parse(name)
            if await scene.snapshots.get_or_none(uri) is None:
                await scene.snapshots.create(uri, text.encode())
        else:
            (folder / name).write_text(text)
    command = [word.format(folder=folder) for word in case.command]
    async with _with(scene, case.replace):
        done = await scene.tidegate(*command)
    _note(command, done)
    said = done.out + done.err
    assert done.status == case.status, said
    assert "Traceback" not in said, said
    for words in case.says:
        assert words in said, f"{words!r} is not in: {said}"
    after = await scene.record()
    assert (after.writer, after.epoch, after.holder) == (before.writer, before.epoch, None)
    assert not after.open_intents()
    assert len(await scene.live_jobs()) == 1


@asynccontextmanager
async def _with(scene: Scene, replace: tuple[str, str] | None) -> AsyncIterator[None]:
    if replace is None:
        yield
        return
    old, new = replace
    old = old.replace("{port}", scene.sandbox.endpoints.regions["east"].flink.rsplit(":", 1)[1])
    async with scene.other_fleet(lambda text: text.replace(old, new)):
        yield


async def test_says_that_no_worker_runs(scene: Scene):
    before = await scene.record()
    for worker in CONTROL_WORKERS:
        scene.sandbox.kill(worker, for_good=True)
    command = (*upgrade(), "--no-follow")
    done = await scene.tidegate(*command)
    _note(command, done)
    assert done.status == 5, done.out + done.err
    assert "worker" in done.err
    assert "tidegate worker run --role control" in done.err
    assert await scene.record() == before
    # It is started and waits: with workers it goes on, and ends as if nothing had been.
    await scene.all_ready()
    operation = done.out.split()[1]
    again = await scene.tidegate("ops", "watch", operation)
    assert again.status == 0, again.out + again.err
    await scene.check()


def _note(command: list[str] | tuple[str, ...], done: Finished) -> None:
    line = " ".join(word for word in command if word not in {"--bake", "1s", "--yes"})
    MESSAGES.append(f"$ tidegate {line}      (exit code {done.status})\n{done.out}{done.err}")
