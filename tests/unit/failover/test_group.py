"""Which deployments of a region move, and what turns with each family: the sandbox's four ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.fleet import fleet_text, ledgers
from tidegate.errors import InvalidInput, Refused
from tidegate.failover.group import Lives, chosen, families
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet

BASE_PORT = 21_000


def fleet(tmp_path: Path, *, apart: bool) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text(BASE_PORT, 4, apart=apart))
    return load_fleet(path).fleet


def known(**changes: Lives) -> list[Lives]:
    every = {one.name: Lives(one.name, "east", "east/cell-1", "west/cell-1") for one in ledgers(4)}
    return list((every | {name.replace("_", "-"): lives for name, lives in changes.items()}).values())


def test_all_that_run_in_the_region_move_by_tier(tmp_path: Path) -> None:
    members = chosen(known(), fleet(tmp_path, apart=False), "east", "west", ())
    assert [(one.deployment, one.tier) for one in members] == [
        ("ledger", 0),
        ("ledger-2", 1),
        ("ledger-3", 1),
        ("ledger-4", 2),
    ]
    assert members[1].reads == ("payments",)
    assert members[1].writes == ("balances-2",)


def test_one_that_lives_elsewhere_or_is_stopped_does_not_move(tmp_path: Path) -> None:
    elsewhere = Lives("ledger-3", "west", "west/cell-1", "west/cell-1")
    stopped = Lives("ledger-4", "east", "east/cell-1", "west/cell-1", why_not="it is stopped")
    lives = known(ledger_3=elsewhere, ledger_4=stopped)
    members = chosen(lives, fleet(tmp_path, apart=False), "east", "west", ())
    assert [one.deployment for one in members] == ["ledger", "ledger-2"]
    with pytest.raises(InvalidInput, match="ledger-3 lives in west, not in east"):
        chosen(lives, fleet(tmp_path, apart=False), "east", "west", ("ledger-3",))
    with pytest.raises(InvalidInput, match="ledger-4 cannot move: it is stopped"):
        chosen(lives, fleet(tmp_path, apart=False), "east", "west", ("ledger-4",))


def test_a_region_where_nothing_runs_has_nothing_to_move(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no deployment runs in west"):
        chosen(known(), fleet(tmp_path, apart=False), "west", "east", ())
    with pytest.raises(InvalidInput, match="name another region"):
        chosen(known(), fleet(tmp_path, apart=False), "east", "east", ())


def test_behind_one_link_all_are_one_family_and_every_topic_turns(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=False)
    members = chosen(known(), of, "east", "west", ())
    (family,) = families(of, members, known(), "east", "west")
    assert family.members == ("ledger", "ledger-2", "ledger-3", "ledger-4")
    assert family.topics.stay == ()
    assert len(family.topics.turn) == 7
    assert (family.topics.links, family.topics.back) == (("east-to-west",), ("west-to-east",))


def test_with_links_of_their_own_only_those_that_share_an_input_are_one(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=True)
    members = chosen(known(), of, "east", "west", ())
    found = families(of, members, known(), "east", "west")
    assert [family.members for family in found] == [("ledger", "ledger-2"), ("ledger-3",), ("ledger-4",)]
    assert found[0].topics.turn == ("balances", "balances-2", "payments")


def test_a_stopped_one_keeps_no_topic_at_home(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=False)
    lives = known(ledger_4=Lives("ledger-4", "east", "east/cell-1", "west/cell-1", why_not="it is stopped"))
    members = chosen(lives, of, "east", "west", ())
    (family,) = families(of, members, lives, "east", "west")
    assert (family.members, family.idle) == (("ledger", "ledger-2", "ledger-3"), ("ledger-4",))
    assert {"payments-4", "balances-4"} <= set(family.topics.turn)


def test_with_a_link_of_its_own_a_stopped_one_keeps_its_topics(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=True)
    lives = known(ledger_4=Lives("ledger-4", "east", "east/cell-1", "west/cell-1", why_not="it is stopped"))
    found = families(of, chosen(lives, of, "east", "west", ()), lives, "east", "west")
    assert [family.members for family in found] == [("ledger", "ledger-2"), ("ledger-3",)]


def test_some_of_a_family_cannot_go_without_the_others(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=True)
    members = chosen(known(), of, "east", "west", ("ledger",))
    with pytest.raises(Refused, match="mirror link east-to-west carries balances, which turns, and balances-2") as no:
        families(of, members, known(), "east", "west")
    assert "failover region east --to west" in (no.value.hint or "")


def test_what_was_left_behind_for_want_of_slots_can_follow_behind_a_link_that_is_shut(tmp_path: Path) -> None:
    of = fleet(tmp_path, apart=False)
    lives = known(
        **{
            name: Lives(name.replace("_", "-"), "west", "west/cell-1", "west/cell-1")
            for name in ("ledger", "ledger_2", "ledger_3")
        }
    )
    (family,) = families(of, chosen(lives, of, "east", "west", ()), lives, "east", "west")
    assert family.members == ("ledger-4",)
    assert family.topics.turn == ("balances-4", "payments-4")
    assert family.topics.links == ("east-to-west",)
