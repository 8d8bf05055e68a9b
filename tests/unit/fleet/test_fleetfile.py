"""Every mistake in a fleet file: its place, its field, what is wrong and what was expected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.fleet.test_fleet_model import SANDBOX
from tidegate.errors import InvalidInput
from tidegate.model.fleetfile import canonical, load_fleet

TEXT = SANDBOX.read_text()
MISTAKES = Path(__file__).with_name("mistakes.yaml")

SMALL = """\
version: 1
control:
  s3: {endpoint: "http://127.0.0.1:27010", access_key: tidegate, secret_key: {literal: top-secret}}
  bucket: tidegate
regions:
  east:
    kafka: {bootstrap: "127.0.0.1:27100"}
    s3: {endpoint: "http://127.0.0.1:27110", access_key: tidegate, secret_key: {env: EAST}}
    cells:
      cell-1: {flink: {driver: session, rest: "http://127.0.0.1:27120"}, savepoints: s3://east/sp, checkpoints: s3://east/c}
  west:
    kafka: {bootstrap: "127.0.0.1:27200"}
    s3: {endpoint: "http://127.0.0.1:27210", access_key: tidegate, secret_key: {file: /run/west}}
    cells:
      cell-1: {flink: {driver: session, rest: "http://127.0.0.1:27220"}, savepoints: s3://west/sp, checkpoints: s3://west/c}
deployments:
  ledger:
    home: east/cell-1
    standby: west
    parallelism: 2
    entry_class: a.b.Job
    principal: ledger
    principal_password: {literal: hidden-one}
    args: ["--prefix", "{prefix:out}", "--n", "{epoch}"]
    sources: [{uid: in, topics: [payments], group: ledger}]
    sinks: [{uid: out, topics: [balances]}]
    artifacts:
      v1: {jar: s3://east/jars/v1.jar}
      v2: {jar: s3://east/jars/v2.jar, readable_by: [v1]}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as error:
        load_fleet(text, "f.yaml")
    return error.value.message.split("\n")


def changed(old: str, new: str) -> list[str]:
    assert SMALL.count(old) == 1, f"{old!r} stands {SMALL.count(old)} times"
    return mistakes(SMALL.replace(old, new))


def test_the_sandbox_file_is_read():
    loaded = load_fleet(SANDBOX)
    assert list(loaded.fleet.deployments) == ["ledger"]
    assert loaded.source_name == str(SANDBOX)
    assert loaded.digest == hashlib.sha256(TEXT.encode()).hexdigest()


def test_round_trip_of_the_canonical_text():
    loaded = load_fleet(SMALL, "f.yaml")
    again = load_fleet("\ufeff" + loaded.text.replace("\n", "\r\n") + "\r\n\r\n", "g.yaml")
    assert (again.digest, again.text, again.fleet) == (loaded.digest, loaded.text, loaded.fleet)
    assert load_fleet(SMALL.replace("parallelism: 2", "parallelism: 3")).digest != loaded.digest


def test_secrets_are_not_in_what_is_printed():
    loaded = load_fleet(SMALL)
    assert "top-secret" not in repr(loaded.fleet)
    assert "hidden-one" not in loaded.fleet.model_dump_json()


@pytest.mark.parametrize("case", yaml.safe_load(MISTAKES.read_text()), ids=lambda case: case["new"].strip()[:40])
def test_a_mistake_is_told_with_its_place(case):
    found = changed(case["old"], case["new"])
    assert case["expected"] in found
    assert not any(secret in line for line in found for secret in ("top-secret", "hidden-one", "8080808"))


def test_what_cannot_be_printed_is_escaped():
    (line,) = changed("standby: west", 'standby: "\\e[2Jwest\\n"')
    assert line.startswith("f.yaml:19:14  deployments.ledger.standby: not a name: \\x1b[2Jwest\\n; expected lower-case")


def test_one_mistake_is_one_line():
    for old, new in (("parallelism: 2", "parallelism: 0"), ("standby: west", "standby: east")):
        assert len(changed(old, new)) == 1


def test_all_mistakes_are_told_at_once_shape_and_reference_together():
    text = (
        SMALL.replace("parallelism: 2", "parallelism: x").replace("[v1]", "[v9]").replace("east/cell-1", "east/cell-7")
    )
    with pytest.raises(InvalidInput) as error:
        load_fleet(text, "f.yaml")
    fields = [mistake["field"] for mistake in error.value.details["mistakes"]]
    assert fields == [
        "deployments.ledger.home",
        "deployments.ledger.parallelism",
        "deployments.ledger.artifacts.v2.readable_by[0]",
    ]
    assert error.value.hint == "3 mistakes in f.yaml; nothing was done"


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "fleet.yaml"
    with pytest.raises(InvalidInput, match="no such fleet file"):
        load_fleet(path)
    path.write_bytes(b"version: \xff")
    with pytest.raises(InvalidInput, match=r"not UTF-8 text \(byte 9\)"):
        load_fleet(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="the file is empty"):
        load_fleet(path)
    with pytest.raises(InvalidInput, match="cannot read the fleet file"):
        load_fleet(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "&a [*a]",
        "a: &a [x]\nb: *a",
        '"\\U00110000"',
        "\x00",
        "a: \ud800",
        "? [a]\n: b",
        "<<: {a: b}",
        "--- a\n--- b",
        "version: " + "9" * 5000,
        "version: .inf",
        "version: 0x1F",
        "version: !!int x",
        "- a",
        "just text",
        "=: 1",
        "%YAML 9.9\n---\na: b",
        "regions: 5\ndeployments: [1]\ncontrol: {s3: {endpoint: 'http://[::1'}}",
    ],
)
def test_hostile_text_is_refused_and_no_more(text):
    assert mistakes(text)


def read_or_refused(text: str) -> None:
    try:
        loaded = load_fleet(text, "f.yaml")
    except InvalidInput as error:
        refused = error
    else:
        assert loaded.text == canonical(text)
        return
    assert refused.details["mistakes"]
    assert all(line.startswith("f.yaml:") for line in refused.message.split("\n"))


WORDS = (
    "&",
    "*",
    "!",
    "<<",
    "no",
    "010",
    "1:30",
    "{x}",
    "---",
    ".inf",
    "0x1",
    "2026-01-01",
    "http://[",
    "s3://",
    "&a",
    "*a",
    "!x",
)
FRAGMENTS = st.sampled_from([*"{}[]:\n\"'|#=\té%@`~\u2028\ud800\x07", *WORDS, *(f"{word} " for word in WORDS)])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SMALL)), st.integers(0, 30), FRAGMENTS | st.text(max_size=5)), max_size=4
    )
)
@example(edits=[])
def test_mutated_text_is_read_or_refused(edits):
    text = SMALL
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    read_or_refused(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just({}) | st.just([])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_value_at_any_place_is_read_or_refused(data):
    tree = yaml.safe_load(SMALL)
    at = tree
    while True:
        key = data.draw(st.sampled_from(sorted(at)) if isinstance(at, dict) else st.integers(0, len(at) - 1))
        below = at[key]
        if not isinstance(below, (dict, list)) or not below or data.draw(st.booleans()):
            break
        at = below
    at[key] = data.draw(
        SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)
    )
    read_or_refused(yaml.safe_dump(tree, allow_unicode=True))
