from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.cli import main
from tidegate.errors import InvalidInput
from workers.options import WorkerOptions

GOOD = {
    "TIDEGATE_CONTROL_S3": "http://127.0.0.1:1",
    "TIDEGATE_CONTROL_BUCKET": "control",
    "TIDEGATE_CONTROL_ACCESS_KEY": "a",
    "TIDEGATE_CONTROL_SECRET_KEY": "hush",
}


def test_reads_the_environment_and_keeps_the_secret() -> None:
    options = WorkerOptions.from_env({**GOOD, "TIDEGATE_CACHE": "/c"})
    assert options.cache == Path("/c")
    assert options.control_secret_key.get_secret_value() == "hush"
    assert "hush" not in repr(options)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_names_what_is_missing(missing: str) -> None:
    with pytest.raises(InvalidInput, match=missing):
        WorkerOptions.from_env({name: value for name, value in GOOD.items() if name != missing})


def test_an_endpoint_is_a_url() -> None:
    with pytest.raises(InvalidInput, match="TIDEGATE_CONTROL_S3"):
        WorkerOptions.from_env({**GOOD, "TIDEGATE_CONTROL_S3": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--role", "region"], "--region: a region worker must be told its region"),
        (["--role", "control", "--region", "east"], "--region: a control worker serves every region"),
        (["--role", "region", "--region", "Ea st"], "not the name of a region"),
        (["--role", "other"], "other"),
    ],
)
def test_roles_and_regions_are_checked(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["worker", "run", *args]) == 2
    assert words in capsys.readouterr().err
