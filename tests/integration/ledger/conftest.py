"""The broker for the ledger's tests: the sandbox's east, as the job's principal."""

from __future__ import annotations

import pytest

from sandbox.api import Sandbox
from sandbox.layout import kafka_password
from tests.kit.sandbox import east

__all__ = ["east", "kafka"]


@pytest.fixture
def kafka(east: Sandbox) -> tuple[str, dict[str, str]]:
    """(bootstrap, librdkafka's properties)."""
    return east.endpoints.regions["east"].kafka, {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ledger",
        "sasl.password": kafka_password("ledger"),
    }
