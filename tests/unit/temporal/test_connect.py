from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tidegate.temporal import telemetry
from tidegate.temporal.connect import DEFAULT_ADDRESS, TemporalUnreachable, address, connect


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))


def test_the_sandbox_is_the_default() -> None:
    assert address() == DEFAULT_ADDRESS


def test_a_profile_names_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    config.write_text('[profile.default]\naddress = "127.0.0.1:1234"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(config))
    assert address() == "127.0.0.1:1234"


def test_a_typing_error_in_the_profile_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    config.write_text('[profile.default]\nadress = "127.0.0.1:1234"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(config))
    with pytest.raises(TemporalUnreachable, match="adress"):
        address()


async def test_nobody_answers_is_exit_code_5(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(TemporalUnreachable, match=f"cannot reach Temporal at 127.0.0.1:{port}") as unreachable:
        await connect(timeout_s=2)
    assert unreachable.value.exit_code == 5


def test_no_traces_without_a_collector() -> None:
    assert telemetry.plugins() == []


def test_traces_with_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    (plugin,) = telemetry.plugins()
    assert "OpenTelemetry" in type(plugin).__name__
