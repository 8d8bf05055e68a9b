"""Taking a topic or a consumer group away for good. Wire level: see ``KafkaClient``."""

from __future__ import annotations

from tidegate.clients.kafka_messages import DeleteGroupsRequest, DeleteTopicsRequest, FindCoordinatorRequest
from tidegate.clients.kafka_wire import Again, Wire, error_of

GROUP_COORDINATOR = 0
# From 6 on DeleteTopics names topics in another form.
DELETE_TOPICS_MAX_VERSION = 5


async def remove_topic(wire: Wire, topic: str) -> None:
    """Delete the topic (one that is not there is none) and wait until no broker shows it."""
    what = f"delete topic {topic}"
    request = DeleteTopicsRequest(
        topic_names=[topic], timeout_ms=int(wire.timeout_s * 1000), max_version=DELETE_TOPICS_MAX_VERSION
    )
    for row in (await wire.ask(request)).responses:
        if error_of(row.error_code) != "UnknownTopicOrPartitionError":
            wire.check(row.error_code, what)
    for row in (await wire.metadata([topic])).topics:
        if error_of(row.error_code) != "UnknownTopicOrPartitionError":
            raise Again(f"{what}: a broker still shows it")


async def remove_group(wire: Wire, group: str) -> None:
    """Delete the group with its offsets; one that is not there is none. While it has members: not now."""
    what = f"delete group {group}"
    found = await wire.ask(FindCoordinatorRequest(key_type=GROUP_COORDINATOR, coordinator_keys=[group], min_version=4))
    wire.check(found.coordinators[0].error_code, what)
    answer = await wire.ask(DeleteGroupsRequest(groups_names=[group]), found.coordinators[0].node_id)
    for row in answer.results:
        error = error_of(row.error_code)
        if error == "NonEmptyGroupError":
            raise Again(f"{what}: it still has members")
        if error != "GroupIdNotFoundError":
            wire.check(row.error_code, what)
