"""Placeholders in a job's arguments and in the audit's command: ``{kafka.bootstrap}``, ``{prefix:SINK_UID}``, …

``{output:TOPIC}`` stands for the name of a topic that a sink writes: TOPIC itself, and a scratch topic in a drill.

``{{`` and ``}}`` stand for a brace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidegate.errors import InvalidInput
from tidegate.model.nearest import did_you_mean
from tidegate.model.secret import Secret
from tidegate.names import transactional_prefix

PLAIN = (
    "kafka.bootstrap",
    "kafka.username",
    "deployment",
    "region",
    "cell",
    "epoch",
    "principal",
    "transaction_timeout_ms",
)
SECRETS = ("principal_password", "kafka.password")
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Values:
    """What placeholders stand for at one start. Secrets are resolved only where a template names them."""

    deployment: str
    region: str
    cell: str
    epoch: int
    principal: str
    transaction_timeout_ms: int
    kafka_bootstrap: str
    kafka_username: str | None
    secrets: Mapping[str, Secret | None] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The text for one placeholder. Raises InvalidInput."""
        kind, colon, rest = name.partition(":")
        if colon and kind == "prefix":
            return transactional_prefix(self.deployment, rest, self.epoch)
        if colon and kind == "output":
            return rest
        if colon and kind == "secret":
            secret = self.secrets.get(rest)
            if secret is None:
                msg = f"deployments.{self.deployment}: {{{name}}} is used, but the fleet file gives no {rest}"
                raise InvalidInput(msg)
            return secret.resolve()
        value = {
            "kafka.bootstrap": self.kafka_bootstrap,
            "kafka.username": self.kafka_username,
            "deployment": self.deployment,
            "region": self.region,
            "cell": self.cell,
            "epoch": str(self.epoch),
            "principal": self.principal,
            "transaction_timeout_ms": str(self.transaction_timeout_ms),
        }.get(name)
        if value is None:
            msg = f"deployments.{self.deployment}: {{{name}}} has no value in region {self.region}"
            raise InvalidInput(msg)
        return value


def names(template: str) -> list[str]:
    """The placeholders of a template, in order."""
    return [match.group(1) for match in _TOKEN.finditer(template) if match.group(1) is not None]


def mistakes(template: str, sink_uids: Iterable[str], outputs: Iterable[str] = ()) -> list[str]:
    """What is wrong with a template, in words; empty if nothing is."""
    found = []
    uids, topics = list(sink_uids), list(outputs)
    for match in _TOKEN.finditer(template):
        name = match.group(1)
        if name is None:
            if match.group() in "{}":
                found.append(
                    f"a lone {match.group()}; expected a placeholder as {{deployment}}, or {match.group() * 2}"
                )
            continue
        kind, colon, rest = name.partition(":")
        if colon and kind == "prefix":
            if rest not in uids:
                found.append(_unknown(f"no such sink uid in {{{name}}}", rest, uids))
        elif colon and kind == "output":
            if rest not in topics:
                found.append(_unknown(f"no sink writes the topic in {{{name}}}", rest, topics))
        elif colon and kind == "secret":
            if rest not in SECRETS:
                found.append(_unknown(f"no such secret in {{{name}}}", rest, SECRETS))
        elif name not in PLAIN:
            known = [
                *PLAIN,
                *(f"prefix:{uid}" for uid in uids),
                *(f"output:{topic}" for topic in topics),
                *(f"secret:{secret}" for secret in SECRETS),
            ]
            found.append(_unknown(f"unknown placeholder {{{name}}}", name, known))
    return found


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    options = list(known)
    return f"{what}{did_you_mean(name, options)}; expected one of: {', '.join(options) or 'none'}"


def render(template: str, values: Values) -> str:
    """The template with its placeholders replaced. Raises InvalidInput for one without a value."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return match.group()[0] if name is None else values.of(name)

    return _TOKEN.sub(replace, template)
