"""D: snapshots taken while the job goes on, in both forms; restored by name; and the state backend changed by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.restore.acts import Taken, price_of, refused, restored, take
from tests.integration.restore.conftest import NOTES
from tests.integration.restore.crash import checkpointed, flink_parts, kill_flink
from tests.kit.stage import Scene
from tidegate.snapshot import handles
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.handles import IncrementalHandle, KeyGroupsHandle

pytestmark = pytest.mark.matrix

BACKEND = {"hashmap": "HashMapStateBackend", "rocksdb": "EmbeddedRocksDBStateBackend"}
"""Flink's setting, and how its REST says it of a job."""


async def kinds(scene: Scene, location: str) -> set[str]:
    """The classes of keyed state in a snapshot, by Flink's names."""
    snapshot = await read_snapshot(scene.snapshots, location)
    keyed = [state.managed_keyed for _, state in snapshot.metadata.subtask_states()]
    return {handles.CLASSES[one.tag] for one in keyed if isinstance(one, KeyGroupsHandle | IncrementalHandle)}


async def restore_by_name(scene: Scene, taken: Taken, what: str) -> None:
    """Everything is dead; what came after the snapshot comes again, as many as was told."""
    why = await refused(scene, source=taken.name)
    name, told = price_of(why, "--accept-replay")
    assert (name, told > 0) == (taken.name, True), why
    await restored(scene, f"{what} ({taken.name}, told {told:,})", told, source=name, accept_replay=name)


async def test_x2_taken_live_in_both_forms_and_restored_from_the_canonical_one(scene: Scene):
    await checkpointed(scene)
    native, canonical = await take(scene, "native"), await take(scene, "canonical")
    found = {"native": await kinds(scene, native.location), "canonical": await kinds(scene, canonical.location)}
    NOTES.append(f"taken live: {found}")
    assert found["canonical"] == {"KeyGroupsSavepointStateHandle"}
    assert found["native"].isdisjoint(found["canonical"])
    await kill_flink(scene)
    await restore_by_name(scene, canonical, "from the canonical one")


async def backend_of(scene: Scene) -> str:
    """The state backend of the job that runs, by Flink's REST."""
    record = await scene.record()
    assert record.writer is not None
    url = f"{scene.sandbox.endpoints.regions['east'].flink}/jobs/{record.writer.job_id}/checkpoints/config"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer: dict[str, Any] = (await client.get(url)).json()
    return str(answer["state_backend"])


def set_backend(scene: Scene, backend: str) -> None:
    """In the configuration of all of Flink's processes; they read it when they start."""
    for part in flink_parts(scene):
        path = scene.sandbox.folder.part_path(part) / "conf" / "config.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "state.backend.type": backend}, sort_keys=True))


@asynccontextmanager
async def as_it_was(scene: Scene) -> AsyncIterator[None]:
    """The sandbox's own backend is set again, whatever happened."""
    try:
        yield
    finally:
        set_backend(scene, "rocksdb")


async def test_the_state_backend_is_changed_by_a_canonical_snapshot_and_changed_back(scene: Scene):
    assert await backend_of(scene) == BACKEND["rocksdb"]
    async with as_it_was(scene):
        for backend in ("hashmap", "rocksdb"):
            await checkpointed(scene)
            taken = await take(scene, "canonical")
            set_backend(scene, backend)
            await kill_flink(scene)
            await restore_by_name(scene, taken, f"onto {backend}")
            assert await backend_of(scene) == BACKEND[backend]
