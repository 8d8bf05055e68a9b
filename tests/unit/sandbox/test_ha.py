"""High availability when it is asked for: ZooKeeper's place, and what JobManager and TaskManagers agree on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from sandbox.api import Sandbox
from sandbox.flink import jobmanager_config, jobmanager_name, jobmanager_spec, taskmanager_config
from sandbox.identity import Identity
from sandbox.layout import Layout
from sandbox.parts import PARTS, ZOOKEEPER, pom_path
from sandbox.spec import Folder, ProcessState, SandboxRecord, write
from sandbox.zookeeper import zookeeper_spec
from tidegate.errors import Refused

EAST = Layout(27000).region("east")


def test_both_name_the_regions_zookeeper_and_the_store_in_its_bucket(tmp_path):
    for config in (jobmanager_config(EAST, tmp_path, ha=True), taskmanager_config(EAST, 1, tmp_path, ha=True)):
        assert config["high-availability.type"] == "zookeeper"
        assert config["high-availability.zookeeper.quorum"] == "127.0.0.1:27134"
        assert config["high-availability.storageDir"] == "s3://east/ha"
        assert config["high-availability.jobmanager.port"] == "27121"
        assert config["restart-strategy.fixed-delay.attempts"] == 2**31 - 1


def test_without_it_nothing_speaks_of_it(tmp_path):
    jobmanager_spec(Folder(tmp_path), EAST, "java")
    written = yaml.safe_load((Folder(tmp_path).part_path(jobmanager_name("east")) / "conf/config.yaml").read_text())
    assert not [key for key in written if key.startswith("high-availability")]
    assert ZOOKEEPER not in PARTS


def test_zookeeper_is_pinned_and_listens_on_loopback_only(tmp_path):
    assert "<zookeeper.version>3.9.3<" in pom_path(ZOOKEEPER).read_text()
    spec = zookeeper_spec(Folder(tmp_path), EAST, "java")
    assert spec.argv[-2] == "org.apache.zookeeper.server.ZooKeeperServerMain"
    written = Path(spec.argv[-1]).read_text().splitlines()
    assert {"clientPort=27134", "clientPortAddress=127.0.0.1", "admin.enableServer=false"} <= set(written)


def test_a_flink_that_runs_without_it_is_not_given_it_in_mid_life(tmp_path):
    folder = Folder(tmp_path)
    record = SandboxRecord(id="x", base_port=27000, ha=["west"])
    name = jobmanager_name("east")
    write(folder.record_path, record)
    sandbox = Sandbox(tmp_path)
    assert sandbox._available(record, ("east",)) == {"east", "west"}
    write(folder.state_path(name), ProcessState(name=name, identity=Identity.of(os.getpid())))
    assert sandbox._available(record, ()) == {"west"}
    with pytest.raises(Refused, match="runs without high availability"):
        sandbox._available(record, ("east",))
