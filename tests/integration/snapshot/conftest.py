"""Where the real parts are: those of ``eval "$(tidegate sandbox env)"`` if that was done, else a sandbox of our own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.snapshot.live import Ledger, Places
from tidegate.clients.flink import FlinkClient
from tidegate.clients.s3 import open_store


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if "TIDEGATE_EAST_FLINK" in os.environ:
        yield dict(os.environ)
        return
    from tests.kit.sandbox import running_sandbox  # noqa: PLC0415  # only here: most runs have one

    with running_sandbox(tmp_path_factory.mktemp("sandbox") / "data", "east") as sandbox:
        yield sandbox.endpoints.environment()


@pytest.fixture
async def ledger(environment: dict[str, str]) -> AsyncIterator[Ledger]:
    """A fresh pair of topics; what still runs at the end is cancelled."""
    places = Places.of(environment)
    keys = (environment[name] for name in ("TIDEGATE_EAST_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    async with open_store(*keys) as store, FlinkClient(places.flink) as flink:
        ledger = Ledger(places, store, flink)
        await ledger.create_topics()
        try:
            yield ledger
        finally:
            await ledger.end()
