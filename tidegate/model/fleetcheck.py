"""What must hold between the parts of a fleet file.

Works on plain data (mappings, tuples or lists, scalars) and passes over what has the wrong shape: so all mistakes of a
file are told at once, those of shape (found by the model) and those of reference.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from tidegate import names
from tidegate.model import placeholders
from tidegate.model.fleetnotices import PAGERDUTY_URL, mistakes_of
from tidegate.model.nearest import did_you_mean

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (field path from the root), and what is wrong and was expected."""

    path: Path
    what: str


def problems(fleet: object) -> list[Problem]:
    """Every broken reference and contradiction in the data of a fleet file."""
    root = _map(fleet)
    regions = _map(root.get("regions"))
    found = [*_control(_map(root.get("control")), regions)]
    for name, region in regions.items():
        found += _region(("regions", name), _map(region))
    found += _mirrors(_map(root.get("mirrors")), regions)
    for name, deployment in _map(root.get("deployments")).items():
        found += _deployment(("deployments", name), _map(deployment), regions)
    for number, receiver in enumerate(_list(root.get("announce"))):
        told = _map(receiver)
        found += _literal(("announce", number, "secret"), told.get("secret"), _hosts_of_url(told.get("url")))
    found += _notices(_list(root.get("notices")))
    return found


