"""The supervisor against small real processes, in this process: no detaching, ticks by hand."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox.identity import Identity
from sandbox.spec import Folder, ProcessSpec, ProcessState, write
from sandbox.supervisor import Supervisor, backoff_s

SLEEP = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]
NAME = "east/worker"


class Bench:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.supervisor = Supervisor(folder, "test-supervisor")

    def spec(self, **changes: object) -> ProcessSpec:
        known = self.folder.spec(NAME) or ProcessSpec(name=NAME, argv=SLEEP, cwd=self.folder.path, grace_s=5)
        spec = known.model_copy(update=changes)
        write(self.folder.spec_path(NAME), spec)
        return spec

    def state(self) -> ProcessState:
        state = self.folder.state(NAME)
        assert state is not None
        return state

    def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            self.supervisor.tick()
            if condition():
                return
            assert time.monotonic() < deadline, self.folder.state(NAME)
            time.sleep(0.01)

    def running(self) -> Identity:
        self.until(lambda: (s := self.folder.state(NAME)) is not None and s.identity is not None)
        identity = self.state().identity
        assert identity is not None
        return identity


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    bench = Bench(Folder(tmp_path))
    yield bench
    bench.supervisor.end()


def test_what_dies_is_started_again(bench):
    bench.spec()
    first = bench.running()
    first.signal(signal.SIGKILL)
    bench.until(lambda: bench.state().spawns == 2 and bench.state().identity is not None)
    assert not first.alive()
    assert bench.state().exit_code == -signal.SIGKILL


def test_what_was_killed_for_good_stays_dead_until_it_is_asked_for(bench):
    bench.spec()
    first = bench.running()
    bench.spec(want="killed", wish=1)
    first.signal(signal.SIGKILL)
    bench.until(lambda: bench.state().identity is None)
    for _ in range(5):
        bench.supervisor.tick()
    assert bench.state().spawns == 1
    bench.spec(want="up", wish=2)
    bench.until(lambda: bench.state().spawns == 2)


def test_what_shall_not_be_any_more_is_ended_and_forgotten(bench):
    bench.spec()
    identity = bench.running()
    bench.folder.spec_path(NAME).unlink()
    bench.until(lambda: bench.folder.state(NAME) is None)
    assert not identity.alive()


def test_another_supervisor_takes_running_processes_over(bench):
    bench.spec()
    identity = bench.running()
    successor = Supervisor(bench.folder, "test-supervisor")
    bench.supervisor, old = successor, bench.supervisor
    for name in bench.folder.state_names():
        successor.adopt(name)
    bench.until(lambda: bench.state().identity is not None)
    assert bench.state().identity == identity
    assert bench.state().spawns == 1
    identity.signal(signal.SIGKILL)
    bench.until(lambda: bench.state().spawns == 2 and bench.state().identity is not None)
    # The dead process is a child of this one here: reap it through its handle.
    old._children[NAME].spec = None
    old._children[NAME]._popen.wait()
    old._children[NAME]._popen = None


def test_never_restarted_runs_once_per_wish(bench):
    bench.spec(argv=[sys.executable, "-c", "raise SystemExit(3)"], restart="never")
    bench.until(lambda: bench.folder.state(NAME) is not None and bench.state().exit_code == 3)
    for _ in range(5):
        bench.supervisor.tick()
    assert bench.state().spawns == 1
    bench.spec(wish=1)
    bench.until(lambda: bench.state().spawns == 2)


def test_a_program_that_does_not_exist_is_named_and_tried_again_later(bench):
    bench.spec(argv=["/no/such/program"])
    bench.until(lambda: bench.folder.state(NAME) is not None)
    assert "/no/such/program" in bench.state().error
    assert bench.state().next_start_at_s > 0
    bench.spec(argv=SLEEP, wish=1)
    assert bench.running().alive()
    assert not bench.state().error


def test_a_group_does_not_outlive_its_leader(bench):
    child = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    bench.spec(argv=[sys.executable, "-c", child + "print(p.pid, flush=True); p.wait()"])
    leader = bench.running()
    log = bench.folder.log_path(NAME)
    bench.until(lambda: log.read_text().strip() != "")
    grandchild = Identity.of(int(log.read_text().splitlines()[0]))
    bench.spec(want="killed", wish=1)
    os.kill(leader.pid, signal.SIGKILL)
    bench.until(lambda: not grandchild.alive())


def test_an_unreadable_spec_changes_nothing(bench):
    bench.spec()
    identity = bench.running()
    bench.folder.spec_path(NAME).write_text("{")
    for _ in range(3):
        bench.supervisor.tick()
    assert identity.alive()
    assert bench.state().identity == identity


def test_waiting_between_starts_is_bounded():
    waits = [backoff_s(n) for n in range(50)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert max(waits) == 5.0
