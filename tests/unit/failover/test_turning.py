"""O1: what turns with a deployment, what stays because others read it, and which links carry it (pure)."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import FLEET
from tidegate.errors import Refused
from tidegate.failover.turning import inputs_of, outputs_of, producers_of, turning, written_from_outside
from tidegate.model.failover import Topics
from tidegate.model.fleet import Deployment, Fleet, Mirror

LEDGER = FLEET.deployment("ledger")


def _deployment(reads: list[str], writes: list[str], producers: tuple[str, ...] = ("producer",)) -> Deployment:
    source, sink = LEDGER.sources[0], LEDGER.sinks[0]
    return LEDGER.model_copy(
        update={
            "sources": (source.model_copy(update={"topics": tuple(reads)}),),
            "sinks": (sink.model_copy(update={"topics": tuple(writes)}),),
            "producers": producers,
        }
    )


def _fleet(links: dict[str, tuple[str, str, list[str]]], **deployments: Deployment) -> Fleet:
    mirror = FLEET.mirror("east-to-west")
    mirrors: dict[str, Mirror] = {
        name: mirror.model_copy(update={"source": source, "target": target, "topics": tuple(topics)})
        for name, (source, target, topics) in links.items()
    }
    return FLEET.model_copy(update={"mirrors": mirrors, "deployments": deployments})


BOTH = ["payments", "balances"]
OUT, BACK = ("east", "west", BOTH), ("west", "east", BOTH)


def test_o1_what_it_reads_and_writes_turns_with_the_links_that_carry_it():
    found = turning(FLEET, ["ledger"], "east", "west", {})
    assert found == Topics(turn=("balances", "payments"), links=("east-to-west",), back=("west-to-east",))


def test_the_other_way_the_links_change_places():
    found = turning(FLEET, ["ledger"], "west", "east", {"ledger": "west"})
    assert (found.links, found.back) == (("west-to-east",), ("east-to-west",))


def test_o1_an_input_that_another_one_reads_there_stays():
    fraud = _deployment(["payments"], ["alerts"])
    fleet = _fleet(
        {"inputs": ("east", "west", ["payments"]), "outputs": ("east", "west", ["balances"])},
        ledger=LEDGER, fraud=fraud,
    )  # fmt: skip
    found = turning(fleet, ["ledger"], "east", "west", {})
    assert found == Topics(turn=("balances",), stay=("payments",), links=("outputs",))


def test_o1_who_reads_it_in_another_region_keeps_nothing_back():
    fleet = _fleet({"out": OUT}, ledger=LEDGER, fraud=_deployment(["payments"], ["alerts"]))
    assert turning(fleet, ["ledger"], "east", "west", {"fraud": "west"}).turn == ("balances", "payments")


def test_o1_those_that_move_together_turn_what_only_they_use():
    fraud = _deployment(["payments", "balances"], ["alerts"])
    fleet = _fleet({"out": ("east", "west", [*BOTH, "alerts"])}, ledger=LEDGER, fraud=fraud)
    found = turning(fleet, ["ledger", "fraud"], "east", "west", {})
    assert found.turn == ("alerts", "balances", "payments")
    assert found.stay == ()


def test_o1_what_one_of_them_writes_turns_though_another_reads_it():
    fleet = _fleet({"out": OUT}, ledger=LEDGER, fraud=_deployment(["balances"], ["alerts"]))
    assert "balances" in turning(fleet, ["ledger"], "east", "west", {}).turn


def test_a_link_with_what_turns_and_what_stays_names_who_reads_it_and_the_region_failover():
    fleet = _fleet({"out": OUT}, ledger=LEDGER, fraud=_deployment(["payments"], ["alerts"]))
    with pytest.raises(Refused, match="carries balances, which turns, and payments, which fraud reads in east") as told:
        turning(fleet, ["ledger"], "east", "west", {})
    assert "tidegate failover region east --to west" in (told.value.hint or "")


def test_a_link_with_a_topic_of_nobody_is_refused_too():
    fleet = _fleet({"out": ("east", "west", [*BOTH, "orders"])}, ledger=LEDGER)
    with pytest.raises(Refused, match="and orders, which no deployment of this failover uses"):
        turning(fleet, ["ledger"], "east", "west", {})


@pytest.mark.parametrize("missing", BOTH)
def test_x20_a_topic_that_no_link_brings_cannot_go_on_there(missing: str):
    left = [topic for topic in BOTH if topic != missing]
    fleet = _fleet({"out": ("east", "west", left), "back": BACK}, ledger=LEDGER)
    with pytest.raises(Refused, match=f"no mirror link brings {missing} from east to west") as told:
        turning(fleet, ["ledger"], "east", "west", {})
    assert "under `mirrors:`" in (told.value.hint or "")


def test_a_topic_that_stays_must_be_brought_as_well():
    fleet = _fleet({"out": ("east", "west", ["balances"])}, ledger=LEDGER, fraud=_deployment(["payments"], ["alerts"]))
    with pytest.raises(Refused, match="no mirror link brings payments"):
        turning(fleet, ["ledger"], "east", "west", {})


def test_links_between_other_regions_are_left_alone():
    fleet = _fleet({"out": OUT, "back": BACK, "far": ("east", "north", BOTH)}, ledger=LEDGER)
    found = turning(fleet, ["ledger"], "east", "west", {})
    assert (found.links, found.back) == (("out",), ("back",))


def test_x18_producers_are_those_of_whoever_reads_the_topic():
    fraud = _deployment(["payments"], ["alerts"], producers=("shop", "producer"))
    fleet = _fleet({"out": OUT}, ledger=LEDGER, fraud=fraud)
    assert producers_of(fleet, ["payments"]) == ("producer", "shop")
    assert producers_of(fleet, ["alerts"]) == ()


def test_x18_only_what_no_deployment_writes_is_closed_to_producers():
    assert written_from_outside(FLEET, ["payments", "balances"]) == ("payments",)
    assert (inputs_of(LEDGER), outputs_of(LEDGER)) == ({"payments"}, {"balances"})
