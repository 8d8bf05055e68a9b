"""The search attributes of operations: the one list that workflows, workers, the sandbox and the tests use.

A workflow that sets one that the server does not know is stuck, so they are registered before anything starts.
"""

from __future__ import annotations

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

RUNBOOK = SearchAttributeKey.for_keyword("TidegateRunbook")
DEPLOYMENT = SearchAttributeKey.for_keyword("TidegateDeployment")
REGION = SearchAttributeKey.for_keyword("TidegateRegion")
CELL = SearchAttributeKey.for_keyword("TidegateCell")
PHASE = SearchAttributeKey.for_keyword("TidegatePhase")
INCIDENT = SearchAttributeKey.for_keyword("TidegateIncident")
SCHEDULE = SearchAttributeKey.for_keyword("TidegateSchedule")
"""Of a scheduled run: the entry of the schedules file."""
SKIPPED = SearchAttributeKey.for_keyword("TidegateSkipped")
"""Of a scheduled run that did nothing: why, in a word."""

ALL = (RUNBOOK, DEPLOYMENT, REGION, CELL, PHASE, INCIDENT, SCHEDULE, SKIPPED)


async def ensure_registered(client: Client) -> tuple[str, ...]:
    """Register those that the namespace does not know yet; their names.

    Raises:
        RPCError: the server cannot be asked, or does not let us (then a person registers them).

    """
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = tuple(key.name for key in ALL if key.name not in known.custom_attributes)
    if missing:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        try:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace, search_attributes=dict.fromkeys(missing, keyword)
                )
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another worker was first
                raise
    return missing
