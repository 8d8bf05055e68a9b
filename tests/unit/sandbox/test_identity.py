from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sandbox.identity import MARK, Identity, end_all, marked

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


@pytest.fixture
def spawn() -> Iterator:
    started: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str], *, session: bool = True, **env: str) -> tuple[subprocess.Popen[bytes], Identity]:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=session, env={**os.environ, **env})
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process, Identity.of(process.pid)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_process_with_the_same_number_but_another_start_is_not_ours(spawn):
    process, identity = spawn(SLEEP)
    other = identity.model_copy(update={"create_time_s": identity.create_time_s - 60})
    assert identity.alive()
    assert not other.alive()
    assert not other.signal(signal.SIGKILL)
    end_all([(other, 0.0)])
    assert process.poll() is None


def test_a_zombie_has_ended(spawn):
    process, identity = spawn(SLEEP)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive()
    assert identity.rss_bytes() == 0


@pytest.mark.parametrize("session", [True, False])
def test_end_all_waits_for_grace_then_kills_also_who_leads_no_group(spawn, session):
    process, identity = spawn(STUBBORN, session=session)
    started = time.monotonic()
    end_all([(identity, 0.3)])
    assert time.monotonic() - started >= 0.3
    assert process.wait() == -signal.SIGKILL


def test_end_all_ends_a_paused_process_within_its_grace(spawn):
    process, identity = spawn(SLEEP)
    identity.signal(signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while not identity.paused():
        assert time.monotonic() < deadline
    end_all([(identity, 30.0)])
    assert process.wait() == -signal.SIGTERM


def test_marked_finds_what_carries_the_id_and_nothing_else(spawn):
    _, ours = spawn(SLEEP, **{MARK: "test-identity-a"})
    spawn(SLEEP, **{MARK: "test-identity-b"})
    assert marked("test-identity-a") == [ours]
