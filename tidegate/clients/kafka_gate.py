"""Denying a principal the writing of a topic, and letting it in again (X18). Wire level: see ``KafkaClient``."""

from __future__ import annotations

from tidegate.clients.kafka_acls import ALLOW, ANY, MATCH, OF_TOPICS, TOPIC, check_principal
from tidegate.clients.kafka_messages import DescribeAclsRequest
from tidegate.clients.kafka_wire import Wire
from tidegate.errors import Refused


async def deny_writes(wire: Wire, principal: str, topic: str) -> None:
    """Create the DENY (creating one that exists changes nothing) and wait until every broker shows it.

    Raises Refused if it would be the topic's first rule: a broker with ``allow.everyone.if.no.acl.found`` would then
    let nobody else near the topic.
    """
    check_principal(principal)
    if not await _has_allow(wire, topic):
        raise first_rule(topic)
    await OF_TOPICS.create(wire, principal, topic, f"deny {principal} the writing of {topic}")


def first_rule(topic: str) -> Refused:
    """The error for a topic that no rule allows to anybody."""
    return Refused(
        f"topic {topic} has no access rule that allows anything: a DENY would be its first rule, and where the "
        f"broker allows everyone what has no rule (allow.everyone.if.no.acl.found) it would shut everyone out",
        hint=f"allow first who needs it: the job, the mirror, its producers and readers, on topic {topic}",
    )


async def lift_writes(wire: Wire, principal: str, topic: str) -> None:
    """Take the DENY away (one that is not there is none) and wait until no broker shows it."""
    await OF_TOPICS.delete(wire, principal, topic, f"let {principal} write {topic} again")


async def denied_writes(wire: Wire, principal: str) -> list[str]:
    """Topics that every broker shows as denied to the principal for writing."""
    return await OF_TOPICS.shown_by_all(wire, principal)


async def _has_allow(wire: Wire, topic: str) -> bool:
    answer = await wire.ask(
        DescribeAclsRequest(
            resource_type_filter=TOPIC,
            resource_name_filter=topic,
            pattern_type_filter=MATCH,
            principal_filter=None,
            host_filter=None,
            operation=ANY,
            permission_type=ALLOW,
        )
    )
    wire.check(answer.error_code, f"read the access rules of {topic}")
    return bool(answer.resources)
