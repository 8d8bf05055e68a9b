"""What every part of a fleet file is, and the part that names who is told when a topic turns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tidegate.model.fleetfields import Url
from tidegate.model.secret import Secret


class Part(BaseModel):
    """Frozen, strict (no text for a number), and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Announce(Part):
    """Who is told, signed, when a topic's gate closes or opens: producers outside that do not read the lineage."""

    url: Url = Field(description="where the announcement is posted to")
    secret: Secret = Field(description="a secret: {env: NAME}, {file: PATH} or {literal: VALUE}; it signs them")
