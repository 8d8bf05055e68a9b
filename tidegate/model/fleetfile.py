"""Read a fleet file; tell every mistake in it at once, each with file, line, column, field and what was expected."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tidegate.errors import InvalidInput
from tidegate.model import fleetcheck, fleetyaml
from tidegate.model.fleet import Fleet
from tidegate.model.fleetcheck import Path, Problem
from tidegate.model.fleetyaml import Document, Place
from tidegate.model.nearest import did_you_mean

M = TypeVar("M", bound=BaseModel)

_SECRET_FIELDS = frozenset({"secret", "secret_key", "password", "principal_password", "routing_key"})
_UNQUIRKED = {"a number": ", or plain decimal digits", "true or false": ", or true or false in so many letters"}
_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in a fleet file. ``line`` and ``column`` count from 1; ``field`` is dotted."""

    line: int
    column: int
    field: str
    what: str

    def text(self, source_name: str) -> str:
        """``file:line:col  dotted.field: what is wrong; expected …``."""
        where = f"{source_name}:{self.line}:{self.column}"
        line = f"{where}  {self.field}: {self.what}" if self.field else f"{where}  {self.what}"
        # A file's text must neither break the line nor reach the terminal as a command to it.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


@dataclass(frozen=True, slots=True)
class LoadedFleet:
    """A fleet file that was read: the model, the sha256 (64 hex digits) of its canonical bytes, and those as text."""

    fleet: Fleet
    digest: str
    text: str
    source_name: str
    document: Document = field(repr=False, compare=False)

    def mistake(self, path: Path, what: str) -> str:
        """A line about a field, with its place: for what is found wrong only later (an object that is not there)."""
        place = self.document.place_of(path)
        return Mistake(place.line, place.column, dotted(path), what).text(self.source_name)


