"""A link of the chain of reports, and its head: what stands in the control bucket (I8). Pure.

Each link names the bytes of one report by sha256, and the bytes of the link before it. So a report that is changed,
missing or put among the others shows by its name, and so does a link. The head says which link is the last.

Who may write in the bucket can write a whole new chain. That shows only against a head that was written down elsewhere.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tidegate import names

NO_LINK: Final = "0" * 64
"""What the first link names as the one before it."""


class _Kept(BaseModel):
    """Base of what is read for years. What a later version has added is passed over; the hash covers it as well."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Form(_Kept):
    """One object of a report: its JSON, Markdown or HTML."""

    key: str
    sha256: str
    size: int
    """Bytes."""


class Link(_Kept):
    """One link. ``begun`` is the first: it names what lay there before there was a chain; all others name a report."""

    number: int
    deployment: str
    prev_number: int
    prev: str
    """sha256 of the bytes of the link before it."""
    kind: Literal["begun", "report"]
    at: datetime
    """When the operation ended; of the first link when it was written. For people: nothing is decided by it."""
    operation: str = ""
    runbook: str = ""
    outcome: str = ""
    verdict: str = ""
    """``0/0/0``, ``not audited`` or ``none``."""
    forms: tuple[Form, ...] = ()
    notes: tuple[str, ...] = ()
    """What its writer found wrong with the chain, or with an earlier report of the same run."""

    @property
    def key(self) -> str:
        """Where it lies in the control bucket."""
        return names.chain_link_key(self.deployment, self.number)


class Head(_Kept):
    """Which link is the last. ``seq`` and ``write_id`` as of every record that is swapped (O3)."""

    deployment: str
    seq: int = 0
    write_id: str = ""
    number: int = 0
    hash: str = NO_LINK
    notes: tuple[str, ...] = ()
    """What was wrong with the head before: the next link says it for good."""


def link_bytes(link: Link) -> bytes:
    """The bytes of a link: the same for the same link, readable by a person."""
    return link.model_dump_json(indent=1).encode() + b"\n"


def digest(body: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(body).hexdigest()


def read_link(body: bytes) -> Link | None:
    """A link from its bytes; None: they are none."""
    try:
        return Link.model_validate_json(body)
    except ValidationError:
        return None


def read_head(body: bytes) -> Head | None:
    """The head from its bytes; None: they are none."""
    try:
        return Head.model_validate_json(body)
    except ValidationError:
        return None
