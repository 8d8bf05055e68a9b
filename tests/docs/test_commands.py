"""Never print a command that does not exist: each ``tidegate …`` of the pages and of the code is resolved."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup

from tests.docs.pages import PAGES, ROOT, text_of
from tidegate.cli.main import app

PACKAGES = ("tidegate", "activities", "workflows", "workers", "sandbox", "ledger")
_LINE = re.compile(r"(?<![\w/.-])tidegate((?:[ ]+[^\s`;&#()\"',]+)+)")
ANY = "X"
"""Stands for what an f-string puts in."""


def _strings(source: str) -> Iterator[str]:
    """Every string in the code, docstrings and f-strings too."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def _in_code() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in _strings(path.read_text()):
                for found in _LINE.finditer(text):
                    yield str(path.relative_to(ROOT)), found.group(1)


def _in_pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        # In code only, inline or fenced: prose may begin with the project's name.
        code = re.findall(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", text_of(page), re.DOTALL)
        for text in (fenced or inline for fenced, inline in code):
            for found in _LINE.finditer(text):
                yield page, found.group(1)


def _problem(words: list[str]) -> str | None:
    """What is wrong with a command line after ``tidegate``; None if its command and its options exist."""
    command = typer.main.get_command(app)
    context = command.make_context("tidegate", [], resilient_parsing=True)
    at = 0
    while isinstance(command, TyperGroup) and at < len(words) and words[at] not in {ANY, "…"} and words[at][0] != "-":
        found = command.get_command(context, words[at])
        if found is None:
            return f"no command {words[at]}"
        command, at = found, at + 1
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for word in words[at:]:
        option = word.rstrip(".:…").partition("=")[0]
        if option.startswith("-") and len(option) > 1 and option not in known:
            return f"no option {option}"
    return None


def _words(line: str) -> list[str]:
    return [word for word in (word.rstrip(".:") for word in line.split()) if word]


SENTENCES = frozenset(
    {
        "may", "is", "and", "import", "answers", "held", "knows", "says", "does", "in", "has", "needs", "the", "to",
        "only", "can", "uses", "itself", "or", "are", "with", "on", "a",
    }
)  # fmt: skip
"""Verbs and the like after the project's name, in docstrings and comments."""


def _commands(found: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted({(where, line) for where, line in found if _is_command(_words(line))})


def _is_command(words: list[str]) -> bool:
    return bool(words) and re.match(r"-?-?[a-z]", words[0]) is not None and words[0] not in SENTENCES


@pytest.mark.parametrize("source", ["code", "pages"])
def test_every_command_that_is_named_exists(source: str) -> None:
    commands = _commands(_in_code() if source == "code" else _in_pages())
    assert len(commands) > 20
    wrong = [(where, f"tidegate{line}", problem) for where, line in commands if (problem := _problem(_words(line)))]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rehearse ledger --to v2", "no command rehearse"),
        ("ops shw X", "no command shw"),
        ("upgrade ledger --too v2", "no option --too"),
        ("upgrade ledger --to v2 --bake 60s", None),
        ("sandbox up", None),
        ("worker run --role control", None),
        ("ops X X", None),
    ],
)
def test_the_check_can_fail(line: str, problem: str | None) -> None:
    assert _problem(_words(line)) == problem
