"""The page of break-glass says what the command does; its blocks are run by tests/integration/failover."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from tests.docs.pages import front_matter, table_under, text_of
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.names import CONTROL_QUEUE
from workers import break_glass

PAGE = "runbooks/break-glass.md"


def test_it_opens_with_what_to_do_now() -> None:
    opening = text_of(PAGE).split("---\n", 2)[2].strip().splitlines()
    assert opening[2] == "**Do this now**"
    assert [line[:3] for line in opening[4:7]] == ["1. ", "2. ", "3. "]


def test_the_front_matter_names_type_and_queue() -> None:
    head = front_matter(PAGE)
    assert head["runbook"] == "break-glass"
    assert head["workflow type"].startswith(FAILOVER_DEPLOYMENT)
    assert head["task queue"].startswith(CONTROL_QUEUE)
    assert {"touches", "does not touch"} <= set(head)


def test_the_options_are_those_of_the_command() -> None:
    group = typer.main.get_command(break_glass.app)
    assert isinstance(group, TyperGroup)
    known = {next(name for name in one.opts if name.startswith("--")) for one in group.commands["failover"].params[1:]}
    assert {row[0] for row in table_under(PAGE, "### Options")} == known
