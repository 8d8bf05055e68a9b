"""Who polls a task queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from tidegate.errors import Unavailable

ALIVE: Final = timedelta(seconds=75)
"""A worker asks again within a minute; who has not asked for longer is gone, though Temporal remembers it for 5 min."""
RPC_S: Final = 5.0


async def pollers(client: Client, queue: str) -> int:
    """How many workers poll a queue for activities. Raises Unavailable."""
    wanted = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    try:
        answer = await client.workflow_service.describe_task_queue(wanted, timeout=timedelta(seconds=RPC_S))
    except RPCError as error:
        raise Unavailable(f"Temporal does not tell who polls {queue}: {error.message}") from error
    now = datetime.now(UTC)
    return len({one.identity for one in answer.pollers if now - one.last_access_time.ToDatetime(tzinfo=UTC) < ALIVE})
