"""The fork of a deployment as the fleet file would have it: own name, group, topics; nothing of it is the live one's.

A fork reads what the deployment reads. All that it writes is its own, and that is not believed but read off the
arguments: each output topic and each group must come from a placeholder, and must stand nowhere as it is (X12).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tidegate.errors import Refused
from tidegate.model.fleet import CellRef, Deployment, Fleet

_WORDS: Final = re.compile(r"[\s,;=\"']+")
TOPIC_LENGTH: Final = 249
"""What Kafka takes."""


def scratch_topic(fork: str, topic: str) -> str:
    """Where a fork writes what the deployment writes to ``topic``. Raises Refused for a name that Kafka refuses."""
    name = f"{fork}.{topic}"
    if len(name) > TOPIC_LENGTH:
        raise Refused(f"topic {topic} cannot be written in a drill: {name} is longer than {TOPIC_LENGTH} characters")
    return name


def output_topics(spec: Deployment) -> list[str]:
    """Each topic that a deployment writes, once."""
    return sorted({topic for sink in spec.sinks for topic in sink.topics})


def forked(fleet: Fleet, deployment: str, fork: str, at: CellRef) -> Fleet:
    """The fleet with the fork in it, whose home is ``at``. The live deployment is in it as it was.

    Raises:
        InvalidInput: no such deployment.
        Refused: its arguments name an output topic or a group in a way that a fork's would too.

    """
    spec = fleet.deployment(deployment)
    scratch = {topic: scratch_topic(fork, topic) for topic in output_topics(spec)}
    args = tuple(_turned(template, scratch) for template in spec.args)
    _refuse_shared_topics(deployment, spec, scratch)
    groups = {source.group: _group(deployment, spec, source.group, fork) for source in spec.sources}
    _refuse_literal(deployment, spec, (*scratch, *groups))
    changed = spec.model_copy(
        update={
            "home": str(at),
            "standby": None,
            "args": args,
            "sources": tuple(one.model_copy(update={"group": groups[one.group]}) for one in spec.sources),
            "sinks": tuple(
                one.model_copy(update={"topics": tuple(scratch[topic] for topic in one.topics)}) for one in spec.sinks
            ),
            "producers": (),
            "consumers": (),
            "audit": None,
            "approval": "none",
        }
    )
    return fleet.model_copy(update={"deployments": {**fleet.deployments, fork: changed}})


def _turned(template: str, scratch: Mapping[str, str]) -> str:
    for topic, other in scratch.items():
        template = template.replace(f"{{output:{topic}}}", other)
    return template


def _words(spec: Deployment) -> Iterator[tuple[int, str]]:
    for index, template in enumerate(spec.args):
        for word in _WORDS.split(template):
            yield index, word


def _refuse_shared_topics(deployment: str, spec: Deployment, scratch: Mapping[str, str]) -> None:
    for topic in scratch:
        if not any(f"{{output:{topic}}}" in template for template in spec.args):
            raise Refused(
                f"{deployment} cannot be drilled: no argument of it gets its output topic {topic} by a placeholder, so "
                f"a fork would write there as well",
                hint=f'write "{{output:{topic}}}" instead of {topic} in deployments.{deployment}.args',
            )


def _group(deployment: str, spec: Deployment, group: str, fork: str) -> str:
    """The fork's group: the word that gives the live one its group, with the fork's name in it."""
    for _, word in _words(spec):
        if "{deployment}" in word and word.replace("{deployment}", deployment) == group:
            return word.replace("{deployment}", fork)
    raise Refused(
        f"{deployment} cannot be drilled: no argument of it gets its consumer group {group} from {{deployment}}, so a "
        f"fork would use it as well and overwrite its positions",
        hint=f'write "{{deployment}}" where deployments.{deployment}.args name the group',
    )


def _refuse_literal(deployment: str, spec: Deployment, shared: tuple[str, ...]) -> None:
    for index, word in _words(spec):
        if word in shared:
            raise Refused(
                f"{deployment} cannot be drilled: its argument {index} names {word} as it is, so a fork would name it "
                f"as well",
                hint=f"use a placeholder ({{output:TOPIC}}, {{deployment}}) in deployments.{deployment}.args[{index}]",
            )
