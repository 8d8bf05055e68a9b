"""An operation on a server of its own: server, workers and follower in this process, and nothing else (O22)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from temporalio.client import Client, WorkflowExecutionStatus

from activities.registration import all_activities
from activities.sites import Sites
from tidegate.cli import operations, output
from tidegate.cli.control import ControlBucket
from tidegate.cli.follow import EXIT_HALTED, EXIT_INTERRUPTED, Follower
from tidegate.cli.operations import Handle, NoWorker
from tidegate.errors import InvalidInput, Unavailable
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.inputs import ControlInput
from tidegate.model.operation import OperationStatus, Phase
from tidegate.temporal.connect import TemporalUnreachable
from workers import runner
from workers.kept import REQUEST, Asked, again
from workers.private_server import PrivateServer, remove

WORKER_LOG = "worker.log"
HEARD_S = 60.0
AGAIN_S = 0.2
T = TypeVar("T")


class Word(StrEnum):
    """What a person says to an operation that is gone on with."""

    RESUME = "resume"
    """If it stands halted or paused; else it goes on by itself."""
    ABORT = "abort"
    ESCALATE = "escalate"


class FollowerHere(Follower):
    """Follows an operation that stands still when this process ends."""

    def __init__(self, handle: Handle, command: str, address: str) -> None:
        super().__init__(handle)
        self._command = command
        self._address = address

    def ways(self, status: OperationStatus) -> tuple[str, ...]:
        """See ``Follower``."""
        back = () if status.phase is Phase.UNDOING else (f"go back:  Ctrl-C, then {self._command} --abort",)
        return (f"Ctrl-C leaves it as it is; go on:  {self._command}", *back)

    def told(self, status: OperationStatus) -> OperationStatus:
        """Its commands reach a server that ends with this process: named are those that start it again."""
        commands = {
            f"tidegate ops resume {status.operation}": self._command,
            f"tidegate ops abort {status.operation}": f"{self._command} --abort",
            # Begun anew it takes over what this one holds.
            f"tidegate ops escalate {status.operation}": (
                f"tidegate break-glass failover {status.deployment} --unplanned --why TEXT"
            ),
        }
        told = tuple(
            commands.get(one, f"TEMPORAL_ADDRESS={self._address} {one}" if " ops " in one else one)
            for one in status.next_commands
        )
        return status.model_copy(update={"next_commands": told})

    def unanswered(self, error: NoWorker) -> str:
        """The worker is this process."""
        return "the worker in this process is busy and has not answered yet"

    def stands_halted(self, status: OperationStatus) -> bool:
        """Once the record says so, too: the server is not taken away under it."""
        return super().stands_halted(status) and status.activity is None


async def operate(
    folder: Path,
    asked: Asked,
    control: ControlBucket,
    regions: Sequence[str],
    cache: Path,
    word: tuple[Word, ControlInput],
    stop: asyncio.Event,
) -> int:
    """Run the operation to its end, until it stands halted, or until ``stop``; the exit code (130: stopped).

    The folder is removed when it has ended. It is kept in every other case, errors included, and so is the operation:
    called again with the same folder it goes on where it stood.

    Raises:
        Refused: another process has the folder.
        OperationFailed: the server ended.
        Unavailable: it does not come up.
        TidegateError: the operation failed with it.

    """
    async with PrivateServer(folder) as server:
        client = await server.client()
        handle = client.get_workflow_handle(asked.operation)
        with _logged(folder / WORKER_LOG):
            async with contextlib.AsyncExitStack() as stack:
                activities = all_activities(Sites(control.store, control.bucket, cache), client)
                await stack.enter_async_context(runner.control_worker(client, activities))
                for region in regions:
                    # No region's queue goes unpolled: each would be waited for, 5 s a minute (O17).
                    await stack.enter_async_context(runner.region_worker(client, region, activities))
                code = await _first(_follow(client, server, asked, word), server, stop)
        ended = (await operations.describe(handle)).status is not WorkflowExecutionStatus.RUNNING
    if ended and code not in {EXIT_HALTED, EXIT_INTERRUPTED}:
        remove(folder, REQUEST, WORKER_LOG)
    return code


async def _follow(client: Client, server: PrivateServer, asked: Asked, word: tuple[Word, ControlInput]) -> int:
    request, handle = asked.request, client.get_workflow_handle(asked.operation)
    try:
        seen = await _patiently(lambda: operations.describe(handle))
    except InvalidInput:  # no such operation yet
        summary = f"break-glass failover {request.deployment}, asked by {request.requested_by}"
        # It attaches to what an attempt has begun whose answer was lost.
        begun = await _patiently(
            lambda: operations.start(client, FAILOVER_DEPLOYMENT, request, asked.operation, summary)
        )
        handle = begun.handle
    else:
        if seen.status is WorkflowExecutionStatus.RUNNING:
            await _say(handle, *word)
    return await FollowerHere(handle, again(server.folder, request.deployment), server.address).follow()


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Do it. The server is this process's own, and has just come up: on a busy machine it may answer late.

    Raises:
        TemporalUnreachable: still no answer after ``HEARD_S``.

    """
    deadline = time.monotonic() + HEARD_S
    while True:
        try:
            return await act()
        except TemporalUnreachable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(AGAIN_S)


async def _say(handle: Handle, word: Word, control: ControlInput) -> None:
    """What the person wants of an operation that was left: it is resumed if it stands still, else it goes on."""
    deadline = time.monotonic() + HEARD_S
    while True:
        try:
            status = await operations.status(handle)
            if word is Word.RESUME and status.phase not in {Phase.HALTED, Phase.PAUSED}:
                return
            # From its answer on an activity runs until it stands halted anew: a follower does not mistake the halts.
            await operations.update(handle, word, control)
        except NoWorker as error:
            # The worker is here, and replays. Said twice, a control is answered as the first time.
            if time.monotonic() > deadline:
                raise Unavailable(f"{handle.id} has not taken {word} within {HEARD_S:g} s") from error
        else:
            return


async def _first(following: Awaitable[int], server: PrivateServer, stop: asyncio.Event) -> int:
    """What comes first: the end (or halt) of the operation, ``stop``, or the server's end, which is an error."""
    follow = asyncio.ensure_future(following)
    gone, stopped = asyncio.ensure_future(server.ended()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([follow, gone, stopped], return_when=asyncio.FIRST_COMPLETED)
        if follow.done():
            return follow.result()
        if gone.done():
            raise gone.result()
        output.note(f"interrupted: what runs has {runner.GRACE.total_seconds():g} s to finish")
        return EXIT_INTERRUPTED
    finally:
        for one in (follow, gone, stopped):
            one.cancel()
        await asyncio.gather(follow, gone, stopped, return_exceptions=True)


@contextlib.contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set, where signals can be had: in the main thread."""
    stop = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What the workers log goes into a file: the screen is for the operation."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.setLevel(logging.INFO)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(min(before, logging.INFO) if before else logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