def canonical(text: str) -> str:
    """The text that a digest is of: no byte order mark, LF line ends, just one at the end."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n") + "\n"


def digest_of(text: str) -> str:
    """The sha256 of the canonical bytes of a fleet file, 64 hex digits."""
    return hashlib.sha256(canonical(text).encode()).hexdigest()


def load_fleet(source: FilePath | str, source_name: str | None = None) -> LoadedFleet:
    """Read a fleet file (a ``pathlib.Path``) or the text of one (a ``str``).

    Raises InvalidInput with all mistakes: ``message`` has a line for each, ``details["mistakes"]`` the same as data.
    """
    if isinstance(source, FilePath):
        name = source_name or str(source)
        given = text_of(source, name)
    else:
        name = source_name or "fleet.yaml"
        given = source
    text = canonical(given)
    document = fleetyaml.read(text)
    fleet, mistakes = judge(document, Fleet, fleetcheck.problems)
    if fleet is None or mistakes:
        raise refusal(name, mistakes)
    return LoadedFleet(fleet, digest_of(text), text, name, document)


def dotted(path: Path) -> str:
    """``("deployments", "ledger", "args", 3)`` as ``deployments.ledger.args[3]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def text_of(path: FilePath, name: str, what: str = "fleet file", hint: str = "--fleet FILE or TIDEGATE_FLEET") -> str:
    """The text of a file. Raises InvalidInput if it cannot be read as text."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        msg = f"{name}: no such {what}"
        raise InvalidInput(msg, hint=f"name one with {hint}") from error
    except OSError as error:
        msg = f"{name}: cannot read the {what}: {error.strerror}"
        raise InvalidInput(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{name}: not UTF-8 text (byte {error.start:,}); expected a {what} in YAML"
        raise InvalidInput(msg) from error


def refusal(name: str, mistakes: list[Mistake]) -> InvalidInput:
    """The error that tells all of them, a line each."""
    found = [{"line": m.line, "column": m.column, "field": m.field, "what": m.what} for m in mistakes]
    return InvalidInput(
        "\n".join(mistake.text(name) for mistake in mistakes),
        hint=f"{len(mistakes)} mistakes in {name}; nothing was done" if len(mistakes) > 1 else None,
        details={"source": name, "mistakes": found},
    )


def judge(
    document: Document, kind: type[M], problems: Callable[[object], Iterable[Problem]]
) -> tuple[M | None, list[Mistake]]:
    """A document as this model, and all mistakes in it: of its text, its shape, and what ``problems`` finds."""
    found: set[Mistake] = set()

    def add(place: Place, path: Path, what: str) -> None:
        found.add(Mistake(place.line, place.column, dotted(path), what))

    for misread in document.misread:
        add(misread.place, misread.path, misread.what)
    for path, quirk in document.quirks.items():
        what = f"YAML reads {_shown(path, document.raw[path])} as {quirk}, not as it looks"
        add(document.place_of(path), path, f'{what}; expected quotes ("…") if it is text{_UNQUIRKED.get(quirk, "")}')
    model = None
    if document.values:  # else it is no YAML at all, and nothing more can be said
        judged = {misread.path for misread in document.misread} | document.quirks.keys()
        try:
            model = kind.model_validate(document.data)
        except ValidationError as error:
            details = [detail for detail in error.errors(include_url=False) if _path_of(detail) not in judged]
            for detail in details:
                add(*_translate(document, detail, kind))
            judged |= {_path_of(detail) for detail in details}
        for problem in problems(document.data):
            if problem.path not in judged:
                add(document.place_of(problem.path), problem.path, problem.what)
    return model, sorted(found)


def _path_of(detail: ErrorDetails) -> Path:
    loc = detail["loc"]
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


def _translate(document: Document, detail: ErrorDetails, root: type[BaseModel]) -> tuple[Place, Path, str]:
    """An error of pydantic's in our words."""
    kind, path = detail["type"], _path_of(detail)
    place = document.place_of(path)
    expected = _expected(path, root)
    if detail["loc"] != path:
        return document.place_of(path, key=True), path, detail["msg"]
    if kind == "extra_forbidden":
        known = list(_model_at(path[:-1], root))
        guess = did_you_mean(str(path[-1]), known)
        what = f"unknown field{guess}; expected one of: {', '.join(known)}"
        return document.place_of(path, key=True), path, what
    if kind == "missing":
        return document.place_of(path[:-1], key=True), path, f"missing; expected {expected or 'a value'}"
    found = _found(document, path, detail["input"])
    if kind == "string_type":
        if path in document.raw and document.raw[path] and not _is_secret(path):
            return place, path, f'expected text, found {found}; write it in quotes: "{document.raw[path]}"'
        return place, path, f"expected text{_aside(expected)}, found {found}"
    if kind in ("int_type", "int_from_float"):
        return place, path, f"expected a whole number{_aside(expected)}, found {found}"
    if kind == "float_type":
        return place, path, f"expected a number{_aside(expected)}, found {found}"
    if kind == "tuple_type":
        return place, path, f"expected a list{_aside(expected)}, found {found}"
    if kind in ("dict_type", "model_type"):
        return place, path, f"expected a mapping{_aside(expected)}, found {found}"
    if kind == "literal_error":
        options = str(detail["ctx"]["expected"]).replace("'", "")
        near = did_you_mean(str(detail["input"]), options.replace(" or ", ", ").split(", "))
        return place, path, f"expected {options}, found {found}{near}"
    if kind in ("too_short", "string_too_short"):
        return place, path, f"empty; expected {expected or 'a value'}"
    if kind in _LIMITS:
        return place, path, f"expected {_LIMITS[kind].format(**detail['ctx'])}{_aside(expected)}, found {found}"
    return place, path, detail["msg"]


def _found(document: Document, path: Path, value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {_shown(path, document.raw.get(path, value))}"
    if isinstance(value, (int, float)):
        return f"the number {_shown(path, value)}"
    return f"the text {_shown(path, repr(value))}"


def _shown(path: Path, value: object) -> str:
    return "…" if _is_secret(path) else str(value)


def _is_secret(path: Path) -> bool:
    # Who knows the address of a notice's target can write there.
    return any(part in _SECRET_FIELDS or (part == "url" and path[0] == "notices") for part in path[1:])


def _aside(expected: str) -> str:
    return f" ({expected})" if expected else ""


def _expected(path: Path, root: type[BaseModel]) -> str:
    """What the model says of a field, or nothing."""
    described = _model_at(path[:-1], root).get(str(path[-1])) if path else None
    return (described.description or "") if described is not None else ""


def _model_at(path: Path, root: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of the model that stands at a path; none where there is no model."""
    kind: object = root
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field_info = kind.model_fields.get(str(part))
            kind = _without_none(field_info.annotation) if field_info is not None else None
        else:  # a mapping by name or a list: the model is its last argument that is one
            kind = _element(kind)
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _without_none(kind: object) -> object:
    options = [option for option in get_args(kind) if option is not type(None)]
    return options[0] if type(None) in get_args(kind) and len(options) == 1 else kind


def _element(kind: object) -> object:
    models = [option for option in get_args(kind) if isinstance(option, type) and issubclass(option, BaseModel)]
    return models[0] if models else None
