"""The Connect worker of a region: where it listens, as whom it logs in, and how it is started."""

from __future__ import annotations

import sys

from sandbox.connect import connect_spec, worker_properties
from sandbox.endpoints import Endpoints
from sandbox.layout import Layout
from sandbox.spec import Folder, HttpProbe


def test_the_worker_stands_beside_its_regions_kafka_and_is_exactly_once(tmp_path):
    west = Layout(27000).region("west")
    properties = worker_properties(west, tmp_path)

    assert properties["bootstrap.servers"] == "127.0.0.1:27200"
    assert properties["listeners"] == "http://127.0.0.1:27232"
    assert properties["exactly.once.source.support"] == "enabled"
    assert properties["group.id"] == "connect-west"
    assert {properties[f"{name}.storage.topic"] for name in ("config", "offset", "status")} == {
        "connect-west-configs",
        "connect-west-offsets",
        "connect-west-status",
    }
    assert all('username="mirror"' in properties[f"{of}sasl.jaas.config"] for of in ("", "producer.", "admin."))
    assert Endpoints.of(Layout(27000)).environment()["TIDEGATE_WEST_CONNECT"] == "http://127.0.0.1:27232"


def test_what_a_dead_worker_left_open_is_ended_before_the_next_one_starts(tmp_path):
    jar = tmp_path / "t.jar"
    jar.write_bytes(b"jar")
    folder = Folder(tmp_path / "data")
    spec = connect_spec(folder, Layout(27000).region("west"), "/usr/bin/java", jar)

    assert spec.argv[:5] == [sys.executable, "-m", "sandbox.connect", "127.0.0.1:27200", "connect-west"]
    assert spec.argv[5] == "/usr/bin/java"
    assert spec.argv[-2] == "org.apache.kafka.connect.cli.ConnectDistributed"
    assert spec.ready == HttpProbe(url="http://127.0.0.1:27232/connectors")
    plugin = folder.part_path("west/connect") / "plugins" / "tidegate-mirror" / "tidegate-mirror.jar"
    assert plugin.read_bytes() == b"jar"