def is_loopback(host: str) -> bool:
    """Whether a host (name or address, brackets allowed) is this machine and no other."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _control(control: Mapping[str, object], regions: Mapping[str, object]) -> Iterator[Problem]:
    s3 = _map(control.get("s3"))
    yield from _literal(("control", "s3", "secret_key"), s3.get("secret_key"), _hosts_of_url(s3.get("endpoint")))
    endpoint = _text(s3.get("endpoint"))
    for name, region in regions.items():
        if endpoint and _text(_map(_map(region).get("s3")).get("endpoint")) == endpoint:
            what = f"the S3 of region {name}; expected one outside the regions that it protects"
            yield Problem(("control", "s3", "endpoint"), what)


def _region(path: Path, region: Mapping[str, object]) -> Iterator[Problem]:
    s3, kafka = _map(region.get("s3")), _map(region.get("kafka"))
    yield from _literal((*path, "s3", "secret_key"), s3.get("secret_key"), _hosts_of_url(s3.get("endpoint")))
    security, at = _map(kafka.get("security")), (*path, "kafka", "security")
    yield from _literal((*at, "password"), security.get("password"), _hosts_of_list(kafka.get("bootstrap")))
    protocol = _text(security.get("protocol"))
    if protocol is None:
        return
    for field in ("mechanism", "username", "password"):
        if protocol.startswith("SASL") and security.get(field) is None:
            yield Problem((*at, field), f"missing; expected with protocol {protocol}")
        if not protocol.startswith("SASL") and security.get(field) is not None:
            yield Problem((*at, field), f"means nothing with protocol {protocol}; expected SASL_PLAINTEXT or SASL_SSL")


def _mirrors(mirrors: Mapping[str, object], regions: Mapping[str, object]) -> Iterator[Problem]:
    by_topic: dict[tuple[str | None, str | None, str], str] = {}
    connectors: dict[str, str] = {}
    for name, value in mirrors.items():
        path, mirror = ("mirrors", name), _map(value)
        source, target = _text(mirror.get("source")), _text(mirror.get("target"))
        for field, region in (("source", source), ("target", target)):
            if region is not None and region not in regions:
                yield Problem((*path, field), _no_such("region", region, regions))
        if source is not None and source == target:
            yield Problem((*path, "target"), f"{target} is the source as well; expected another region")
        rest = _text(_map(mirror.get("connect")).get("rest"))
        group = _text(_map(mirror.get("connect")).get("group"))
        if rest is not None and group is not None and connectors.setdefault(rest, group) != group:
            what = f"{rest} is of group {connectors[rest]} in another link; expected one group for each Connect cluster"
            yield Problem((*path, "connect", "group"), what)
        for index, topic in enumerate(_list(mirror.get("topics"))):
            key = (source, target, str(topic))
            if by_topic.setdefault(key, name) != name or _list(mirror.get("topics")).index(topic) != index:
                what = f"{topic} is mirrored by {by_topic[key]} already; expected each topic once in a direction"
                yield Problem((*path, "topics", index), what)
        yield from _mirror_login(path, mirror, [regions.get(source or ""), regions.get(target or "")])
    yield from _task_prefixes(mirrors)


def _task_prefixes(mirrors: Mapping[str, object]) -> Iterator[Problem]:
    """No link's transactional prefix may begin another's on the same Kafka: a DENY of the one would hit both (X17)."""
    prefixes: dict[str, tuple[str, str]] = {}
    for name, value in mirrors.items():
        target, group = _text(_map(value).get("target")), _text(_map(_map(value).get("connect")).get("group"))
        if target is not None and group is not None:
            prefixes[name] = (target, names.connect_task_prefix(group, names.mirror_connector(name)))
    for name, (target, prefix) in prefixes.items():
        for other, (there, longer) in prefixes.items():
            if other != name and there == target and longer.startswith(prefix):
                what = (
                    f"its tasks' transactional ids begin with {prefix}, as those of link {name}: shut out on Kafka, "
                    f"{name} would take {other} with it; expected a name that does not begin with {name}-"
                )
                yield Problem(("mirrors", other), what)


def _mirror_login(path: Path, mirror: Mapping[str, object], ends: list[object]) -> Iterator[Problem]:
    hosts: list[str] = []
    sasl = False
    for end in ends:
        kafka = _map(_map(end).get("kafka"))
        hosts += _hosts_of_list(kafka.get("bootstrap"))
        sasl = sasl or (_text(_map(kafka.get("security")).get("protocol")) or "").startswith("SASL")
    for field in ("principal", "principal_password"):
        if sasl and mirror.get(field) is None:
            yield Problem((*path, field), "missing; expected, for a Kafka of the link wants a login")
    yield from _literal((*path, "principal_password"), mirror.get("principal_password"), hosts)


def _deployment(path: Path, deployment: Mapping[str, object], regions: Mapping[str, object]) -> Iterator[Problem]:
    yield from _places(path, deployment, regions)
    yield from _artifacts(path, _map(deployment.get("artifacts")))
    sinks = [uid for uid in (_text(_map(sink).get("uid")) for sink in _list(deployment.get("sinks"))) if uid]
    yield from _uids(path, deployment)
    yield from _templates((*path, "args"), _list(deployment.get("args")), sinks, deployment)
    audit = _map(deployment.get("audit"))
    for field in ("command", "across"):
        yield from _templates((*path, "audit", field), _list(audit.get(field)), sinks, deployment)
    used = {name for arg in _list(deployment.get("args")) for name in placeholders.names(_text(arg) or "")}
    for uid in sinks:
        if f"prefix:{uid}" not in used:
            what = f"sink {uid} gets no transactional prefix; expected {{prefix:{uid}}} in one of the arguments"
            yield Problem((*path, "args"), what)


def _places(path: Path, deployment: Mapping[str, object], regions: Mapping[str, object]) -> Iterator[Problem]:
    home, standby = _text(deployment.get("home")), _text(deployment.get("standby"))
    home_region, _, cell = (home or "").partition("/")
    if home and cell:
        cells = _map(_map(regions.get(home_region)).get("cells"))
        if home_region not in regions:
            yield Problem((*path, "home"), _no_such("region", home_region, regions))
        elif cells and cell not in cells:
            known = [f"{home_region}/{name}" for name in cells]
            yield Problem((*path, "home"), _no_such("cell", home, known))
    if standby is not None:
        if standby not in regions:
            yield Problem((*path, "standby"), _no_such("region", standby, regions))
        elif standby == home_region:
            yield Problem((*path, "standby"), f"{standby} is the home region; expected another region")
    hosts: list[str] = []
    for name in (home_region, standby):
        hosts += _hosts_of_list(_map(_map(regions.get(name or "")).get("kafka")).get("bootstrap"))
    yield from _literal((*path, "principal_password"), deployment.get("principal_password"), hosts)


def _artifacts(path: Path, artifacts: Mapping[str, object]) -> Iterator[Problem]:
    jars: dict[str, str] = {}
    for name, artifact in artifacts.items():
        at = (*path, "artifacts", name)
        for index, reader in enumerate(_list(_map(artifact).get("readable_by"))):
            if isinstance(reader, str) and reader not in artifacts:
                yield Problem((*at, "readable_by", index), _no_such("artifact", reader, artifacts))
        jar = _text(_map(artifact).get("jar"))
        if jar is not None and jars.setdefault(jar, name) != name:
            yield Problem((*at, "jar"), f"{jar} is the jar of {jars[jar]} too; expected one jar for each artifact")


def _uids(path: Path, deployment: Mapping[str, object]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for kind in ("sources", "sinks"):
        for index, operator in enumerate(_list(deployment.get(kind))):
            uid = _text(_map(operator).get("uid"))
            if uid is None:
                continue
            if uid in seen:
                yield Problem((*path, kind, index, "uid"), f"{uid} stands at {seen[uid]} too; expected one uid each")
            seen.setdefault(uid, f"{kind}[{index}]")


def _templates(
    path: Path, templates: Iterable[object], sinks: list[str], deployment: Mapping[str, object]
) -> Iterator[Problem]:
    written = (_list(_map(sink).get("topics")) for sink in _list(deployment.get("sinks")))
    outputs = [str(topic) for topics in written for topic in topics]
    for index, template in enumerate(templates):
        text = _text(template)
        if text is None:
            continue
        yield from (Problem((*path, index), what) for what in placeholders.mistakes(text, sinks, outputs))
        if "secret:principal_password" in placeholders.names(text) and deployment.get("principal_password") is None:
            what = "{secret:principal_password} is used; expected principal_password in this deployment"
            yield Problem((*path, index), what)


def _notices(targets: list[object]) -> Iterator[Problem]:
    names: dict[str, int] = {}
    for number, value in enumerate(targets):
        path, target = ("notices", number), _map(value)
        name = _text(target.get("name"))
        if name is not None and names.setdefault(name, number) != number:
            yield Problem((*path, "name"), f"{name} is the name of notices[{names[name]}] too; expected one each")
        yield from (Problem((*path, field), what) for field, what in mistakes_of(target))
        url = _map(target.get("url"))
        address = PAGERDUTY_URL if target.get("url") is None else _plain(url.get("literal"))
        # An address that only the environment knows is not loopback for all that can be said here.
        hosts = (_hosts_of_url(address) if address is not None else []) or ["another machine"]
        for field in ("url", "secret", "routing_key"):
            yield from _literal((*path, field), target.get(field), hosts)


def _plain(secret: object) -> str | None:
    """A literal's value, out of a file or out of the model."""
    return secret.get_secret_value() if isinstance(secret, SecretStr) else _text(secret)


def _literal(path: Path, secret: object, hosts: list[str]) -> Iterator[Problem]:
    if _map(secret).get("literal") is None:
        return
    foreign = [host for host in hosts if not is_loopback(host)]
    if foreign:
        what = f"a literal secret for {foreign[0]}, which is not loopback; expected {{env: NAME}} or {{file: PATH}}"
        yield Problem((*path, "literal"), what)


def _no_such(kind: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"no such {kind}: {name}{did_you_mean(name, names)}; expected one of: {', '.join(names) or 'none'}"


def _hosts_of_url(url: object) -> list[str]:
    try:
        host = urlsplit(_text(url) or "").hostname
    except ValueError:
        return []
    return [host] if host else []


def _hosts_of_list(bootstrap: object) -> list[str]:
    return [part.rpartition(":")[0] for part in (_text(bootstrap) or "").split(",") if ":" in part]


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
