"""The fleet file of a sandbox: ``runbooks/fleet-sandbox.yaml`` at its ports, with as many ledgers as are asked for.

Several ledgers are the one of the template under names of their own. A job at parallelism 1 takes one slot, so that
four of them fit a region's two TaskManagers:

    ledger    payments   -> balances     tier 0
    ledger-2  payments   -> balances-2   tier 1      (the same input)
    ledger-3  payments-3 -> balances-3   tier 1
    ledger-4  payments-4 -> balances-4   tier 2
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.layout import DEFAULT_BASE_PORT, HOST
from tidegate.errors import InvalidInput

TEMPLATE: Final = Path(__file__).parents[1] / "runbooks" / "fleet-sandbox.yaml"
_MIRRORS, _DEPLOYMENTS, _LEDGER = "\nmirrors:\n", "\ndeployments:\n", "  ledger:\n"
_TOPICS, _TIER, _PARALLELISM = "topics: [payments, balances]", "    tier: 1\n", "    parallelism: 2\n"
_PORT: Final = re.compile(rf"{re.escape(HOST)}:(\d+)\b")
"""Every port of the template is one of the sandbox's."""
_LINKS: Final = ("east-to-west", "west-to-east")


@dataclass(frozen=True)
class Ledger:
    """One deployment of the reference job: its name, tier, input and output."""

    name: str
    tier: int
    input: str
    output: str


LEDGERS: Final = (
    Ledger("ledger", 0, "payments", "balances"),
    Ledger("ledger-2", 1, "payments", "balances-2"),
    Ledger("ledger-3", 1, "payments-3", "balances-3"),
    Ledger("ledger-4", 2, "payments-4", "balances-4"),
)


def ledgers(count: int) -> tuple[Ledger, ...]:
    """The first ``count`` of them.

    Raises:
        InvalidInput: there are not so many.

    """
    if not 1 <= count <= len(LEDGERS):
        raise InvalidInput(f"{count} deployments in the sandbox: expected 1 to {len(LEDGERS)}")
    return LEDGERS[:count]


def input_topics(count: int) -> tuple[str, ...]:
    """What the first ``count`` ledgers read, each topic once."""
    return tuple(dict.fromkeys(one.input for one in ledgers(count)))


def fleet_text(base_port: int, deployments: int = 1, *, apart: bool = False) -> str:
    """The fleet file. With one deployment it is the template, but for its ports.

    ``apart``: each input topic, with the outputs made of it, has a pair of mirror links of its own. Without it one
    link brings all topics in a direction, and only all of its deployments together can fail over.

    Raises:
        InvalidInput: there are not so many deployments.

    """
    text = TEMPLATE.read_text(encoding="utf-8")
    text = _PORT.sub(lambda found: f"{HOST}:{base_port + int(found[1]) - DEFAULT_BASE_PORT}", text)
    wanted = ledgers(deployments)
    if deployments == 1:
        return text
    head, _, rest = text.partition(_MIRRORS)
    links, _, rest = rest.partition(_DEPLOYMENTS)
    above, _, ledger = rest.partition(_LEDGER)
    families = [[one for one in wanted if one.input == topic] for topic in input_topics(deployments)]
    written = [_links(links, family) for family in families] if apart else [_links(links, wanted)]
    jobs = [_deployment(ledger, one) for one in wanted]
    return f"{head}{_MIRRORS}{''.join(written)}{_DEPLOYMENTS}{above}{''.join(jobs)}"


def _links(links: str, family: tuple[Ledger, ...] | list[Ledger]) -> str:
    """The links for the topics of these; those of the first ledger keep their names.

    The others' names begin otherwise: a link that is shut out is denied by its name as a prefix, and a name that went
    on where another ends would be denied with it (X17).
    """
    topics = dict.fromkeys(topic for one in family for topic in (one.input, one.output))
    text = _replaced(links, _TOPICS, f"topics: [{', '.join(topics)}]")
    before = "" if family[0] == LEDGERS[0] else f"{family[0].input}-"
    for name in _LINKS:
        text = _replaced(text, f"  {name}:", f"  {before}{name}:")
    return text.rstrip("\n") + "\n"


def _deployment(ledger: str, one: Ledger) -> str:
    """The template's deployment as ``one``. Uids, principal and entry class are the job's, and stay."""
    text = _replaced(ledger, _TIER, f"    tier: {one.tier}\n")
    text = _replaced(text, _PARALLELISM, "    parallelism: 1\n")
    text = re.sub(r"\bpayments\b(?!-source)", one.input, text)
    text = re.sub(r"\bbalances\b(?!-sink)", one.output, text)
    text = _replaced(text, "group: ledger}", f"group: {one.name}}}")
    text = _replaced(text, "/artifacts/ledger-v", f"/artifacts/{one.name}-v")
    return f"  {one.name}:\n{text.rstrip()}\n"


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise InvalidInput(f"{TEMPLATE}: {old.strip()!r} is not there; what makes several deployments of it needs that")
    return text.replace(old, new)
