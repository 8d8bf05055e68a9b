from __future__ import annotations

import pytest

from sandbox.api import Sandbox
from sandbox.spec import Folder, HttpProbe, ProcessSpec, SandboxRecord, write
from tidegate.errors import InvalidInput


def test_a_spec_comes_back_as_it_was_written(tmp_path):
    folder = Folder(tmp_path)
    spec = ProcessSpec(
        name="east/worker.v1", argv=["a", "b"], env={"X": "1"}, cwd=tmp_path, ready=HttpProbe(url="http://x/")
    )
    write(folder.spec_path(spec.name), spec)
    assert folder.spec(spec.name) == spec
    assert folder.spec_names() == ["east/worker.v1"]
    assert folder.state(spec.name) is None
    assert folder.log_path("east/flink/jobmanager").name == "east-flink-jobmanager.log"


@pytest.mark.parametrize("name", ["kafka", "../x", "east/../x", "east/", "East/kafka", "east//kafka", "/etc/x"])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match="process name"):
        Folder(tmp_path).spec_path(name)


def test_an_empty_folder_has_no_sandbox(tmp_path):
    folder = Folder(tmp_path / "none")
    assert folder.record() is None
    assert folder.spec_names() == []


def test_the_base_port_of_a_folder_is_remembered(tmp_path):
    write(Folder(tmp_path).record_path, SandboxRecord(id="x", base_port=24300))
    assert Sandbox(tmp_path).layout.base_port == 24300
    with pytest.raises(InvalidInput, match="24300, not 24600"):
        Sandbox(tmp_path, 24600)
