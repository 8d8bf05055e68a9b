"""Names and ids: one place, so that two processes never build the same thing in two ways.

Ids are derived, never random (OWNERSHIP.md O7): a step that is retried, doubled or replayed names the same thing.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime

CONTROL_QUEUE = "tidegate-control"

DEPLOYMENT_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
"""What a region, cell, deployment or artifact may be called: it ends up in topics, keys, queues and prefixes."""


def region_queue(region: str) -> str:
    """The task queue of the workers that stand beside a region."""
    return f"tidegate-region-{region}"


def derive_id(*parts: object) -> str:
    """32 hex digits from the parts, in order. Flink takes just this form for JobIDs and trigger ids.

    Parts are framed as JSON, so that ("ab", "c") and ("a", "bc") differ.
    """
    framed = json.dumps([str(part) for part in parts], separators=(",", ":")).encode()
    return hashlib.sha256(framed).hexdigest()[:32]


def transactional_prefix(deployment: str, sink_uid: str, epoch: int) -> str:
    """``tg.<deployment>.<sink uid>.e<8 digits>.`` (EXACTLY.md X13); the last dot keeps it from prefixing another."""
    return f"tg.{deployment}.{sink_uid}.e{epoch:08d}."


_PREFIX_TAIL = re.compile(r"\.e(\d{8})\.(?=[^.]*$)")


def epoch_of_transactional_id(transactional_id: str) -> int | None:
    """The epoch in a transactional id under our prefix, parsed from the right (X13); None for a foreign id."""
    if not transactional_id.startswith("tg."):
        return None
    match = _PREFIX_TAIL.search(transactional_id)
    return int(match.group(1)) if match else None


_INCREMENTING_TAIL = re.compile(r"-(\d+)-(\d+)$")


def place_of_transactional_id(transactional_id: str) -> tuple[int, int] | None:
    """(epoch, checkpoint) of an id with an incrementing name: its records are part of that checkpoint and later ones.

    Flink's ``TransactionalIdFactory``: ``<prefix>-<subtask>-<checkpoint>``. None for a foreign id.
    """
    epoch = epoch_of_transactional_id(transactional_id)
    match = _INCREMENTING_TAIL.search(transactional_id)
    return (epoch, int(match.group(2))) if epoch is not None and match else None


def mirror_connector(link: str) -> str:
    """The connector of a mirror link, in Connect's words."""
    return f"tidegate-{link}"


def connect_task_prefix(group: str, connector: str) -> str:
    """What the transactional ids of a source connector's tasks begin with, the task's number follows.

    Source: org.apache.kafka.connect.runtime.Worker.taskTransactionalId.
    """
    return f"{group}-{connector}-"


_DRILL = re.compile(r"(.+)-drill-[0-9a-f]{8}")


def drill_fork(deployment: str, operation: str, run_id: str) -> str:
    """The name of the fork that a drill starts: one for each run, never used again. It fits ``DEPLOYMENT_NAME``."""
    return f"{deployment[:24]}-drill-{derive_id('drill', deployment, operation, run_id)[:8]}"


def is_drill_of(fork: str, deployment: str) -> bool:
    """Whether a drill of the deployment would name its fork like this."""
    match = _DRILL.fullmatch(fork)
    return match is not None and match.group(1) == deployment[:24]


def is_fork(name: str) -> bool:
    """Whether a drill of some deployment would name its fork like this."""
    return _DRILL.fullmatch(name) is not None


# Keys in the control bucket.
def drill_prefix(fork: str) -> str:
    """What a drill notes while it runs; gone when it is torn down."""
    return f"drills/{fork}/"


def record_key(deployment: str) -> str:
    """The one compare-and-swap object of a deployment (O1)."""
    return f"{RECORDS_PREFIX}{deployment}.json"


RECORDS_PREFIX = "own/"


def mirror_key(link: str) -> str:
    """The record of a mirror link (O1)."""
    return f"mirror/{link}.json"


def lineage_key(topic: str) -> str:
    """Where a topic is written, and which region wrote which range of it (X20)."""
    return f"{LINEAGE_PREFIX}{topic}.json"


LINEAGE_PREFIX = "lineage/"


def history_prefix(deployment: str) -> str:
    """Create-only objects: what happened to a deployment, in the order of their names."""
    return f"history/{deployment}/"


def report_key(deployment: str, operation: str, run_id: str, suffix: str, version: int = 1) -> str:
    """The report of one run of an operation, so that a second run under the same id keeps the first one's evidence.

    ``run_id`` is Temporal's first execution run id; suffix is json, md or html. A run that reports once more and says
    something else (it was halted on its way out, or superseded) has a next version: what was written is not replaced.
    """
    again = f"-{version}" if version > 1 else ""
    return f"{REPORTS_PREFIX}{deployment}/{operation}/{run_id[-12:]}{again}.{suffix}"


