"""A process that ships one snapshot, to be killed:  python -m tests.integration.snapshot.shipping EAST WEST ROOT LOG

It appends the size of each body to LOG before it sends it, so that what a killed one has sent is known.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kit.weed import ACCESS, BUCKET, SECRET
from tidegate.clients.objects import Uri
from tidegate.clients.s3 import S3Store, open_store
from tidegate.clients.transfer import UploadedPart
from tidegate.snapshot.catalog import catalog
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import Place
from tidegate.snapshot.ship import ship

PACE = Pace(parallel=2, part_bytes=5 << 20, bytes_per_s=48 << 20)


def place(region: str, root: str) -> Place:
    return Place("ledger", region, f"s3://{root}/savepoints", f"s3://{root}/checkpoints")


class Counted:
    """The target, with each body that is sent written down first."""

    def __init__(self, store: S3Store, log: Path) -> None:
        self._store = store
        self._log = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put(self, uri: Uri, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
        os.write(self._log, f"{len(body)}\n".encode())
        return await self._store.put(uri, body, metadata)

    async def upload_part(self, uri: Uri, upload_id: str, number: int, body: bytes) -> UploadedPart | None:
        os.write(self._log, f"{len(body)}\n".encode())
        return await self._store.upload_part(uri, upload_id, number, body)


async def main(argv: Sequence[str]) -> None:
    east, west, root, log = argv
    async with open_store(east, ACCESS, SECRET) as source, open_store(west, ACCESS, SECRET) as target:
        (entry,) = (await catalog(source, place("east", BUCKET))).entries
        print("begins", flush=True)
        done = await ship(source, Counted(target, Path(log)), entry, place("west", root), PACE)  # type: ignore[arg-type]
        print(done.location, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
