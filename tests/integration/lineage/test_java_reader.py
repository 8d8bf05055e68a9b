"""The Java reader's own tests, built from nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

READER = Path(__file__).parents[3] / "readers" / "java"


@pytest.mark.sandbox
@pytest.mark.timeout(600)
def test_the_readers_own_tests_pass(tmp_path: Path) -> None:
    shutil.copytree(READER, tmp_path / "reader", ignore=shutil.ignore_patterns("target"))
    built = subprocess.run(
        ["mvn", "-B", "-ntp", "package"], cwd=tmp_path / "reader", capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-2_000:]
    ran = re.findall(r"Tests run: (\d+), Failures: 0, Errors: 0, Skipped: 0$", built.stdout, re.MULTILINE)
    assert int(ran[-1]) >= 20
    assert (tmp_path / "reader" / "target" / "tidegate-readers.jar").exists()
