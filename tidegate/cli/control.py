"""The control bucket as the command line reaches it: named by the environment, as for workers, or by the fleet file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.cli.options import read_fleet
from tidegate.clients.objects import ObjectStore
from tidegate.clients.s3 import open_store
from tidegate.errors import Unavailable
from tidegate.model.fleetfile import LoadedFleet
from tidegate.model.record import DeploymentRecord
from tidegate.registry.artifacts import open_access
from tidegate.registry.fleet import read_current
from tidegate.registry.records import RecordStore

TIMEOUT_S = 3.0


class ControlUnreachable(Unavailable):
    """The control bucket does not answer; nothing was started."""

    exit_code = 5


@dataclass(frozen=True)
class ControlBucket:
    """The registry, for reading."""

    store: ObjectStore
    bucket: str

    async def record(self, deployment: str) -> DeploymentRecord | None:
        """The deployment's record; None if it was never taken. Raises ControlUnreachable."""
        try:
            found = await RecordStore(self.store, self.bucket).read(deployment)
        except Unavailable as error:
            raise _unreachable(error) from error
        return found.record if found else None

    async def fleet(self) -> LoadedFleet:
        """The published fleet file. Raises InvalidInput if none was published, ControlUnreachable."""
        try:
            return await read_current(self.store, self.bucket)
        except Unavailable as error:
            raise _unreachable(error) from error


def _unreachable(error: Unavailable) -> ControlUnreachable:
    return ControlUnreachable(f"cannot reach the control bucket: {error.message}", hint=error.hint)


@asynccontextmanager
async def open_control(fleet: Path | None, timeout_s: float = TIMEOUT_S) -> AsyncIterator[ControlBucket]:
    """The control bucket. Raises InvalidInput if neither environment nor fleet file says where it is."""
    env = os.environ
    endpoint, bucket = env.get("TIDEGATE_CONTROL_S3"), env.get("TIDEGATE_CONTROL_BUCKET")
    access_key = env.get("TIDEGATE_CONTROL_ACCESS_KEY") or env.get("AWS_ACCESS_KEY_ID")
    secret_key = env.get("TIDEGATE_CONTROL_SECRET_KEY") or env.get("AWS_SECRET_ACCESS_KEY")
    if endpoint and bucket and access_key and secret_key:
        region_name = env.get("TIDEGATE_CONTROL_REGION_NAME") or "us-east-1"
        store = open_store(endpoint, access_key, secret_key, region_name, timeout_s)
    else:
        control = read_fleet(fleet).fleet.control
        store, bucket = open_access(control.s3, timeout_s), control.bucket
    async with store:
        yield ControlBucket(store, bucket)
