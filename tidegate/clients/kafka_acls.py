"""DENYs of writing, of one kind of resource by one kind of name: made, taken away and read back on every broker.

A broker shows its own copy of the access lists: what one of them does not show yet, it does not refuse yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.clients.kafka_messages import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from tidegate.clients.kafka_wire import Again, Wire
from tidegate.errors import InvalidInput

# Numbers of org.apache.kafka.common.acl and .resource.
ANY: Final = 1
TOPIC: Final = 2
TRANSACTIONAL_ID: Final = 5
MATCH: Final = 2
"""As a pattern filter: literal, wildcard and prefixed rules that cover the name."""
LITERAL: Final = 3
PREFIXED: Final = 4
WRITE: Final = 4
DENY: Final = 2
ALLOW: Final = 3


@dataclass(frozen=True)
class Denies:
    """The DENYs of one kind: of which resource, and how it is named. ``what`` in a call is for the error's text."""

    resource: int
    pattern: int

    async def create(self, wire: Wire, principal: str, name: str, what: str) -> None:
        """Create it (creating one that exists changes nothing) and wait until every broker shows it."""
        check_principal(principal)
        creation = CreateAclsRequest.AclCreation(
            resource_type=self.resource,
            resource_name=name,
            resource_pattern_type=self.pattern,
            principal=principal,
            host="*",
            operation=WRITE,
            permission_type=DENY,
        )
        answer = await wire.ask(CreateAclsRequest(creations=[creation]))
        for row in answer.results:
            wire.check(row.error_code, what)
        if name not in await self.shown_by_all(wire, principal):
            raise Again(f"{what}: not every broker shows it yet")

    async def delete(self, wire: Wire, principal: str, name: str, what: str) -> None:
        """Take it away (one that is not there is none) and wait until no broker shows it."""
        check_principal(principal)
        the_deny = DeleteAclsRequest.DeleteAclsFilter(
            resource_type_filter=self.resource,
            resource_name_filter=name,
            pattern_type_filter=self.pattern,
            principal_filter=principal,
            host_filter="*",
            operation=WRITE,
            permission_type=DENY,
        )
        answer = await wire.ask(DeleteAclsRequest(filters=[the_deny]))
        for row in answer.filter_results:
            wire.check(row.error_code, what)
            for deleted in row.matching_acls:
                wire.check(deleted.error_code, what)
        if any(name in shown for shown in await self._shown(wire, principal)):
            raise Again(f"{what}: a broker still shows the DENY")

    async def shown_by_all(self, wire: Wire, principal: str) -> list[str]:
        """Names that every broker shows as denied to the principal."""
        check_principal(principal)
        seen = await self._shown(wire, principal)
        return sorted(set.intersection(*seen)) if seen else []

    async def _shown(self, wire: Wire, principal: str) -> list[set[str]]:
        seen: list[set[str]] = []
        for node in await wire.nodes():
            answer = await wire.ask(
                DescribeAclsRequest(
                    resource_type_filter=self.resource,
                    resource_name_filter=None,
                    pattern_type_filter=self.pattern,
                    principal_filter=principal,
                    host_filter="*",
                    operation=WRITE,
                    permission_type=DENY,
                ),
                node,
            )
            wire.check(answer.error_code, f"read what {principal} is denied")
            seen.append({resource.resource_name for resource in answer.resources})
        return seen


OF_TOPICS: Final = Denies(TOPIC, LITERAL)
OF_TRANSACTIONAL_PREFIXES: Final = Denies(TRANSACTIONAL_ID, PREFIXED)


def check_principal(principal: str) -> None:
    """Raises InvalidInput unless it is written as access lists write it: ``User:name``."""
    if not principal.startswith("User:") or principal == "User:":
        raise InvalidInput(f"principal {principal!r}: expected User:name")
