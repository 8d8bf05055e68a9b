"""Mirror links in the fleet file: what they become, and every mistake with its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fleet.test_fleetfile import SMALL, mistakes
from tidegate.errors import InvalidInput
from tidegate.mirror.configuration import connector_config
from tidegate.mirror.link import pick, returning
from tidegate.model.fleetfile import load_fleet
from tidegate.names import DEPLOYMENT_NAME, transactional_prefix

UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LINK = """\
mirrors:
  east-to-west:
    source: east
    target: west
    connect: {rest: "http://127.0.0.1:27232", group: connect-west}
    topics: [payments, a.b]
  west-to-east:
    source: west
    target: east
    connect: {rest: "http://127.0.0.1:27132", group: connect-east}
    topics: [payments]
"""
TEXT = SMALL.replace("deployments:\n", LINK + "deployments:\n")
SASL = "security: {protocol: SASL_PLAINTEXT, mechanism: PLAIN, username: admin, password: {literal: admin-secret}}"


def changed(old: str, new: str) -> list[str]:
    assert TEXT.count(old) == 1, f"{old!r} stands {TEXT.count(old)} times"
    return mistakes(TEXT.replace(old, new))


def test_a_link_becomes_a_connector_that_is_exactly_once_and_puts_provenance():
    fleet = load_fleet(TEXT).fleet
    config = connector_config(fleet, "east-to-west")

    assert config["name"] == "tidegate-east-to-west"
    assert config["topics"] == r"payments,a\.b"
    assert config["source.cluster.bootstrap.servers"] == "127.0.0.1:27100"
    assert config["target.cluster.bootstrap.servers"] == "127.0.0.1:27200"
    assert config["replication.policy.class"].endswith("IdentityReplicationPolicy")
    assert config["offset-syncs.topic.location"] == "target"
    assert config["sync.group.offsets.enabled"] == "false"
    assert config["exactly.once.support"] == "required"
    assert config["source.consumer.isolation.level"] == "read_committed"
    assert config["transforms.provenance.target.cluster"] == "west"
    assert config["producer.override.transaction.timeout.ms"] == "10000"
    assert not any("sasl" in key for key in config)


def test_it_logs_in_as_its_own_principal_with_quotes_escaped():
    text = TEXT.replace('"127.0.0.1:27100"}', f'"127.0.0.1:27100", {SASL}}}').replace(
        "topics: [payments, a.b]",
        "topics: [payments]\n    principal: mirror\n    principal_password: {literal: 'a\"b\\c'}",
    )
    text = text.replace(
        "    topics: [payments]\ndeployments",
        "    topics: [payments]\n    principal: mirror\n    principal_password: {literal: x}\ndeployments",
    )
    config = connector_config(load_fleet(text).fleet, "east-to-west")

    assert config["source.cluster.sasl.jaas.config"].endswith('required username="mirror" password="a\\"b\\\\c";')
    assert "target.cluster.sasl.jaas.config" not in config


def test_links_are_found_by_name_alone_or_not_at_all():
    fleet = load_fleet(TEXT).fleet
    assert pick(fleet, "east-to-west") == "east-to-west"
    assert returning(fleet, "east-to-west") == ("west-to-east",)
    with pytest.raises(InvalidInput, match="which mirror link"):
        pick(fleet, None)
    with pytest.raises(InvalidInput, match="did you mean east-to-west"):
        pick(fleet, "east-to-wst")
    with pytest.raises(InvalidInput, match="no mirror link in the fleet file"):
        pick(load_fleet(SMALL).fleet, None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    target: west\n", "    target: wst\n", "f.yaml:19:13  mirrors.east-to-west.target: no such region: wst"),
        ("    target: west\n", "    target: east\n", "mirrors.east-to-west.target: east is the source as well"),
        ("    target: west\n", "", "mirrors.east-to-west.target: missing; expected the region that is mirrored to"),
        ("topics: [payments, a.b]", "topics: []", "mirrors.east-to-west.topics: empty; expected the topics"),
        (
            "topics: [payments, a.b]",
            "topics: [payments, payments]",
            "mirrors.east-to-west.topics[1]: payments is mirrored by east-to-west already",
        ),
        ("topics: [payments, a.b]", 'topics: ["a b"]', "mirrors.east-to-west.topics[0]: not a topic: a b"),
        ("27232", "27x32", "mirrors.east-to-west.connect.rest: not a URL"),
        ("27232", "27132", "mirrors.west-to-east.connect.group: http://127.0.0.1:27132 is of group connect-west"),
        ("    source: east\n", "    sourc: east\n", "mirrors.east-to-west.sourc: unknown field (did you mean source?)"),
        (
            "topics: [payments, a.b]",
            "topics: [payments]\n    tasks: 0",
            "mirrors.east-to-west.tasks: expected at least 1",
        ),
    ],
)
def test_mistakes_are_told_with_line_and_field(old, new, expected):
    told = changed(old, new)
    assert any(expected in line for line in told), told


def test_a_kafka_that_wants_a_login_wants_the_mirrors_principal():
    told = changed('kafka: {bootstrap: "127.0.0.1:27100"}', f'kafka: {{bootstrap: "127.0.0.1:27100", {SASL}}}')
    assert any("mirrors.east-to-west.principal: missing" in line for line in told)
    assert any("mirrors.east-to-west.principal_password: missing" in line for line in told)


def test_a_literal_password_is_for_loopback_only():
    text = TEXT.replace('"127.0.0.1:27200"', '"kafka.west.example:9092"').replace(
        "topics: [payments, a.b]", "topics: [payments]\n    principal: m\n    principal_password: {literal: hidden-two}"
    )
    told = mistakes(text)
    assert any("mirrors.east-to-west.principal_password.literal: a literal secret for kafka.west" in t for t in told)
    assert not any("hidden-two" in line for line in told)


THIRD = """\
  east-to-west-2:
    source: east
    target: west
    connect: {rest: "http://127.0.0.1:27232", group: connect-west}
    topics: [others]
deployments:
"""


def test_x17_a_link_whose_name_begins_with_anothers_is_refused_for_a_deny_would_hit_both():
    told = mistakes(TEXT.replace("deployments:\n", THIRD))
    assert [
        "mirrors.east-to-west-2: its tasks' transactional ids begin with connect-west-tidegate-east-to-west-, as those"
        in line
        for line in told
    ] == [True]
    assert "expected a name that does not begin with east-to-west-" in told[0]


ELSEWHERE = """\
  east-to-west-2:
    source: west
    target: east
    connect: {rest: "http://127.0.0.1:27132", group: connect-east}
    topics: [others]
deployments:
"""


@pytest.mark.parametrize(
    "third",
    [
        THIRD.replace("east-to-west-2", "east-to-west2"),
        THIRD.replace("east-to-west-2", "east-2-to-west"),
        ELSEWHERE,
    ],
    ids=["no dash", "not at its beginning", "on another Kafka"],
)
def test_links_whose_names_are_told_apart_by_their_prefixes_are_let_be(third):
    load_fleet(TEXT.replace("deployments:\n", third))


@given(
    st.lists(
        st.tuples(
            st.from_regex(DEPLOYMENT_NAME, fullmatch=True),
            st.from_regex(UID, fullmatch=True),
            st.integers(0, 99_999_999),
        ),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_x13_no_transactional_prefix_of_a_job_begins_anothers(two):
    one, other = (transactional_prefix(*of) for of in two)
    assert not one.startswith(other)
    assert not other.startswith(one)
    assert not f"tg.{two[0][0]}.".startswith(f"tg.{two[1][0]}.") or two[0][0] == two[1][0]
