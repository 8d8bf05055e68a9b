"""Read a schedules file; tell every mistake in it at once, each with its place, field and what was expected."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tidegate.model import fleetyaml
from tidegate.model.fleet import Fleet
from tidegate.model.fleetcheck import Problem
from tidegate.model.fleetfile import canonical, judge, refusal, text_of
from tidegate.model.nearest import did_you_mean
from tidegate.model.schedule import SchedulesFile
from tidegate.schedules.runbooks import OWN_FIELDS, SCHEDULABLE, no_consent, unknown

SCHEDULES = Path("runbooks/schedules.yaml")


@dataclass(frozen=True)
class LoadedSchedules:
    """A schedules file that was read, with the sha256 (64 hex digits) of its text."""

    file: SchedulesFile
    digest: str
    source_name: str


def load_schedules(path: Path, fleet: Fleet | None = None) -> LoadedSchedules:
    """Read a schedules file; with ``fleet``, its deployments must be that fleet's.

    Raises:
        InvalidInput: with all mistakes: ``message`` has a line for each, ``details["mistakes"]`` the same as data.

    """
    name = str(path)
    text = canonical(text_of(path, name, "schedules file", "--file FILE"))
    document = fleetyaml.read(text)
    file, mistakes = judge(document, SchedulesFile, lambda data: _problems(data, fleet))
    if file is None or mistakes:
        raise refusal(name, mistakes)
    return LoadedSchedules(file, hashlib.sha256(text.encode()).hexdigest(), name)


def _problems(data: object, fleet: Fleet | None) -> Iterator[Problem]:
    root = data if isinstance(data, Mapping) else {}
    for number, receiver in enumerate(root.get("notices") or ()):
        secret = receiver.get("secret") if isinstance(receiver, Mapping) else None
        if isinstance(secret, Mapping) and secret.get("literal") is not None:
            what = "a literal secret would stand in Temporal's histories; expected {env: NAME} or {file: PATH}"
            yield Problem(("notices", number, "secret", "literal"), what)
    entries = root.get("schedules")
    for name, entry in (entries if isinstance(entries, Mapping) else {}).items():
        if isinstance(entry, Mapping):
            yield from _entry(("schedules", name), entry, fleet)


def _entry(path: tuple[str, ...], entry: Mapping[str, object], fleet: Fleet | None) -> Iterator[Problem]:
    runbook, given = entry.get("runbook"), entry.get("input")
    if not isinstance(runbook, str) or not isinstance(given, Mapping):
        return
    if (wrong := unknown(runbook)) is not None:
        yield Problem((*path, "runbook"), wrong)
        return
    model = SCHEDULABLE[runbook].model
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            field = tuple(detail["loc"])
            if detail["type"] == "extra_forbidden":
                known = [one for one in model.model_fields if one not in OWN_FIELDS]
                near = did_you_mean(str(field[-1]), known)
                what = f"unknown field of {runbook}{near}; expected some of: {', '.join(known)}"
            elif detail["type"] == "missing":
                what = f"missing; {runbook} needs it"
            else:
                what = f"{detail['msg']} ({runbook})"
            yield Problem((*path, "input", *field), what)
    if (wrong := no_consent(runbook, given)) is not None:
        yield Problem((*path, "input"), wrong)
    if fleet is not None:
        yield from _unknown(path, given, fleet)


def _unknown(path: tuple[str, ...], given: Mapping[str, object], fleet: Fleet) -> Iterator[Problem]:
    """Deployments and regions that the fleet file does not name."""
    several = given.get("deployments")
    named: list[tuple[tuple[str | int, ...], object, Collection[str], str]] = [
        (("deployment",), given.get("deployment"), fleet.deployments, "deployment"),
        (("region",), given.get("region"), fleet.regions, "region"),
        (("to",), given.get("to"), fleet.regions, "region"),
    ]
    for number, name in enumerate(several if isinstance(several, list | tuple) else ()):
        named.append((("deployments", number), name, fleet.deployments, "deployment"))
    for field, name, known, word in named:
        if isinstance(name, str) and name and name not in known:
            what = f"no such {word}: {name}{did_you_mean(name, known)}; expected one of: {', '.join(known)}"
            yield Problem((*path, "input", *field), what)
