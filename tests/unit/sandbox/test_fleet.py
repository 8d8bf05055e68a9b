"""The fleet file of a sandbox: the template at its ports, and several deployments made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.fleet import TEMPLATE, fleet_text, input_topics, ledgers
from sandbox.layout import DEFAULT_BASE_PORT, HOST, NOTICE_SECRET, NOTICE_TARGET, SLOTS_PER_TASKMANAGER, Layout
from tidegate.errors import InvalidInput, Refused
from tidegate.failover.turning import turning
from tidegate.mirror.link import pick, returning
from tidegate.model.fleet import Fleet, render_args, render_audit
from tidegate.model.fleetfile import load_fleet


def fleet_of(tmp_path: Path, text: str) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return load_fleet(path).fleet


def test_one_deployment_is_the_template_at_the_sandboxes_ports(tmp_path):
    assert fleet_text(DEFAULT_BASE_PORT) == TEMPLATE.read_text()
    fleet = fleet_of(tmp_path, fleet_text(12_300))
    assert fleet.region("west").kafka.bootstrap == "127.0.0.1:12500"
    assert fleet.mirror("west-to-east").connect.rest == "http://127.0.0.1:12432"
    assert "127.0.0.1:27" not in fleet_text(12_300)
    (target,) = fleet.notices
    assert target.url is not None
    assert target.secret is not None
    assert target.url.resolve() == f"http://{HOST}:{Layout(12_300).notices}/hook"
    assert (target.name, target.secret.resolve()) == (NOTICE_TARGET, NOTICE_SECRET)


def test_a_link_leads_each_way_and_a_command_must_name_one(tmp_path):
    fleet = fleet_of(tmp_path, fleet_text(DEFAULT_BASE_PORT))
    assert returning(fleet, "east-to-west") == ("west-to-east",)
    assert fleet.mirror("east-to-west").topics == fleet.mirror("west-to-east").topics == ("payments", "balances")
    assert fleet.deployment("ledger").producers == ("producer",)
    with pytest.raises(InvalidInput, match="which mirror link") as refused:
        pick(fleet, None)
    assert refused.value.hint == "name one of: east-to-west, west-to-east"


def test_four_deployments_share_nothing_but_one_input(tmp_path):
    fleet = fleet_of(tmp_path, fleet_text(DEFAULT_BASE_PORT, 4))
    assert list(fleet.deployments) == ["ledger", "ledger-2", "ledger-3", "ledger-4"]
    assert [spec.tier for spec in fleet.deployments.values()] == [0, 1, 1, 2]
    assert sum(spec.parallelism for spec in fleet.deployments.values()) <= 2 * SLOTS_PER_TASKMANAGER
    assert input_topics(4) == ("payments", "payments-3", "payments-4")
    for one in ledgers(4):
        spec = fleet.deployment(one.name)
        (source,), (sink,) = spec.sources, spec.sinks
        assert (source.topics, source.group, sink.topics) == ((one.input,), one.name, (one.output,))
        args = render_args(fleet, one.name, "west", "cell-1", 3)
        for option, value in (("--input", one.input), ("--output", one.output), ("--group", one.name)):
            assert args[args.index(option) + 1] == value
        assert args[args.index("--transactional-prefix") + 1] == f"tg.{one.name}.balances-sink.e00000003."
        audit = render_audit(fleet, one.name, "east", "cell-1", 3)
        assert (audit[audit.index("--input") + 1], audit[audit.index("--output") + 1]) == (one.input, one.output)
        assert spec.artifacts["v1"].jar == f"s3://east/artifacts/{one.name}-v1.jar"
    jars = [artifact.jar for spec in fleet.deployments.values() for artifact in spec.artifacts.values()]
    assert len(jars) == len(set(jars))
    topics = {topic for one in ledgers(4) for topic in (one.input, one.output)}
    assert {frozenset(mirror.topics) for mirror in fleet.mirrors.values()} == {frozenset(topics)}


def test_o1_with_links_apart_a_deployment_can_fail_over_and_leave_the_others(tmp_path):
    together = fleet_of(tmp_path, fleet_text(DEFAULT_BASE_PORT, 4))
    with pytest.raises(Refused, match="carries"):
        turning(together, ["ledger-3"], "east", "west", {})
    assert len(turning(together, list(together.deployments), "east", "west", {}).links) == 1

    apart = fleet_of(tmp_path, fleet_text(DEFAULT_BASE_PORT, 4, apart=True))
    assert turning(apart, ["ledger-3"], "east", "west", {}).links == ("payments-3-east-to-west",)
    names = sorted(apart.mirrors)
    assert not [one for one in names for other in names if other.startswith(f"{one}-")], "a DENY is by prefix"
    assert turning(apart, ["ledger", "ledger-2"], "east", "west", {}).links == ("east-to-west",)


def test_more_than_there_are_is_refused():
    with pytest.raises(InvalidInput, match="5 deployments"):
        fleet_text(DEFAULT_BASE_PORT, 5)
