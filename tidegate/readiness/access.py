"""Credentials that work, in the standby above all: S3 to write and list, Kafka for the job's own principal."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model.review import Checked
from tidegate.readiness.facts import Facts, NotKnown, Refused
from tidegate.readiness.sheet import Said, Unasked, breach, field_of


def check(facts: Facts) -> Iterator[Said]:
    """Each region's S3, and each log-in."""
    for region in facts.regions.values():
        for cell, access in region.s3.items():
            at = f"{region.name}/{cell}"
            if isinstance(access, NotKnown):
                yield Unasked(f"S3 of {at}", access)
            elif isinstance(access, Refused):
                yield breach(
                    facts,
                    "s3-refused",
                    at,
                    f"what lies in the savepoints of {at} cannot be written or listed: {access.why}",
                    "nothing is shipped there, and nothing could be restored",
                    f"fleet file:  regions.{region.name}.s3, regions.{region.name}.cells.{cell}.savepoints",
                    "tidegate fleet check --online",
                )
            else:
                yield Checked(check=f"S3 of {at}", subject=at, fact="written, listed and removed")
    for (name, principal), access in facts.logins.items():
        if isinstance(access, NotKnown):
            yield Unasked(f"log-in of {principal} in {name}", access)
        elif isinstance(access, Refused):
            yield breach(
                facts,
                "kafka-login-refused",
                f"{principal} in {name}",
                f"{principal} is not let in to Kafka in {name}: {access.why}",
                "the job would not run there",
                f"make the user {principal} in {name}, with rules that allow it {', '.join(facts.topics)}",
                field_of(facts, "principal_password"),
            )
        else:
            fact = f"logs in and sees {', '.join(facts.topics)}"
            yield Checked(check=f"log-in of {principal} in {name}", subject=f"{principal} in {name}", fact=fact)
