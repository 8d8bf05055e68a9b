"""``tidegate fleet`` and ``tidegate artifact``, on a store in memory."""

from __future__ import annotations

import json
import re

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_artifacts import jar
from tests.unit.fleet.test_fleetfile import SMALL
from tidegate.cli import fleet_online
from tidegate.cli.main import run
from tidegate.registry import artifacts


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    store = OpenMemoryStore("tidegate", "east", "west")
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEGATE_FLEET", raising=False)
    monkeypatch.setenv("TIDEGATE_WHO", "ana")
    (tmp_path / "fleet.yaml").write_text(SMALL)
    return store


def test_check_tells_mistakes_with_their_places(capsys, tmp_path):
    assert run(["fleet", "check"]) == 0
    assert capsys.readouterr().out.startswith("ok    fleet.yaml  2 regions, 2 cells, 1 deployment  sha256 ")
    (tmp_path / "bad.yaml").write_text(SMALL.replace("parallelism: 2", "parallelism: 0").replace("[v1]", "[v0]"))
    assert run(["fleet", "check", "bad.yaml"]) == 2
    lines = capsys.readouterr().err.split("\n")
    assert lines[0].startswith("error: bad.yaml:20:18  deployments.ledger.parallelism: expected at least 1")
    assert lines[1].startswith(
        "       bad.yaml:29:54  deployments.ledger.artifacts.v2.readable_by[0]: no such artifact: v0"
    )
    assert run(["fleet", "check", "bad.yaml", "-o", "json"]) == 2
    assert len(json.loads(capsys.readouterr().err)["error"]["details"]["mistakes"]) == 2


def test_which_file_is_meant(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TIDEGATE_FLEET", "other.yaml")
    assert run(["fleet", "check"]) == 2
    assert "other.yaml: no such fleet file" in capsys.readouterr().err
    monkeypatch.delenv("TIDEGATE_FLEET")
    (tmp_path / "fleet.yaml").unlink()
    assert run(["fleet", "check"]) == 2
    assert "no fleet file: neither runbooks/fleet-sandbox.yaml nor fleet.yaml is here" in capsys.readouterr().err


def test_apply_shows_the_difference_asks_and_publishes(capsys, tmp_path, store):
    assert run(["fleet", "show"]) == 2
    assert "publish one:  tidegate fleet apply fleet.yaml" in capsys.readouterr().err
    assert run(["fleet", "apply", "--dry-run"]) == 0
    assert not store.objects
    capsys.readouterr()
    assert run(["fleet", "apply"]) == 0
    shown = capsys.readouterr().out
    assert "no. 1" in shown
    assert "claimed by ana" in shown
    assert "top-secret" not in shown
    assert "hidden-one" not in shown
    assert run(["fleet", "apply", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "unchanged"
    (tmp_path / "fleet.yaml").write_text(SMALL.replace("parallelism: 2", "parallelism: 3"))
    assert run(["fleet", "apply"]) == 4
    out, err = capsys.readouterr()
    assert "-    parallelism: 2\n+    parallelism: 3\n" in out
    assert "add --yes" in err
    assert run(["fleet", "apply", "--yes"]) == 0
    assert "no. 2" in capsys.readouterr().out
    assert run(["fleet", "show", "-o", "json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["same_as_local_file"] is True
    assert "top-secret" not in out
    assert run(["fleet", "show"]) == 0
    assert "east/cell-1" in capsys.readouterr().out


def test_artifacts(capsys, tmp_path, store):
    path = jar(tmp_path / "one.jar")
    assert run(["artifact", "put", "ledger", "v1", str(path), "--dry-run"]) == 0
    assert not store.objects
    assert run(["artifact", "put", "ledger", "v1", str(path)]) == 0
    assert "uploaded  s3://east/jars/v1.jar" in capsys.readouterr().out
    assert run(["artifact", "put", "ledger", "v1", str(jar(tmp_path / "two.jar", salt="2"))]) == 4
    assert "holds other bytes already" in capsys.readouterr().err
    assert run(["artifact", "put", "ledger", "v1", str(tmp_path / "two.jar"), "--replace"]) == 0
    assert "warning: operations that run now have pinned the old sha256" in capsys.readouterr().err
    assert run(["artifact", "put", "ledgr", "v1", str(path)]) == 2
    assert "no such deployment: ledgr (did you mean ledger?)" in capsys.readouterr().err
    assert run(["artifact", "list", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["ledger"]
    assert [info["present"] for info in found] == [True, False]
    assert run(["artifact", "list", "ledger"]) == 0
    assert "v2        not uploaded" in capsys.readouterr().out


def test_check_online_names_what_is_not_there(capsys, monkeypatch, tmp_path):
    # Nothing listens on port 9 of this machine, where Flink and Kafka should be; the store answers.
    monkeypatch.setattr(fleet_online, "TIMEOUT_S", 0.5)
    (tmp_path / "fleet.yaml").write_text(re.sub(r"127\.0\.0\.1:27[12][02]0", "127.0.0.1:9", SMALL))
    assert run(["fleet", "check", "--online"]) == 2
    out, err = capsys.readouterr()
    assert "ok    control.bucket: tidegate answers" in out
    assert "deployments.ledger.artifacts.v2.jar: no such object s3://east/jars/v2.jar" in err
    assert "upload it:  tidegate artifact put ledger v2 PATH.jar" in err
    assert "regions.east.cells.cell-1.flink.rest" in err
    assert "regions.east.kafka.bootstrap" in err
