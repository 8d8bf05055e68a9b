"""One topic of the mirror held back, and the other not: its principal may not read it at home for a while.

MirrorMaker polls all topics of a link with one consumer; what one partition is refused costs the others nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export only the client
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.connect import PRINCIPAL
from sandbox.probes import kafka_config
from tests.integration.failover.scene import LINKS, Scene

ACL_S = 15.0


@asynccontextmanager
async def held_back(scene: Scene, region: str, topic: str) -> AsyncIterator[None]:
    """Within, the mirror away from the region reads nothing of a topic."""
    rule = (
        *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{PRINCIPAL}", "*"),
        *(AclOperation.READ, AclPermissionType.DENY),
    )
    bootstrap = scene.sandbox.endpoints.regions[region].kafka
    admin = AdminClient({**kafka_config(bootstrap), "log_level": 2}, logger=None)
    made = admin.create_acls([AclBinding(*rule)], request_timeout=ACL_S)
    await asyncio.gather(*(asyncio.wrap_future(one) for one in made.values()))
    scene.say(f"the mirror from {region} may not read {topic}")
    try:
        yield
    finally:
        gone = admin.delete_acls([AclBindingFilter(*rule)], request_timeout=ACL_S)
        await asyncio.gather(*(asyncio.wrap_future(one) for one in gone.values()))
        scene.say(f"the mirror from {region} may read {topic} again")


async def behind(scene: Scene, source: str, topic: str) -> int:
    """How many records of a topic the mirror from a region has still to bring."""
    done = await scene.stage.tidegate("mirror", "status", LINKS[source], "-o", "json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    link = told[0] if isinstance(told, list) else told
    lags = [one["lag_records"] for one in link["partitions"] if one["topic"] == topic]
    assert lags, told
    assert None not in lags, told
    return sum(lags)
