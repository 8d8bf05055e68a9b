from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints
from sandbox.layout import MAX_TASKMANAGERS, PORTS, REGIONS, Layout, kafka_password
from tidegate.errors import InvalidInput


def all_ports(layout: Layout) -> list[int]:
    ports = list(layout.control_ports())
    for region in REGIONS:
        ports += layout.region_ports(region, MAX_TASKMANAGERS)
        ports.append(layout.region(region).kafka_proxied_advertised)
    return ports


@pytest.mark.parametrize("base", [1024, 27000, 32768 - PORTS])
def test_no_port_is_given_twice_and_none_is_outside(base):
    ports = all_ports(Layout(base))
    assert len(ports) == len(set(ports))
    assert min(ports) == base
    assert max(ports) < base + PORTS


def test_the_documented_ports():
    layout = Layout(27000)
    assert (layout.temporal, layout.temporal_ui, layout.notices, layout.control_s3.s3) == (27000, 27001, 27004, 27010)
    east, west = layout.region("east"), layout.region("west")
    assert (east.kafka, east.s3.s3, east.flink_rest, east.kafka_proxied_advertised) == (27100, 27110, 27120, 27130)
    assert (west.kafka, west.s3.s3, west.flink_rest, west.kafka_proxied_advertised) == (27200, 27210, 27220, 27230)
    assert (east.connect_rest, west.connect_rest) == (27132, 27232)
    assert (east.zookeeper, west.zookeeper) == (27134, 27234)


def test_two_sandboxes_side_by_side_share_no_port():
    assert not set(all_ports(Layout(27000))) & set(all_ports(Layout(27300)))


@pytest.mark.parametrize("base", [0, 80, 32768 - PORTS + 1, 65000])
def test_a_base_port_among_those_of_outgoing_connections_is_refused(base):
    with pytest.raises(InvalidInput, match="base port"):
        Layout(base)


def test_what_does_not_exist_is_refused_by_name():
    with pytest.raises(InvalidInput, match="north"):
        Layout(27000).region("north")
    with pytest.raises(InvalidInput, match="taskmanager 13"):
        Layout(27000).region("east").taskmanager(13)
    with pytest.raises(InvalidInput, match="eve"):
        kafka_password("eve")


def test_environment_names_every_region():
    values = Endpoints.of(Layout(27000)).environment()
    assert values["TEMPORAL_ADDRESS"] == "127.0.0.1:27000"
    assert values["TIDEGATE_WEST_FLINK"] == "http://127.0.0.1:27220"
    assert values["TIDEGATE_KAFKA_PASSWORD_LEDGER"] == "ledger-secret"
    assert values["TIDEGATE_KAFKA_PASSWORD_PRODUCER"] == "producer-secret"
    assert values["TIDEGATE_KAFKA_PASSWORD_CONSUMER"] == "consumer-secret"
