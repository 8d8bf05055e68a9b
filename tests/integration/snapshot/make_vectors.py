"""Makes tests/data/snapshots from a running sandbox: real snapshots, and what the parts say of them.

    eval "$(tidegate sandbox env east)"; python -m tests.integration.snapshot.make_vectors

Each vector is a folder: the ``_metadata``; in ``files.json`` the small files beside it (base64), among them all
operator state; and in ``expected.json`` Flink's REST, the broker's word, the S3 listing and the committed output of
that moment. No snapshot is parsed here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.integration.snapshot.live import SINK_UID, SOURCE_UID, Ledger, Places
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_types import SavepointFormat
from tidegate.clients.s3 import open_store
from tidegate.snapshot.checkpoints import completed_checkpoints

TARGET = Path(__file__).parents[2] / "data" / "snapshots"
SMALL_BYTES = 4096
IN_FILES = {"execution.checkpointing.data-inline-threshold": "0b"}
VECTORS: dict[str, tuple[str, dict[str, str]]] = {
    "savepoint-native": ("NATIVE", {}),
    "savepoint-native-files": ("NATIVE", IN_FILES),
    "savepoint-canonical": ("CANONICAL", IN_FILES),
    "checkpoint-incremental": ("", {}),
    "checkpoint-incremental-files": ("", IN_FILES),
    "checkpoint-full": ("", {**IN_FILES, "execution.checkpointing.incremental": "false"}),
    "checkpoint-hashmap": ("", {**IN_FILES, "state.backend.type": "hashmap"}),
    "checkpoint-file-merging": ("", {"execution.checkpointing.file-merging.enabled": "true", **IN_FILES}),
    "refused-compressed": ("", {"execution.checkpointing.snapshot-compression": "true"}),
}


async def one(name: str, ledger: Ledger, kind: str, config: dict[str, str]) -> None:
    """Run a job, take its snapshot, write the vector."""
    await ledger.create_topics()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(ledger.traffic())
        job_id = await ledger.start(1, config=config)
        await ledger.completed(job_id, 4)
        if kind:
            location = await ledger.stop(job_id, SavepointFormat[kind])
        else:
            await ledger.cancel(job_id)
            newest = (await completed_checkpoints(ledger.store, ledger.checkpoints, job_id))[0]
            location = str(newest.location)
    details = await _rest(ledger, job_id, location)
    job_dir = f"{ledger.checkpoints}/{job_id}"
    listing = await ledger.listing(*([location] if kind else [job_dir]))
    expected: dict[str, Any] = {
        "flink_version": (await ledger.flink.overview()).flink_version,
        "location": location,
        "job_id": job_id,
        "checkpoint": details,
        "savepoint": bool(kind),
        "sink_uid": SINK_UID,
        "source_uid": SOURCE_UID,
        "topic": ledger.payments,
        "prefix": ledger.prefix(1),
        "transactions": await ledger.broker_transactions(1),
        "listing": listing,
    }
    await ledger.end_open_transactions(1)
    expected["effects"] = await ledger.effects()
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: dict[str, str] = {}
    for uri, size in listing.items():
        if uri.startswith(f"{location}/") and size < SMALL_BYTES and not uri.endswith("/_metadata"):
            files[uri.rpartition("/")[2]] = base64.b64encode((await ledger.store.get(uri)).body).decode()
    (folder / "_metadata").write_bytes((await ledger.store.get(f"{location}/_metadata")).body)
    if files:
        (folder / "files.json").write_text(json.dumps(files, indent=1, sort_keys=True) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    print(name, location, sum(f.stat().st_size for f in folder.iterdir()), len(expected["transactions"]))


async def _rest(ledger: Ledger, job_id: str, location: str) -> dict[str, Any]:
    """What REST says of the snapshot at that place: it is found by its path."""
    stats = await ledger.flink.checkpoints(job_id)
    assert stats is not None
    checkpoint_id = next(entry.id for entry in stats.history if entry.external_path == location)
    return await ledger.checkpoint_json(job_id, checkpoint_id)


async def main() -> None:
    """All of them, one after another."""
    at = Places.of(os.environ)
    endpoint, access, secret = (
        os.environ[name] for name in ("TIDEGATE_EAST_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    async with open_store(endpoint, access, secret) as store, FlinkClient(at.flink) as flink:
        for name, (kind, config) in VECTORS.items():
            await one(name, Ledger(at, store, flink), kind, config)


if __name__ == "__main__":
    asyncio.run(main())
