"""Consumer groups: what they have committed, whether anybody is in them, and putting offsets there for them (X25).

Offsets are put as a consumer without a group does it, with no member and no generation. Kafka takes that only while
nobody is in the group, and refuses it as soon as somebody is: who reads is not moved under his feet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidegate.clients.kafka_messages import (
    FindCoordinatorRequest,
    ListGroupsRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from tidegate.clients.kafka_types import GroupState, TopicPartition
from tidegate.clients.kafka_wire import Wire, error_of
from tidegate.errors import Refused

GROUP_COORDINATOR: Final = 0
MAX_VERSION: Final = 9
"""Of OffsetFetch and OffsetCommit: from 10 on they name topics by id only."""
NO_GENERATION: Final = -1
TAKEN: Final = frozenset(
    {
        "UnknownMemberIdError",
        "IllegalGenerationError",
        "RebalanceInProgressError",
        "StaleMemberEpochError",
        "FencedMemberEpochError",
        "FencedInstanceIdError",
    }
)
"""What Kafka says of a commit by somebody who is not in a group that others are in."""


async def offsets(wire: Wire, group: str) -> dict[TopicPartition, int]:
    """Next offset by partition. Raises as ``Wire.check``."""
    what = f"offsets of group {group}"
    node = await _coordinator(wire, group, what)
    wanted = OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None)
    request = OffsetFetchRequest(groups=[wanted], min_version=8, max_version=MAX_VERSION)
    answer = (await wire.ask(request, node)).groups[0]
    wire.check(answer.error_code, what)
    found: dict[TopicPartition, int] = {}
    for topic in answer.topics:
        for row in topic.partitions:
            wire.check(row.error_code, what)
            if row.committed_offset >= 0:
                found[TopicPartition(topic.name, row.partition_index)] = row.committed_offset
    return found


async def state(wire: Wire, group: str) -> GroupState:
    """What the group's coordinator lists it as, of whichever kind it is. Raises as ``Wire.check``."""
    what = f"state of group {group}"
    node = await _coordinator(wire, group, what)
    answer = await wire.ask(ListGroupsRequest(states_filter=[], types_filter=[], min_version=4), node)
    wire.check(answer.error_code, what)
    for row in answer.groups:
        if row.group_id == group:
            return GroupState.of(row.group_state)
    return GroupState.UNKNOWN


async def commit(wire: Wire, group: str, wanted: Mapping[TopicPartition, int], note: str) -> None:
    """Put the group's offsets. Raises Refused if anybody is in it; else as ``Wire.check``."""
    what = f"put offsets of group {group}"
    node = await _coordinator(wire, group, what)
    by_topic: dict[str, list[TopicPartition]] = {}
    for tp in sorted(wanted):
        by_topic.setdefault(tp.topic, []).append(tp)
    topic_of = OffsetCommitRequest.OffsetCommitRequestTopic
    row_of = topic_of.OffsetCommitRequestPartition
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=NO_GENERATION,
        member_id="",
        group_instance_id=None,
        topics=[
            topic_of(
                name=topic,
                partitions=[
                    row_of(
                        partition_index=tp.partition,
                        committed_offset=wanted[tp],
                        committed_leader_epoch=-1,
                        committed_metadata=note,
                    )
                    for tp in partitions
                ],
            )
            for topic, partitions in by_topic.items()
        ],
        min_version=7,
        max_version=MAX_VERSION,
    )
    for topic in (await wire.ask(request, node)).topics:
        for row in topic.partitions:
            if error_of(row.error_code) in TAKEN:
                raise taken(group)
            wire.check(row.error_code, f"{what}: {topic.name}-{row.partition_index}")


def taken(group: str) -> Refused:
    """The error for a group whose offsets nobody but its members may put."""
    return Refused(
        f"somebody is in consumer group {group}: Kafka lets only its members put its offsets",
        hint="stop its consumers there, and do it again",
    )


async def _coordinator(wire: Wire, group: str, what: str) -> int:
    request = FindCoordinatorRequest(key_type=GROUP_COORDINATOR, coordinator_keys=[group], min_version=4)
    found = (await wire.ask(request)).coordinators[0]
    wire.check(found.error_code, what)
    return int(found.node_id)
