"""Denying a principal the writing of a topic, and letting it in again (X18). Wire level: see ``KafkaClient``."""

from __future__ import annotations

from tidegate.clients.kafka_messages import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from tidegate.clients.kafka_transactions import ACL_DENY, ACL_WRITE, check_principal
from tidegate.clients.kafka_wire import Again, Wire
from tidegate.errors import Refused

ACL_ANY = 1
ACL_TOPIC = 2
ACL_LITERAL = 3
ACL_MATCH = 2
"""As a pattern filter: literal, wildcard and prefixed rules that cover the name."""
ACL_ALLOW = 3


async def deny_writes(wire: Wire, principal: str, topic: str) -> None:
    """Create the DENY (creating one that exists changes nothing) and wait until every broker shows it.

    Raises Refused if it would be the topic's first rule: a broker with ``allow.everyone.if.no.acl.found`` would then
    let nobody else near the topic.
    """
    check_principal(principal)
    what = f"deny {principal} the writing of {topic}"
    if not await _has_allow(wire, topic):
        raise first_rule(topic)
    creation = CreateAclsRequest.AclCreation(
        resource_type=ACL_TOPIC,
        resource_name=topic,
        resource_pattern_type=ACL_LITERAL,
        principal=principal,
        host="*",
        operation=ACL_WRITE,
        permission_type=ACL_DENY,
    )
    answer = await wire.ask(CreateAclsRequest(creations=[creation]))
    for row in answer.results:
        wire.check(row.error_code, what)
    if topic not in await denied_writes(wire, principal):
        raise Again(f"{what}: not every broker shows it yet")


def first_rule(topic: str) -> Refused:
    """The error for a topic that no rule allows to anybody."""
    return Refused(
        f"topic {topic} has no access rule that allows anything: a DENY would be its first rule, and where the "
        f"broker allows everyone what has no rule (allow.everyone.if.no.acl.found) it would shut everyone out",
        hint=f"allow first who needs it: the job, the mirror, its producers and readers, on topic {topic}",
    )


async def lift_writes(wire: Wire, principal: str, topic: str) -> None:
    """Take the DENY away (one that is not there is none) and wait until no broker shows it."""
    check_principal(principal)
    the_deny = DeleteAclsRequest.DeleteAclsFilter(
        resource_type_filter=ACL_TOPIC,
        resource_name_filter=topic,
        pattern_type_filter=ACL_LITERAL,
        principal_filter=principal,
        host_filter="*",
        operation=ACL_WRITE,
        permission_type=ACL_DENY,
    )
    what = f"let {principal} write {topic} again"
    answer = await wire.ask(DeleteAclsRequest(filters=[the_deny]))
    for row in answer.filter_results:
        wire.check(row.error_code, what)
        for deleted in row.matching_acls:
            wire.check(deleted.error_code, what)
    if any(topic in shown for shown in await _shown(wire, principal)):
        raise Again(f"{what}: a broker still shows the DENY")


async def denied_writes(wire: Wire, principal: str) -> list[str]:
    """Topics that every broker shows as denied to the principal for writing."""
    check_principal(principal)
    seen = await _shown(wire, principal)
    return sorted(set.intersection(*seen)) if seen else []


async def _shown(wire: Wire, principal: str) -> list[set[str]]:
    """What each broker shows."""
    seen: list[set[str]] = []
    for node in await wire.nodes():
        answer = await wire.ask(
            DescribeAclsRequest(
                resource_type_filter=ACL_TOPIC,
                resource_name_filter=None,
                pattern_type_filter=ACL_LITERAL,
                principal_filter=principal,
                host_filter="*",
                operation=ACL_WRITE,
                permission_type=ACL_DENY,
            ),
            node,
        )
        wire.check(answer.error_code, f"read what {principal} is denied")
        seen.append({resource.resource_name for resource in answer.resources})
    return seen


async def _has_allow(wire: Wire, topic: str) -> bool:
    answer = await wire.ask(
        DescribeAclsRequest(
            resource_type_filter=ACL_TOPIC,
            resource_name_filter=topic,
            pattern_type_filter=ACL_MATCH,
            principal_filter=None,
            host_filter=None,
            operation=ACL_ANY,
            permission_type=ACL_ALLOW,
        )
    )
    wire.check(answer.error_code, f"read the access rules of {topic}")
    return bool(answer.resources)
