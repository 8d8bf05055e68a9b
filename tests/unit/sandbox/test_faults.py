"""Faults of a whole region are one act: all of it is dead or stands still at once, and comes back in any order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox import faults
from sandbox.api import Sandbox
from sandbox.identity import Identity
from sandbox.spec import Folder, ProcessSpec, SandboxRecord, write
from sandbox.supervisor import Supervisor
from tidegate.errors import Refused

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
EAST = ("east/flink/jobmanager", "east/kafka", "east/s3", "east/worker")
WEST = "west/kafka"


class Bench:
    """Small processes in the place of the parts, and a supervisor that ticks when it is told to."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        write(folder.record_path, SandboxRecord(id="test-faults", base_port=27000))
        self.sandbox = Sandbox(folder.path)
        self.supervisor = Supervisor(folder, "test-faults")
        for name in (*EAST, WEST):
            write(folder.spec_path(name), ProcessSpec(name=name, argv=SLEEP, cwd=folder.path, grace_s=0))
        self.until(lambda: all(self.states().values()))

    def identity(self, name: str) -> Identity | None:
        return faults.running(self.folder, name)

    def states(self) -> dict[str, bool]:
        return {name: self.identity(name) is not None for name in (*EAST, WEST)}

    def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            self.supervisor.tick()
            if condition():
                return
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.01)


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    bench = Bench(Folder(tmp_path))
    yield bench
    bench.supervisor.end()


def test_a_region_that_is_killed_for_good_is_dead_as_a_whole_and_comes_back_as_one(bench):
    west = bench.identity(WEST)
    assert len(bench.sandbox.kill("east", for_good=True)) == len(EAST)
    assert bench.states() == {**dict.fromkeys(EAST, False), WEST: True}
    for _ in range(3):
        bench.supervisor.tick()
    assert {one.name: one.state for one in bench.sandbox.status()} == {**dict.fromkeys(EAST, "killed"), WEST: "running"}
    bench.sandbox.start("east")
    bench.until(lambda: all(bench.states().values()))
    assert bench.identity(WEST) == west


def test_what_was_started_just_when_it_was_killed_for_good_does_not_live_on(bench):
    name = EAST[0]
    faults.want(bench.folder, name, "killed")
    # Whoever killed it looked before the supervisor had noted the new process: the signal went to none.
    bench.until(lambda: bench.identity(name) is None)
    for _ in range(3):
        bench.supervisor.tick()
    assert bench.identity(name) is None


def test_a_region_stands_still_as_a_whole_and_what_had_ended_stays_out_of_it(bench):
    bench.sandbox.kill("east/worker", for_good=True)
    bench.supervisor.tick()
    bench.sandbox.pause("east")
    paused = {**dict.fromkeys(EAST, "paused"), "east/worker": "killed", WEST: "running"}
    assert {one.name: one.state for one in bench.sandbox.status()} == paused
    bench.sandbox.resume("east")
    assert {one.state for one in bench.sandbox.status()} == {"running", "killed"}
    with pytest.raises(Refused, match="east/worker does not run"):
        bench.sandbox.pause("east/worker")


def test_a_region_of_which_a_part_is_just_being_started_is_not_paused_by_halves(bench):
    bench.sandbox.kill("east/s3")
    with pytest.raises(Refused, match=r"east/s3 is being started \(waiting\)"):
        bench.sandbox.pause("east")
    assert "paused" not in {one.state for one in bench.sandbox.status()}