REPORTS_PREFIX = "reports/"


def chain_prefix(deployment: str) -> str:
    """The links of the chain of a deployment's reports, one object each, and its head (I8)."""
    return f"{CHAIN_PREFIX}{deployment}/"


CHAIN_PREFIX = "chain/"


def chain_link_key(deployment: str, number: int) -> str:
    """One link of the chain: create-only."""
    return f"{chain_prefix(deployment)}{number:08d}.json"


def chain_head_key(deployment: str) -> str:
    """Which link is the last: by compare-and-swap."""
    return f"{chain_prefix(deployment)}head.json"


def tail_prefix(deployment: str, operation: str, run_id: str) -> str:
    """What a returned region's inputs are written out in that were held back: by the run that held them (X23)."""
    return f"{tails_prefix(deployment)}{operation}/{run_id[-12:]}/"


def tails_prefix(deployment: str) -> str:
    """All that was held back of a deployment's inputs."""
    return f"tails/{deployment}/"


def tail_feed_id(region: str, topic: str) -> str:
    """The transactional id under which a topic gets what a returned region had taken: whoever feeds it has this one, so
    that each fences who came before, be it another attempt, operation or deployment.
    """
    return f"tidegate-tail-{region}-{topic}"


def fleet_key(digest: str) -> str:
    """A published fleet file by its sha256 (O21)."""
    return f"fleet/{digest}.yaml"


def jar_key(sha256: str) -> str:
    """The bytes of a jar, by what they are."""
    return f"artifacts/{sha256}.jar"


def artifact_key(deployment: str, name: str) -> str:
    """Which bytes were put last as an artifact of a deployment."""
    return f"artifacts/{deployment}/{name}.json"


def schedule_id(name: str) -> str:
    """The Temporal schedule of an entry of the schedules file."""
    return f"{SCHEDULE_PREFIX}{name}"


SCHEDULE_PREFIX = "tidegate-"


def schedule_key(name: str) -> str:
    """What became of the runs of a schedule, kept longer than Temporal keeps a run."""
    return f"schedules/{name}.json"


FLEET_POINTER_KEY = "fleet/current.json"


def savepoint_dir(base: str, deployment: str, epoch: int, trigger_id: str) -> str:
    """Where a stop of an epoch writes: one directory per trigger, so that what is found there is that stop's (O6)."""
    return f"{base.rstrip('/')}/{deployment}/e{epoch:08d}-{trigger_id}"


def taken_dir(base: str, deployment: str, epoch: int, trigger_id: str) -> str:
    """Where a snapshot of a running job is written: beside the stops' directories, never one of theirs (X2)."""
    return f"{base.rstrip('/')}/{deployment}/t{epoch:08d}-{trigger_id}"


def manifest_key(deployment: str, start_id: str) -> str:
    """What is known before a start from an older snapshot: the replay manifest, the price, the settlement (X26)."""
    return f"manifests/{deployment}/{start_id}.json"


def manifest_prefix(deployment: str) -> str:
    """All that was written down before starts of a deployment, and the marks of those that took place."""
    return f"manifests/{deployment}/"


def manifest_mark(key: str) -> str:
    """Stands beside what was written down before a start, once that start took place: only then it counts."""
    return f"{key.removesuffix('.json')}.counts"


def notice_key(at: datetime, notice: str) -> str:
    """What became of a notice; in the order of their times."""
    return f"{NOTICES_PREFIX}{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{notice}.json"


NOTICES_PREFIX = "notices/"


def breaches_key(deployment: str) -> str:
    """Key of what people were told to be in breach of a deployment's objectives, in the control bucket."""
    return f"{BREACHES_PREFIX}{deployment}.json"


BREACHES_PREFIX = "breaches/"


def incident_key(incident: str) -> str:
    """The one compare-and-swap object of an incident."""
    return f"{INCIDENTS_PREFIX}{incident}.json"


def incident_open_key(incident: str) -> str:
    """Stands while an incident is open: what schedules look for."""
    return f"{INCIDENTS_OPEN_PREFIX}{incident}"


def incident_page_key(incident: str, suffix: str) -> str:
    """The page of an incident; suffix is md or html."""
    return f"{INCIDENTS_PREFIX}pages/{incident}.{suffix}"


INCIDENTS_PREFIX = "incidents/"
INCIDENTS_OPEN_PREFIX = "incidents/open/"
"""One small object for each open incident."""
