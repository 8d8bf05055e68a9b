"""The process of a command ends with its status, whatever native threads still do."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BUSY = """
import sys, threading
from tidegate.cli import main
def tick():
    while True:
        pass
threading.Thread(target=tick).start()  # no daemon: the interpreter's own clean-up would wait for it for ever
main.run = lambda args: (print("done", end=""), {status})[1]
main.main()
"""


@pytest.mark.parametrize("status", [0, 7])
def test_it_ends_with_its_status_and_all_it_has_printed(status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BUSY.format(status=status)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, "done"), done.stderr
