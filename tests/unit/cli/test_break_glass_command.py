"""``tidegate break-glass``: what is refused before anything is started."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegate.cli import main
from tidegate.model.failover import FailoverInput
from workers import break_glass, private_server
from workers.kept import Asked, again

ASKED = Asked(
    operation="break-glass-ledger-1a2b3c4d",
    request=FailoverInput(deployment="ledger", unplanned=True),
    began=datetime(2026, 1, 2, tzinfo=UTC),
)


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(main, "known_commands", lambda: {"break-glass": "workers.break_glass:app"})
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("x")
    assert main.run(["break-glass", "failover", "ledger", "--keep-server", str(tmp_path), "--why", "gone"]) == 2
    assert "has files in it" in capsys.readouterr().err


def test_the_operation_of_another_deployment_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ASKED.write(tmp_path / "kept")
    assert main.run(["break-glass", "failover", "other", "--keep-server", str(tmp_path / "kept")]) == 2
    assert "is one of ledger" in capsys.readouterr().err


def test_abort_needs_an_operation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["break-glass", "failover", "ledger", "--abort", "--why", "gone"]) == 2
    assert "--keep-server DIR" in capsys.readouterr().err


def test_a_temporal_whose_configuration_cannot_be_read_is_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TEMPORAL_ADDRESS")
    (tmp_path / "broken.toml").write_text("[profile")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "broken.toml"))
    assert main.run(["break-glass", "failover", "ledger", "--why", "gone"]) == 5
    assert "configuration cannot be read" in capsys.readouterr().err


def test_nothing_says_where_the_control_bucket_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("TIDEGATE_CONTROL_S3", "TIDEGATE_CONTROL_BUCKET", "TIDEGATE_FLEET"):
        monkeypatch.delenv(name, raising=False)
    assert main.run(["break-glass", "failover", "ledger", "--why", "gone"]) == 2
    assert "no fleet file" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_the_plain_command_says_what_was_asked() -> None:
    fields = {"to": "west", "unplanned": True, "point": None, "parallelism": 2, "dry_run": False, "bake_s": 5.0}
    assert (
        break_glass._plain("ledger", fields)
        == "tidegate failover deployment ledger --to west --unplanned --parallelism 2 --bake 5s"
    )


def test_the_command_that_goes_on_can_be_pasted(tmp_path: Path) -> None:
    assert again(tmp_path / "a b", "ledger") == (
        f"tidegate break-glass failover ledger --keep-server '{tmp_path / 'a b'}'"
    )


def test_only_what_was_written_there_is_removed(tmp_path: Path) -> None:
    ASKED.write(tmp_path / "kept")
    for beside in ("", "-wal", "-shm", "-journal"):  # a server that was killed leaves its journal
        (tmp_path / "kept" / f"temporal.db{beside}").write_text("x")
    (tmp_path / "kept" / "mine.txt").write_text("x")
    private_server.remove(tmp_path / "kept", "operation.json")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.txt"]
    (tmp_path / "kept" / "mine.txt").unlink()
    private_server.remove(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_kept_request_reads_back_as_it_was_written(tmp_path: Path) -> None:
    ASKED.write(tmp_path / "kept")
    assert Asked.read(tmp_path / "kept") == ASKED
    assert Asked.read(tmp_path / "nothing") is None


def test_an_earlier_one_that_did_not_end_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state" / "tidegate"
    ASKED.write(state / "break-glass-ledger-1")
    ASKED.model_copy(update={"request": FailoverInput(deployment="ledger-2")}).write(state / "break-glass-ledger-2-1")
    (state / "break-glass-ledger-3").mkdir()
    (state / "break-glass-ledger-3" / "operation.json").write_text("{")
    break_glass._tell_of_unfinished("ledger")
    told = capsys.readouterr().err
    assert f"tidegate break-glass failover ledger --keep-server {state / 'break-glass-ledger-1'}" in told
    assert "break-glass-ledger-2-1" not in told
    assert "cannot be read" in told
