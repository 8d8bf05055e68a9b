"""A worker process: connects, polls its queues, and stops in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.registration import all_activities
from activities.sites import Sites
from tidegate.clients.s3 import open_store
from tidegate.temporal import search_attributes
from tidegate.temporal.connect import TemporalUnreachable, address, connect
from workers import runner
from workers.options import Role, WorkerOptions

CONTROL_TIMEOUT_S = 5.0
RECONNECT_S = 1.0

log = logging.getLogger("tidegate.worker")


async def connect_patiently(stop: asyncio.Event) -> Client | None:
    """A client, however long Temporal takes to come up; None if the worker shall stop before that."""
    waiting = False
    while not stop.is_set():
        try:
            client = await connect()
        except TemporalUnreachable as error:
            if not waiting:
                log.warning("%s; waiting for it", error.message)
                waiting = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RECONNECT_S)
        else:
            log.info("connected to Temporal at %s, namespace %s", address(), client.namespace)
            return client
    return None


async def register_search_attributes(client: Client) -> None:
    """Make the namespace know our search attributes; without them every operation would be stuck."""
    try:
        added = await search_attributes.ensure_registered(client)
    except RPCError as error:
        names = " ".join(f"--name {key.name}" for key in search_attributes.ALL)
        log.warning(
            "cannot register search attributes (%s); if operations are stuck: "
            "temporal operator search-attribute create --type Keyword %s",
            error.message,
            names,
        )
        return
    if added:
        log.info("registered search attributes: %s", ", ".join(added))


async def run_worker(role: Role, regions: Sequence[str], options: WorkerOptions) -> None:
    """Poll the role's queues until SIGTERM or SIGINT; what runs then gets `runner.GRACE` to finish.

    A restart of Temporal is waited for; a fatal error of a poller ends the process with that error.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await connect_patiently(stop)
    if client is None:
        return
    await register_search_attributes(client)
    store = open_store(
        options.control_s3,
        options.control_access_key,
        options.control_secret_key.get_secret_value(),
        options.control_region_name,
        CONTROL_TIMEOUT_S,
    )
    async with store:
        activities = all_activities(Sites(store, options.control_bucket, options.cache), client)
        if role is Role.CONTROL:
            workers = [runner.control_worker(client, activities)]
        else:
            workers = [runner.region_worker(client, region, activities) for region in regions]
        await _until(stop, workers)


async def _until(stop: asyncio.Event, workers: Sequence[Worker]) -> None:
    running = [asyncio.create_task(worker.run()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    log.info("pid %d polls %s", os.getpid(), ", ".join(worker.task_queue for worker in workers))
    await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        log.info("stopping: what runs has %d s to finish", runner.GRACE.total_seconds())
    stopping.cancel()
    await asyncio.gather(*(worker.shutdown() for worker in workers if worker.is_running))
    await asyncio.gather(*running)
