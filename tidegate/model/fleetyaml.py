"""YAML to plain data that remembers where everything stands, without the surprises of YAML 1.1.

Read are mappings, lists, text, whole and decimal numbers, true, false and null. Refused, each with its place: what YAML
1.1 reads otherwise than it looks (``no``, ``010``, ``1_000``, ``12:30``, dates), duplicate keys, aliases, tags.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tidegate.model.fleetcheck import Path

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "null",
    "merge": "a merge key",
    "value": "a default key",
}
_TRUE_FALSE = {"true": True, "false": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}([eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both from 1."""

    line: int
    column: int

    @classmethod
    def of(cls, mark: yaml.Mark | None) -> Place:
        """Of a mark of PyYAML's (from 0); the file's beginning if there is none."""
        return cls(mark.line + 1, mark.column + 1) if mark is not None else cls(1, 1)


@dataclass(frozen=True, slots=True)
class Misread:
    """One thing in the text that is refused before its meaning is looked at."""

    place: Place
    path: Path
    what: str


@dataclass(slots=True)
class Document:
    """A YAML text as plain data (mappings with text keys, tuples, scalars), and where each field stands.

    ``keys`` has the places of the names, ``values`` those of what stands after them. ``quirks`` are unquoted scalars
    that YAML does not read as they look: a mistake anywhere, with another hint where text is expected.
    """

    data: object = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    quirks: dict[Path, str] = field(default_factory=dict)
    misread: list[Misread] = field(default_factory=list)

    def place_of(self, path: Path, *, key: bool = False) -> Place:
        """Where a field's value (or its name) stands; of a field that is not there, its nearest parent's name."""
        first = self.keys if key else self.values
        if path in first:
            return first[path]
        while path:
            if path in self.keys:
                return self.keys[path]
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return self.values.get((), Place(1, 1))


def read(text: str) -> Document:
    """The document in a text; what is wrong with its YAML is in ``misread``. Raises nothing for any text."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            document.misread.append(Misread(Place(1, 1), (), "the file is empty; expected a mapping of fields"))
        else:
            document.data = _Reader(document).value(node, ())
    except yaml.MarkedYAMLError as error:
        what = " ".join(part for part in (error.context, error.problem) if part)
        document.misread.append(Misread(Place.of(error.problem_mark or error.context_mark), (), f"not YAML: {what}"))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, error.position - before.rfind("\n"))
        what = f"not YAML: the character U+{ord(str(error.character)[:1]):04X} may not stand in it"
        document.misread.append(Misread(place, (), what))
    except (ValueError, OverflowError):
        # PyYAML passes \U escapes on to chr() as they are.
        document.misread.append(Misread(Place(1, 1), (), "not YAML: an escape names no character"))
    except RecursionError:
        document.misread.append(Misread(Place(1, 1), (), "nested too deeply to be a fleet file"))
    return document


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: set[int] = set()

    def value(self, node: Node, path: Path) -> object:
        document = self._document
        place = Place.of(node.start_mark)
        document.values[path] = place
        if id(node) in self._seen:
            self._refuse(place, path, "an alias (*…) is not read here; expected it written out")
            return None
        self._seen.add(id(node))
        if node.tag.removeprefix(_TAG) not in (_KINDS.keys() | {"str", "map", "seq"}):
            self._refuse(place, path, f"the tag {node.tag} is not read here")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return tuple(self.value(item, (*path, index)) for index, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            place = Place.of(key.start_mark)
            if not isinstance(key, ScalarNode):
                self._refuse(place, path, "a field's name is a list or a mapping; expected text")
                continue
            name, at = str(key.value), (*path, str(key.value))
            kind = key.tag.removeprefix(_TAG)
            if kind == "merge":
                self._refuse(place, path, "a merge key (<<) is not read here; expected its fields written out")
                continue
            if kind != "str":
                what = f"YAML reads this name as {_KINDS.get(kind, kind)}"
                self._refuse(place, at, f'{what}; expected text: "{name}" in quotes')
            if name in found:
                first = self._document.keys[at]
                self._refuse(place, at, f"stands here a second time (first in line {first.line}); expected it once")
                continue
            self._document.keys[at] = place
            found[name] = self.value(value, at)
        return found

    def _scalar(self, node: Node, path: Path) -> object:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        if kind == "str":
            if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
                self._refuse(Place.of(node.start_mark), path, "half of a surrogate pair; expected whole characters")
                return None
            return text
        self._document.raw[path] = text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _TRUE_FALSE:
            return _TRUE_FALSE[text.lower()]
        if kind == "int" and _INT.fullmatch(text):
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
        self._document.quirks[path] = _KINDS.get(kind, kind)
        return text

    def _refuse(self, place: Place, path: Path, what: str) -> None:
        self._document.misread.append(Misread(place, path, what))
