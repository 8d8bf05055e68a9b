"""East and west with Kafka, S3 and Connect, without Flink; the sandbox's fleet file, one link with a long timeout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.api import Sandbox
from sandbox.layout import DEFAULT_BASE_PORT
from tests.kit.sandbox import running_sandbox
from tidegate.mirror.control import fresh_record
from tidegate.mirror.link import MirrorLink, open_link
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.registry.artifacts import open_access
from tidegate.registry.links import BY_HAND, LinkStore, LinkTenure, take_link
from tidegate.registry.ownership import new_holder

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"
SLOW_MS = 180_000
"""A dead task's transaction would hold its successor back for so long: who goes on sooner did not wait for it."""


@dataclass
class Regions:
    """A sandbox, its fleet, and links with their records."""

    sandbox: Sandbox
    fleet: Fleet
    fleet_file: Path

    @asynccontextmanager
    async def link(self, name: str) -> AsyncIterator[MirrorLink]:
        async with open_link(self.fleet, name, 20.0) as link:
            yield link

    @asynccontextmanager
    async def held(self, link: MirrorLink, operation: str) -> AsyncIterator[LinkTenure]:
        async with open_access(self.fleet.control.s3) as store:
            holder = new_holder(
                operation=operation, run_id="r", runbook=BY_HAND, cluster_id="", namespace="", who="test", why=""
            )
            tenure = await take_link(LinkStore(store, self.fleet.control.bucket), fresh_record(link), holder)
            yield tenure
            await tenure.release()


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    folder = tmp_path_factory.mktemp("mirror")
    with running_sandbox(folder / "data", "east", "west", taskmanagers=0, mirror=True) as sandbox:
        base = sandbox.layout.base_port
        there, back = FLEET.read_text().split("  west-to-east:", 1)
        text = f"{there.rstrip()}\n    transaction_timeout_ms: {SLOW_MS}\n  west-to-east:{back}"
        for offset in range(300):
            text = text.replace(f'127.0.0.1:{DEFAULT_BASE_PORT + offset}"', f'127.0.0.1:{base + offset}"')
        file = folder / "fleet.yaml"
        file.write_text(text)
        yield Regions(sandbox, load_fleet(file).fleet, file)
