"""Cases by turns: one of each class, the same ones for the same seed, and all of them in the matrix."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit import rotation

HERE = Path("/tests/here")


class Case:
    """What is used of pytest's item."""

    def __init__(self, path: Path, name: str, *, matrix: bool) -> None:
        self.path, self.name, self.function = path, name, lambda: None
        self.marks = [pytest.mark.matrix.mark] if matrix else []

    def add_marker(self, mark: Any, append: bool = True) -> None:
        self.marks.append(mark.mark)

    def get_closest_marker(self, name: str) -> Any:
        return next((mark for mark in self.marks if mark.name == name), None)


def chosen(monkeypatch: pytest.MonkeyPatch, seed: int, *, every: bool = False) -> tuple[list[Case], list[Case]]:
    monkeypatch.setattr(rotation, "SEED", seed)
    monkeypatch.setattr(rotation, "EVERY_CASE", every)
    items = [Case(HERE / f"test_{file}.py", f"{file}{n}", matrix=True) for file in "abc" for n in range(4)]
    items += [Case(HERE / "test_c.py", "always", matrix=False), Case(Path("/tests/x.py"), "x", matrix=True)]
    left_out: list[Case] = []

    def deselected(items: list[Case]) -> None:
        left_out.extend(items)

    config: Any = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=deselected))
    rotation.choose_cases(config, items, HERE, timeout_s=7)  # type: ignore[arg-type]
    return items, left_out


def test_one_of_each_class_and_what_is_no_case_always(monkeypatch: pytest.MonkeyPatch):
    items, left_out = chosen(monkeypatch, 3)
    assert [item.name[0] for item in items if item.path.parent == HERE] == ["a", "b", "c", "a"]
    assert [item.name for item in items[-2:]] == ["always", "x"]
    assert len(left_out) == 9


def test_a_seed_takes_the_same_ones_again_and_others_have_their_turn(monkeypatch: pytest.MonkeyPatch):
    taken = [tuple(item.name for item in chosen(monkeypatch, seed)[0]) for seed in range(40)]
    assert taken == [tuple(item.name for item in chosen(monkeypatch, seed)[0]) for seed in range(40)]
    assert {name for names in taken for name in names} >= {f"{file}{n}" for file in "abc" for n in range(4)}


def test_the_matrix_takes_all(monkeypatch: pytest.MonkeyPatch):
    items, left_out = chosen(monkeypatch, 3, every=True)
    assert (len(items), left_out) == (14, [])


def test_only_what_stands_below_is_marked(monkeypatch: pytest.MonkeyPatch):
    items, _ = chosen(monkeypatch, 3)
    marked = {item.name: {mark.name for mark in item.marks} for item in items}
    assert marked["always"] == {"sandbox", "timeout"}
    assert marked["x"] == {"matrix"}
